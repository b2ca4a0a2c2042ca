//! What a listener does with those that are connected when it stops.

use crate::{http, site_with};
use std::sync::atomic::Ordering;
use std::time::Duration;
use steled::config::Http;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    let site = site_with(Http { request_timeout_seconds: 60, ..http() }, |_| {}, None).await;
    let address = site.running.address();
    let slow = tokio::spawn(site.client.get(site.url("/slow")).send());
    site.fake.entered.notified().await;
    let fake = site.fake.clone();
    let stopping = tokio::spawn(async move { site.running.stop(Duration::from_secs(60)).await });
    // Nobody new is let in from now on.
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refused).await.expect("the listener stops accepting");
    assert!(!fake.finished.load(Ordering::SeqCst));
    fake.go_on.notify_one();
    assert_eq!(slow.await.unwrap().unwrap().text().await.unwrap(), "/slow");
    assert!(stopping.await.unwrap());
}

#[tokio::test]
async fn stopping_does_not_wait_for_those_who_asked_nothing() {
    let site = site_with(Http { header_timeout_seconds: 600, ..http() }, |_| {}, None).await;
    let mut silent = TcpStream::connect(site.running.address()).await.unwrap();
    let mut halfway = TcpStream::connect(site.running.address()).await.unwrap();
    halfway.write_all(b"GET / HTTP/1.1\r\nHost").await.unwrap();
    // A round trip, so that both are accepted by now.
    site.check("/", 200, "/").await;
    let patient = Duration::from_secs(600);
    let stopped = tokio::time::timeout(Duration::from_secs(30), site.running.stop(patient));
    assert!(stopped.await.expect("it does not wait for the head of a request"));
    for stream in [&mut silent, &mut halfway] {
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "closed");
    }
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let site = site_with(Http { request_timeout_seconds: 60, ..http() }, |_| {}, None).await;
    let slow = tokio::spawn(site.client.get(site.url("/slow")).send());
    site.fake.entered.notified().await;
    assert!(!site.running.stop(Duration::from_millis(10)).await);
    assert!(slow.await.unwrap().is_err());
}
