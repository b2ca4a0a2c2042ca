//! The daemon's own API, on a daemon without instances.

use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use steled::config::{Config, Secret};
use steled::lifecycle::{App, Mode, StartError};

struct Site {
    app: App,
    client: reqwest::Client,
    admin: SocketAddr,
    _folder: tempfile::TempDir,
}

fn config(folder: &Path) -> Config {
    let mut config = Config { data_dir: folder.join("data"), ..Config::default() };
    config.admin.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.plugins.dirs = vec![folder.to_owned()];
    config
}

async fn site(change: impl FnOnce(&mut Config)) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    change(&mut config);
    let app = App::start(config, Mode::Serve).await.unwrap();
    app.settled().await;
    let admin = app.admin_address().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Site { app, client, admin, _folder: folder }
}

impl Site {
    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(format!("http://{}{path}", self.admin))).await
    }

    async fn post(&self, path: &str) -> (u16, Value) {
        self.send(self.client.post(format!("http://{}{path}", self.admin))).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_answers() {
    let site = site(|_| {}).await;
    let (status, health) = site.get("/health").await;
    assert_eq!((status, health["status"].as_str()), (200, Some("ok")));
    let (status, ready) = site.get("/ready").await;
    assert_eq!((status, ready["status"].as_str()), (200, Some("ready")));
    for (path, key) in [
        ("/api/v1/instances", "instances"),
        ("/api/v1/plugins", "plugins"),
        ("/api/v1/jobs", "jobs"),
        ("/api/v1/archive/search?q=x", "rows"),
    ] {
        let (status, body) = site.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        assert_eq!(body[key], Value::Array(Vec::new()), "{path}: {body}");
    }
    let (_, stats) = site.get("/api/v1/archive/stats").await;
    assert_eq!(stats["stats"]["messages"], 0);
    let (_, index) = site.get("/api/v1/index").await;
    assert_eq!(index["engine"], site.app.parts().index.engine());
    let (status, rebuild) = site.post("/api/v1/index/rebuild").await;
    assert_eq!((status, rebuild["started"].as_bool()), (202, Some(true)));
    site.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_told_why() {
    let site = site(|_| {}).await;
    for (path, status, error) in [
        ("/nothing", 404, "no such path"),
        ("/api/v1/nothing", 404, "no such path"),
        ("/api/v1/jobs?limit=x", 400, "Failed to deserialize query string: limit: invalid digit found in string"),
        ("/api/v1/archive/search?q=x&instance=hq", 404, "no instance \"hq\""),
        ("/api/v1/archive/search?q=x&limit=-1", 400, "limit must be a whole number, is \"-1\""),
        (
            "/api/v1/archive/search?q=x&since=yesterday",
            400,
            "since must be a time such as 2026-01-31T08:00:00Z, is \"yesterday\"",
        ),
        ("/api/v1/archive/search?q=x&sort=best", 400, "sort must be newest or relevance, is \"best\""),
        ("/api/v1/archive/search?q=x&sender=a", 400, "conversation and sender are native ids: they need one instance"),
        ("/api/v1/archive/search?query=x", 400, "unknown parameter \"query\""),
    ] {
        let (found, body) = site.get(path).await;
        assert_eq!((found, body["error"].as_str()), (status, Some(error)), "{path}");
    }
    let (status, body) = site.post("/api/v1/plugins/hq/reload").await;
    let unknown = "there is no instance or plugin \"hq\"; there are: ";
    assert_eq!((status, body["error"].as_str()), (404, Some(unknown)));
    let (status, body) = site.post("/api/v1/jobs/hq/sync/run?partition=a").await;
    assert_eq!(
        (status, body["error"].as_str()),
        (404, Some("instance \"hq\" has no \"sync\" job for partition \"a\""))
    );
    let (status, body) = site.post("/health").await;
    assert_eq!((status, body["error"].as_str()), (405, Some("not with this method")));
    for nothing in ["/api/v1/archive/search", "/api/v1/archive/search?q="] {
        let (status, body) = site.get(nothing).await;
        assert_eq!((status, body["error"].as_str()), (400, Some("nothing to search for")), "{nothing}");
    }
    site.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_are_those_documented() {
    let site = site(|_| {}).await;
    site.get("/health").await;
    // The first upkeep runs beside the start.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let text = loop {
        let text =
            site.client.get(format!("http://{}/metrics", site.admin)).send().await.unwrap().text().await.unwrap();
        if text.contains("stele_archive_messages 0") || std::time::Instant::now() > deadline {
            break text;
        }
        tokio::task::yield_now().await;
    };
    for name in [
        "stele_build_info{version=",
        "stele_archive_messages 0",
        "stele_media_files{state=\"pending\"} 0",
        "stele_http_requests_total{instance=\"admin\",status=\"200\"}",
        "stele_http_request_seconds_bucket{instance=\"admin\",le=\"0.0005\"}",
    ] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
    site.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_guard_the_api_and_nothing_else() {
    let site = site(|config| config.admin.api_keys = ["first", "second"].map(Secret::new).into()).await;
    let api = format!("http://{}/api/v1/archive/stats", site.admin);
    for (key, status) in
        [(None, 401), (Some("third"), 401), (Some(""), 401), (Some("first"), 200), (Some("second"), 200)]
    {
        let request = site.client.get(&api);
        let request = key.map_or(request.try_clone().unwrap(), |key| request.bearer_auth(key));
        assert_eq!(site.send(request).await.0, status, "{key:?}");
    }
    assert_eq!(site.get("/health").await.0, 200);
    assert_eq!(site.get("/ready").await.0, 200);
    site.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_pages_of_others_are_kept_out() {
    let site = site(|_| {}).await;
    let api = format!("http://{}/api/v1/index/rebuild", site.admin);
    for (header, value, status) in [
        ("host", "evil.example.com", 403),
        ("host", "evil.example.com:9090", 403),
        ("origin", "https://evil.example.com", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("host", "localhost:9090", 202),
        ("host", "[::1]:9090", 202),
        ("sec-fetch-site", "same-origin", 202),
    ] {
        let (found, body) = site.send(site.client.post(&api).header(header, value)).await;
        assert_eq!(found, status, "{header}: {value}: {body}");
    }
    site.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_cannot_start_stops_nobody() {
    let site = site(|config| {
        let text =
            "[[instance]]\nname = 'hq'\nplugin = 'nowhere'\n[[instance]]\nname = 'off'\nplugin = 'x'\nenabled = false";
        let surroundings = steled::config::Surroundings::process();
        config.instances = Config::parse(None, text, &surroundings).unwrap().instances;
    })
    .await;
    let (status, ready) = site.get("/ready").await;
    assert_eq!((status, ready["status"].as_str()), (200, Some("degraded")));
    let finding = ready["findings"][0].as_str().unwrap();
    assert!(finding.starts_with("instance hq: there is no plugin \"nowhere\" in "), "{finding}");
    let (_, instances) = site.get("/api/v1/instances").await;
    assert_eq!(instances["instances"][0]["name"], "hq");
    assert_eq!(instances["instances"][1]["state"], "disabled");
    let (_, plugins) = site.get("/api/v1/plugins").await;
    assert_eq!(plugins["plugins"][0]["instances"][0], "hq");
    assert_eq!(plugins["plugins"][0]["path"], Value::Null);
    site.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_has_one_daemon_and_is_let_go_of() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::start(config(folder.path()), Mode::Serve).await.unwrap();
    let refused = App::start(config(folder.path()), Mode::Serve).await.err().expect("the folder is in use");
    assert!(matches!(refused, StartError::Lock(_)), "{refused}");
    let admin = app.admin_address();
    assert!(refused.to_string().contains(&format!("is in use by process {}", std::process::id())), "{refused}");
    let StartError::Lock(steled::lifecycle::LockError::InUse { admin: written, .. }) = refused else { unreachable!() };
    assert_eq!(written, admin);
    app.stop().await;
    App::start(config(folder.path()), Mode::Serve).await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.admin.listen = taken.local_addr().unwrap();
    let refused = App::start(config, Mode::Serve).await.err().expect("the address is taken");
    let expected = format!("admin.listen {} cannot be bound: ", taken.local_addr().unwrap());
    assert!(refused.to_string().starts_with(&expected), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_keys_stay() {
    let folder = tempfile::tempdir().unwrap();
    let blob = stele_archive::Blob { md5: "0".repeat(32), ..blob() };
    let mut links = Vec::new();
    for _ in 0..2 {
        let app = App::start(config(folder.path()), Mode::Jobs).await.unwrap();
        links.push(app.parts().links.sign(&blob, "a.png", 0));
        app.stop().await;
    }
    assert_eq!(links[0], links[1]);
}

fn blob() -> stele_archive::Blob {
    stele_archive::Blob { md5: String::new(), size: 1, mime: "image/png".into(), extension: "png".into() }
}
