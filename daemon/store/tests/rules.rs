//! What every statement of the Postgres backend keeps to, so that tables can be distributed or partitioned by instance, a pooler of
//! connections can stand between, and servers that only speak like Postgres can take its place.

use regex::Regex;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// Tables whose rows belong to no instance.
const SHARED: [&str; 7] = ["head", "node", "instance", "word", "blob", "blob_total", "migrating"];

/// What is asked of all instances at once: of the jobs, which are few, and in which instances are found that have any.
const OF_ALL: [&str; 2] = ["FROM job ORDER BY instance, kind, partition", "SELECT DISTINCT instance FROM job"];

/// How statements begin that a move of an archive makes to SQLite.
const OF_SQLITE: &str = "SELECT ifnull(";

/// What reaches the server and is not repeated itself, by file and function: parts of what is, and what only reads, tables whole, for
/// an operator who begins again.
const NOT_REPEATED: [(&str, &str); 8] = [
    ("daemons.rs", "heard"),
    ("daemons.rs", "number"),
    ("ledger.rs", "verify_ledger"),
    ("mod.rs", "read"),
    ("mod.rs", "read_whole"),
    ("transact.rs", "lend"),
    ("transact.rs", "begin"),
    ("check.rs", "moved"),
];

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

/// The sources of the backend, of what it shares with the other one, and of a move from that one to it, without their tests.
fn sources() -> impl Iterator<Item = (String, String)> {
    // What fills tables to look at plans is a test.
    let sources = ["src/postgres", "src/common", "src/transfer"].into_iter().flat_map(folder);
    sources
        .filter(|(path, _)| !path.ends_with("/plans.rs"))
        .map(|(path, source)| (path, source.split("#[cfg(test)]").next().unwrap_or_default().to_owned()))
}

/// The texts in them that are SQL, or a part of it, each on one line.
fn statements() -> Vec<(String, String)> {
    let sql = Regex::new(
        r"(?-u:\b)(SELECT|INSERT|UPDATE|DELETE|WITH|BEGIN|SET|CREATE|FROM|JOIN|WHERE|UNION|ORDER BY|ON CONFLICT|ANALYZE)(?-u:\b)",
    )
    .expect("a pattern");
    // What the tables of a move say follows FROM in SQLite.
    let texts = sources()
        .filter(|(path, _)| !path.ends_with("/transfer/tables.rs"))
        .flat_map(|(path, source)| texts(&source).into_iter().map(move |text| (path.clone(), text)));
    texts.filter(|(_, text)| sql.is_match(text) && !text.starts_with(OF_SQLITE)).collect()
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

/// What follows on the same level of parentheses, without what is within others.
fn level(sql: &str) -> String {
    let (mut depth, mut level) = (0, String::new());
    for character in sql.chars() {
        match character {
            '(' => depth += 1,
            ')' if depth == 0 => break,
            ')' => depth -= 1,
            _ if depth == 0 => level.push(character),
            _ => {}
        }
    }
    level.split(" UNION ").next().unwrap_or_default().to_owned()
}

/// Whether a use of a table, which `rest` follows, names the instance before anything else: as the first column written to, the
/// first condition of its join, or that of all.
fn is_named(verb: &str, name: &str, rest: &str) -> bool {
    static IS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^instance = (\$[0-9]+|0|[a-z]+\.(instance|id))(?-u:\b)").expect("a pattern"));
    let (level, of) = (level(rest), format!("{name}."));
    let joined = level.strip_prefix(" ON ").and_then(|first| first.strip_prefix(&of));
    match verb {
        "INTO" => rest.starts_with(" (instance,"),
        "JOIN" if joined.is_some_and(|first| IS.is_match(first)) => true,
        _ => {
            level.split_once(" WHERE ").is_some_and(|(_, first)| IS.is_match(first.strip_prefix(&of).unwrap_or(first)))
        }
    }
}

#[test]
fn every_statement_names_the_instance_first() {
    let tables = tables();
    let used = Regex::new(r"(?-u:\b)(FROM|JOIN|UPDATE|INTO|USING) (\w+)( AS (\w+))?").expect("a pattern");
    let mut seen = 0;
    for (path, sql) in statements() {
        let sql = OF_ALL.iter().fold(sql, |sql, of_all| sql.replace(of_all, ""));
        for found in used.captures_iter(&sql).filter(|found| tables.iter().any(|table| *table == found[2])) {
            let name = found.get(4).map_or(&found[2], |alias| alias.as_str());
            let rest = &sql[found.get(0).expect("is there").end()..];
            assert!(is_named(&found[1], name, rest), "{path}: {}: {sql}", &found[0]);
            seen += 1;
        }
    }
    assert!(seen > 150, "uses of tables are found: {seen}");
    for (sql, named) in [
        (" WHERE instance = $1 AND id = $2", true),
        (" AS m CROSS JOIN LATERAL (SELECT 1 FROM x WHERE id = 2) AS y WHERE m.instance = $2", true),
        (" WHERE id = $1 AND instance = $2", false),
        (" WHERE instance <> $1", false),
        (" ORDER BY instance", false),
        (") AS y WHERE instance = $1", false),
        (" WHERE id = 1 UNION SELECT 1 FROM x WHERE instance = $1", false),
    ] {
        let name = if sql.starts_with(" AS m") { "m" } else { "message" };
        assert_eq!(is_named("FROM", name, sql), named, "{sql}");
    }
}

#[test]
fn every_transaction_is_repeated_after_a_rival() {
    let function = Regex::new(r"(?m)^ *(pub(\([a-z]+\))? )?(async )?fn (\w+)").expect("a pattern");
    let reaches = Regex::new(r"(?-u:\b)(self|to|archive)(\.0\.pool)?\.(lend|begin|begin_with|read|read_whole)\(")
        .expect("a pattern");
    let repeats = Regex::new(r"(?-u:\b)(repeat|again)\(").expect("a pattern");
    let mut alone = Vec::new();
    for (path, source) in sources().filter(|(path, _)| !path.contains("/common/")) {
        let starts: Vec<_> =
            function.captures_iter(&source).map(|found| found.get(0).expect("is there").start()).collect();
        let ends = starts.iter().skip(1).copied().chain([source.len()]);
        for text in starts.iter().zip(ends).map(|(start, end)| &source[*start..end]) {
            if reaches.is_match(text) && !repeats.is_match(text) {
                let name = function.captures(text).expect("is one")[4].to_owned();
                alone.push((path.rsplit('/').next().unwrap_or_default().to_owned(), name));
            }
        }
    }
    let expected = NOT_REPEATED.map(|(file, name)| (file.to_owned(), name.to_owned()));
    assert_eq!(alone, expected);
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
