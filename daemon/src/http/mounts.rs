//! Which instance a request of a listener belongs to.

use super::Answers;
use super::front::Front;
use super::listener::{Handler, Peer};
use super::observe::{Paths, observed};
use async_trait::async_trait;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use std::sync::{Arc, RwLock};

/// The instances of one listener, by the prefix of their paths; changeable while it serves.
#[derive(Default)]
pub struct Mounts {
    /// Longest prefix first, so that the first that fits is the nearest.
    fronts: RwLock<Vec<(String, Arc<Front>)>>,
    answers: Answers,
}

impl Mounts {
    /// Serves an instance under a prefix, instead of whoever was there.
    pub fn mount(&self, prefix: &str, front: Arc<Front>) {
        let mut fronts = self.fronts.write().expect("no panic happens while the mounts are locked");
        fronts.retain(|(taken, _)| taken != prefix);
        fronts.push((prefix.to_owned(), front));
        fronts.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    }

    /// Serves an instance under a prefix no more. Returns whether it was there: another may have taken its place.
    pub fn unmount(&self, prefix: &str, front: &Arc<Front>) -> bool {
        let mut fronts = self.fronts.write().expect("no panic happens while the mounts are locked");
        let before = fronts.len();
        fronts.retain(|(taken, there)| taken != prefix || !Arc::ptr_eq(there, front));
        fronts.len() < before
    }

    fn find(&self, path: &str) -> Option<(String, Arc<Front>)> {
        let fronts = self.fronts.read().expect("no panic happens while the mounts are locked");
        let fits = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
        };
        fronts.iter().find(|(prefix, _)| fits(prefix)).cloned()
    }
}

#[async_trait]
impl Handler for Mounts {
    async fn handle(&self, request: Request<Body>, peer: Peer) -> Response<Body> {
        match self.find(request.uri().path()) {
            Some((prefix, front)) => front.answer(request, &prefix, peer).await,
            None => {
                observed("", &self.answers, &Paths::FirstSegment, request, peer, async |_, _| {
                    self.answers.render(StatusCode::NOT_FOUND, "no instance is served under this path")
                })
                .await
            }
        }
    }
}
