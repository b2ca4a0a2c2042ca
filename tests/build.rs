//! Compiles the libraries in `vendor-stub/` with the system's C compiler.

use std::{env, path::PathBuf, process::Command};

/// Source, and the variable under which the crate finds what was made of it.
const LIBRARIES: [(&str, &str); 2] = [("stub", "STELE_VENDOR_STUB"), ("relay", "STELE_VENDOR_RELAY")];

fn main() {
    println!("cargo::rerun-if-env-changed=CC");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (name, variable) in LIBRARIES {
        let source = format!("vendor-stub/{name}.c");
        println!("cargo::rerun-if-changed={source}");
        let out = folder.join(format!("libvendor_{name}.so"));
        let status = Command::new(&compiler)
            .args(["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread", "-o"])
            .arg(&out)
            .args([&source, "-ldl"])
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
