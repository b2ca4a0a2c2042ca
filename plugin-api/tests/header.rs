//! `include/stele_plugin.h` says what the Rust structures say, and compiles to the same, byte for byte.
//!
//! Behind its first comment, which is written by hand, the header is made out of the code:
//! `STELE_HEADER=write cargo test -p stele-plugin-api --test header` writes it anew.

use std::fmt::Write;
use std::io::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;
use stele_plugin_api::abi::{self, SteleBuf, SteleDescriptor, SteleFrame, StelePeer, SteleSlice};
use stele_plugin_api::frame::{FLAG_JSON, FLAG_STREAM, Kind, MAX_OP};
use stele_plugin_api::hello::{Config, Hello};

/// `(C expression, its value in Rust)`.
fn facts() -> Vec<(String, i64)> {
    let mut facts = Vec::new();
    let mut fact = |expression: String, value: i64| facts.push((expression, value));
    macro_rules! layout {
        ($($c:literal = $rust:ty { $($field:ident),+ })+) => {$(
            fact(format!("sizeof({})", $c), size_of::<$rust>() as i64);
            fact(format!("_Alignof({})", $c), align_of::<$rust>() as i64);
            $(fact(format!("offsetof({}, {})", $c, stringify!($field)), offset_of!($rust, $field) as i64);)+
        )+};
    }
    layout! {
        "stele_slice" = SteleSlice { ptr, len }
        "stele_buf" = SteleBuf { ptr, len, owner, release }
        "stele_frame" = SteleFrame { size, kind, id, flags, reserved, op, payload, body }
        "stele_peer" = StelePeer { size, ctx, post }
        "stele_descriptor" = SteleDescriptor { magic, abi, flags, size, name, version, open, close }
    }
    let kinds = [
        ("STELE_HELLO", Kind::Hello),
        ("STELE_CALL", Kind::Call),
        ("STELE_ITEM", Kind::Item),
        ("STELE_REPLY", Kind::Reply),
        ("STELE_ERROR", Kind::Error),
        ("STELE_CANCEL", Kind::Cancel),
        ("STELE_CREDIT", Kind::Credit),
        ("STELE_NOTIFY", Kind::Notify),
        ("STELE_GOODBYE", Kind::Goodbye),
    ];
    for (name, kind) in kinds {
        fact(name.to_owned(), i64::from(u32::from(kind)));
    }
    let constants = [
        ("STELE_MAGIC", i64::from(abi::MAGIC)),
        ("STELE_ABI", i64::from(abi::ABI)),
        ("STELE_DESCRIPTOR_JSON", i64::from(abi::DESCRIPTOR_JSON)),
        ("STELE_FRAME_JSON", i64::from(FLAG_JSON)),
        ("STELE_FRAME_STREAM", i64::from(FLAG_STREAM)),
        ("STELE_OPEN_OK", i64::from(abi::OPEN_OK)),
        ("STELE_OPEN_INVALID", i64::from(abi::OPEN_INVALID)),
        ("STELE_OPEN_FAILED", i64::from(abi::OPEN_FAILED)),
        ("STELE_MAX_OP", MAX_OP as i64),
    ];
    for (name, value) in constants {
        fact(name.to_owned(), value);
    }
    facts
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("header-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a scratch folder");
    folder
}

/// Compiles with the C compiler; `None`, loudly, when it is asked for C++ and knows none.
fn cc(name: &str, source: &str, arguments: &[&str]) -> Option<(PathBuf, PathBuf)> {
    let folder = scratch(name);
    let (file, out) = (folder.join("probe.c"), folder.join("probe"));
    std::fs::write(&file, source).expect("the source is written");
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let run = Command::new(compiler).args(arguments).arg("-I").arg(include).arg("-o").arg(&out).arg(&file).output();
    let run = run.expect("the tests need a C compiler (cc, or CC)");
    if String::from_utf8_lossy(&run.stderr).contains("cc1plus") {
        // Past the capture of the test harness.
        _ = writeln!(std::io::stderr(), "*** SKIPPED: no C++ compiler, the C header was not tried as C++");
        return None;
    }
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Some((folder, out))
}

#[test]
fn sizes_offsets_and_constants_agree() {
    let facts = facts();
    let mut source = String::from("#include \"stele_plugin.h\"\n#include <stdio.h>\nint main(void) {\n");
    for (expression, _) in &facts {
        writeln!(source, "  printf(\"%lld\\n\", (long long)({expression}));").expect("a string takes text");
    }
    source.push_str("  return 0;\n}\n");
    let Some((folder, program)) = cc("layout", &source, &["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
    else {
        return;
    };
    let output = Command::new(program).output().expect("the probe runs").stdout;
    let output = String::from_utf8(output).expect("numbers");
    let found: Vec<i64> = output.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(found.len(), facts.len());
    for ((expression, expected), found) in facts.iter().zip(found) {
        assert_eq!(found, *expected, "{expression}");
    }
    std::fs::remove_dir_all(folder).expect("the scratch folder goes");
}

#[test]
fn the_header_is_valid_cplusplus_as_well() {
    let source = "#include \"stele_plugin.h\"\nint main() { return STELE_ABI == 1 ? 0 : 1; }\n";
    if let Some((folder, _)) =
        cc("cplusplus", source, &["-x", "c++", "-std=c++11", "-fsyntax-only", "-Wall", "-Werror"])
    {
        std::fs::remove_dir_all(folder).expect("the scratch folder goes");
    }
}

/// The numbers of the kinds and the layout of the structures, and the one symbol: what cannot be read off the structures alone.
fn by_number() -> (String, String) {
    let (kinds, layout): (Vec<_>, Vec<_>) = facts()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("STELE_") || is_kind(name))
        .partition(|(name, _)| is_kind(name));
    let kinds: Vec<String> = kinds.iter().map(|(name, value)| format!("  {name} = {value}")).collect();
    let mut end = String::from(
        "// The only symbol.\n#ifdef __cplusplus\nextern \"C\"\n#endif\n\
         #if defined(STELE_BUILDING_PLUGIN) && defined(__GNUC__)\n__attribute__((visibility(\"default\")))\n#endif\n\
         const stele_descriptor *stele_plugin_v1(void);\n\n\
         // What is frozen, on machines of 64 bits.\n\
         #if UINTPTR_MAX == UINT64_MAX && defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L\n",
    );
    for (expression, value) in layout {
        writeln!(end, "_Static_assert({expression} == {value}, \"{expression} is frozen\");")
            .expect("a string takes text");
    }
    end.push_str("#endif");
    (format!("\n// stele_frame.kind\nenum {{\n{}\n}};", kinds.join(",\n")), end)
}

fn is_kind(name: &str) -> bool {
    let other = ["STELE_MAGIC", "STELE_ABI", "STELE_MAX_OP"];
    name.starts_with("STELE_")
        && !other.contains(&name)
        && !["STELE_DESCRIPTOR_", "STELE_FRAME_", "STELE_OPEN_"].iter().any(|prefix| name.starts_with(prefix))
}

/// The header below its first comment.
fn generated() -> String {
    let structures = ["SteleDescriptor", "StelePeer", "SteleFrame", "SteleBuf", "SteleSlice"];
    let constants = ["MAGIC", "ABI", "DESCRIPTOR_JSON", "OPEN_OK", "OPEN_INVALID", "OPEN_FAILED", "MAX_OP"];
    let in_c = |name: &str| format!("stele_{}", name.trim_start_matches("Stele").to_lowercase());
    let renamed = structures.iter().map(|name| (name.to_string(), in_c(name)));
    let renamed = renamed.chain(constants.iter().map(|name| (name.to_string(), format!("STELE_{name}"))));
    let flags = ["JSON", "STREAM"].map(|name| (format!("FLAG_{name}"), format!("STELE_FRAME_{name}")));
    let (kinds, end) = by_number();
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Type,
        documentation_style: cbindgen::DocumentationStyle::C99,
        no_includes: true,
        sys_includes: vec!["stddef.h".to_owned(), "stdint.h".to_owned()],
        after_includes: Some(kinds),
        trailer: Some(end),
        usize_is_size_t: true,
        export: cbindgen::ExportConfig {
            include: structures.map(str::to_owned).to_vec(),
            exclude: ["ABI_MINOR", "HEADER", "WIRE_MAGIC"].map(str::to_owned).to_vec(),
            rename: renamed.chain(flags).collect(),
            ..Default::default()
        },
        ..Default::default()
    };
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let bindings = cbindgen::Builder::new()
        .with_src(sources.join("abi.rs"))
        .with_src(sources.join("frame.rs"))
        .with_config(config)
        .generate()
        .expect("the sources can be read");
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).expect("text");
    format!("#ifndef STELE_PLUGIN_H\n#define STELE_PLUGIN_H\n\n{text}\n#endif\n")
}

#[test]
fn the_header_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/stele_plugin.h");
    let header = std::fs::read_to_string(&path).expect("the header");
    let (prose, code) = header.split_at(header.find("#ifndef").expect("a guard"));
    let generated = generated();
    if std::env::var_os("STELE_HEADER").is_some_and(|value| value == "write") {
        return std::fs::write(path, format!("{prose}{generated}")).expect("the header can be written");
    }
    assert_eq!(code, generated, "see the head of this test");
}

/// A field of hello that the header does not tell of cannot be found from C.
#[test]
fn the_header_tells_of_every_field_of_hello() {
    let hello = Hello {
        instance: "i".into(),
        config: Config(serde_json::json!({})),
        texts: vec!["/x".into()],
        isolated: true,
        node: Some(1),
        threads: 1,
        ..Hello::default()
    };
    let header = include_str!("../include/stele_plugin.h");
    let serde_json::Value::Object(fields) = serde_json::to_value(hello).expect("writes") else { panic!("a map") };
    for field in fields.keys() {
        assert!(header.contains(&format!("\"{field}\":")), "{field} is not told");
    }
}

/// Every name the header defines is compared above: one that is added there must be added here.
#[test]
fn every_constant_of_the_header_is_compared() {
    let header = include_str!("../include/stele_plugin.h");
    let known: Vec<String> = facts().into_iter().map(|(expression, _)| expression).collect();
    for line in header.lines() {
        let name = match line.trim().strip_prefix("#define ") {
            Some(define) => define.split_whitespace().next().unwrap_or_default(),
            None => {
                line.trim().strip_prefix("STELE_").map_or("", |_| line.trim().split([' ', ',']).next().unwrap_or(""))
            }
        };
        if name.is_empty() || name == "STELE_PLUGIN_H" {
            continue;
        }
        assert!(known.iter().any(|known| known == name), "{name} is not compared");
    }
}
