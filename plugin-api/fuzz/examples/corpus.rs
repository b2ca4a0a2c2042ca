//! Writes what the targets begin with: every golden frame, as it comes from a child process. `corpus FOLDER`.

use bytes::BytesMut;
use std::{env, fs, io, path::Path};
use stele_fuzz::golden::golden;

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).expect("usage: corpus FOLDER");
    fs::create_dir_all(&folder)?;
    for (name, frame) in golden(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden")) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        fs::write(Path::new(&folder).join(name), bytes)?;
    }
    Ok(())
}
