//! The size bench: real Chinese text through the whole path with decryption, a generated million without, each as a ratio
//! to what the machine can do at all, measured in the same run. Run a release build: `cargo build --release --workspace
//! --bins --lib --examples && target/release/stele-bench`.

use anyhow::{Context, Result, anyhow, ensure};
use aws_lc_rs::rsa::{KeySize, Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey};
use clap::Parser;
use serde_json::json;
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use std::time::{Duration, Instant};
use stele_tests::{
    corp::{CorpFolder, CorpSpec, Draft, TOPICS, sentence},
    daemon::Site,
    fetch, places,
    rates::{self, Rates},
    settings::Settings,
};

#[derive(Parser)]
#[command(about = "How fast messages are archived, with and without decryption")]
struct Arguments {
    /// Messages to take in without decryption.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Most real messages to decrypt.
    #[arg(long, default_value_t = usize::MAX)]
    reviews: usize,
}

/// How long each raw rate is measured.
const RAW: Duration = Duration::from_secs(3);
/// Rows of the raw SQLite measurement.
const RAW_ROWS: u64 = 300_000;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say nothing");
    }
    let mut reviews = fetch::chinese_reviews()?;
    ensure!(reviews.len() >= 35_000, "only {} reviews", reviews.len());
    reviews.truncate(arguments.reviews);
    // What the machine can do is measured on both sides of what it is compared with, and the better one counts: a machine
    // that was busy meanwhile shall not make a ratio look good.
    let before = raw_rsa(cores)?;
    let decrypted = decrypting(&reviews).await?;
    let rsa = before.max(raw_rsa(cores)?);
    println!("raw RSA-2048 private decryption, {cores} threads: {rsa:.0}/s");
    println!("{} real Chinese messages, decrypting: {decrypted}", reviews.len());
    let before = raw_sqlite().await?;
    let plain = ingesting(arguments.messages).await?;
    let sqlite = before.max(raw_sqlite().await?);
    println!("raw SQLite bulk insert, 11 columns, 3 indexes: {sqlite:.0} rows/s");
    println!("{} generated messages: {plain}", arguments.messages);
    let figures = json!({
        "cores": cores,
        "raw_rsa_per_second": rsa.round(),
        "raw_sqlite_rows_per_second": sqlite.round(),
        "decrypting_stored_per_second": decrypted.stored.round(),
        "decrypting_indexed_per_second": decrypted.indexed.round(),
        "ingesting_stored_per_second": plain.stored.round(),
        "ingesting_indexed_per_second": plain.indexed.round(),
        "decrypting_stored_to_raw_rsa": ratio(decrypted.stored, rsa),
        "ingesting_stored_to_raw_sqlite": ratio(plain.stored, sqlite),
    });
    println!("{figures}");
    Ok(())
}

fn ratio(rate: f64, raw: f64) -> f64 {
    (rate / raw * 1000.0).round() / 1000.0
}

/// Private decryptions a second, all cores busy.
fn raw_rsa(threads: usize) -> Result<f64> {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).context("no key")?;
    let public = Pkcs1PublicEncryptingKey::new(key.public_key()).context("no public key")?;
    let mut block = vec![0; public.ciphertext_size()];
    let sealed = public.encrypt(&[b'k'; 88], &mut block).map_err(|_| anyhow!("encryption failed"))?.to_vec();
    let begin = Instant::now();
    let counts: Result<Vec<u64>> = std::thread::scope(|scope| {
        let work = || -> Result<u64> {
            let private = Pkcs1PrivateDecryptingKey::new(key.clone()).context("no private key")?;
            let mut plain = vec![0; private.min_output_size()];
            let mut count = 0;
            while begin.elapsed() < RAW {
                private.decrypt(&sealed, &mut plain).map_err(|_| anyhow!("decryption failed"))?;
                count += 1;
            }
            Ok(count)
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|thread| thread.join().expect("a measuring thread does not panic")).collect()
    });
    Ok(counts?.iter().sum::<u64>() as f64 / begin.elapsed().as_secs_f64())
}

/// Rows a second of one writer, in transactions of a page each.
async fn raw_sqlite() -> Result<f64> {
    const PAGE: u64 = 1_000;
    const ROWS_PER_STATEMENT: u64 = 100;
    let dir = tempfile::tempdir()?;
    let options = SqliteConnectOptions::new().filename(dir.path().join("raw.db")).create_if_missing(true);
    let mut connection = options.pragma("journal_mode", "WAL").pragma("synchronous", "NORMAL").connect().await?;
    for statement in [
        "CREATE TABLE m (id INTEGER PRIMARY KEY, c INTEGER, seq INTEGER, i INTEGER, n TEXT, s INTEGER, t INTEGER, k TEXT, x TEXT, \
         b BLOB, r INTEGER)",
        "CREATE UNIQUE INDEX m1 ON m (i, n)",
        "CREATE INDEX m2 ON m (c, t, id)",
        "CREATE INDEX m3 ON m (r)",
    ] {
        sqlx::query(statement).execute(&mut connection).await?;
    }
    let row = "(?,?,?,?,?,?,?,?,?,?,?)";
    let insert = format!("INSERT INTO m VALUES {}", vec![row; ROWS_PER_STATEMENT as usize].join(","));
    let mut rng = rand::rng();
    let texts: Vec<String> = (0..1_000).map(|index| sentence(TOPICS[index % TOPICS.len()], &mut rng)).collect();
    let begin = Instant::now();
    for page in 0..RAW_ROWS / PAGE {
        let mut transaction = connection.begin().await?;
        for group in 0..PAGE / ROWS_PER_STATEMENT {
            let mut query = sqlx::query(sqlx::AssertSqlSafe(insert.as_str()));
            for index in 0..ROWS_PER_STATEMENT {
                let id = i64::try_from(page * PAGE + group * ROWS_PER_STATEMENT + index)?;
                let text = &texts[usize::try_from(id)? % texts.len()];
                query = query.bind(id).bind(id % 200).bind(id).bind(1_i64).bind(format!("m{id}")).bind(id % 400);
                query = query.bind(id * 1000).bind("text").bind(text).bind(text.as_bytes()).bind(id);
            }
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    }
    Ok(RAW_ROWS as f64 / begin.elapsed().as_secs_f64())
}

/// Real messages a second through the stub library: RSA, decryption, storage, index.
async fn decrypting(texts: &[String]) -> Result<Rates> {
    let upstream = tempfile::tempdir()?;
    let mut folder = CorpFolder::empty(&CorpSpec::recent(texts.len()), upstream.path())?;
    for (index, text) in texts.iter().enumerate() {
        let (from, to) = if index % 2 == 0 { ("staff123", "customer456") } else { ("customer456", "staff123") };
        folder.add(&Draft::text(from, to, text))?;
    }
    let site = Site::new(|dir| {
        let mut settings = Settings::of(&folder, dir, "", "");
        settings.config = "calls_per_minute = 60000".into();
        Ok(settings)
    })?;
    rate(&site, "wecom", texts.len() as u64).await
}

/// Messages a second from a source that costs nothing.
async fn ingesting(messages: u64) -> Result<Rates> {
    let upstream = tempfile::tempdir()?;
    let folder = CorpFolder::empty(&CorpSpec::recent(0), upstream.path())?;
    let plugin = places::build_dir().join("examples").join("libfirehose.so");
    ensure!(plugin.exists(), "the firehose is not built: cargo build --release --workspace --examples");
    let site = Site::new(|dir| {
        let mut settings = Settings::of(&folder, dir, "", "");
        settings.sections = format!(
            "[jobs]\npage_limit = 5000\n\n[[instance]]\nname = \"firehose\"\nplugin = {:?}\n[instance.sync]\nenabled = false\n\
             [instance.config]\nmessages = {messages}\n",
            plugin
        );
        Ok(settings)
    })?;
    rate(&site, "firehose", messages).await
}

/// Runs the sync of an instance, the first of its archive.
async fn rate(site: &Site, instance: &str, messages: u64) -> Result<Rates> {
    let daemon = site.start().await?;
    let rates = rates::sync(site, &[instance], messages).await?;
    daemon.stop().await?;
    Ok(rates)
}
