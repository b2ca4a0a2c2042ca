//! How much of the raw RSA rate is left when a whole page goes through the plugin.
//!
//! RSA is what opening an envelope costs; everything else (base64, the vendor's cipher, JSON, building rows, waiting for the
//! next page) should disappear beside it. So both are measured in one run, on the same machine, and what counts is their
//! ratio: the raw rate of one core times the number of cores, and messages a second through `sync.pull`. The vendor is the
//! tests' fake with a cipher that costs next to nothing, so that nothing flatters the ratio.
//!
//! `cargo bench -p stele-wecom --bench decrypt`; the last line is JSON.

#[path = "../tests/inbound_support/mod.rs"]
mod inbound_support;

use inbound_support::{CORP, FakeVendor, KeyPair, config, host, text_message};
use std::num::NonZero;
use std::time::{Duration, Instant};
use stele_plugin_api::ops::PullRequest;
use stele_plugin_api::{Plugin, Secret};
use stele_wecom::config::PrivateKey;
use stele_wecom::keys::KeyRing;

/// Messages that go through the plugin.
const MESSAGES: u64 = 20_000;
/// Messages of a page.
const PAGE: u32 = 1_000;
/// How long the raw rate is measured, before and after, because machines are not steady.
const RAW: Duration = Duration::from_secs(2);

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let ring = KeyRing::load(&[PrivateKey { version: 1, pem: Secret::new(KeyPair::shared(1).pkcs8()) }]);
    let vendor = FakeVendor::default();
    for seq in 1..=MESSAGES {
        let content = format!("第{seq}条消息：您好，关于产品介绍我们明天下午三点在会议室再谈，请把报价单带上。");
        vendor.send(seq, 1, text_message(seq, &content).to_string().as_bytes());
    }

    let before = raw_rate(&ring, cores);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
    let elapsed = runtime.block_on(pull_all(&vendor));
    let after = raw_rate(&ring, cores);

    let raw = f64::midpoint(before, after);
    let rate = MESSAGES as f64 / elapsed.as_secs_f64();
    println!("raw RSA on {cores} cores: {raw:.0}/s (before {before:.0}, after {after:.0})");
    println!("through sync.pull:      {rate:.0}/s");
    println!(
        "{{\"cores\":{cores},\"raw_rsa_per_second\":{raw:.0},\"messages_per_second\":{rate:.0},\"ratio\":{:.3}}}",
        rate / raw
    );
}

/// RSA decryptions a second on all cores, and nothing else.
fn raw_rate(ring: &KeyRing, cores: usize) -> f64 {
    let sealed = KeyPair::shared(1)
        .seal("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234567");
    let start = Instant::now();
    let opened: u64 = std::thread::scope(|scope| {
        let work = || {
            let mut opened = 0;
            while start.elapsed() < RAW {
                ring.open(Some(1), &sealed).expect("it is the right key");
                opened += 1;
            }
            opened
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    });
    opened as f64 / start.elapsed().as_secs_f64()
}

/// Pulls everything, as the daemon does; the time it took.
async fn pull_all(vendor: &FakeVendor) -> Duration {
    let plugin = vendor.instance(&host().host(), config(&[1]));
    let (mut cursor, mut messages) = (None, 0);
    let start = Instant::now();
    loop {
        let request = PullRequest { partition: CORP.into(), cursor: cursor.clone(), limit: PAGE, last_commit: None };
        let page = plugin.sync_pull(request).await.expect("nothing is wrong");
        if page.caught_up {
            break;
        }
        assert!(page.parked.is_empty(), "everything can be opened");
        messages += page.messages.len() as u64;
        cursor = page.cursor;
    }
    assert_eq!(messages, MESSAGES);
    start.elapsed()
}
