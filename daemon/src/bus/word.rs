//! What is sent: `sender instance instance …`, as text.

use std::collections::BTreeSet;
use std::fmt;
use stele_archive::InstanceId;

/// Most instances of one word; more are said in several.
const MAX: usize = 256;
/// Longest word that is read, in bytes.
const MAX_BYTES: usize = 8192;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// The run of a daemon that says it.
    pub from: String,
    /// What was committed to.
    pub instances: BTreeSet<InstanceId>,
}

impl Word {
    /// The word of this payload.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok().filter(|text| text.len() <= MAX_BYTES)?;
        let mut parts = text.split_ascii_whitespace();
        let from = parts.next()?.to_owned();
        let instances = parts.map(|part| part.parse().map(InstanceId)).collect::<Result<_, _>>().ok()?;
        Some(Self { from, instances })
    }

    /// The words to say this in.
    pub fn split(self) -> Vec<Self> {
        let all: Vec<InstanceId> = self.instances.into_iter().collect();
        let word = |part: &[InstanceId]| Self { from: self.from.clone(), instances: part.iter().copied().collect() };
        all.chunks(MAX).map(word).collect()
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.from)?;
        self.instances.iter().try_for_each(|instance| write!(f, " {}", instance.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        let word = Word { from: "a1".into(), instances: (1..=600).map(InstanceId).collect() };
        let words = word.clone().split();
        assert_eq!(words.len(), 3);
        let read = words.iter().map(|word| Word::parse(word.to_string().as_bytes()).expect("it is one"));
        assert_eq!(read.flat_map(|word| word.instances).collect::<BTreeSet<_>>(), word.instances);
        for odd in [&b""[..], b"a1 x", b"\xff", &[b'1'; 9000]] {
            assert_eq!(Word::parse(odd), None);
        }
    }
}
