//! Rules about the source tree that reviewers would otherwise have to remember.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use stele_tests::{places, skip::skip, source_root};

/// Most lines of a source file.
const MAX_LINES: usize = 700;

/// Which crates of the workspace each one may use. What is missing here may be used by nobody.
const MAY_USE: &[(&str, &[&str])] = &[
    ("stele-plugin-api", &[]),
    ("stele-archive", &["stele-plugin-api"]),
    ("stele-host", &["stele-plugin-api"]),
    ("stele-store", &["stele-archive", "stele-plugin-api"]),
    ("stele-search", &["stele-archive", "stele-plugin-api"]),
    ("steled", &["stele-archive", "stele-host", "stele-plugin-api", "stele-search", "stele-store"]),
    ("stele-gateway", &["stele-plugin-api"]),
    ("stele-wecom", &["stele-plugin-api"]),
    ("stele-openim", &["stele-plugin-api"]),
    ("stele-wukongim", &["stele-plugin-api"]),
];

/// What a crate must not know, as the libraries that would show it.
const MUST_NOT_USE: &[(&str, &[&str])] = &[
    ("stele-plugin-api", &["sqlx", "axum", "hyper", "reqwest", "tantivy"]),
    ("stele-archive", &["sqlx", "axum", "hyper", "reqwest", "tantivy", "libloading"]),
    ("stele-host", &["sqlx", "axum", "hyper", "reqwest", "tantivy"]),
    ("stele-store", &["axum", "hyper", "reqwest", "tantivy", "libloading"]),
    // A client of Meilisearch, but no server.
    ("stele-search", &["sqlx", "axum", "hyper", "libloading"]),
    ("stele-gateway", &["sqlx", "axum", "hyper", "reqwest", "tantivy", "libloading"]),
    ("stele-wecom", &["sqlx", "axum", "hyper", "reqwest", "tantivy"]),
    ("stele-openim", &["sqlx", "axum", "hyper", "reqwest", "tantivy", "libloading"]),
    ("stele-wukongim", &["sqlx", "axum", "hyper", "reqwest", "tantivy", "libloading"]),
];

/// Everything `plugin-api` may depend on directly; nobody who writes a plugin shall compile more.
const PLUGIN_API_NEEDS: &[&str] = &["bytes", "rmp-serde", "serde", "serde_bytes", "serde_json", "tokio", "zeroize"];

/// Where `unsafe` is allowed: the two ends of the C ABI with their tests, and the binding of the vendor's library.
const UNSAFE_IN: &[&str] = &[
    "daemon/host/src/loader.rs",
    "plugin-api/src/abi.rs",
    "plugin-api/src/sdk/entry.rs",
    "plugin-api/tests/abi.rs",
    "plugin-api/tests/conformance/main.rs",
    "plugin-api/tests/sdk.rs",
    "plugins/wecom/src/vendor/ffi.rs",
    "plugins/wecom/src/vendor/library.rs",
];

fn files() -> Vec<PathBuf> {
    fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("the source tree is readable").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_symlink() || name == "target" || name == ".git" || name == "__pycache__" {
                continue;
            }
            if path.is_dir() { walk(&path, files) } else { files.push(path) }
        }
    }
    let mut files = Vec::new();
    walk(source_root(), &mut files);
    files
}

fn relative(path: &Path) -> String {
    path.strip_prefix(source_root()).expect("within the tree").to_string_lossy().into_owned()
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("the file is readable")).into_owned()
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted))
}

fn none(offences: &[String]) {
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

fn metadata(arguments: &[&str]) -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(arguments)
        .current_dir(source_root())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs, since it runs this test");
    assert!(output.status.success(), "cargo metadata failed");
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// Dependencies of each crate of the workspace that end up in what is shipped: not those of its tests or build scripts.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata(&["--no-deps"]);
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let needed = package["dependencies"].as_array().expect("dependencies").iter();
            (name(package), needed.filter(|needed| needed["kind"].is_null()).map(name).collect())
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let dependencies = dependencies();
    let ours: BTreeSet<_> = dependencies.keys().cloned().collect();
    let mut offences = Vec::new();
    for (name, needed) in &dependencies {
        if ["stele-tests", "stele-servers"].contains(&name.as_str()) {
            continue;
        }
        let allowed = MAY_USE.iter().find(|(known, _)| known == name).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            offences.push(format!("{name} is new: say in this test what it may use"));
            continue;
        };
        for other in needed.intersection(&ours).filter(|other| !allowed.contains(&other.as_str())) {
            offences.push(format!("{name} uses {other}"));
        }
        let forbidden = MUST_NOT_USE.iter().find(|(known, _)| known == name).map_or(&[][..], |(_, list)| list);
        for library in forbidden.iter().filter(|library| needed.contains(**library)) {
            offences.push(format!("{name} uses {library}"));
        }
    }
    none(&offences);
}

#[test]
fn plugin_api_is_slim() {
    let dependencies = dependencies();
    let needed = &dependencies["stele-plugin-api"];
    let offences: Vec<_> = needed
        .iter()
        .filter(|name| !PLUGIN_API_NEEDS.contains(&name.as_str()))
        .map(|name| format!("plugin-api depends on {name}"))
        .collect();
    none(&offences);
}

#[test]
fn plugins_export_one_symbol() {
    let plugins: Vec<_> = fs::read_dir(source_root().join("plugins"))
        .expect("there are plugins")
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!plugins.is_empty());
    for plugin in plugins {
        let file = places::plugin(&plugin).expect("a plugin is built");
        let output = Command::new("nm").args(["--dynamic", "--defined-only"]).arg(&file).output();
        let Ok(output) = output else { return skip("exported symbols", "nm cannot be run") };
        let listing = String::from_utf8_lossy(&output.stdout).into_owned();
        let symbols: Vec<_> = listing.lines().filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(symbols, ["stele_plugin_v1"], "{}", file.display());
    }
}

#[test]
fn files_are_short() {
    let mut offences = Vec::new();
    for path in files().iter().filter(|path| has_extension(path, &["rs", "c", "h", "py", "sql", "js"])) {
        let lines = text(path).lines().count();
        if lines > MAX_LINES {
            offences.push(format!("{} has {lines} lines", relative(path)));
        }
    }
    none(&offences);
}

#[test]
fn nothing_tells_of_a_machine() {
    // Joined here, so that this file does not contain what it looks for.
    let words = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"]].map(|halves| halves.concat());
    let mut offences = Vec::new();
    for path in files().iter().filter(|path| !path.ends_with("Cargo.lock")) {
        let text = text(path);
        for word in words.iter().filter(|word| text.contains(word.as_str())) {
            offences.push(format!("{} contains {word}", relative(path)));
        }
    }
    none(&offences);
}

#[test]
fn the_documents_name_every_folder() {
    let documents = ["README.md", "ARCHITECTURE.md"].map(|name| text(&source_root().join(name))).concat();
    let mut offences = Vec::new();
    for entry in fs::read_dir(source_root()).expect("the source tree is readable").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') || name == "target";
        if entry.path().is_dir() && !hidden && !documents.contains(&format!("{name}/")) {
            offences.push(format!("neither README.md nor ARCHITECTURE.md mentions {name}/"));
        }
    }
    none(&offences);
}

/// The compiler denies `unsafe` wherever it is not allowed by name, and clippy where it is not argued: here is where.
#[test]
fn unsafe_is_allowed_by_name() {
    let word = ["unsafe", "_code"].concat();
    let allowing: BTreeSet<_> = files()
        .iter()
        .filter(|path| has_extension(path, &["rs"]) && text(path).contains(&word))
        .map(|path| relative(path))
        .collect();
    assert_eq!(allowing, UNSAFE_IN.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn nothing_is_left_for_later() {
    let words = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    let marker = |text: &str, word: &str| {
        text.match_indices(word).any(|(at, _)| {
            let around = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !around(text[..at].chars().next_back()) && !around(text[at + word.len()..].chars().next())
        })
    };
    let mut offences = Vec::new();
    for path in files().iter().filter(|path| has_extension(path, &["rs", "c", "h", "toml", "md", "sql"])) {
        let text = text(path);
        for word in words.iter().filter(|word| marker(&text, word)) {
            offences.push(format!("{} contains {word}", relative(path)));
        }
    }
    let ignored = ["#[ig", "nore"].concat();
    for path in files().iter().filter(|path| has_extension(path, &["rs"])) {
        if text(path).contains(&ignored) {
            offences.push(format!("{} has a test that does not run", relative(path)));
        }
    }
    none(&offences);
}
