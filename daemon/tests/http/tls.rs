//! Encrypted listeners, and HTTP/2, which is spoken on them.

use crate::{LARGE, Site, http, site_with};
use rustls::pki_types::CertificateDer;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use steled::config::Http;
use steled::http::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn write_pair(folder: &Path, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// A site that is encrypted, under the name `h2.test`, and its certificate.
async fn encrypted_site(http: Http) -> (Site, CertificateDer<'static>) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_pair(folder.path(), "h2.test");
    let tls = Tls::load(&folder.path().join("cert.pem"), &folder.path().join("key.pem")).unwrap();
    (site_with(http, |_| {}, Some(Arc::new(tls))).await, certificate)
}

#[tokio::test]
async fn tls_serves_and_is_reloaded() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    assert!(Tls::load(&cert, &key).unwrap_err().to_string().contains("cert.pem cannot be used"));
    write_pair(folder.path(), "first.test");
    let tls = Arc::new(Tls::load(&cert, &key).unwrap());
    let site = site_with(http(), |_| {}, Some(tls.clone())).await;
    let get = async || {
        let client =
            reqwest::Client::builder().tls_danger_accept_invalid_certs(true).tls_info(true).no_proxy().build().unwrap();
        let response = client.get(format!("https://{}/", site.running.address())).send().await.unwrap();
        let info = response.extensions().get::<reqwest::tls::TlsInfo>().unwrap();
        let certificate = String::from_utf8_lossy(info.peer_certificate().unwrap()).into_owned();
        (response.version(), certificate)
    };
    let (version, certificate) = get().await;
    assert_eq!(version, reqwest::Version::HTTP_2);
    assert!(certificate.contains("first.test"));
    write_pair(folder.path(), "second.test");
    tls.reload().unwrap();
    assert!(get().await.1.contains("second.test"));
    std::fs::write(&key, "not a key").unwrap();
    assert!(tls.reload().is_err());
    assert!(get().await.1.contains("second.test"), "what was in use stays in use");
    let base_url = site.fake.asked.lock().unwrap()[0].base_url.clone();
    assert_eq!(base_url, format!("https://{}", site.running.address()));
}

/// The preface of HTTP/2 and an empty SETTINGS frame (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The same with windows of no size, and a request.
const NO_WINDOW: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0\
    \0\0\x06\x01\x05\0\0\0\x01\x82\x87\x84\x41\x01x";

#[tokio::test]
async fn a_connection_that_does_nothing_is_closed_in_http2_too() {
    // As many as there are places, so that whoever comes next needs them to be closed.
    let (site, certificate) = encrypted_site(Http { max_connections: 3, ..http() }).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut silent = Vec::new();
    for said in [&b""[..], PREFACE, NO_WINDOW] {
        let stream = TcpStream::connect(site.running.address()).await.unwrap();
        let mut stream = connector.connect("h2.test".try_into().unwrap(), stream).await.unwrap();
        stream.write_all(said).await.unwrap();
        stream.flush().await.unwrap();
        silent.push(stream);
    }
    let url = format!("https://{}/", site.running.address());
    let response = tokio::time::timeout(Duration::from_secs(30), site.client.get(url).send()).await;
    assert_eq!(response.expect("a place is free again").unwrap().status(), 200);
    assert_eq!(site.fake.asked.lock().unwrap().len(), 2, "the one without a window did ask");
    for mut stream in silent {
        let mut left = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut left)).await;
        assert!(closed.is_ok(), "all of them are closed");
    }
}

#[tokio::test]
async fn a_large_answer_comes_whole_in_http2_whatever_stops_meanwhile() {
    let (site, _) = encrypted_site(Http { header_timeout_seconds: 30, ..http() }).await;
    let url = format!("https://{}/large", site.running.address());
    let mut response = site.client.get(url).send().await.unwrap();
    let stopping = tokio::spawn(async move { site.running.stop(Duration::from_secs(60)).await });
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await.unwrap() {
        bytes += chunk.len();
    }
    assert_eq!((response.version(), bytes), (reqwest::Version::HTTP_2, LARGE));
    drop(response);
    assert!(stopping.await.unwrap());
}

#[tokio::test]
async fn a_request_that_takes_long_is_not_idle_in_http2() {
    let (site, _) = encrypted_site(Http { request_timeout_seconds: 600, ..http() }).await;
    let url = |path: &str| format!("https://{}{path}", site.running.address());
    let slow = tokio::spawn(site.client.get(url("/slow")).send());
    site.fake.entered.notified().await;
    // One connection asks nothing and is closed for it, after the other has waited as long.
    let mut idle = TcpStream::connect(site.running.address()).await.unwrap();
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap_or(0), 0);
    site.fake.go_on.notify_one();
    let response = slow.await.unwrap().unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (reqwest::Version::HTTP_2, 200));
}
