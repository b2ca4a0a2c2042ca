//! The part of `docs/plugin-guide.md` that is made out of the code: which operations there are, and what their payloads look like.
//!
//! `STELE_GUIDE=write cargo test -p stele-plugin-api --test golden` writes it anew.

use super::{minor_of, samples::samples};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use stele_plugin_api::Encoding;
use stele_plugin_api::ops::{Caller, OPERATIONS, Operation};

const BEGIN: &str = "<!-- made from the code: begin -->\n";
const END: &str = "<!-- made from the code: end -->\n";

/// The name of the type whose example is shown, or how a bare value is called.
fn bare(name: &str) -> &str {
    name.strip_prefix("Option<").and_then(|name| name.strip_suffix('>')).unwrap_or(name)
}

/// A type as the table names it.
fn named(name: &str, has_body: bool) -> String {
    let shown = match bare(name) {
        "Empty" => "nothing".to_owned(),
        "bool" => "`true` or `false`".to_owned(),
        known => format!("[`{known}`](#{})", known.to_lowercase()),
    };
    let or_null = if bare(name) == name { "" } else { " or `null`" };
    format!("{shown}{or_null}{}", if has_body { ", and a body" } else { "" })
}

/// The golden payload of this frame, as JSON, and whether the frame has a body.
fn example(sample: &str) -> (serde_json::Value, bool) {
    let samples = samples();
    let sample = samples.iter().find(|found| found.name == sample).expect("every operation has samples");
    let frame = (sample.frame)(Encoding::Json);
    let payload = if frame.payload.is_empty() { b"{}" } else { &frame.payload[..] };
    (serde_json::from_slice(payload).expect("a JSON payload"), !frame.body.is_empty())
}

fn table(caller: Caller, out: &mut String) {
    out.push_str("| operation | from minor | what it is for | request | reply |\n|---|---|---|---|---|\n");
    for operation in OPERATIONS.iter().filter(|operation| operation.caller == caller) {
        let Operation { name, summary, types: (request, reply), .. } = operation;
        let minor = minor_of(&format!("call.{name}.json"));
        let summary = summary.replace(['[', ']'], "");
        let request = named(request, example(&format!("call.{name}")).1);
        let reply = named(reply, example(&format!("reply.{name}")).1);
        writeln!(out, "| `{name}` | {minor} | {summary} | {request} | {reply} |").expect("a string takes text");
    }
}

/// Everything between the two marks.
fn made() -> String {
    let mut out = String::from("\n### What the daemon asks of a plugin\n\n");
    table(Caller::Daemon, &mut out);
    out.push_str("\n### What a plugin asks of the daemon\n\n");
    table(Caller::Plugin, &mut out);
    out.push_str("\n### Payloads\n\n");
    out.push_str("One example of each, as JSON. Every field may be missing, and then means nothing, none or 0.\n");
    let mut shown = BTreeSet::from(["Empty", "bool"]);
    for Operation { name, types: (request, reply), .. } in OPERATIONS {
        for (kind, is) in [("call", request), ("reply", reply)] {
            if shown.insert(bare(is)) {
                let (payload, _) = example(&format!("{kind}.{name}"));
                let payload = serde_json::to_string_pretty(&payload).expect("writes");
                write!(out, "\n#### {}\n\n```json\n{payload}\n```\n", bare(is)).expect("a string takes text");
            }
        }
    }
    out.push_str("\n#### MediaChunk\n\n```json\n");
    let (chunk, _) = example("item.media.fetch");
    write!(out, "{}\n```\n\n", serde_json::to_string_pretty(&chunk).expect("writes")).expect("a string takes text");
    out
}

#[test]
fn the_guide_shows_the_operations_there_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plugin-guide.md");
    let guide = std::fs::read_to_string(&path).expect("the guide");
    let (before, rest) = guide.split_once(BEGIN).expect("a mark where it begins");
    let (found, after) = rest.split_once(END).expect("a mark where it ends");
    let made = made();
    if std::env::var_os("STELE_GUIDE").is_some_and(|value| value == "write") {
        return std::fs::write(path, format!("{before}{BEGIN}{made}{END}{after}")).expect("the guide can be written");
    }
    assert_eq!(found, made, "see the head of this test");
}
