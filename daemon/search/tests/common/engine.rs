//! The engines a suite runs on, and where each of them keeps its index.

use super::meili::{self, Place};
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use stele_search::contract::MemoryArchive;
use stele_search::{EmbeddedOptions, MeiliIndex, SearchIndex, Tailer, TailerOptions};
use tempfile::TempDir;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Embedded,
    Meilisearch,
}

/// Makes a test of each of these functions for each engine; those behind `blocking` have runtimes of their own.
#[macro_export]
macro_rules! on_each_engine {
    ($($name:ident),* $(; blocking $($blocking:ident),+)?) => {
        mod embedded {
            $crate::on_each_engine!(@ Embedded: $($name)*; $($($blocking)+)?);
        }
        mod meilisearch {
            $crate::on_each_engine!(@ Meilisearch: $($name)*; $($($blocking)+)?);
        }
    };
    (@ $engine:ident: $($name:ident)*; $($blocking:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            super::$name($crate::common::engine::Engine::$engine).await;
        })*
        $(#[test]
        fn $blocking() {
            super::$blocking($crate::common::engine::Engine::$engine);
        })*
    };
}

impl Engine {
    /// A place for an index, with nothing in it yet.
    pub async fn home(self) -> Home {
        match self {
            Self::Embedded => Home::Folder(TempDir::new().unwrap()),
            Self::Meilisearch => Home::Server(Place::new().await),
        }
    }

    fn is_slow(self) -> bool {
        self == Self::Meilisearch && meili::is_real()
    }

    /// Rounds of a property; fewer where a commit is slow.
    pub fn rounds(self, usual: u32) -> u32 {
        if self.is_slow() { usual / 8 } else { usual }
    }

    /// Follows an archive in batches so small that few messages make several.
    pub fn tailer(self, archive: &Arc<MemoryArchive>, index: &Arc<dyn SearchIndex>) -> Tailer {
        let batch_rows = if self.is_slow() { 100 } else { 7 };
        let options = TailerOptions { batch_rows, linger: Duration::ZERO, ..TailerOptions::default() };
        Tailer::new(archive.clone(), index.clone(), options)
    }
}

/// What outlives an open index.
pub enum Home {
    Folder(TempDir),
    Server(Place),
}

impl Home {
    pub async fn open(&self) -> Arc<dyn SearchIndex> {
        self.open_with(EmbeddedOptions::default().window).await
    }

    /// With this window, if the engine has one.
    pub async fn open_with(&self, window: usize) -> Arc<dyn SearchIndex> {
        match self {
            Self::Folder(folder) => {
                super::open_with(folder.path(), &EmbeddedOptions { window, ..EmbeddedOptions::default() }).await
            }
            Self::Server(place) => Arc::new(MeiliIndex::open(place.options.clone()).await.expect("the index opens")),
        }
    }

    /// Somebody deletes the index, which is closed.
    pub async fn delete(&self) {
        match self {
            Self::Folder(folder) => {
                // Whatever a crash left running must not write into the folder of its successor.
                drop(self.open().await);
                fs::remove_dir_all(folder.path()).unwrap();
            }
            Self::Server(place) => place.delete(None).await,
        }
    }
}
