//! A program that does nothing but hold a plugin: what tests and benches of this crate start in the place of `steled`.
//!
//! `steled plugin-host` runs the same function, so that an installation needs one executable only.

fn main() -> std::process::ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("plugin-host") => stele_host::plugin_host_main(),
        Some("plugin-keeper") => stele_host::plugin_keeper_main(),
        _ => {
            eprintln!("usage: stele-plugin-host plugin-host (with the daemon's socket as stdin)");
            std::process::ExitCode::from(2)
        }
    }
}
