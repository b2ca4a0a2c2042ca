//! Sealing: the RSA layer is the real one (reference/wecom-archive.md §1.8), the cipher is the stub library's toy.

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeySize, Pkcs1PublicEncryptingKey, PrivateDecryptingKey},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rand::{Rng, distr::Alphanumeric};

/// Length of the random string a message is encrypted with.
pub const RANDOM_KEY_CHARS: usize = 88;

/// An RSA-2048 key pair as an operator makes it.
pub struct KeyPair {
    /// `publickey_ver`.
    pub version: u32,
    public: Pkcs1PublicEncryptingKey,
    pkcs8: Vec<u8>,
}

impl KeyPair {
    /// A new pair of this version.
    pub fn generate(version: u32) -> Result<Self> {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).context("RSA key generation failed")?;
        let der: Pkcs8V1Der<'_> = private.as_der().context("a fresh key has no encoding")?;
        let public = Pkcs1PublicEncryptingKey::new(private.public_key()).context("a fresh key is refused")?;
        Ok(Self { version, public, pkcs8: der.as_ref().to_vec() })
    }

    /// `BEGIN PRIVATE KEY`.
    pub fn pkcs8_pem(&self) -> String {
        pem("PRIVATE KEY", &self.pkcs8)
    }

    /// `BEGIN RSA PRIVATE KEY`.
    pub fn pkcs1_pem(&self) -> String {
        pem("RSA PRIVATE KEY", inner_key(&self.pkcs8).expect("a PKCS#8 key of ours contains a PKCS#1 key"))
    }

    /// `encrypt_random_key` of a random string.
    pub fn wrap(&self, random_key: &str) -> Result<String> {
        let mut block = vec![0; self.public.ciphertext_size()];
        let sealed =
            self.public.encrypt(random_key.as_bytes(), &mut block).map_err(|_| anyhow!("RSA encryption failed"))?;
        Ok(STANDARD.encode(sealed))
    }
}

/// The PKCS#1 key inside a PKCS#8 one: SEQUENCE { INTEGER version, SEQUENCE algorithm, OCTET STRING key }.
fn inner_key(pkcs8: &[u8]) -> Option<&[u8]> {
    let (_, outer, _) = der_item(pkcs8)?;
    let (_, _, rest) = der_item(outer)?;
    let (_, _, rest) = der_item(rest)?;
    let (tag, key, _) = der_item(rest)?;
    (tag == 4).then_some(key)
}

/// Tag, content and what follows the first DER item.
fn der_item(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// Seals messages under one key pair. Wrapping a random string costs an RSA operation, so a bounded pool of them is used
/// again and again; opening costs the reader the full price all the same.
pub struct Sealer {
    version: u32,
    pool: Vec<(String, String)>,
}

impl Sealer {
    /// Most random strings in use.
    pub const POOL: usize = 256;

    /// A sealer with `pool` random strings, at most [`Sealer::POOL`].
    pub fn new(keys: &KeyPair, pool: usize, rng: &mut impl Rng) -> Result<Self> {
        let pool = (0..pool.clamp(1, Self::POOL))
            .map(|_| {
                let random_key: String = rng.sample_iter(Alphanumeric).take(RANDOM_KEY_CHARS).map(char::from).collect();
                keys.wrap(&random_key).map(|wrapped| (random_key, wrapped))
            })
            .collect::<Result<_>>()?;
        Ok(Self { version: keys.version, pool })
    }

    /// The envelope of a message, one line of `chatdata.jsonl` without its newline.
    pub fn envelope(&self, seq: u64, msgid: &str, plaintext: &[u8]) -> String {
        let (random_key, wrapped) = &self.pool[usize::try_from(seq % self.pool.len() as u64).expect("an index")];
        let sealed = seal(random_key, seq, plaintext);
        let version = self.version;
        format!(
            r#"{{"seq":{seq},"msgid":"{msgid}","publickey_ver":{version},"encrypt_random_key":"{wrapped}","encrypt_chat_msg":"{sealed}"}}"#
        )
    }
}

/// `encrypt_chat_msg` as the stub's `DecryptData` opens it: base64 of nonce, text under a keystream, and a tag.
pub fn seal(random_key: &str, nonce: u64, plaintext: &[u8]) -> String {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    let key = fnv(random_key.as_bytes(), BASIS);
    let mut bytes = Vec::with_capacity(plaintext.len() + 16);
    bytes.extend_from_slice(&nonce.to_le_bytes());
    for (index, block) in plaintext.chunks(8).enumerate() {
        let stream = mix(key ^ nonce ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes();
        bytes.extend(block.iter().zip(stream).map(|(byte, mask)| byte ^ mask));
    }
    bytes.extend_from_slice(&mix(fnv(plaintext, key) ^ nonce).to_le_bytes());
    STANDARD.encode(bytes)
}

fn fnv(bytes: &[u8], basis: u64) -> u64 {
    bytes.iter().fold(basis, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn mix(value: u64) -> u64 {
    let x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
