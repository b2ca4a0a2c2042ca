//! Compiles the stand-ins of the vendor's library, and the plugins that keep no rule, with the system's C compiler.

use std::{env, path::PathBuf, process::Command};

/// Source, what is made of it, and the variable under which the crate finds that.
const LIBRARIES: [(&str, &str, &str); 3] = [
    ("vendor-stub/stub.c", "libvendor_stub.so", "STELE_VENDOR_STUB"),
    ("vendor-stub/relay.c", "libvendor_relay.so", "STELE_VENDOR_RELAY"),
    ("zoo/zoo.c", "zoo.so", "STELE_ZOO"),
];
/// Where the header of plugins is.
const HEADERS: &str = "../plugin-api/include";

fn main() {
    println!("cargo::rerun-if-env-changed=CC");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo::rerun-if-changed={HEADERS}");
    for (source, name, variable) in LIBRARIES {
        println!("cargo::rerun-if-changed={source}");
        let out = folder.join(name);
        let status = Command::new(&compiler)
            .args([
                "-O2",
                "-Wall",
                "-Wextra",
                "-shared",
                "-fPIC",
                "-fvisibility=hidden",
                "-pthread",
                "-I",
                HEADERS,
                "-o",
            ])
            .arg(&out)
            .args([source, "-ldl"])
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => panic!("`{compiler}` could not compile tests/{source} ({status})"),
            Err(error) => {
                panic!("the tests need a C compiler: `{compiler}` cannot be run ({error}); install one or set CC")
            }
        }
        println!("cargo::rustc-env={variable}={}", out.display());
    }
}
