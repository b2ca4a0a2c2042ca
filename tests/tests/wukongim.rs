//! Contract 001, endpoint by endpoint: the scenarios of `tests/scenarios/wukongim` on the real binary.

use anyhow::{Result, ensure};
use serde_json::json;
use std::{path::PathBuf, time::Duration};
use stele_tests::{
    backing::Backing,
    report::Report,
    scenario,
    wukongim::{Wukongim, encoded, site},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn folder() -> PathBuf {
    stele_tests::source_root().join("tests/scenarios/wukongim")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_as_the_document_says() -> Result<()> {
    let (suite, scenarios) = scenario::read(&folder())?;
    for backing in Backing::all() {
        let instances =
            suite.configs().map(|(name, config)| Wukongim::new(name, &config)).collect::<Result<Vec<_>>>()?;
        let site = site(&instances, "")?.backed_by(backing)?;
        let daemon = site.start().await?;
        let addresses = instances.iter().map(|instance| (instance.name.clone(), instance.listen.clone())).collect();
        let mut report = Report::default();
        scenario::run_all(&suite, &scenarios, &addresses, &mut report).await?;
        report.finish(&format!("{backing}\n{}", site.log_tail()));
        ensure!(daemon.stop().await?.success());
    }
    Ok(())
}

/// The largest payload `/docs` tells of, which as base64 is larger than bodies of other plugins may be. A page of another site may
/// read why a larger body is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_a_mebibyte_is_taken() -> Result<()> {
    let instance = Wukongim::new("im", "")?;
    let site = site(std::slice::from_ref(&instance), "")?;
    let daemon = site.start().await?;
    let message = |bytes: usize| {
        let payload = encoded(&vec![0xff; bytes]);
        json!({ "from_uid": "alice", "channel_id": "team", "channel_type": 2, "payload": payload })
    };
    let largest = message(1 << 20);
    let sent = instance.api().send(&largest).await?;
    let page = instance.api().sync(&json!({ "login_uid": "alice", "channel_id": "team", "channel_type": 2 })).await?;
    let read = page.messages.iter().map(|message| (message.message_id, json!(message.payload))).collect::<Vec<_>>();
    ensure!(read == [(sent.message_id, largest["payload"].clone())], "another one is read");
    let mut stream = TcpStream::connect(&instance.listen).await?;
    let head = format!("POST /message/send HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", (8 << 20) + 1);
    stream.write_all(head.as_bytes()).await?;
    let mut refused = vec![0; 1024];
    let read = timeout(PATIENCE, stream.read(&mut refused)).await??;
    let refused = String::from_utf8_lossy(&refused[..read]).into_owned();
    ensure!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    ensure!(refused.contains("access-control-allow-origin: *\r\n"), "{refused}");
    ensure!(daemon.stop().await?.success());
    Ok(())
}

/// The document numbers eleven endpoints, and names two more among its basics.
#[test]
fn the_list_of_endpoints_is_that_of_the_document() -> Result<()> {
    let (suite, _) = scenario::read(&folder())?;
    let posts = suite.endpoints.iter().filter(|endpoint| endpoint.starts_with("POST /")).count();
    ensure!((posts, suite.endpoints.len()) == (9, 13), "{:?}", suite.endpoints);
    Ok(())
}
