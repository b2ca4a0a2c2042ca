//! The folder of the embedded engine: who may have it, and what happens when it is not what it was.

mod common;

use common::{add, files, generations, ids, open, request, tailer};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use stele_search::contract::MemoryArchive;
use stele_search::{EmbeddedIndex, EmbeddedOptions, IndexError, Searcher, Watermark};
use tempfile::TempDir;

/// An archive of a few messages and a folder with its index, closed.
async fn indexed() -> (Arc<MemoryArchive>, TempDir) {
    let archive = Arc::new(MemoryArchive::default());
    add(&archive, &["合同一", "无关", "合同二", "", "第三份合同"]);
    let folder = TempDir::new().unwrap();
    let index = open(folder.path()).await;
    tailer(&archive, &index).catch_up().await.unwrap();
    (archive, folder)
}

/// After whatever happened to the folder the tailer makes the index whole again.
async fn heals(archive: &Arc<MemoryArchive>, folder: &Path) {
    let index = open(folder).await;
    tailer(archive, &index).catch_up().await.unwrap();
    assert_eq!(index.watermark().await.unwrap(), Watermark::at(archive.rows().last().unwrap()));
    assert_eq!(index.health().documents, 5);
    let page = Searcher::new(archive.clone(), index).search(&request("合同")).await.unwrap();
    assert_eq!((ids(&page), page.total), (vec![5, 3, 1], 3));
    assert_eq!(generations(folder).len(), 1);
}

#[tokio::test]
async fn one_process_at_a_time() {
    let folder = TempDir::new().unwrap();
    let index = EmbeddedIndex::open(folder.path(), EmbeddedOptions::default()).unwrap();
    let second = EmbeddedIndex::open(folder.path(), EmbeddedOptions::default()).err().unwrap();
    assert!(matches!(&second, IndexError::InUse(path) if path == folder.path()), "{second}");
    assert!(second.to_string().contains("in use by another process"), "{second}");
    drop(index);
    EmbeddedIndex::open(folder.path(), EmbeddedOptions::default()).unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_made() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = EmbeddedIndex::open(file.join("search"), EmbeddedOptions::default()).err().unwrap();
    assert!(matches!(error, IndexError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn a_deleted_folder_is_filled_again() {
    let (archive, folder) = indexed().await;
    fs::remove_dir_all(folder.path()).unwrap();
    heals(&archive, folder.path()).await;
}

#[tokio::test]
async fn every_file_may_be_damaged() {
    let (archive, folder) = indexed().await;
    let names: Vec<String> =
        files(folder.path()).iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert!(names.len() > 5, "{names:?}");
    for nth in 0..names.len() {
        for damage in ["flip", "empty", "cut", "remove"] {
            // The index was rebuilt meanwhile: its files have other names, but as many.
            let Some(file) = files(folder.path()).get(nth).cloned() else { continue };
            let mut bytes = fs::read(&file).unwrap();
            match damage {
                "flip" => {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 0x15;
                }
                "empty" => bytes.clear(),
                "cut" => bytes.truncate(bytes.len() - bytes.len().div_ceil(3)),
                _ => {}
            }
            fs::remove_file(&file).unwrap();
            if damage != "remove" {
                fs::write(&file, &bytes).unwrap();
            }
            heals(&archive, folder.path()).await;
        }
    }
}

#[tokio::test]
async fn an_unreadable_pointer_means_a_new_index() {
    let (archive, folder) = indexed().await;
    for content in ["", "seven\n", "99\n", "-1"] {
        fs::write(folder.path().join("current"), content).unwrap();
        heals(&archive, folder.path()).await;
    }
}

#[tokio::test]
async fn another_format_means_a_new_index() {
    let (archive, folder) = indexed().await;
    let meta = files(folder.path()).into_iter().find(|file| file.ends_with("meta.json")).unwrap();
    let old = fs::read_to_string(&meta).unwrap();
    let other = old.replace("\\\"format\\\":", "\\\"format\\\":9");
    assert_ne!(old, other);
    fs::write(&meta, other).unwrap();
    let before = generations(folder.path());
    heals(&archive, folder.path()).await;
    assert_ne!(generations(folder.path()), before);
}

#[tokio::test]
async fn leftovers_of_a_rebuild_are_removed() {
    let (archive, folder) = indexed().await;
    fs::create_dir(folder.path().join("g000077")).unwrap();
    fs::write(folder.path().join("g000077/meta.json"), "{}").unwrap();
    heals(&archive, folder.path()).await;
    assert!(!folder.path().join("g000077").exists());
}

#[tokio::test]
async fn a_folder_deleted_while_it_is_open() {
    let (archive, folder) = indexed().await;
    let index = open(folder.path()).await;
    let tailer = tailer(&archive, &index);
    tailer.catch_up().await.unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    let searcher = Searcher::new(archive.clone(), index.clone());
    assert_eq!(searcher.search(&request("合同")).await.unwrap().total, 3);
    assert!(matches!(index.settle().await, Err(IndexError::Corrupt(_))));

    add(&archive, &["又一份合同"]);
    assert_eq!(searcher.search(&request("合同")).await.unwrap().total, 4);
    tailer.catch_up().await.unwrap();
    assert_eq!(searcher.search(&request("合同")).await.unwrap().total, 4);
    assert_eq!(index.health().documents, 6);
    assert_eq!(index.health().problem, None);
    index.verify().await.unwrap();
}

#[tokio::test]
async fn many_small_commits_are_merged() {
    let archive = Arc::new(MemoryArchive::default());
    let folder = TempDir::new().unwrap();
    let index = open(folder.path()).await;
    let tailer = tailer(&archive, &index);
    for n in 0..40 {
        add(&archive, &[&format!("第{n}条")]);
        tailer.catch_up().await.unwrap();
    }
    common::until("merging", async || {
        index.settle().await.unwrap();
        index.health().segments < 10
    })
    .await;
    assert_eq!(index.health().documents, 40);
    let page = Searcher::new(archive.clone(), index).search(&request("条")).await.unwrap();
    assert_eq!(ids(&page), (1..=40).rev().collect::<Vec<_>>());
}
