//! Which endpoint a request is for, as the original's router decides it (reference/gateway.md §2).
//!
//! A path that is a known one after cleaning (doubled slashes, a slash at the end, other letter case) is answered with a
//! redirect. The documents write two paths with a hyphen and a blank in front of the name; they are known as well.

use percent_encoding::percent_decode_str;

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `GET /`: who is there.
    Root,
    /// Listen to what comes.
    Notify,
    /// Send a message.
    SendMsg,
    /// Whether the caller is a member.
    CheckJoined,
    /// What the caller is a member of.
    GetJoined,
    /// A conversation.
    Detail,
    /// Become a member.
    Join,
    /// Make a conversation.
    Create,
    /// Be a member no more.
    Leave,
    /// Id of the newest message.
    LastMsgId,
    /// Messages from one id to another.
    Range,
    /// Messages up to an id.
    Before,
    /// Messages from an id on.
    After,
    /// The newest messages.
    Last30,
    /// The newest message.
    LastOne,
    /// A token for a session.
    InnerToken,
    /// Make a conversation of others.
    InnerCreate,
    /// Make others members no more.
    InnerKick,
    /// Make others members.
    InnerJoin,
    /// Put conversations away, or take them out.
    InnerArchive,
}

impl Endpoint {
    /// Not for clients: allowed by address, without a token.
    pub fn is_inner(self) -> bool {
        use Endpoint::{InnerArchive, InnerCreate, InnerJoin, InnerKick, InnerToken};
        matches!(self, InnerToken | InnerCreate | InnerKick | InnerJoin | InnerArchive)
    }

    /// Its only method.
    fn method(self) -> &'static str {
        if matches!(self, Self::Root | Self::Notify) { "GET" } else { "POST" }
    }

    /// What `Allow` says.
    pub fn allow(self) -> &'static str {
        if self.method() == "GET" { "GET, OPTIONS" } else { "OPTIONS, POST" }
    }
}

const PATHS: &[(&str, Endpoint)] = &[
    ("/", Endpoint::Root),
    ("/notify", Endpoint::Notify),
    ("/send_msg", Endpoint::SendMsg),
    ("/check_joined_conversation", Endpoint::CheckJoined),
    ("/get_joined_conversation", Endpoint::GetJoined),
    ("/get_conversation_detail", Endpoint::Detail),
    ("/join_conversation", Endpoint::Join),
    ("/create_conversation", Endpoint::Create),
    ("/leave_conversation", Endpoint::Leave),
    ("/get_lastone_msgid", Endpoint::LastMsgId),
    ("/get_conversation_msg_by_range", Endpoint::Range),
    ("/get_conversation_30msg_before_the_id", Endpoint::Before),
    ("/get_conversation_30msg_after_the_id", Endpoint::After),
    ("/get_conversation_last_30_msg", Endpoint::Last30),
    ("/get_conversation_lastone_msg", Endpoint::LastOne),
    ("/inner/get_token", Endpoint::InnerToken),
    ("/inner/create_conversation", Endpoint::InnerCreate),
    ("/inner/kickout_conversation", Endpoint::InnerKick),
    ("/inner/join_conversation", Endpoint::InnerJoin),
    ("/inner/set_archive_conversations", Endpoint::InnerArchive),
];

/// As the documents write them.
const ODD_PATHS: &[(&str, Endpoint)] = &[
    ("/- get_conversation_30msg_after_the_id", Endpoint::After),
    ("/- get_conversation_last_30_msg", Endpoint::Last30),
];

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Answered there.
    Endpoint(Endpoint),
    /// Asked again at this path.
    Redirect(&'static str),
    /// Which methods there are, for browsers.
    Options(Endpoint),
    /// The path is known, but not with this method.
    WrongMethod(Endpoint),
    /// There is nothing.
    Nothing,
}

/// The route of a method and a path that is still percent-encoded.
pub fn route(method: &str, path: &str) -> Route {
    let path = percent_decode_str(path).decode_utf8_lossy();
    let known = PATHS.iter().chain(ODD_PATHS).find(|(known, _)| *known == path);
    match known {
        Some((_, endpoint)) if endpoint.method() == method => Route::Endpoint(*endpoint),
        Some((_, endpoint)) if method == "OPTIONS" => Route::Options(*endpoint),
        Some((_, endpoint)) => Route::WrongMethod(*endpoint),
        None => {
            let clean = clean(&path);
            let meant = |(known, endpoint): &&(&str, Endpoint)| {
                endpoint.method() == method && known.eq_ignore_ascii_case(&clean)
            };
            let meant = PATHS.iter().chain(ODD_PATHS).find(meant);
            let path =
                |endpoint| PATHS.iter().find(|(_, known)| *known == endpoint).map(|(path, _)| Route::Redirect(path));
            meant.and_then(|(_, endpoint)| path(*endpoint)).unwrap_or(Route::Nothing)
        }
    }
}

/// A path without empty parts, `.` and `..`.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_find_their_endpoint() {
        use Route::{Nothing, Options, Redirect, WrongMethod};
        let check =
            |method: &str, path: &str, expected: Route| assert_eq!(route(method, path), expected, "{method} {path}");
        for (path, endpoint) in PATHS {
            check(endpoint.method(), path, Route::Endpoint(*endpoint));
            check("OPTIONS", path, Options(*endpoint));
            check("DELETE", path, WrongMethod(*endpoint));
        }
        check("POST", "/-%20get_conversation_30msg_after_the_id", Route::Endpoint(Endpoint::After));
        check("POST", "/-%20get_conversation_last_30_msg", Route::Endpoint(Endpoint::Last30));
        check("POST", "/send%5Fmsg", Route::Endpoint(Endpoint::SendMsg));
        for unclean in ["//send_msg", "/send_msg/", "/Send_Msg", "/./send_msg", "/inner/../send_msg", "/..//SEND_MSG//"]
        {
            check("POST", unclean, Redirect("/send_msg"));
            check("GET", unclean, Nothing);
        }
        check("POST", "//inner//get_token", Redirect("/inner/get_token"));
        check("POST", "//-%20get_conversation_last_30_msg", Redirect("/get_conversation_last_30_msg"));
        check("GET", "/notify/", Redirect("/notify"));
        check("GET", "//", Redirect("/"));
        check("GET", "/send_msg", WrongMethod(Endpoint::SendMsg));
        check("POST", "/notify", WrongMethod(Endpoint::Notify));
        for nothing in ["/nothing", "/send_msg/x", "/inner", "/inner/", "send_msg2"] {
            check("POST", nothing, Nothing);
            check("OPTIONS", nothing, Nothing);
        }
    }
}
