//! Files behind signed links, in every place contents are kept in: what a store promises, what requests are answered, what
//! happens while a store does not answer.

mod answers;
mod bench;
mod bucket;
mod contract;
mod owner;
mod standin;

/// A content of this size that repeats nowhere, whatever is left out or done twice.
fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8 ^ (at >> 16) as u8).collect()
}

fn md5(content: &[u8]) -> String {
    use md5::{Digest, Md5};
    hex::encode(Md5::digest(content))
}
