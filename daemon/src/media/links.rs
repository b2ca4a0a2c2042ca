//! Signed links to files: whoever has the link may read the file until the link expires (contract 000, note 2: one year).

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;
use stele_archive::model::Micros;
use stele_archive::{Blob, StoredMedia};

/// Path under which every listener serves files.
pub const PREFIX: &str = "/media";

/// Longest file name in a link, in characters.
const MAX_NAME_CHARS: usize = 120;

/// What is escaped in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Signs links and checks them.
#[derive(Clone)]
pub struct Links {
    key: Vec<u8>,
    lifetime: Micros,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

impl Links {
    /// Links that are valid for `days`. The key must stay the same for links to stay valid.
    pub fn new(key: impl Into<Vec<u8>>, days: u32) -> Self {
        Self { key: key.into(), lifetime: Micros::from(days) * 86_400_000_000 }
    }

    /// Path and query of a link to a content under a file name.
    pub fn sign(&self, blob: &Blob, name: &str, now: Micros) -> String {
        let expires = (now + self.lifetime).div_euclid(1_000_000);
        let signature = hex::encode(self.mac(&blob.md5, name, expires).finalize().into_bytes());
        let name = utf8_percent_encode(name, SEGMENT);
        format!("{PREFIX}/{}/{name}?expires={expires}&signature={signature}", blob.md5)
    }

    /// Whether a link is ours and not expired. `name` is the decoded one.
    pub fn verify(&self, md5: &str, name: &str, expires: i64, signature: &str, now: Micros) -> bool {
        let Ok(signature) = hex::decode(signature) else { return false };
        let genuine = self.mac(md5, name, expires).verify_slice(&signature).is_ok();
        genuine && expires > now.div_euclid(1_000_000)
    }

    fn mac(&self, md5: &str, name: &str, expires: i64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        // The name comes last and nothing else can hold a line break, so two different links never sign alike.
        mac.update(format!("stele-media-v1\n{md5}\n{expires}\n{name}").as_bytes());
        mac
    }
}

/// The file name a stored file is offered under: the source's, or its kind with the extension of what it is.
pub fn file_name(media: &StoredMedia) -> String {
    let extension = media.blob.as_ref().map_or("", |blob| blob.extension.as_str());
    let mut name: String = media
        .name
        .chars()
        .map(|c| if c.is_control() || matches!(c, '/' | '\\') { '_' } else { c })
        .take(MAX_NAME_CHARS)
        .collect();
    if name.trim_matches(['.', ' ']).is_empty() {
        let digest = media.blob.as_ref().map_or("file", |blob| blob.md5.get(..8).unwrap_or("file"));
        let kind = if media.kind.is_empty() { "file" } else { &media.kind };
        name = format!("{kind}-{digest}");
        if !extension.is_empty() {
            name = format!("{name}.{extension}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_700_000_000_000_000;

    fn blob() -> Blob {
        Blob {
            md5: "5d41402abc4b2a76b9719d911017c592".into(),
            size: 5,
            mime: "image/png".into(),
            extension: "png".into(),
        }
    }

    /// Takes a link apart as a client's HTTP stack would.
    fn parts(link: &str) -> (String, String, i64, String) {
        let url = url::Url::parse(&format!("http://h{link}")).unwrap();
        let segments: Vec<_> = url.path_segments().unwrap().collect();
        let name = percent_encoding::percent_decode_str(segments[2]).decode_utf8().unwrap().into_owned();
        let query: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
        (segments[1].to_owned(), name, query["expires"].parse().unwrap(), query["signature"].clone())
    }

    #[test]
    fn a_link_is_valid_for_its_lifetime_and_for_nothing_else() {
        let links = Links::new(*b"k", 365);
        let (md5, name, expires, signature) = parts(&links.sign(&blob(), "报价 单?.png", NOW));
        assert_eq!(name, "报价 单?.png");
        let year = 365 * 86_400_000_000;
        assert!(links.verify(&md5, &name, expires, &signature, NOW));
        assert!(links.verify(&md5, &name, expires, &signature, NOW + year - 1_000_000));
        assert!(!links.verify(&md5, &name, expires, &signature, NOW + year));
        assert!(!links.verify(&md5, &name, expires + 1, &signature, NOW));
        assert!(!links.verify(&md5, "报价.png", expires, &signature, NOW));
        assert!(!links.verify("5d41402abc4b2a76b9719d911017c593", &name, expires, &signature, NOW));
        assert!(!links.verify(&md5, &name, expires, "zz", NOW));
        assert!(!Links::new(*b"other", 365).verify(&md5, &name, expires, &signature, NOW));
    }

    #[test]
    fn names_are_safe_and_never_empty() {
        let check = |name: &str, kind: &str, expected: &str| {
            let media = StoredMedia {
                id: stele_archive::MediaId(1),
                handle: String::new(),
                kind: kind.into(),
                name: name.into(),
                size: 5,
                state: stele_archive::MediaState::Stored,
                blob: Some(blob()),
            };
            assert_eq!(file_name(&media), expected);
        };
        check("报价.pdf", "file", "报价.pdf");
        check("", "image", "image-5d41402a.png");
        check("..", "image", "image-5d41402a.png");
        check("../a\nb", "file", ".._a_b");
    }

    #[test]
    fn debug_shows_no_key() {
        assert!(!format!("{:?}", Links::new(*b"topsecret", 1)).contains("topsecret"));
    }
}
