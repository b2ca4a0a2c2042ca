//! What every statement of the Postgres backend keeps to, so that tables can be distributed or partitioned by instance, a pooler of
//! connections can stand between, and servers that only speak like Postgres can take its place.

use regex::Regex;
use std::fs;
use std::path::Path;

/// Tables whose rows belong to no instance.
const SHARED: [&str; 7] = ["head", "node", "instance", "word", "blob", "blob_total", "migrating"];

/// What is used nowhere: locks and settings of a session, wake-ups, sequences, what other servers do not have.
const BANNED: [&str; 14] = [
    r"pg_advisory",
    r"pg_try_advisory",
    r"(?-u:\b)LISTEN(?-u:\b)",
    r"(?-u:\b)NOTIFY(?-u:\b)",
    r"(?-u:\b)pg_notify(?-u:\b)",
    r"(?-u:\b)(BIG|SMALL)?SERIAL(?-u:\b)",
    r"(?-u:\b)nextval(?-u:\b)",
    r"(?-u:\b)SEQUENCE(?-u:\b)",
    r"(?-u:\b)IDENTITY(?-u:\b)",
    r"(?-u:\b)LOCK TABLE(?-u:\b)",
    r"CREATE TRIGGER",
    r"CREATE FUNCTION",
    r"(?-u:\b)SET SESSION(?-u:\b)",
    r"(?-u:\b)SET (client|search|statement|lock|idle|timezone)",
];

fn folder(name: &str) -> impl Iterator<Item = (String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let mut files: Vec<_> = fs::read_dir(folder).expect(name).map(|entry| entry.expect(name).path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.display().to_string(), fs::read_to_string(path).expect("is text")))
}

/// The migrations, without their comments.
fn migrations() -> Vec<(String, String)> {
    let comment = Regex::new("--.*").expect("a pattern");
    folder("migrations/postgres").map(|(path, sql)| (path, comment.replace_all(&sql, "").into_owned())).collect()
}

/// The texts in the sources of the backend, and in what it shares with the other one, that are SQL, each on one line.
fn statements() -> Vec<(String, String)> {
    let sql = Regex::new(
        r"^[ (]*(SELECT|INSERT|UPDATE|DELETE|WITH|BEGIN|SET|CREATE|FROM|JOIN|LEFT|CROSS|ON CONFLICT)(?-u:\b)",
    )
    .expect("a pattern");
    // What fills tables to look at plans is a test.
    let sources = folder("src/postgres").chain(folder("src/common")).filter(|(path, _)| !path.ends_with("/plans.rs"));
    let texts = sources.flat_map(|(path, source)| {
        let source = source.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        texts(&source).into_iter().map(move |text| (path.clone(), text))
    });
    texts.filter(|(_, text)| sql.is_match(text)).collect()
}

/// The texts in a source, continued lines joined.
fn texts(source: &str) -> Vec<String> {
    let text = Regex::new(r#"(?m)^\s*//.*$|'\\?"'|"((?:[^"\\]|\\(?s:.))*)""#).expect("a pattern");
    let (joint, space) = (Regex::new(r"\\\n\s*").expect("a pattern"), Regex::new(r"\s+").expect("a pattern"));
    text.captures_iter(source)
        .filter_map(|found| found.get(1))
        .map(|text| space.replace_all(&joint.replace_all(text.as_str(), ""), " ").into_owned())
        .collect()
}

/// The tables whose rows belong to an instance.
fn tables() -> Vec<String> {
    let create = Regex::new(r"CREATE TABLE (\w+)").expect("a pattern");
    let migrations = migrations();
    let tables = migrations.iter().flat_map(|(_, sql)| create.captures_iter(sql)).map(|found| found[1].to_owned());
    tables.filter(|table| !SHARED.contains(&table.as_str())).collect()
}

#[test]
fn nothing_banned_is_used() {
    // Notifications wake whoever would look again anyway, and stand apart.
    let told = statements().into_iter().filter(|(path, _)| !path.ends_with("/notify.rs"));
    for (path, sql) in migrations().into_iter().chain(told) {
        for banned in BANNED {
            let banned = Regex::new(&format!("(?i){banned}")).expect("a pattern");
            assert!(!banned.is_match(&sql), "{path} uses {banned}: {sql}");
        }
    }
}

#[test]
fn every_key_of_an_instance_begins_with_it() {
    let table = Regex::new(r"(?s)CREATE TABLE (\w+) \((.*?)\n\);").expect("a pattern");
    let key = Regex::new(r"(?:PRIMARY KEY|UNIQUE) \(([^)]*)\)").expect("a pattern");
    let index = Regex::new(r"CREATE (UNIQUE )?INDEX \w+ ON (\w+) \(([^)]*)\)").expect("a pattern");
    let mut seen = 0;
    for (path, sql) in migrations() {
        for found in table.captures_iter(&sql).filter(|found| !SHARED.contains(&&found[1])) {
            let keys: Vec<_> = key.captures_iter(&found[2]).map(|key| key[1].to_owned()).collect();
            assert!(!keys.is_empty(), "{path}: {} has no key", &found[1]);
            for key in keys {
                assert!(key.starts_with("instance"), "{path}: a key of {} is ({key})", &found[1]);
                seen += 1;
            }
            let inline = found[2].lines().find(|line| line.contains("PRIMARY KEY") && !line.contains("PRIMARY KEY ("));
            assert_eq!(inline, None, "{path}: {}", &found[1]);
        }
        for found in index.captures_iter(&sql) {
            assert!(found.get(1).is_none(), "{path}: unique keys are written with their table: {}", &found[0]);
            assert!(SHARED.contains(&&found[2]) || found[3].starts_with("instance"), "{path}: {}", &found[0]);
            seen += 1;
        }
    }
    assert!(seen > 30, "keys are found");
}

#[test]
fn every_statement_names_the_instance() {
    let tables = tables();
    let used = Regex::new(r"(?-u:\b)(?:FROM|JOIN|UPDATE|INTO|USING) (\w+)(?-u:\b)").expect("a pattern");
    let named = Regex::new(r"(?-u:\b)instance(?-u:\b)").expect("a pattern");
    let statements = statements();
    assert!(statements.len() > 80, "statements are found: {}", statements.len());
    let nameless = statements.into_iter().filter(|(_, sql)| {
        let used = used.captures_iter(sql).filter(|found| tables.iter().any(|table| *table == found[1])).count();
        named.find_iter(sql).count() < used
    });
    assert_eq!(nameless.collect::<Vec<_>>(), []);
}

#[test]
fn every_conflict_is_one_of_an_instance() {
    let conflict = Regex::new(r"INSERT INTO (\w+).*ON CONFLICT( \(([^)]*)\))?").expect("a pattern");
    for (path, sql) in statements() {
        for found in conflict.captures_iter(&sql).filter(|found| !SHARED.contains(&&found[1])) {
            let target = found.get(3).map_or("", |target| target.as_str());
            assert!(target.starts_with("instance"), "{path}: {sql}");
        }
    }
}
