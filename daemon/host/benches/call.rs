//! A round trip of a call, over both carriers: `http.handle` with a body of 256 bytes, to the plugin in C (which answers from
//! within `post`) and to one of the SDK (whose runtime is another thread); a page of 500 messages; and 10,000 calls of which none is
//! answered before all of them have come.
//!
//! Goals (design §11), p50: 2 µs in-process, 25 µs to a child. Criterion estimates means, so the percentiles of single calls
//! are printed as well. The plugins must be there: `cargo build --release -p stele-host --examples`.

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use std::{
    future::Future,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};
use stele_host::{Carrier, Instance, InstanceSpec};
use stele_plugin_api::ops::{HttpHandle, PullRequest, SyncPull};
use support::{PATIENCE, busy, echo_c, misbehave, request, running, spec};
use tokio::runtime::{Builder, Runtime};

/// Bytes of a request's and a reply's body.
const BODY: usize = 256;
/// Messages of a page.
const PAGE: u32 = 500;
/// Calls whose percentiles are printed, and pages.
const SAMPLES: usize = 20_000;
const PAGE_SAMPLES: usize = 2_000;
/// Calls at once, where many are in flight; and where very many are.
const AT_ONCE: usize = 64;
const CROWD: usize = 10_000;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be built")
}

/// An instance for as long as the bench runs.
fn started(runtime: &Runtime, spec: InstanceSpec) -> &'static Instance {
    let (instance, _services) = runtime.block_on(running(spec));
    Box::leak(Box::new(instance))
}

async fn call(instance: &'static Instance) {
    let reply = instance.call::<HttpHandle>(request("/echo", vec![b'x'; BODY]), PATIENCE).await;
    assert_eq!(black_box(reply).expect("an echo").body.len(), BODY);
}

async fn page(instance: &'static Instance) {
    let pull = PullRequest { partition: "corp123".into(), limit: PAGE, ..PullRequest::default() };
    let page = instance.call::<SyncPull>(pull, PATIENCE).await;
    assert_eq!(black_box(page).expect("a page").messages.len(), PAGE as usize);
}

/// One after the other, on a worker of the runtime, where the daemon's own callers are.
fn one<A: Future<Output = ()> + Send + 'static>(
    criterion: &mut Criterion,
    runtime: &Runtime,
    (name, elements, samples): (&str, u64, usize),
    instance: &'static Instance,
    ask: impl Fn(&'static Instance) -> A + Copy + Send + Sync + 'static,
) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(elements));
    group.bench_function("one", |bencher| {
        bencher.iter_custom(|rounds| {
            let calls = async move {
                let started = Instant::now();
                for _ in 0..rounds {
                    ask(instance).await;
                }
                started.elapsed()
            };
            runtime.block_on(async move { tokio::spawn(calls).await.expect("no call fails") })
        });
    });
    group.finish();
    let calls = async move {
        let mut times = Vec::with_capacity(samples);
        for _ in 0..samples {
            let started = Instant::now();
            ask(instance).await;
            times.push(started.elapsed());
        }
        times
    };
    let mut times: Vec<Duration> = runtime.block_on(async move { tokio::spawn(calls).await.expect("no call fails") });
    times.sort_unstable();
    println!("{name}: p50 {:?}, p99 {:?}", times[samples / 2], times[samples * 99 / 100]);
}

/// So many at the same time.
fn many(criterion: &mut Criterion, runtime: &Runtime, name: &str, at_once: usize, instance: &'static Instance) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(at_once as u64));
    group.sample_size(if at_once > AT_ONCE { 20 } else { 100 });
    group.bench_function(format!("{at_once} at once"), |bencher| {
        bencher.to_async(runtime).iter(|| async move {
            let calls: Vec<_> = (0..at_once).map(|_| tokio::spawn(call(instance))).collect();
            for call in calls {
                call.await.expect("no call fails");
            }
        });
    });
    group.finish();
}

fn calls(criterion: &mut Criterion) {
    let mut bench = |name: &str, plugin: &Path, carrier: Carrier| {
        let runtime = runtime();
        let instance = started(&runtime, spec(name, plugin, carrier));
        one(criterion, &runtime, (name, 1, SAMPLES), instance, call);
        many(criterion, &runtime, name, AT_ONCE, instance);
        runtime.block_on(instance.stop(PATIENCE));
    };
    bench("in-process/c", echo_c(), Carrier::InProcess);
    bench("child/c", echo_c(), Carrier::Child);
    bench("in-process/sdk", &misbehave(), Carrier::InProcess);
    bench("child/sdk", &misbehave(), Carrier::Child);
}

fn much(criterion: &mut Criterion) {
    for (pages, crowd, carrier) in [
        ("in-process/page of 500", "in-process/crowd", Carrier::InProcess),
        ("child/page of 500", "child/crowd", Carrier::Child),
    ] {
        let runtime = runtime();
        let config = json!({ "calls": CROWD });
        let instance = started(&runtime, InstanceSpec { config, ..spec("busy", &busy(), carrier) });
        one(criterion, &runtime, (pages, PAGE.into(), PAGE_SAMPLES), instance, page);
        many(criterion, &runtime, crowd, CROWD, instance);
        runtime.block_on(instance.stop(PATIENCE));
    }
}

criterion_group!(benches, calls, much);
criterion_main!(benches);
