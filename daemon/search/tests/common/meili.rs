//! A Meilisearch to test with: a real one where there is one, else the stand-in. Tests say which it was.

use super::standin::Standin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use stele_search::MeiliOptions;
use stele_servers::Meili;
use stele_servers::skip::{say, skip};

/// The real server all tests of this binary share, if there is one. Says once which it is.
fn real() -> Option<&'static Meili> {
    static SERVER: OnceLock<Option<Meili>> = OnceLock::new();
    let found = SERVER.get_or_init(|| {
        let found = Meili::find().expect("a Meilisearch that is there starts");
        match &found {
            Some(server) => say(&format!("tests of Meilisearch run on the real one at {}", server.url())),
            None => skip(
                "a real Meilisearch",
                "neither MEILI_URL nor a `meilisearch` on the PATH; these tests run on the stand-in",
            ),
        }
        found
    });
    found.as_ref()
}

/// Whether it is a real one, where a commit takes a while.
pub fn is_real() -> bool {
    real().is_some()
}

/// A server and an index on it that nobody else uses.
pub struct Place {
    pub options: MeiliOptions,
    /// Where there is no real server.
    _standin: Option<Standin>,
}

impl Place {
    pub async fn new() -> Self {
        static NAMES: AtomicU64 = AtomicU64::new(0);
        let index = format!("stele-{}-{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed));
        let options = MeiliOptions { index, ..MeiliOptions::default() };
        match real() {
            Some(server) => {
                let key = Some(server.key().to_owned()).filter(|key| !key.is_empty());
                Self { options: MeiliOptions { url: server.url().to_owned(), key, ..options }, _standin: None }
            }
            None => {
                let standin = Standin::start().await;
                Self { options: MeiliOptions { url: standin.url.clone(), ..options }, _standin: Some(standin) }
            }
        }
    }

    /// Deletes the index, or a document of it, as somebody beside the daemon. Returns when it is done.
    pub async fn delete(&self, document: Option<i64>) {
        let MeiliOptions { url, key, index, .. } = &self.options;
        let http = reqwest::Client::new();
        let answer = async |request: reqwest::RequestBuilder| -> serde_json::Value {
            let request = request.bearer_auth(key.as_deref().unwrap_or_default());
            let answer = request.send().await.unwrap().text().await.unwrap();
            serde_json::from_str(&answer).unwrap()
        };
        let document = document.map(|id| format!("/documents/{id}")).unwrap_or_default();
        let task = answer(http.delete(format!("{url}/indexes/{index}{document}"))).await;
        super::until("the end of it", async || {
            let task = answer(http.get(format!("{url}/tasks/{}", task["taskUid"]))).await;
            task["status"] == "succeeded"
        })
        .await;
    }
}
