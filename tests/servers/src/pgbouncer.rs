//! PgBouncer: no package carries one that is new enough, so it is one that is there already.

use crate::postgres::unprivileged;
use crate::process::{Process, command};
use crate::{free_address, on_the_path, port_of};
use anyhow::{Context, Result};
use std::{fs, os::unix::fs::PermissionsExt};
use tempfile::TempDir;

/// A PgBouncer in transaction mode: each transaction has whichever connection of the server is free.
#[derive(Debug)]
pub struct PgBouncer {
    address: String,
    // Before the folder: it ends first.
    _process: Process,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts one before the server of this address, if there is a `pgbouncer` on the path. It keeps so many prepared statements.
    pub fn find(url: &str, statements: u32) -> Result<Option<Self>> {
        let Some(program) = on_the_path("pgbouncer") else { return Ok(None) };
        let folder = TempDir::new()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711))?;
        let (address, server) = (free_address()?, server(url)?);
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=stele\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n\
             max_prepared_statements = {statements}\n",
            port_of(server)?,
            port_of(&address)?,
        );
        let path = folder.path().join("pgbouncer.ini");
        fs::write(&path, settings)?;
        let mut bouncer = command(program, "INT");
        bouncer.arg(path);
        unprivileged(&mut bouncer, folder.path());
        let process = Process::start(bouncer, &folder.path().join("log"), "process up: PgBouncer")?;
        Ok(Some(Self { address, _process: process, _folder: folder }))
    }

    /// The same database, behind it.
    pub fn before(&self, url: &str) -> Result<String> {
        Ok(url.replace(server(url)?, &self.address))
    }
}

/// Where the server of a database is.
fn server(url: &str) -> Result<&str> {
    let (_, place) = url.rsplit_once('@').context("an address has a user")?;
    Ok(place.split('/').next().unwrap_or(place))
}
