//! A Meilisearch to test with: a real one where there is one, else the stand-in. Tests say which it was.

use super::standin::Standin;
use serde_json::{Value, json};
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
    standin: Option<Standin>,
}

impl Place {
    pub async fn new() -> Self {
        static NAMES: AtomicU64 = AtomicU64::new(0);
        let index = format!("stele-{}-{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed));
        let options = MeiliOptions { index, ..MeiliOptions::default() };
        match real() {
            Some(server) => {
                let key = Some(server.key().to_owned()).filter(|key| !key.is_empty());
                Self { options: MeiliOptions { url: server.url().to_owned(), key, ..options }, standin: None }
            }
            None => {
                let standin = Standin::start().await;
                Self { options: MeiliOptions { url: standin.url.clone(), ..options }, standin: Some(standin) }
            }
        }
    }

    /// The same with a key that is good for nothing but the index and the one beside it, and for what README says.
    pub async fn limited() -> Self {
        let mut place = Self::new().await;
        if let Some(standin) = &place.standin {
            standin.server().limited = true;
            return place;
        }
        let index = &place.options.index;
        let actions = ["search", "documents.*", "indexes.*", "settings.*", "stats.get", "tasks.get"];
        let wanted = json!({"actions": actions, "indexes": [index, format!("{index}-new")], "expiresAt": null});
        let http = reqwest::Client::new().post(format!("{}/keys", place.options.url));
        let made = place.answer(http.header("content-type", "application/json").body(wanted.to_string())).await;
        place.options.key = Some(made["key"].as_str().expect("a key").to_owned());
        place
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Value {
        let request = request.bearer_auth(self.options.key.as_deref().unwrap_or_default());
        let answer = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// Deletes the index, or a message of it, as somebody beside the daemon. Returns when it is done.
    pub async fn delete(&self, message: Option<i64>) {
        let MeiliOptions { url, index, .. } = &self.options;
        let http = reqwest::Client::new();
        let address = format!("{url}/indexes/{index}");
        let document = match message {
            Some(id) => {
                let life = self.answer(http.get(format!("{address}/documents/life"))).await;
                format!("/documents/{}-{id}", life["life"].as_str().expect("it is in a life"))
            }
            None => String::new(),
        };
        let task = self.answer(http.delete(format!("{address}{document}"))).await;
        super::until("the end of it", async || {
            let task = self.answer(http.get(format!("{url}/tasks/{}", task["taskUid"]))).await;
            // An index that is not made yet is deleted, too.
            task["status"] == "succeeded" || task["error"]["code"] == "index_not_found"
        })
        .await;
    }
}
