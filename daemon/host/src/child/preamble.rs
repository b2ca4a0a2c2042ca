//! The first words on the socket, before any frame: which plugin the child is to load, and whether it could.
//!
//! A message is its length (u32, little endian) and JSON. It carries no configuration: that comes by hello, once the plugin
//! is known to be one.

use crate::{carrier::About, file::FileRules, limits::ProcessLimits};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io::{self, Read},
    path::PathBuf,
};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of one message of the preamble; paths and error texts are short.
const MAX_BYTES: u32 = 64 * 1024;

/// Daemon → child.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoadRequest {
    /// The plugin's file.
    pub(crate) plugin: PathBuf,
    /// What it has to be.
    pub(crate) file: FileRules,
    /// Name of the instance, for what the child says of itself.
    pub(crate) instance: String,
    /// Bound of a frame, bytes.
    pub(crate) max_frame_bytes: u32,
    /// What the process may take of the machine.
    pub(crate) limits: ProcessLimits,
    /// The daemon's process.
    pub(crate) daemon: u32,
}

/// Child → daemon.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LoadReply {
    /// Loaded and open; frames follow.
    Loaded(About),
    /// Not loaded, with the reason; the child exits.
    Refused {
        /// For operators.
        reason: String,
        /// It may be otherwise in a moment.
        may_pass: bool,
    },
}

/// The bytes of `message` on the socket.
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).ok().filter(|&length| length <= MAX_BYTES);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a preamble of more than 64 KiB"))?;
    Ok([&length.to_le_bytes()[..], &json].concat())
}

/// Reads one message, blocking.
pub(crate) fn read<T: DeserializeOwned>(source: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    source.read_exact(&mut length)?;
    let mut json = vec![0; checked(length)?];
    source.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

/// Reads one message.
pub(crate) async fn read_async<T: DeserializeOwned>(source: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut length = [0; 4];
    source.read_exact(&mut length).await?;
    let mut json = vec![0; checked(length)?];
    source.read_exact(&mut json).await?;
    Ok(serde_json::from_slice(&json)?)
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(length);
    if length > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a preamble of a plugin's process"));
    }
    Ok(length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let limits = ProcessLimits { memory: Some(1 << 40), ..ProcessLimits::default() };
        let (plugin, instance) = ("/opt/产品 1.so".into(), "hq".into());
        let folders = Some(vec!["/opt/stele".into()]);
        let file = FileRules { sha256: Some("00".into()), allow_writable: true, folders };
        let sent = LoadRequest { plugin, file, instance, max_frame_bytes: 1, limits, daemon: 1 };
        let bytes = encode(&sent).unwrap();
        assert_eq!(read::<LoadRequest>(&mut &bytes[..]).unwrap(), sent);
        let about = About { name: "echo".into(), version: "1".into(), json: true };
        for sent in [LoadReply::Refused { reason: "no \"such\" file".into(), may_pass: true }, LoadReply::Loaded(about)]
        {
            assert_eq!(read::<LoadReply>(&mut &encode(&sent).unwrap()[..]).unwrap(), sent);
        }
    }

    #[test]
    fn a_stranger_is_refused() {
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", b"\x01\x00", b"\x02\x00\x00\x00{"] {
            assert!(read::<LoadRequest>(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
    }
}
