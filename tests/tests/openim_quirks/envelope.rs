//! reference/openim.md §1, §3.1 and §3.3.

use crate::rig::{ALL, Rig};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use stele_tests::standin::{Reply, openim::Version};

const SEARCH: &str = "/msg/search_msg";

#[tokio::test]
async fn headers_are_looked_at_before_the_path() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        for (path, headers, detail) in [
            ("/no/such", vec![], "header must have operationID"),
            ("/no/such", vec![("operationid", "op")], "header must have token"),
            (SEARCH, vec![("token", "x")], "header must have operationID"),
        ] {
            let answer = rig.raw(path, &headers, "{").await?;
            ensure!(answer.status == 200 && answer.content_type == "application/json", "{}", answer.text);
            let told = match version {
                Version::V380 => format!("1001 ArgsError {detail}"),
                Version::V383 => String::new(),
                Version::Head => detail.to_owned(),
            };
            let answer = answer.json()?;
            ensure!(answer == json!({ "errCode": 1001, "errMsg": "ArgsError", "errDlt": told }), "{answer}");
        }
        let good = [("operationID", "op"), ("token", &*rig.token)];
        let answer = rig.raw("/no/such", &good, "{}").await?;
        ensure!((answer.status, &*answer.content_type) == (404, "text/plain"), "{}", answer.text);
    }
    Ok(())
}

#[tokio::test]
async fn texts_of_errors_are_those_of_the_version() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        let answer = rig.ask(SEARCH, &json!({ "sendTime": "2026-02-30" })).await?;
        let (message, detail) = (answer["errMsg"].as_str().unwrap_or(""), answer["errDlt"].as_str().unwrap_or(""));
        let full = "1001 ArgsError invalid sendTime, req=2026-02-30";
        let good = match version {
            Version::V380 => message.starts_with(full) && detail.starts_with(full),
            Version::V383 => message == "ArgsError" && detail.starts_with(full),
            Version::Head => message == "ArgsError" && detail.starts_with("invalid sendTime, req=2026-02-30"),
        };
        ensure!(good && answer["errCode"] == 1001 && answer.get("data").is_none(), "{version:?} {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn bodies_are_read_as_go_reads_them() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    let headers = [("operationID", "op"), ("token", &*rig.token), ("content-type", "text/plain")];
    for (body, code) in [
        ("", 1001),
        ("[]", 1001),
        ("{} {}", 1001),
        (r#"{"contentType":"101"}"#, 1001),
        (r#"{"SENDTIME":20260409}"#, 1001),
        ("null", 0),
        ("{}", 0),
        (r#"{"unknown":1,"SendID":null}"#, 0),
    ] {
        let answer = rig.raw(SEARCH, &headers, body).await?.json()?;
        ensure!(answer["errCode"] == code, "{body} {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_without_fields_has_no_data_and_markup_is_escaped() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    let user = json!({ "users": [{ "userID": "eve", "nickname": "<E&e>" }] });
    ensure!(rig.ask("/user/user_register", &user).await?.get("data").is_none(), "no data");
    let headers = [("operationID", "op"), ("token", &*rig.token)];
    let answer = rig.raw("/user/get_users_info", &headers, r#"{"userIDs":["eve"]}"#).await?;
    ensure!(answer.text.contains(r"\u003cE\u0026e\u003e"), "{}", answer.text);
    ensure!(rig.ask("/user/user_register", &user).await?["errCode"] == 1102, "known already");
    Ok(())
}

#[tokio::test]
async fn failures_are_scripted_for_any_call() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    let path = "/msg/get_server_time";
    let headers = [("operationID", "op"), ("token", &*rig.token)];
    rig.standin.fail(path, 2, Reply::Status(500));
    rig.standin.fail(path, 1, Reply::Status(429));
    rig.standin.fail(path, 1, Reply::Errcode(500));
    rig.standin.fail(path, 1, Reply::Truncated);
    let mut told = Vec::new();
    for _ in 0..6 {
        let answer = rig.raw(path, &headers, "{}").await?;
        told.push((answer.status, answer.json().map_or(json!(null), |body| body["errCode"].clone())));
    }
    let none = Value::Null;
    let expected =
        [(200, json!(0)), (500, none.clone()), (429, json!(429)), (200, json!(500)), (200, none), (200, json!(0))];
    ensure!(told == expected, "{told:?}");
    rig.standin.fail(path, 1, Reply::Close);
    ensure!(rig.raw(path, &headers, "{}").await.is_err(), "cut");
    ensure!(rig.standin.calls(path) == 7, "counted");
    Ok(())
}
