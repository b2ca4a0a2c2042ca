//! Compiles the stub of the vendor's library with the system's C compiler.

use std::{env, path::PathBuf, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=vendor-stub/stub.c");
    println!("cargo::rerun-if-env-changed=CC");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("libvendor_stub.so");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(&compiler)
        .args(["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread", "-o"])
        .arg(&out)
        .arg("vendor-stub/stub.c")
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("`{compiler}` could not compile tests/vendor-stub/stub.c ({status})"),
        Err(error) => {
            panic!("the tests need a C compiler: `{compiler}` cannot be run ({error}); install one or set CC")
        }
    }
    println!("cargo::rustc-env=STELE_VENDOR_STUB={}", out.display());
}
