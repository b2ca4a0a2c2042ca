//! The servers come up, answer, and end with their handles.

use std::io::{Read, Write};
use std::net::TcpStream;
use stele_servers::skip::skip;
use stele_servers::{Durability, Meili, Nats, Postgres, Seaweed};

/// Whether anybody listens there.
fn answers(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

fn host_of(url: &str) -> String {
    let rest = url.split("://").last().unwrap_or(url);
    let rest = rest.split('@').next_back().unwrap_or(rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

#[test]
fn postgres_has_databases_of_their_own() {
    let postgres = match Postgres::start(Durability::None) {
        Ok(postgres) => postgres,
        Err(error) => return skip("Postgres", &format!("{error:#}")),
    };
    let (one, other) = (postgres.database().expect("is made"), postgres.database().expect("is made"));
    postgres.psql(&one, "CREATE TABLE t (n bigint); INSERT INTO t VALUES (7)").expect("is stored");
    assert_eq!(postgres.psql(&one, "SELECT n FROM t").expect("reads"), "7");
    assert!(postgres.psql(&other, "SELECT n FROM t").is_err(), "another database has the table, too");
    drop(postgres);
    assert!(!answers(&host_of(&one)), "it outlives its handle");
}

#[test]
fn nats_listens_and_comes_back_where_it_was() {
    let nats = match Nats::start() {
        Ok(nats) => nats,
        Err(error) => return skip("NATS", &format!("{error:#}")),
    };
    let address = nats.address().to_owned();
    let mut said = [0; 5];
    TcpStream::connect(&address).expect("listens").read_exact(&mut said).expect("says something");
    assert_eq!(&said, b"INFO ");
    drop(nats);
    assert!(!answers(&address), "it outlives its handle");
    let again = Nats::start_at(&address).expect("starts");
    assert!(answers(again.address()));
}

/// The first line of an answer to a request without anything.
fn asked(url: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(host_of(url)).expect("listens");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: stele\r\n\r\n").expect("takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn seaweed_refuses_who_does_not_sign() {
    match Seaweed::start() {
        Ok(seaweed) => assert!(asked(&seaweed.endpoint(), "/").contains("403"), "{}", asked(&seaweed.endpoint(), "/")),
        Err(error) => skip("SeaweedFS", &format!("{error:#}")),
    }
}

#[test]
fn meilisearch_is_there_or_said_not_to_be() {
    match Meili::find() {
        Ok(Some(meili)) => assert!(asked(meili.url(), "/health").contains("200")),
        Ok(None) => skip("Meilisearch", "there is no MEILI_URL, and no meilisearch on the path"),
        Err(error) => skip("Meilisearch", &format!("{error:#}")),
    }
}
