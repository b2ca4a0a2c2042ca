//! Texts that must never be seen: keys, passwords, tokens.

use serde::{Deserialize, Deserializer};
use std::fmt;
use zeroize::Zeroizing;

/// What is printed in a secret's place.
const REDACTED: &str = "[redacted]";

/// A secret text, for what a configuration holds and what an upstream gives: wiped when dropped, and redacted wherever it is
/// printed. `==` takes a time that depends on the texts: what a stranger sent is compared with a secret otherwise.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. The caller keeps it out of logs, errors and replies.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` with every occurrence of the secret blotted out; for texts that came from elsewhere and are shown on.
    pub fn scrub(&self, text: &str) -> String {
        if self.is_empty() { text.to_owned() } else { text.replace(self.expose(), REDACTED) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "[none]" } else { REDACTED })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_nowhere() {
        let secret: Secret = serde_json::from_str(r#""s3cr3t""#).unwrap();
        assert_eq!(secret.expose(), "s3cr3t");
        assert_eq!(format!("{:?} {:?}", secret, Some(&secret)), "[redacted] Some([redacted])");
        assert_eq!(secret.scrub("s3cr3t is wrong, s3cr3t"), "[redacted] is wrong, [redacted]");
        let error = serde_json::from_str::<Vec<Secret>>(r#"["s3cr3t", 7]"#).unwrap_err();
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
    }

    #[test]
    fn no_secret_blots_nothing_out() {
        let none = Secret::default();
        assert!(none.is_empty());
        assert_eq!((format!("{none:?}"), none.scrub("as it is")), ("[none]".to_owned(), "as it is".to_owned()));
    }
}
