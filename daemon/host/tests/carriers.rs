//! What holds over both carriers.

mod support;

use std::time::Duration;
use stele_host::{Carrier, InstanceState};
use stele_plugin_api::{
    ErrorCode,
    ops::{Empty, Health, HttpHandle, MediaChunk, MediaFetch, MediaRequest, SyncDiscover},
};
use support::{PATIENCE, deed, deed_within, echo_c, eventually, misbehave, request, running, spec};

/// Defines each test twice: over the child carrier and in-process.
macro_rules! over_both_carriers {
    ($($(#[$meta:meta])* async fn $name:ident($carrier:ident: Carrier) $body:block)+) => {
        mod child {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(stele_host::Carrier::Child).await })+
        }
        mod in_process {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(stele_host::Carrier::InProcess).await })+
        }
        $($(#[$meta])* async fn $name($carrier: Carrier) $body)+
    };
}

over_both_carriers! {
    async fn a_call_is_answered(carrier: Carrier) {
        let (instance, _) = running(spec("answered", &misbehave(), carrier)).await;
        assert_eq!(deed(&instance, "/echo", "你好").await.unwrap(), "你好");
        let status = instance.status();
        assert_eq!(status.state, InstanceState::Running);
        assert_eq!(status.pid.is_some(), carrier == Carrier::Child);
        assert_eq!((status.restarts, status.calls_in_flight, status.last_error), (0, 0, None));
        instance.stop(PATIENCE).await;
        assert_eq!(instance.status().state, InstanceState::Stopped);
        let error = deed(&instance, "/echo", "").await.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::Unavailable, "instance answered is stopped"));
        assert!(instance.restart(instance.spec()).await.is_err(), "a stopped instance stays stopped");
    }

    async fn a_plugin_in_c_answers(carrier: Carrier) {
        let plugin = echo_c();
        let (instance, _) = running(spec("in-c", plugin, carrier)).await;
        assert_eq!(instance.ready(PATIENCE).await.unwrap().name, "echo-c");
        assert!(instance.call::<Health>(Empty {}, PATIENCE).await.unwrap().ok);
        for size in [1, 5000, 1_000_000] {
            let body = vec![b'x'; size];
            let reply = instance.call::<HttpHandle>(request("/", body.clone()), PATIENCE).await.unwrap();
            assert_eq!((reply.status, reply.body.len()), (200, size));
            assert_eq!(reply.headers, [("content-type".to_owned(), "application/octet-stream".to_owned())]);
        }
        // A request without a body comes back as the JSON the plugin was sent.
        let path = "/\"quoted\"\\\n\u{1}产品";
        let reply = instance.call::<HttpHandle>(request(path, ""), PATIENCE).await.unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&reply.body).unwrap()["path"], path);
        let error = instance.call::<SyncDiscover>(Empty {}, PATIENCE).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unsupported);
        instance.stop(PATIENCE).await;
    }

    async fn a_panic_is_an_error_of_its_call_alone(carrier: Carrier) {
        let (instance, services) = running(spec("panic", &misbehave(), carrier)).await;
        let (panicked, echoed) = tokio::join!(deed(&instance, "/panic", ""), deed(&instance, "/echo", "beside"));
        assert_eq!(panicked.unwrap_err().code, ErrorCode::Internal);
        assert_eq!(echoed.unwrap(), "beside");
        assert_eq!(instance.status().restarts, 0);
        eventually("the panic is in the log", || {
            services.logs.lock().unwrap().iter().any(|record| record.target == "panic")
        }).await;
    }

    async fn a_deadline_ends_a_call(carrier: Carrier) {
        let (instance, _) = running(spec("deadline", &misbehave(), carrier)).await;
        let error = deed_within(&instance, "/hang", "", Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Deadline);
        assert_eq!(instance.status().calls_in_flight, 0);
        assert_eq!(deed(&instance, "/echo", "still here").await.unwrap(), "still here");
    }

    async fn a_dropped_call_is_cancelled(carrier: Carrier) {
        let (instance, _) = running(spec("cancelled", &misbehave(), carrier)).await;
        let hanging = tokio::spawn({
            let instance = instance.clone();
            async move { deed(&instance, "/hang", "").await }
        });
        eventually("the call is in flight", || instance.status().calls_in_flight == 1).await;
        hanging.abort();
        eventually("the call is gone", || instance.status().calls_in_flight == 0).await;
    }

    async fn many_calls_at_once(carrier: Carrier) {
        let (instance, _) = running(spec("many", &misbehave(), carrier)).await;
        let calls = (0..2000).map(|number: u32| {
            let instance = instance.clone();
            tokio::spawn(async move {
                let body = number.to_string().repeat(number as usize % 50 * 100);
                assert_eq!(deed(&instance, "/echo", body.clone()).await.unwrap(), body);
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
    }

    async fn a_stream_waits_for_its_reader(carrier: Carrier) {
        const ITEMS: u64 = 200;
        let (instance, _) = running(spec("stream", &misbehave(), carrier)).await;
        let fetch = MediaRequest { handle: format!("{ITEMS}/100000"), ..MediaRequest::default() };
        let mut stream = instance.stream::<MediaFetch, MediaChunk>(fetch, PATIENCE);
        let (mut taken, mut bytes) = (0, 0);
        while let Some(item) = stream.next().await {
            let (chunk, body) = item.unwrap();
            assert_eq!(chunk.resume, taken.to_string());
            assert!(body.iter().all(|&byte| byte == taken as u8));
            taken += 1;
            bytes += body.len();
            // Other calls pass a stream whose reader takes its time.
            if taken % 50 == 0 {
                deed(&instance, "/echo", "").await.unwrap();
            }
        }
        assert_eq!((taken, bytes), (ITEMS, 20_000_000));
        assert_eq!(instance.status().calls_in_flight, 0);
    }

    async fn a_dropped_stream_is_cancelled(carrier: Carrier) {
        let (instance, _) = running(spec("dropped-stream", &misbehave(), carrier)).await;
        let fetch = MediaRequest { handle: "1000000/1000".into(), ..MediaRequest::default() };
        let mut stream = instance.stream::<MediaFetch, MediaChunk>(fetch, PATIENCE);
        stream.next().await.unwrap().unwrap();
        assert_eq!(instance.status().calls_in_flight, 1);
        drop(stream);
        assert_eq!(instance.status().calls_in_flight, 0);
        assert_eq!(deed(&instance, "/echo", "next").await.unwrap(), "next");
    }

    async fn a_stream_that_stops_ends_by_its_deadline(carrier: Carrier) {
        let (instance, _) = running(spec("stopped-stream", &misbehave(), carrier)).await;
        let fetch = MediaRequest { handle: "3/10".into(), resume: "hang".into(), ..MediaRequest::default() };
        let mut stream = instance.stream::<MediaFetch, MediaChunk>(fetch, Duration::from_millis(200));
        for _ in 0..3 {
            stream.next().await.unwrap().unwrap();
        }
        assert_eq!(stream.next().await.unwrap().unwrap_err().code, ErrorCode::Deadline);
        assert!(stream.next().await.is_none());
    }

    async fn huge_frames_fail_their_call_alone(carrier: Carrier) {
        let mut spec = spec("huge", &misbehave(), carrier);
        spec.limits.max_frame_bytes = 1_000_000;
        let (instance, _) = running(spec).await;
        assert_eq!(deed(&instance, "/huge/900000", "").await.unwrap().len(), 900_000);
        let error = deed(&instance, "/huge/2000000", "").await.unwrap_err();
        assert_eq!(error.code, ErrorCode::TooLarge);
        // What the plugin bears is its own limit.
        let error = deed(&instance, "/echo", vec![0; 65 << 20]).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::TooLarge);
        assert_eq!(deed(&instance, "/echo", "small").await.unwrap(), "small");
    }

    async fn the_plugin_calls_the_daemon(carrier: Carrier) {
        let (instance, services) = running(spec("services", &misbehave(), carrier)).await;
        services.state.lock().unwrap().insert("cursor".into(), "42".into());
        assert_eq!(deed(&instance, "/state", "cursor").await.unwrap(), "42");
        assert_eq!(deed(&instance, "/state", "unknown").await.unwrap(), "");
        // The daemon calls the plugin before it answers the plugin's call, which is made within a call of the daemon.
        assert_eq!(deed(&instance, "/state", "reenter").await.unwrap(), "health is true");
        deed(&instance, "/log/7", "").await.unwrap();
        eventually("the record arrives", || !services.logs.lock().unwrap().is_empty()).await;
        let record = services.logs.lock().unwrap()[0].clone();
        assert_eq!((record.message.as_str(), &record.fields[0].1), ("a line of the plugin", &"7".to_owned()));
        let deeds = || services.metrics.lock().unwrap().iter().filter(|metric| metric.name == "deeds_total").count();
        eventually("the metric arrives", || deeds() == 1).await;
    }

    async fn a_reload_loads_the_file_as_it_is_now(carrier: Carrier) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plugin.so");
        // As a package manager does it: a new file under the old name.
        let install = |plugin: &std::path::Path| {
            std::fs::copy(plugin, file.with_extension("draft")).unwrap();
            std::fs::rename(file.with_extension("draft"), &file).unwrap();
        };
        install(echo_c());
        let (instance, _) = running(spec("replaced", &file, carrier)).await;
        let misbehave = misbehave();
        for (plugin, name) in [(misbehave.as_path(), "misbehave"), (echo_c(), "echo-c"), (misbehave.as_path(), "misbehave")] {
            install(plugin);
            for _ in 0..2 {
                instance.restart(instance.spec()).await.unwrap();
                assert_eq!(instance.ready(PATIENCE).await.unwrap().name, name);
                assert!(instance.call::<Health>(Empty {}, PATIENCE).await.unwrap().ok);
            }
        }
        instance.stop(PATIENCE).await;
    }

    async fn a_reload_loses_no_call(carrier: Carrier) {
        let (instance, _) = running(spec("reload", &misbehave(), carrier)).await;
        let before = deed(&instance, "/pid", "").await.unwrap();
        let calls = (0..4).map(|_| {
            let instance = instance.clone();
            tokio::spawn(async move {
                let mut answered = 0;
                while instance.status().state == InstanceState::Running && answered < 3000 {
                    deed(&instance, "/echo", "x").await.expect("no call is lost");
                    answered += 1;
                }
                answered
            })
        });
        let calls: Vec<_> = calls.collect();
        for _ in 0..3 {
            instance.restart(instance.spec()).await.unwrap();
        }
        for call in calls {
            assert_eq!(call.await.unwrap(), 3000);
        }
        let after = deed(&instance, "/pid", "").await.unwrap();
        assert_eq!(before != after, carrier == Carrier::Child, "a reload is a new process");
        assert_eq!(instance.status().restarts, 0, "a reload is no crash");
    }
}
