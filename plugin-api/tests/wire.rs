//! Frames on a byte stream, however its bytes are cut.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use stele_plugin_api::frame::{Decoded, Decoder, Frame, HEADER, Head, Kind, WIRE_MAGIC, WireError};

fn frame() -> impl Strategy<Value = Frame> {
    let bytes = |most: usize| prop::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from);
    (0..12_u32, any::<u64>(), any::<u32>(), "[a-z.好]{0,20}", bytes(300), bytes(300)).prop_map(
        |(kind, id, flags, op, payload, body)| Frame { kind: kind.into(), id, flags, op: op.into(), payload, body },
    )
}

proptest! {
    #[test]
    fn frames_survive_any_cut(sent in prop::collection::vec(frame(), 0..8), cuts in prop::collection::vec(1..200_usize, 1..20)) {
        const MAX: u32 = 400;
        let mut wire = BytesMut::new();
        for (n, frame) in sent.iter().enumerate() {
            if n % 2 == 0 {
                frame.encode(&mut wire);
            } else {
                frame.encode_head(&mut wire);
                wire.extend_from_slice(&frame.payload);
                wire.extend_from_slice(&frame.body);
            }
        }
        let (mut decoder, mut input, mut received) = (Decoder::new(MAX), BytesMut::new(), Vec::new());
        let mut cuts = cuts.into_iter().cycle();
        while !wire.is_empty() {
            let cut = cuts.next().unwrap_or(1).min(wire.len());
            input.extend_from_slice(&wire.split_to(cut));
            while let Some(found) = decoder.decode(&mut input).expect("a sound stream") {
                received.push(found);
            }
        }
        let expected: Vec<Decoded> = sent
            .into_iter()
            .map(|frame| if frame.size() > u64::from(MAX) { Decoded::Oversized(frame.head()) } else { Decoded::Frame(frame) })
            .collect();
        prop_assert_eq!(received, expected);
        prop_assert!(input.is_empty());
    }

    #[test]
    fn garbage_is_an_error_or_waits(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut input = BytesMut::from(&garbage[..]);
        let mut decoder = Decoder::new(1024);
        while let Ok(Some(_)) = decoder.decode(&mut input) {}
    }
}

fn header(op: u32, payload: u32, body: u32) -> BytesMut {
    let mut out = BytesMut::new();
    for word in [WIRE_MAGIC, 4, 7, 0, 0, op, payload, body] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    assert_eq!(out.len(), HEADER);
    out
}

#[test]
fn announced_lengths_allocate_nothing() {
    let mut input = header(0, u32::MAX, u32::MAX);
    let found = Decoder::new(64 * 1024).decode(&mut input).expect("is passed over");
    let size = 2 * u64::from(u32::MAX);
    assert_eq!(found, Some(Decoded::Oversized(Head { kind: Kind::Reply, id: 7, flags: 0, size })));
    assert!(input.capacity() < 64 * 1024);
}

#[test]
fn a_stream_out_of_step_is_given_up() {
    let check = |mut input: BytesMut, expected: WireError| {
        assert_eq!(Decoder::new(1024).decode(&mut input), Err(expected));
    };
    check(BytesMut::from(&[0; HEADER][..]), WireError::Magic(0));
    check(header(129, 0, 0), WireError::OpTooLong(129));
    let mut not_text = header(1, 0, 0);
    not_text.extend_from_slice(&[0xff]);
    check(not_text, WireError::OpNotUtf8);
}

#[test]
fn debug_shows_sizes_only() {
    let frame = Frame { payload: "hunter2".into(), body: "hunter2".into(), ..Frame::bare(Kind::Hello, 0) };
    assert_eq!(
        format!("{frame:?}"),
        r#"Frame { kind: Hello, id: 0, flags: 0, op: "", payload: 7 bytes, body: 7 bytes }"#
    );
}
