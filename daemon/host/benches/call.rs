//! A round trip of a call, over both carriers: `http.handle` with a body of 256 bytes, to the plugin in C (which answers from
//! within `post`) and to one of the SDK (whose runtime is another thread).
//!
//! Goals (design §11), p50: 2 µs in-process, 25 µs to a child. Criterion estimates means, so the percentiles of single calls
//! are printed as well. The plugins must be there: `cargo build --release -p stele-host --examples`.

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};
use stele_host::{Carrier, Instance};
use stele_plugin_api::ops::HttpHandle;
use support::{PATIENCE, echo_c, misbehave, request, running, spec};
use tokio::runtime::{Builder, Runtime};

/// Bytes of a request's and a reply's body.
const BODY: usize = 256;
/// Calls whose percentiles are printed.
const SAMPLES: usize = 20_000;
/// Calls at once, where many are in flight.
const AT_ONCE: u64 = 64;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be built")
}

async fn call(instance: &Instance) {
    let reply = instance.call::<HttpHandle>(request("/echo", vec![b'x'; BODY]), PATIENCE).await;
    assert_eq!(black_box(reply).expect("an echo").body.len(), BODY);
}

async fn samples(instance: &Instance) -> Vec<Duration> {
    let mut samples = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let started = Instant::now();
        call(instance).await;
        samples.push(started.elapsed());
    }
    samples
}

fn bench(criterion: &mut Criterion, name: &str, plugin: &Path, carrier: Carrier) {
    let runtime = runtime();
    let (instance, _services) = runtime.block_on(running(spec(name, plugin, carrier)));
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    // On a worker of the runtime, where the daemon's own callers are.
    group.bench_function("one", |bencher| {
        bencher.iter_custom(|rounds| {
            let instance = instance.clone();
            let calls = async move {
                let started = Instant::now();
                for _ in 0..rounds {
                    call(&instance).await;
                }
                started.elapsed()
            };
            runtime.block_on(async move { tokio::spawn(calls).await.expect("no call fails") })
        });
    });
    group.throughput(Throughput::Elements(AT_ONCE));
    group.bench_function("many", |bencher| {
        bencher.to_async(&runtime).iter_batched(
            || instance.clone(),
            |instance| async move {
                let calls: Vec<_> = (0..AT_ONCE)
                    .map(|_| {
                        let instance = instance.clone();
                        tokio::spawn(async move { call(&instance).await })
                    })
                    .collect();
                for call in calls {
                    call.await.expect("no call fails");
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
    let calls = instance.clone();
    let samples = runtime.block_on(async move { tokio::spawn(async move { samples(&calls).await }).await });
    let mut samples = samples.expect("no call fails");
    samples.sort_unstable();
    println!("{name}: p50 {:?}, p99 {:?}", samples[SAMPLES / 2], samples[SAMPLES * 99 / 100]);
    runtime.block_on(instance.stop(PATIENCE));
}

fn calls(criterion: &mut Criterion) {
    bench(criterion, "in-process/c", echo_c(), Carrier::InProcess);
    bench(criterion, "child/c", echo_c(), Carrier::Child);
    bench(criterion, "in-process/sdk", &misbehave(), Carrier::InProcess);
    bench(criterion, "child/sdk", &misbehave(), Carrier::Child);
}

criterion_group!(benches, calls);
criterion_main!(benches);
