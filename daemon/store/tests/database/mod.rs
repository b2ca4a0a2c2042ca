//! A Postgres for the tests of a binary, and databases of it.
#![allow(dead_code, reason = "each binary uses a part of it")]

pub mod proxy;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use std::str::FromStr;
use std::sync::LazyLock;
use stele_servers::{Durability, Postgres, skip::skip};
use stele_store::{PostgresOptions, PostgresUrl};

static SERVER: LazyLock<Option<Postgres>> = LazyLock::new(|| match Postgres::start(Durability::None) {
    Ok(server) => Some(server),
    Err(error) => {
        skip("tests of the Postgres backend", &format!("no server can be started: {error:#}"));
        None
    }
});

/// An empty database, unless there is no server.
pub fn database() -> Option<String> {
    Some(SERVER.as_ref()?.database().expect("a database"))
}

/// To open it.
pub fn options(url: &str) -> PostgresOptions {
    PostgresOptions { connections: 4, ..PostgresOptions::new(PostgresUrl::new(url)) }
}

/// A connection behind the archive's back.
pub async fn connect(url: &str) -> PgConnection {
    PgConnectOptions::from_str(url).expect(url).connect().await.expect("connects")
}

/// Run statements behind the archive's back.
pub async fn tamper(url: &str, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connect(url).await).await.expect(sql);
}
