//! reference/openim.md §3.3 and §3.5.

use crate::rig::{ALL, Rig};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stele_tests::{
    gateway::jwt,
    standin::openim::{Ended, Version},
};

const PATH: &str = "/msg/get_server_time";

async fn code(rig: &Rig, token: &str) -> Result<i64> {
    rig.with(token, PATH, &json!({})).await?["errCode"].as_i64().context("a code")
}

#[tokio::test]
async fn a_token_is_got_as_the_version_gives_it() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        let ask = async |path: &str, body: &Value| rig.raw(path, &[("operationID", "op")], &body.to_string()).await;
        let good = json!({ "secret": "openIM123", "userID": "imAdmin", "platformID": 10 });
        let path = if version == Version::V380 { "/auth/user_token" } else { "/auth/get_admin_token" };
        let issued = rig.standin.tokens();
        let answer = ask(path, &good).await?.json()?;
        let token = answer["data"]["token"].as_str().context("a token")?;
        ensure!(answer["data"]["expireTimeSeconds"] == 7_776_000 && code(&rig, token).await? == 0, "{answer}");
        ensure!(rig.standin.tokens() == issued + 1, "counted");
        let wrong = json!({ "secret": "openIM124", "userID": "imAdmin" });
        ensure!(ask(path, &wrong).await?.json()?["errCode"] == 1002, "{version:?}");
        // The other version's path, with and without a token.
        let other = if version == Version::V380 { "/auth/get_admin_token" } else { "/auth/user_token" };
        ensure!(ask(other, &good).await?.json()?["errCode"] == 1001, "{version:?}");
        let headers = [("operationID", "op"), ("token", token)];
        ensure!(rig.raw(other, &headers, "{}").await?.status == 404, "{version:?}");
        let parsed = ask("/auth/parse_token", &json!({ "token": token })).await?.json()?;
        ensure!(parsed["data"]["userID"] == "imAdmin" && parsed["data"]["platformID"] == 10, "{parsed}");
    }
    Ok(())
}

#[tokio::test]
async fn only_known_admins_get_an_admin_token() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    let body = json!({ "secret": "openIM123", "userID": "alice" });
    let answer = rig.raw("/auth/get_admin_token", &[("operationID", "op")], &body.to_string()).await?.json()?;
    ensure!(answer["errCode"] == 1001, "{answer}");
    ensure!(answer["errDlt"] == "userID is error., userID=alice, adminUserID=[imAdmin]", "{answer}");
    rig.standin.add_account("alice", "Alice", 2);
    let answer = rig.raw("/auth/get_admin_token", &[("operationID", "op")], &body.to_string()).await?.json()?;
    ensure!(answer["errCode"] == 0, "{answer}");
    Ok(())
}

#[tokio::test]
async fn tokens_are_refused_by_what_is_wrong_with_them() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        let claims = |expires: i64| json!({ "UserID": "imAdmin", "PlatformID": 10, "exp": expires });
        let far = 4_000_000_000;
        let unknown = if version == Version::Head { 1507 } else { 0 };
        for (token, expected) in [
            ("nonsense".to_owned(), 1503),
            (jwt("HS256", &claims(far), "other"), 1505),
            (jwt("HS384", &claims(far), "openIM123"), 1505),
            (jwt("HS256", &claims(1), "openIM123"), 1501),
            (jwt("HS256", &claims(far), "openIM123"), unknown),
        ] {
            ensure!(code(&rig, &token).await? == expected, "{version:?} {expected}");
        }
        for (ended, of_user, of_admin) in [
            (Ended::Gone, 1507, if version == Version::Head { 1507 } else { 0 }),
            (Ended::Kicked, 1506, if version == Version::Head { 1506 } else { 0 }),
            (Ended::Expired, 1501, 1501),
        ] {
            let (admin, user) = (rig.standin.token("imAdmin"), rig.standin.token("bob"));
            ensure!((code(&rig, &admin).await?, code(&rig, &user).await?) == (0, 0), "both are good");
            rig.standin.end_tokens(ended);
            let codes = (code(&rig, &admin).await?, code(&rig, &user).await?);
            ensure!(codes == (of_admin, of_user), "{version:?} {ended:?} {codes:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_new_token_ends_the_one_before() -> Result<()> {
    for version in ALL {
        let rig = Rig::new(version).await?;
        rig.standin.set(|switches| switches.ousted_requests = 2);
        let (admin, user) = (rig.standin.token("imAdmin"), rig.standin.token("bob"));
        rig.standin.token("imAdmin");
        rig.standin.token("bob");
        ensure!(code(&rig, &user).await? == 1506, "{version:?}");
        let codes = (code(&rig, &admin).await?, code(&rig, &admin).await?, code(&rig, &admin).await?);
        ensure!(codes == (0, 0, if version == Version::Head { 1507 } else { 0 }), "{version:?} {codes:?}");
    }
    Ok(())
}

#[tokio::test]
async fn users_tokens_are_given_by_admins_and_ended_by_them() -> Result<()> {
    let rig = Rig::new(Version::Head).await?;
    let path = "/auth/get_user_token";
    for (body, expected) in [
        (json!({ "userID": "bob", "platformID": 10 }), 1002),
        (json!({ "userID": "imAdmin", "platformID": 5 }), 1002),
        (json!({ "userID": "nobody", "platformID": 5 }), 1004),
    ] {
        ensure!(rig.ask(path, &body).await?["errCode"] == expected, "{body}");
    }
    let body = json!({ "userID": "bob", "platformID": 5 });
    let given = rig.data(path, &body).await?;
    let token = given["token"].as_str().context("a token")?;
    ensure!(rig.with(token, path, &body).await?["errCode"] == 1002, "only admins");
    ensure!(rig.with(token, "/auth/force_logout", &body).await?["errCode"] == 1002, "only admins");
    ensure!(rig.ask("/auth/force_logout", &body).await?["errCode"] == 0, "logged out");
    ensure!(code(&rig, token).await? == 1506, "kicked");
    Ok(())
}
