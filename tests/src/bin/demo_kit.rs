//! What `steled demo` shows: a generated corp behind the stub of the vendor's library.
//!
//! `--out DIR` writes the corp, `steled.toml` and `try.txt` (what to try, printed once the first sync is done).
//! `--serve-directory` serves the corp's directory on loopback: it prints the address and runs until its stdin closes.

use anyhow::Result;
use clap::Parser;
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Makes the corp that `steled demo` archives")]
struct Arguments {
    /// Folder to write to, or to serve from.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many messages to generate.
    #[arg(long, default_value_t = 4000)]
    messages: usize,
    /// Where the daemon shall listen for clients of the protocol.
    #[arg(long, default_value = "127.0.0.1:9002")]
    listen: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    stele_tests::corp::CorpFolder::generate(&stele_tests::corp::CorpSpec::recent(arguments.messages), &arguments.out)?;
    Ok(())
}
