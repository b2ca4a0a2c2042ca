//! Tokens that end, at any time, and how many are asked for.

use super::{PULL, Rig, VERSIONS, chat, has, people};
use anyhow::{Result, ensure};
use serde_json::json;
use stele_plugin_api::ErrorCode;
use stele_tests::standin::{
    Reply,
    openim::{Ended, Version},
};

#[tokio::test]
async fn a_token_that_ends_is_renewed_once() -> Result<()> {
    for ended in [Ended::Expired, Ended::Kicked, Ended::Gone] {
        let rig = Rig::new(Version::Head, json!({})).await?;
        people(&rig.standin);
        let mut expected = 0;
        for other in ["bob", "u_1", "u_10", "u"] {
            for _ in 0..20 {
                chat(&rig.standin, "alice", other, 1);
            }
            has(&rig.sync(7).await?, &[])?;
            rig.complete()?;
            expected += 1;
            ensure!(rig.standin.tokens() == expected, "{} of {expected}", rig.standin.tokens());
            rig.standin.end_tokens(ended);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_token_is_kept_over_a_restart() -> Result<()> {
    for version in VERSIONS {
        let mut rig = Rig::new(version, json!({})).await?;
        people(&rig.standin);
        for _ in 0..3 {
            chat(&rig.standin, "alice", "bob", 1);
            rig.sync(10).await?;
            rig.complete()?;
            rig.reopen()?;
        }
        ensure!(rig.standin.tokens() == 1, "{} tokens", rig.standin.tokens());
        let kept: Vec<_> = rig.kept().state.values().cloned().collect();
        ensure!(kept.iter().all(|value| !value.windows(9).any(|part| part == b"openIM123")), "no secret is kept");
    }
    Ok(())
}

#[tokio::test]
async fn another_program_with_the_same_admin_is_not_fought() -> Result<()> {
    let rig = Rig::new(Version::Head, json!({})).await?;
    people(&rig.standin);
    rig.standin.set(|switches| switches.ousted_requests = 2);
    for number in 0..5 {
        chat(&rig.standin, "alice", "bob", 3);
        rig.standin.token("imAdmin");
        has(&rig.sync(10).await?, &[])?;
        rig.complete()?;
        ensure!(rig.standin.tokens() <= 2 * (number + 1) + 1, "{} tokens", rig.standin.tokens());
    }
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_ends_every_token_is_not_asked_for_ever() -> Result<()> {
    let rig = Rig::new(Version::Head, json!({})).await?;
    people(&rig.standin);
    chat(&rig.standin, "alice", "bob", 3);
    for code in [1501, 1503, 1505, 1506, 1507] {
        rig.standin.script.push("/group/get_groups", Reply::Errcode(code), 30);
        for _ in 0..10 {
            let error = rig.pull(10).await.map(drop).expect_err("no token is good");
            ensure!(matches!(error.code, ErrorCode::Unavailable | ErrorCode::RateLimited), "{error}");
        }
        rig.standin.script.clear();
    }
    ensure!(rig.standin.tokens() <= 12, "{} tokens", rig.standin.tokens());
    Ok(())
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() -> Result<()> {
    let rig = Rig::new(Version::Head, json!({})).await?;
    people(&rig.standin);
    rig.standin.set(|switches| switches.token_seconds = 1);
    for _ in 0..3 {
        chat(&rig.standin, "alice", "bob", 3);
        stele_tests::daemon::wait_for("a run", || async {
            rig.sync(10).await.map(drop).and_then(|()| rig.complete()).map_err(|error| error.to_string())
        })
        .await?;
    }
    ensure!(rig.standin.calls(PULL) > 0);
    Ok(())
}
