//! Files in a bucket of a real S3-compatible store, and in a folder that daemons share: what is killed or down loses
//! nothing, doubles nothing, and nobody is ever given half a file.

use anyhow::{Context, Result, ensure};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use stele_servers::{Durability, Postgres, Seaweed, skip::skip};
use stele_tests::{
    backing::Backing,
    corp::{CorpFolder, CorpSpec, Draft},
    daemon::{Site, wait_for},
    settings::{Settings, quoted},
};
use steled::config::Secret;
use steled::media::{LABEL, MediaStore, S3Options};

const BUCKET: &str = "stele-media";
const PREFIX: &str = "archive/files";
/// Small files, and files that are sent in several parts.
const SMALL: usize = 4;
const LARGE: usize = 6;
const LARGE_BYTES: usize = 10 << 20;
/// Daemons that are killed amid an upload.
const KILLS: usize = 3;

/// The store as somebody beside the daemon sees it.
async fn beside(seaweed: &Seaweed, dir: &Path) -> Result<MediaStore> {
    let options = S3Options {
        endpoint: seaweed.endpoint().parse()?,
        bucket: BUCKET.into(),
        region: "us-east-1".into(),
        access_key: Secret::new(Seaweed::ACCESS_KEY),
        secret_key: Secret::new(Seaweed::SECRET_KEY),
        prefix: PREFIX.into(),
        path_style: true,
    };
    Ok(MediaStore::bucket(dir, &options).await?)
}

/// Messages with a file each; the contents by their MD5.
fn files(folder: &mut CorpFolder) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut contents = BTreeMap::new();
    for index in 0..SMALL + LARGE {
        let size = if index < SMALL { 2000 } else { LARGE_BYTES };
        let mut bytes = b"%PDF-1.4\n".to_vec();
        bytes.extend((0..size).map(|at| (at >> 8) as u8 ^ at as u8 ^ index as u8));
        let fileid = format!("{index}.pdf");
        let file = folder.add_media(&fileid, "pdf", &bytes)?;
        let body = json!({ "file": {
            "md5sum": file.md5, "filename": fileid, "fileext": "pdf", "filesize": file.size, "sdkfileid": file.sdkfileid,
        }});
        folder.add(&Draft { msgtype: "file".into(), fields: body, ..Draft::text("staff123", "customer456", "") })?;
        contents.insert(file.md5, bytes);
    }
    Ok(contents)
}

/// Links by the MD5 that is in them; messages whose file is not there have none.
async fn links(site: &Site) -> Result<BTreeMap<String, String>> {
    let params = [("ext_staff_id", "staff123"), ("receiver_id", "customer456"), ("ext_corp_id", "corp123")];
    let rows = site.client().all("session-msgs", &params).await?;
    let links =
        rows.iter().filter_map(|row| row["chat_msg_content"]["file_url"].as_str()).filter(|link| !link.is_empty());
    links
        .map(|link| {
            let (_, rest) = link.split_once("/media/").with_context(|| format!("no link to a file: {link}"))?;
            Ok((rest.split('/').next().unwrap_or_default().to_owned(), link.to_owned()))
        })
        .collect()
}

/// Names of all files under a folder of the store.
async fn listed(folder: String) -> Result<BTreeSet<String>> {
    let http = stele_tests::client::http();
    let (mut files, mut folders) = (BTreeSet::new(), vec![folder]);
    while let Some(folder) = folders.pop() {
        let answer = http.get(format!("{folder}?limit=10000")).header("accept", "application/json").send().await?;
        // A folder that is not there holds nothing.
        if answer.status() == 404 {
            continue;
        }
        let listing: Value = serde_json::from_str(&answer.error_for_status()?.text().await?)?;
        for entry in listing["Entries"].as_array().into_iter().flatten() {
            let name =
                entry["FullPath"].as_str().and_then(|path| path.rsplit('/').next()).context("an entry has a path")?;
            match entry["Mode"].as_u64().context("an entry has a mode")? & (1 << 31) {
                0 => _ = files.insert(name.to_owned()),
                _ => folders.push(format!("{folder}{name}/")),
            }
        }
    }
    Ok(files)
}

/// What is written down of uploads that are under way.
fn uploads(site: &Site) -> BTreeSet<String> {
    let notes = std::fs::read_dir(site.settings.data_dir.join("media/uploads")).into_iter().flatten().flatten();
    let names = notes.filter_map(|note| note.file_name().into_string().ok());
    // One that is being written is none yet.
    names.filter(|name| !name.starts_with('.')).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_loses_and_doubles_nothing_whoever_is_killed_or_down() -> Result<()> {
    let mut seaweed = match Seaweed::start() {
        Ok(seaweed) => seaweed,
        Err(error) => {
            skip("files in a bucket", &format!("{error:#}"));
            return Ok(());
        }
    };
    let outside = tempfile::tempdir()?;
    let beside = beside(&seaweed, outside.path()).await?;
    // Whoever writes to a bucket first makes it.
    let marker = beside.draft().await?.keep(&beside).await?;
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::empty(&CorpSpec::recent(100), upstream.path())?;
    let contents = files(&mut folder)?;
    let site = Site::new(|dir| {
        let mut settings = Settings::of(&folder, dir, "", "");
        std::fs::write(dir.join("s3.secret"), Seaweed::SECRET_KEY)?;
        settings.instance = "rate_limit = 0".into();
        settings.sections = format!(
            "[jobs]\nretry_min_seconds = 1\nretry_max_seconds = 1\n[media]\nstore = 's3'\n[media.s3]\nendpoint = {}\n\
             bucket = '{BUCKET}'\nprefix = '{PREFIX}'\naccess_key = '{}'\nsecret_key = {{ file = 's3.secret' }}\n",
            quoted(seaweed.endpoint()),
            Seaweed::ACCESS_KEY
        );
        Ok(settings)
    })?;

    let mut known = BTreeSet::new();
    for life in 0..KILLS {
        let daemon = site.start().await?;
        if life == 0 {
            ensure!(site.sync().await?.stored == contents.len() as u64, "messages wait for no file");
        }
        wait_for("an upload in parts", || async {
            match (uploads(&site).difference(&known).count(), site.media("stored").await) {
                (1.., Ok(1..)) => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await
        .with_context(|| site.log_tail())?;
        daemon.kill().await?;
        known.extend(uploads(&site));
        for (md5, bytes) in &contents {
            let found = beside.find(md5).await?;
            ensure!(found.is_none_or(|found| found.size == bytes.len() as u64), "{md5} is there in part: {found:?}");
        }
    }
    ensure!(!known.is_empty(), "no kill hit an upload");

    seaweed.stop();
    let daemon = site.start().await?;
    wait_for("a finding", || async {
        let ready = site.admin("/ready").await.map_err(|error| error.to_string())?;
        let found = ready["findings"].to_string().contains("the store of files does not answer: ");
        if found && ready["status"] == "degraded" { Ok(()) } else { Err(ready.to_string()) }
    })
    .await?;
    let here = links(&site).await?;
    let link = here.values().next().context("some file was stored before")?;
    let answer = stele_tests::client::http().get(link).send().await?;
    ensure!(answer.status() == 503 && answer.headers()["retry-after"] == "5", "{answer:?}");
    let pending = site.media("pending").await?;
    ensure!(pending > 0 && pending + site.media("stored").await? == contents.len() as u64, "{pending} files are left");
    let run = site.run_job("media").await?;
    let said = run.complaints();
    ensure!(run.outcome == "failed" && said.contains("files cannot be written"), "{run:?}");
    ensure!(site.media("pending").await? == pending && site.media("parked").await? == 0, "no file is to blame");

    seaweed.go_on()?;
    site.media_done().await?;
    wait_for("readiness without findings", || async {
        let ready = site.admin("/ready").await.map_err(|error| error.to_string())?;
        if ready["status"] == "ready" { Ok(()) } else { Err(ready.to_string()) }
    })
    .await?;
    let here = links(&site).await?;
    ensure!(here.keys().eq(contents.keys()), "{} of {} files are there", here.len(), contents.len());
    for (md5, link) in &here {
        let bytes = stele_tests::client::http().get(link).send().await?.error_for_status()?.bytes().await?;
        ensure!(bytes == contents[md5], "{md5} has {} bytes, or wrong ones", bytes.len());
    }
    ensure!(
        site.media("blobs").await? == contents.len() as u64 && site.media("parked").await? == 0,
        "doubled or parked"
    );
    let in_bucket = listed(format!("{}{BUCKET}/{PREFIX}/", seaweed.files())).await?;
    let expected: BTreeSet<String> = contents.keys().cloned().chain([marker.md5, LABEL.to_owned()]).collect();
    ensure!(in_bucket == expected, "in the bucket: {in_bucket:?}\nexpected: {expected:?}");
    wait_for("an end of what kills have left", || async {
        let left = listed(format!("{}{BUCKET}/.uploads/", seaweed.files())).await.map_err(|error| error.to_string())?;
        match (left.len(), uploads(&site).len()) {
            (0, 0) => Ok(()),
            seen => Err(format!("{seen:?} parts in the bucket, and uploads written down")),
        }
    })
    .await?;
    ensure!(!site.log().contains(Seaweed::SECRET_KEY), "the log tells the secret");
    ensure!(daemon.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_that_share_a_folder_keep_each_file_once() -> Result<()> {
    let postgres = match Postgres::start(Durability::None) {
        Ok(postgres) => postgres,
        Err(error) => {
            skip("files of several daemons", &format!("{error:#}"));
            return Ok(());
        }
    };
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::empty(&CorpSpec::recent(100), upstream.path())?;
    let contents = files(&mut folder)?;
    let shared = tempfile::tempdir()?;
    let url = postgres.database()?;
    let site = || {
        Site::new(|dir| {
            let mut settings = Settings::of(&folder, dir, "", "");
            settings.instance = "rate_limit = 0".into();
            settings.sections = format!("[archive]\nurl = '{url}'\n[media]\nfolder = {}\n", quoted(shared.path()));
            Ok(settings)
        })?
        .backed_by(Backing::default())
    };
    let sites = [site()?, site()?];
    let daemons = [sites[0].start().await?, sites[1].start().await?];
    ensure!(sites[0].sync().await?.stored == contents.len() as u64, "messages wait for no file");
    for site in &sites {
        site.media_done().await?;
        let here = links(site).await?;
        ensure!(here.keys().eq(contents.keys()), "{} of {} files are there", here.len(), contents.len());
        for (md5, link) in &here {
            let bytes = stele_tests::client::http().get(link).send().await?.error_for_status()?.bytes().await?;
            ensure!(hex::encode(Md5::digest(&bytes)) == *md5, "{md5} has {} bytes, or wrong ones", bytes.len());
        }
    }
    for daemon in daemons {
        ensure!(daemon.stop().await?.success());
    }
    let (mut found, mut folders) = (BTreeSet::new(), vec![shared.path().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => {
                    ensure!(found.insert(entry.file_name().to_string_lossy().into_owned()), "{entry:?} is there twice")
                }
            }
        }
    }
    let expected: BTreeSet<String> = contents.keys().cloned().chain([LABEL.to_owned()]).collect();
    ensure!(found == expected, "in the folder: {found:?}");
    Ok(())
}
