//! Keeping the library off the standard output.
//!
//! When WeCom refuses an access token the library prints the raw reply to file descriptor 1
//! (reference/wecom-archive.md §1.2). Under the child carrier the daemon turns that output into log lines, and a log is the
//! last place for it. The library cannot be told to be quiet and writes behind Rust's back, so descriptor 1 itself is
//! pointed at nothing, once, before the library is loaded. That is only right in a process that is the plugin's own: in the
//! daemon's process it would silence the daemon, so there the library is not loaded at all.

use std::fs::File;
use std::io;

/// Points this process's standard output at nothing, for good.
pub fn silence_stdout() -> io::Result<()> {
    let nothing = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(())
}
