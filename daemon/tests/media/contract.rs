//! What every store of contents promises.

use super::{content, md5};
use futures::TryStreamExt;
use std::ops::Range;
use steled::media::{Draft, MediaStore};

/// More than one part of an upload, and no whole number of them.
const LARGE: usize = (16 << 20) + 12_345;

/// Checks a store; `second` is another daemon's on the same contents.
pub async fn check(store: &MediaStore, second: &MediaStore) {
    store.upkeep().await.unwrap();
    keeps_a_content_once(store, second).await;
    keeps_what_is_empty(store).await;
    keeps_what_is_large(store, second).await;
    shows_nothing_of_a_draft(store).await;
    keeps_what_comes_twice_at_once(store, second).await;
    finds_only_what_is_named_by_an_md5(store).await;
    store.upkeep().await.unwrap();
    assert_eq!((store.finding(), second.finding()), (None, None));
}

async fn keeps_a_content_once(store: &MediaStore, second: &MediaStore) {
    let md5 = "5d41402abc4b2a76b9719d911017c592";
    assert_eq!(store.find(md5).await.unwrap(), None);
    assert!(store.read(md5, 0..5).await.unwrap().is_none());
    for keeper in [store, second, store] {
        let mut draft = keeper.draft().await.unwrap();
        draft.write(b"hel").await.unwrap();
        draft.write(b"lo").await.unwrap();
        assert_eq!((draft.size(), draft.md5().as_str()), (5, md5));
        let blob = draft.keep(keeper).await.unwrap();
        assert_eq!((blob.md5.as_str(), blob.size, blob.extension.as_str()), (md5, 5, "txt"));
        for reader in [store, second] {
            assert_eq!(reader.find(md5).await.unwrap().unwrap().size, 5);
            assert_eq!(read(reader, md5, 0..5).await, b"hello");
            assert_eq!(read(reader, md5, 1..3).await, b"el");
            assert_eq!(read(reader, md5, 4..5).await, b"o");
            assert_eq!(read(reader, md5, 2..2).await, b"");
        }
    }
}

async fn keeps_what_is_empty(store: &MediaStore) {
    let blob = store.draft().await.unwrap().keep(store).await.unwrap();
    assert_eq!((blob.md5.as_str(), blob.size), ("d41d8cd98f00b204e9800998ecf8427e", 0));
    assert_eq!(store.find(&blob.md5).await.unwrap().unwrap().size, 0);
    assert_eq!(read(store, &blob.md5, 0..0).await, b"");
}

async fn keeps_what_is_large(store: &MediaStore, second: &MediaStore) {
    let content = content(LARGE);
    let blob = draft(store, &content).await.keep(store).await.unwrap();
    assert_eq!((blob.md5.clone(), blob.size), (md5(&content), LARGE as u64));
    assert_eq!(second.find(&blob.md5).await.unwrap().unwrap().size, LARGE as u64);
    assert!(read(second, &blob.md5, 0..LARGE as u64).await == content);
    for range in [0..1, (8 << 20) - 7..(8 << 20) + 7, (5 << 20)..(16 << 20), LARGE - 3..LARGE] {
        let found = read(second, &blob.md5, range.start as u64..range.end as u64).await;
        assert!(found == content[range.clone()], "{range:?}: {} bytes", found.len());
    }
}

async fn shows_nothing_of_a_draft(store: &MediaStore) {
    let content = content(LARGE - 1);
    let md5 = md5(&content);
    drop(draft(store, &content).await);
    assert_eq!(store.find(&md5).await.unwrap(), None);
    // Whoever goes away at some moment leaves all of it or nothing.
    for steps in [1, 10, 100] {
        let draft = draft(store, &content).await;
        let keeping = tokio::spawn({
            let store = store.clone();
            async move { draft.keep(&store).await }
        });
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
        keeping.abort();
        _ = keeping.await;
        let found = store.find(&md5).await.unwrap();
        assert!(found.is_none_or(|found| found.size == content.len() as u64), "after {steps} steps");
    }
}

async fn keeps_what_comes_twice_at_once(store: &MediaStore, second: &MediaStore) {
    let content = content(LARGE + 1);
    let drafts = [draft(store, &content).await, draft(second, &content).await];
    let [first, other] = drafts;
    let (first, other) = tokio::join!(first.keep(store), other.keep(second));
    assert_eq!(first.unwrap(), other.unwrap());
    assert!(read(store, &md5(&content), 0..content.len() as u64).await == content);
}

async fn finds_only_what_is_named_by_an_md5(store: &MediaStore) {
    for bad in
        ["", "drafts", "../../etc/passwd", "5D41402ABC4B2A76B9719D911017C592", "5d41402abc4b2a76b9719d911017c59/"]
    {
        assert_eq!(store.find(bad).await.unwrap(), None, "{bad}");
        assert!(store.read(bad, 0..1).await.unwrap().is_none(), "{bad}");
    }
}

/// A draft of this content, in chunks as a source sends them.
pub async fn draft(store: &MediaStore, content: &[u8]) -> Draft {
    let mut draft = store.draft().await.unwrap();
    for chunk in content.chunks(512 << 10) {
        draft.write(chunk).await.unwrap();
    }
    draft
}

async fn read(store: &MediaStore, md5: &str, range: Range<u64>) -> Vec<u8> {
    let chunks: Vec<_> = store.read(md5, range).await.unwrap().expect("it is there").try_collect().await.unwrap();
    chunks.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_keeps_its_promises() {
    let dir = tempfile::tempdir().unwrap();
    let stores = (MediaStore::shared(dir.path()).await.unwrap(), MediaStore::shared(dir.path()).await.unwrap());
    check(&stores.0, &stores.1).await;
    assert_eq!(std::fs::read_dir(dir.path().join("drafts")).unwrap().count(), 0);
}
