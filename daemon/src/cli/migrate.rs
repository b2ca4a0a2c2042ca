//! `steled migrate`

use crate::config::Config;
use crate::lifecycle::{DataLock, Store};
use anyhow::{Context, Result, bail};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use stele_store::transfer::{self, TransferProgress, TransferStage};
use stele_store::{Options, PostgresArchive, SqliteArchive};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Another file than the archive in the data folder
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Use the archive in the file again, without what has been archived in the database since
    #[arg(long)]
    abandon: bool,
}

/// Moves the archive in the data folder into the database of `archive.url`. No daemon runs meanwhile.
pub async fn run(arguments: &Arguments, config: &Config) -> Result<ExitCode> {
    let named = arguments.from.clone().unwrap_or_else(|| Store::file_in(&config.data_dir));
    let Ok(file) = named.canonicalize() else {
        bail!("there is no archive {}: nothing was archived yet, or data_dir is another folder", named.display());
    };
    // The lock that the daemon of this file takes, whatever folder is configured here.
    let _lock = DataLock::acquire(file.parent().unwrap_or(Path::new("/")))?;
    if SqliteArchive::is_in_use(&file).await? {
        bail!("{} is in use by another process: stop whatever has it open", file.display());
    }
    let from = SqliteArchive::open(&file, &Options::default()).await?;
    if arguments.abandon {
        transfer::abandon(&from).await?;
        from.close().await?;
        println!("{} may be used again", file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(options) = Store::database(config) else {
        bail!("archive.url says where the archive is to be moved to, and is not set");
    };
    let to = PostgresArchive::open(&options).await.context("archive.url")?;
    let template = "{bar:40} {percent}% {msg} [{elapsed} < {eta}]";
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = ProgressBar::new(0).with_style(style);
    let begun = Instant::now();
    let moved = transfer::transfer(&from, &to, |TransferProgress { stage, rows, of }| {
        bar.set_length(of);
        bar.set_position(rows);
        let done = match stage {
            TransferStage::Moving => "moved",
            TransferStage::Comparing => "compared",
        };
        bar.set_message(format!("{} rows {done}", HumanCount(rows)));
    });
    let moved = moved.await;
    bar.finish_and_clear();
    to.close().await?;
    from.close().await?;
    let moved = moved?;
    if moved.was_complete {
        println!("{} was moved before; nothing was done", file.display());
    } else {
        println!(
            "moved {} messages in {} rows in {:.1} s, and compared them row by row",
            moved.messages,
            moved.rows,
            begun.elapsed().as_secs_f64()
        );
    }
    Ok(ExitCode::SUCCESS)
}
