//! Streams of frames that are nearly right.

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use stele_plugin_api::frame::{Frame, Kind, MAX_OP};

/// Bytes that mean something: markers and bounds of MessagePack, and what JSON is made of.
const TELLING: &[u8] = b"\x00\x7f\x80\x81\x8f\x90\x91\x9f\xa0\xa1\xbf\xc0\xc1\xc3\xc4\xc6\xc7\xc9\xca\xcb\xcc\xcf\xd0\xd3\xd4\xd9\xdb\xdd\xdf\xe0\xff{}[]\",:\\-0eE.tn";

/// Makes one stream after the other out of golden frames; the same ones of the same seed.
pub struct Mutator<'a> {
    random: StdRng,
    golden: &'a [Frame],
    hellos: Vec<&'a Frame>,
}

impl<'a> Mutator<'a> {
    pub fn new(seed: u64, golden: &'a [Frame]) -> Self {
        let hellos = golden.iter().filter(|frame| frame.kind == Kind::Hello).collect();
        Self { random: StdRng::seed_from_u64(seed), golden, hellos }
    }

    pub fn stream(&mut self) -> Vec<u8> {
        let mut stream = BytesMut::new();
        // Most sessions begin as they should: nothing that follows would be looked at otherwise.
        if !self.one_in(10) {
            let hello = self.hellos.choose(&mut self.random).expect("there are golden hellos");
            hello.encode(&mut stream);
        }
        for _ in 0..self.random.random_range(1..=16) {
            self.frame().encode(&mut stream);
        }
        let mut stream = stream.to_vec();
        if self.one_in(5) {
            self.spoil(&mut stream);
        }
        stream
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_ratio(1, n)
    }

    fn frame(&mut self) -> Frame {
        let mut frame = self.golden.choose(&mut self.random).expect("there are golden frames").clone();
        if self.one_in(2) {
            // Calls are numbered from 1 on both sides.
            frame.id = self.random.random_range(0..8);
        }
        if self.one_in(2) {
            // What the application does, see `bodies::session`.
            frame.flags |= u32::from(self.random.random::<u16>()) << 16;
        }
        if self.one_in(8) {
            frame.flags ^= self.random.random_range(1..8_u32);
        }
        if self.one_in(4) {
            frame.kind = Kind::from(self.random.random_range(0..12_u32));
        }
        if self.one_in(20) {
            frame.id = self.random.random();
        }
        if self.one_in(20) {
            frame.op = "好".repeat(self.random.random_range(0..MAX_OP)).into();
        }
        if self.one_in(2) {
            let mut payload = frame.payload.to_vec();
            self.spoil(&mut payload);
            frame.payload = payload.into();
        }
        if self.one_in(20) {
            // Around what the targets take at once: 4 KiB, 64 KiB.
            let most = if self.one_in(2) { 5_000 } else { 70_000 };
            frame.body = Bytes::from(vec![b'x'; self.random.random_range(0..most)]);
        }
        frame
    }

    /// Changes a few bytes.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.random.random_range(1..=4) {
            let at = self.random.random_range(0..=bytes.len());
            let end = self.random.random_range(at..=bytes.len().min(at + 40));
            let telling = *TELLING.choose(&mut self.random).expect("there are some");
            match self.random.random_range(0..6) {
                0 if at < bytes.len() => bytes[at] ^= 1_u8 << self.random.random_range(0..8_u32),
                1 if at < bytes.len() => bytes[at] = telling,
                2 => bytes.insert(at, telling),
                3 => drop(bytes.drain(at..end)),
                4 => bytes.extend_from_within(at..end),
                _ => {
                    let other = &self.golden.choose(&mut self.random).expect("there are golden frames").payload;
                    drop(bytes.splice(at..end, other.iter().copied()));
                }
            }
        }
    }
}
