//! The Meilisearch engine passes the suite: on a real server where there is one, else on the stand-in.

mod common;

use async_trait::async_trait;
use common::meili::Place;
use std::sync::Arc;
use stele_search::contract::Fixture;
use stele_search::{MeiliIndex, SearchIndex};

struct Meilisearch {
    place: tokio::sync::OnceCell<Place>,
}

impl Meilisearch {
    fn new() -> Self {
        Self { place: tokio::sync::OnceCell::new() }
    }
}

#[async_trait]
impl Fixture for Meilisearch {
    async fn open(&self) -> Arc<dyn SearchIndex> {
        let place = self.place.get_or_init(Place::new).await;
        Arc::new(MeiliIndex::open(place.options.clone()).await.expect("the index opens"))
    }

    fn rounds(&self) -> u32 {
        8
    }
}

stele_search::search_index_contract!(Meilisearch::new());
