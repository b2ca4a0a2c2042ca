//! `steled plugins describe`

use crate::config::{Config, Instance};
use crate::lifecycle::describe;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::ExitCode;
use stele_host::{Described, Opened, harmless};
use stele_plugin_api::Encoding;

/// Bytes shown of one thing a plugin says.
const MAX_SHOWN: usize = 1000;

/// Asks the plugin in this file what it is. What it says is shown as far as it says it; it fails unless that is everything.
pub async fn run(config: &Config, path: &Path, instance: Option<&Instance>, as_json: bool) -> Result<ExitCode> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let sum = hex::encode(Sha256::digest(bytes));
    let described = describe(path.to_owned(), &sum, instance, config).await?;
    match as_json {
        true => println!("{}", object(path, &sum, &described)),
        false => {
            for (name, value) in rows(path, &sum, &described) {
                println!("{name:<16}{}", harmless(&value, MAX_SHOWN));
            }
        }
    }
    let Err(error) = &described.opened else { return Ok(ExitCode::SUCCESS) };
    let (with, hint) = match instance {
        Some(instance) => (format!("the configuration of instance {}", instance.name), ""),
        None => ("an empty configuration".to_owned(), "; --instance NAME gives it the one of an instance"),
    };
    eprintln!("error: it does not open with {with}: {}{hint}", harmless(&error.to_string(), MAX_SHOWN));
    Ok(ExitCode::FAILURE)
}

fn rows(path: &Path, sum: &str, described: &Described) -> Vec<(&'static str, String)> {
    let minor = described.opened.as_ref().map(|opened| format!(".{}", opened.hello.abi_minor)).unwrap_or_default();
    let mut rows = vec![
        ("file", path.display().to_string()),
        ("sha256", sum.to_owned()),
        ("name", described.name.clone()),
        ("version", described.version.clone()),
        ("protocol", format!("ABI {}{minor}, {}", described.abi, payload(described.encoding))),
    ];
    if let Ok(Opened { hello, description }) = &described.opened {
        rows.push(("summary", description.summary.clone()));
        rows.push(("operations", description.operations.join(", ")));
        rows.push(("largest frame", format!("{} bytes", hello.limits.max_frame)));
        rows.push(("calls at once", hello.limits.max_calls.to_string()));
        let said = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        rows.extend(
            settings(described).into_iter().map(|(key, value)| (key, format!("{} unless configured", said(&value)))),
        );
    }
    rows.retain(|(_, value)| !value.is_empty());
    rows
}

fn object(path: &Path, sum: &str, described: &Described) -> Value {
    let opened = described.opened.as_ref().ok();
    json!({
        "file": path,
        "sha256": sum,
        "name": described.name,
        "version": described.version,
        "protocol": {
            "abi": described.abi,
            "minor": opened.map(|opened| opened.hello.abi_minor),
            "payload": payload(described.encoding),
            "limits": opened.map(|opened| opened.hello.limits),
        },
        "description": opened.map(|opened| &opened.description),
        "settings": opened.map(|_| settings(described).into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>()),
        "error": described.opened.as_ref().err().map(ToString::to_string),
    })
}

/// What it recommends, under the keys of `[[instance]]` that say otherwise.
fn settings(described: &Described) -> Vec<(&'static str, Value)> {
    let Ok(Opened { description, .. }) = &described.opened else { return Vec::new() };
    let settings = [
        ("listen", json!(description.default_listen)),
        ("sync.cron", json!(description.default_sync)),
        ("directory.cron", json!(description.default_directory)),
        ("rate_limit", json!(description.default_rate)),
        ("max_body_bytes", json!(description.default_max_body)),
    ];
    settings.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

fn payload(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::MessagePack => "MessagePack",
        Encoding::Json => "JSON",
    }
}
