//! `media.fetch`: a file, chunk by chunk.
//!
//! The library gives 512 KiB at a time and an index for the next piece, which is all there is to a resume: the daemon keeps
//! the index beside the bytes it has, and a later call goes on from there. A failed chunk is asked for again as it was
//! (reference/wecom-archive.md §1.9).

use crate::corp::Corp;
use crate::ids;
use crate::rate::Purpose;
use crate::refusal;
use crate::vendor::{Chunk, Fault, Treatment};
use bytes::Bytes;
use std::time::Duration;
use stele_plugin_api::ops::{Empty, MediaChunk, MediaRequest};
use stele_plugin_api::{Error, ErrorCode, ItemSink};

/// Attempts at one chunk; the third unparsable reply in a row renews the handle, so that a fourth can succeed.
const CHUNK_TRIES: u32 = 4;
/// Wait before the second attempt; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Most chunks of a file: 64 GiB, more than WeCom lets anybody send.
const MAX_CHUNKS: u32 = 131_072;

/// Streams a file of this corp.
pub async fn fetch(corp: &Corp, request: MediaRequest, sink: &ItemSink<MediaChunk>) -> Result<Empty, Error> {
    let sdkfileid = match ids::parse_media(&request.handle) {
        Some((owner, sdkfileid)) if owner == corp.id() && !sdkfileid.is_empty() => sdkfileid,
        _ => return Err(Error::invalid("the handle is not one of a file of this corp")),
    };
    let mut index = request.resume;
    for _ in 0..MAX_CHUNKS {
        let Chunk { bytes, next, last } = chunk(corp, &index, &sdkfileid).await?;
        if !last && (next.is_empty() || next == index) {
            return Err(Error::new(ErrorCode::Unavailable, "the vendor library does not move on within the file"));
        }
        index.clone_from(&next);
        sink.send(MediaChunk { resume: next, last }, Bytes::from(bytes)).await?;
        if last {
            return Ok(Empty {});
        }
    }
    Err(Error::new(ErrorCode::TooLarge, "the file has no end"))
}

async fn chunk(corp: &Corp, index: &str, sdkfileid: &str) -> Result<Chunk, Error> {
    let handles = corp.media()?;
    let mut wait = FIRST_WAIT;
    for attempt in 1.. {
        corp.calls.next(Purpose::Files).await;
        let (index, sdkfileid) = (index.to_owned(), sdkfileid.to_owned());
        let result = handles.call(move |handle, egress| handle.media_chunk(&index, &sdkfileid, egress)).await;
        if corp.suspects_token(&result) {
            handles.renew();
        }
        match result {
            Ok(chunk) => return Ok(chunk),
            Err(fault) if attempt < CHUNK_TRIES && is_worth_another_try(&fault) => {}
            Err(fault) => return Err(refusal::of_fault(&fault)),
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    unreachable!("the last attempt returns")
}

fn is_worth_another_try(fault: &Fault) -> bool {
    fault.code().is_some_and(|code| matches!(code.treatment(), Treatment::Retry | Treatment::Recreate))
}
