//! The frame decoder: a stream is read the same however its bytes are cut, what is kept of it is bounded, and what was read is
//! what was sent.

use bytes::BytesMut;
use stele_plugin_api::frame::{Decoded, Decoder, HEADER, MAX_OP, WireError};

/// Bytes of payload and body the decoder keeps.
const MAX_FRAME: u32 = 4096;

/// Bytes the buffer of a reader may have room for: a few frames, and what `BytesMut` rounds up to.
const MAX_ROOM: usize = 128 * 1024;

/// Reads `data`, `cut` bytes at a time.
fn read(data: &[u8], cut: usize) -> (Vec<Decoded>, Option<WireError>) {
    let (mut decoder, mut input, mut found) = (Decoder::new(MAX_FRAME), BytesMut::new(), Vec::new());
    for piece in data.chunks(cut) {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(decoded)) => found.push(decoded),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(input.capacity() <= MAX_ROOM, "{} bytes of room", input.capacity());
    }
    (found, None)
}

/// See the module's documentation.
pub fn check(data: &[u8]) {
    let (found, error) = read(data, MAX_FRAME as usize);
    // Byte by byte, unless there are so many that it takes all the time.
    for cut in [1 + data.len() / 512, HEADER + 1] {
        assert_eq!(read(data, cut), (found.clone(), error), "cut into pieces of {cut} bytes");
    }
    let mut rest = data;
    for decoded in found {
        let length = match decoded {
            Decoded::Frame(frame) => {
                assert!(frame.size() <= u64::from(MAX_FRAME) && frame.op.len() <= MAX_OP);
                let mut again = BytesMut::new();
                frame.encode(&mut again);
                assert_eq!(again[..], rest[..again.len()]);
                again.len()
            }
            Decoded::Oversized(head) => {
                assert!(head.size > u64::from(MAX_FRAME));
                let op = u32::from_le_bytes([rest[20], rest[21], rest[22], rest[23]]);
                // The end of it may not have come.
                rest.len().min(HEADER + op as usize + head.size as usize)
            }
        };
        rest = &rest[length..];
    }
    if error.is_none() {
        assert!(rest.len() < HEADER + MAX_OP + MAX_FRAME as usize, "a whole frame was not read");
    }
}
