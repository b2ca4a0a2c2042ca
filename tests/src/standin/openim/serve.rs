//! HTTP: which request is answered by what, and what a script puts in its place (reference/openim.md §1, §3.1).

use super::{
    Held, Shared, Version,
    auth::{self, Caller},
    hook, people, pull, search,
    wire::{Answer, Question, Refused, go},
    write,
};
use crate::standin::script::Reply;
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Largest body of a request that is read.
const MAX_BODY: usize = 16 << 20;

impl Shared {
    /// Whose request it is; of some paths nobody's.
    fn caller(&self, path: &str, headers: &HeaderMap) -> Result<Caller, Refused> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if header("operationID").is_empty() {
            return Err(Refused::args("header must have operationID").local());
        }
        let open: &[&str] = match self.version {
            Version::V380 => &["/user/user_register", "/auth/user_token", "/auth/parse_token"],
            _ => &["/auth/get_admin_token", "/auth/parse_token"],
        };
        if open.iter().any(|open| path.starts_with(open)) {
            return Ok(Caller::default());
        }
        match header("token") {
            "" => Err(Refused::args("header must have token").local()),
            token => auth::open(&mut self.lock(), self.version, token),
        }
    }
}

/// What serves a path.
type Serve = fn(&mut Held, &Question<'_>) -> Answer;

fn route(version: Version, path: &str) -> Option<Serve> {
    Some(match path {
        "/auth/get_admin_token" if version != Version::V380 => auth::admin_token,
        "/auth/user_token" if version == Version::V380 => auth::any_token,
        "/auth/get_user_token" => auth::user_token,
        "/auth/parse_token" => auth::parse_token,
        "/auth/force_logout" => auth::force_logout,
        "/user/user_register" => people::register,
        "/user/get_users" => people::users,
        "/user/get_users_info" => people::users_info,
        "/user/get_all_users_uid" => people::user_ids,
        "/group/create_group" => people::create_group,
        "/group/get_groups" => people::groups,
        "/group/get_groups_info" => people::groups_info,
        "/group/get_full_group_member_user_ids" => people::members,
        "/group/quit_group" => people::quit,
        "/group/kick_group" => people::kick,
        "/conversation/get_full_conversation_ids" => pull::conversation_ids,
        "/msg/newest_seq" => pull::newest,
        "/msg/get_conversations_has_read_and_max_seq" => pull::max_seqs,
        "/msg/pull_msg_by_seq" => pull::pull,
        "/msg/get_server_time" => pull::server_time,
        "/msg/search_msg" => search::search,
        "/msg/send_msg" => write::send,
        "/msg/revoke_msg" => write::revoke,
        "/msg/delete_msgs" => write::delete,
        "/msg/delete_msg_phsical_by_seq" => write::delete_physically,
        "/msg/clear_conversation_msg" => write::clear,
        "/msg/user_clear_all_msg" => write::clear_all,
        _ => return None,
    })
}

pub(super) async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let path = parts.uri.path().to_owned();
    *shared.lock().calls.entry(path.clone()).or_default() += 1;
    if parts.method == Method::OPTIONS {
        return with_headers(StatusCode::OK, "\"Options Request!\"".to_owned());
    }
    let scripted = shared.script.take(&path);
    if let Some(Reply::Errcode(code)) = scripted {
        return answered(shared.version, Err(Refused::new(code, "scripted", "")));
    }
    let (status, text) = match truth(&shared, &parts.method, &path, &parts.headers, &body).await {
        Some(answer) => (status_of(&path, &answer), rendered(shared.version, answer)),
        None => (StatusCode::NOT_FOUND, "404 page not found".to_owned()),
    };
    match scripted {
        Some(Reply::Body(text)) => with_headers(StatusCode::OK, text),
        Some(Reply::Status(500)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(Reply::Status(429)) => {
            let text = json!({ "errCode": 429, "errMsg": "rate limit", "errDlt": "" }).to_string();
            with_headers(StatusCode::TOO_MANY_REQUESTS, text)
        }
        Some(Reply::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            (status, "<html><body>nginx</body></html>").into_response()
        }
        Some(Reply::Truncated) => with_headers(status, text.chars().take(text.chars().count() / 2).collect()),
        Some(late @ (Reply::Delay(_) | Reply::Held(_))) => {
            late.wait().await;
            with_headers(status, text)
        }
        Some(Reply::Close) => {
            // A body that fails: the connection is cut in the middle of the reply.
            let cut = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut by the script")) });
            Response::new(Body::from_stream(cut))
        }
        Some(Reply::Silence) => std::future::pending().await,
        Some(Reply::Errcode(_)) | None => with_headers(status, text),
    }
}

/// The true answer; none where there is no such path.
async fn truth(shared: &Arc<Shared>, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Option<Answer> {
    if method != Method::POST {
        return None;
    }
    // The headers are looked at before the path.
    let caller = match shared.caller(path, headers) {
        Ok(caller) => caller,
        Err(refused) => return Some(Err(refused)),
    };
    let serve = route(shared.version, path)?;
    let body = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Null) => Value::Object(Map::new()),
        Ok(body @ Value::Object(_)) => body,
        Ok(_) => return Some(Err(Refused::unread("json: cannot unmarshal into Go value"))),
        Err(error) => return Some(Err(Refused::unread(&error.to_string()))),
    };
    let operation = headers.get("operationID").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let question = Question { version: shared.version, caller, operation, body };
    if path == "/msg/send_msg"
        && let Err(refused) = hook::before(shared, &question).await
    {
        return Some(Err(refused));
    }
    let state = &mut *shared.lock();
    let answer = serve(state, &question);
    shared.tell(state);
    Some(answer)
}

/// Sends that cannot be read have a status of their own.
fn status_of(path: &str, answer: &Answer) -> StatusCode {
    match answer {
        Err(refused) if refused.is_unread && path == "/msg/send_msg" => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

fn answered(version: Version, answer: Answer) -> Response {
    with_headers(StatusCode::OK, rendered(version, answer))
}

fn rendered(version: Version, answer: Answer) -> String {
    let envelope = match answer {
        Ok(Value::Null) => json!({ "errCode": 0, "errMsg": "", "errDlt": "" }),
        Ok(data) => json!({ "errCode": 0, "errMsg": "", "errDlt": "", "data": data }),
        Err(refused) => refused.envelope(version),
    };
    go(&envelope)
}

fn with_headers(status: StatusCode, text: String) -> Response {
    // A path that is unknown is told as text.
    let content_type = if status == StatusCode::NOT_FOUND { "text/plain" } else { "application/json" };
    let headers = [
        ("content-type", content_type),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "*"),
        ("access-control-allow-headers", "*"),
        ("access-control-max-age", "172800"),
    ];
    (status, headers, text).into_response()
}
