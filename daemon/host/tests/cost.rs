//! What a call costs, as far as it can be counted. How long it takes is for the bench.

mod support;

use bytes::Bytes;
use serde_json::json;
use stele_host::{Carrier, InstanceSpec};
use stele_plugin_api::ops::HttpHandle;
use support::{PATIENCE, busy, echo_c, request, running, spec};

/// The body of a request is where it was for the plugin, and the body of its reply where the plugin had it: the same bytes, at one
/// address on both sides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_bytes_are_not_copied_in_process() {
    for plugin in [echo_c().to_owned(), busy()] {
        let bare = InstanceSpec { config: json!({}), ..spec("address", &plugin, Carrier::InProcess) };
        let (instance, _) = running(bare).await;
        let body = Bytes::from(vec![b'x'; 1 << 20]);
        let reply = instance.call::<HttpHandle>(request("/", body.clone()), PATIENCE).await.unwrap();
        assert_eq!((reply.body.as_ptr(), reply.body.len()), (body.as_ptr(), body.len()), "{}", plugin.display());
        if let Some((_, address)) = reply.headers.iter().find(|(name, _)| name == "address") {
            assert_eq!(*address, format!("{:p}", body.as_ptr()));
        }
        // They outlive the plugin they went through.
        instance.stop(PATIENCE).await;
        assert_eq!(reply.body, body);
    }
}

/// The plugin answers none of them before it has all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_are_in_flight_at_once() {
    const CALLS: usize = 10_000;
    for carrier in [Carrier::Child, Carrier::InProcess] {
        let crowd = InstanceSpec { config: json!({ "calls": CALLS }), ..spec("crowd", &busy(), carrier) };
        let (instance, _) = running(crowd).await;
        let calls = (0..CALLS).map(|number| {
            let instance = instance.clone();
            tokio::spawn(async move {
                let body = number.to_string();
                let reply = instance.call::<HttpHandle>(request("/", body.clone()), PATIENCE).await;
                assert_eq!(reply.expect("it is answered").body, body);
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
        let status = instance.status();
        assert_eq!((status.calls_in_flight, status.late_frames, status.restarts), (0, 0, 0), "{carrier:?}");
        instance.stop(PATIENCE).await;
    }
}
