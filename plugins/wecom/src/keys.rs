//! The private keys of a corp, by version.
//!
//! Each message names the version of the public key its random key was encrypted with. A rotation does not make the old
//! key useless: a backlog and every pull of old messages need it, so a corp keeps all it ever had
//! (reference/wecom-archive.md §1.8).
//!
//! A failed decryption never says why it failed. Telling bad padding from a wrong key apart is what Bleichenbacher's
//! attack lives on.

use crate::config::PrivateKey;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use std::collections::BTreeMap;
use std::fmt;
use stele_plugin_api::Secret;
use zeroize::Zeroizing;

/// The only size WeCom uses.
const KEY_BITS: usize = 2048;

/// A corp's usable private keys, and what is wrong with the others.
#[derive(Debug, Default)]
pub struct KeyRing {
    keys: BTreeMap<u32, Pkcs1PrivateDecryptingKey>,
    faults: Vec<String>,
}

/// Why a random key stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// There is no key of this version.
    #[error("there is no private key of version {0}")]
    Missing(u32),
    /// The envelope names no version, and there is more than one key to choose from.
    #[error("the envelope names no key version")]
    Unnamed,
    /// The key does not open it.
    #[error("the private key of version {0} does not open it")]
    Closed(u32),
}

/// Why a key cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// No private key in it.
    #[error("it holds no PEM private key (`BEGIN RSA PRIVATE KEY` or `BEGIN PRIVATE KEY`)")]
    NoPem,
    /// A pass phrase guards it.
    #[error("it is encrypted with a pass phrase; store it without one")]
    Encrypted,
    /// Not RSA, or damaged.
    #[error("it is not a valid RSA private key")]
    NotRsa,
    /// Another size.
    #[error("it has {0} bits; the message archive uses RSA keys of {KEY_BITS} bits")]
    Size(BitCount),
}

/// How many bits a key has, as far as that is known.
#[derive(Debug, PartialEq, Eq)]
pub enum BitCount {
    /// Fewer than an RSA key may have at all.
    Fewer,
    /// So many.
    Exactly(usize),
    /// More than an RSA key may have at all.
    More,
}

impl fmt::Display for BitCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fewer => write!(f, "fewer than {KEY_BITS}"),
            Self::Exactly(bits) => write!(f, "{bits}"),
            Self::More => f.write_str("more than 8192"),
        }
    }
}

impl KeyRing {
    /// Reads the keys of a corp. One that cannot be used does not make the others useless: see [`KeyRing::faults`].
    pub fn load(keys: &[PrivateKey]) -> Self {
        let mut ring = Self::default();
        for key in keys {
            match read(&key.pem) {
                Ok(usable) => {
                    ring.keys.insert(key.version, usable);
                }
                Err(refused) => ring.faults.push(format!("private key of version {}: {refused}", key.version)),
            }
        }
        ring
    }

    /// What is wrong with the keys that are left out.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The versions there are.
    pub fn versions(&self) -> impl Iterator<Item = u32> + '_ {
        self.keys.keys().copied()
    }

    /// Whether there is no usable key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Opens an `encrypt_random_key`: base64 of an RSAES-PKCS1-v1_5 block. An envelope without a version is opened with
    /// the only key there is.
    pub fn open(&self, version: Option<u32>, encrypted: &str) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
        let (version, key) = match version {
            Some(version) => (version, self.keys.get(&version).ok_or(KeyFault::Missing(version))?),
            None if self.keys.len() == 1 => {
                self.keys.first_key_value().map(|(version, key)| (*version, key)).ok_or(KeyFault::Unnamed)?
            }
            None => return Err(KeyFault::Unnamed),
        };
        let closed = KeyFault::Closed(version);
        let block = STANDARD.decode(encrypted.trim()).map_err(|_| closed)?;
        let mut opened = Zeroizing::new(vec![0; key.min_output_size()]);
        let length = key.decrypt(&block, &mut opened).map_err(|_| closed)?.len();
        opened.truncate(length);
        Ok(opened)
    }
}

fn read(pem: &Secret) -> Result<Pkcs1PrivateDecryptingKey, KeyRefused> {
    if pem.expose().contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.expose().contains("Proc-Type: 4,ENCRYPTED") {
        return Err(KeyRefused::Encrypted);
    }
    let der = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| KeyRefused::NoPem)?;
    let pair = match &der {
        PrivateKeyDer::Pkcs1(pkcs1) => KeyPair::from_der(pkcs1.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(pkcs8) => KeyPair::from_pkcs8(pkcs8.secret_pkcs8_der()),
        _ => return Err(KeyRefused::NotRsa),
    };
    let pair = pair.map_err(|rejected| match rejected.to_string().as_str() {
        "TooSmall" => KeyRefused::Size(BitCount::Fewer),
        "TooLarge" => KeyRefused::Size(BitCount::More),
        _ => KeyRefused::NotRsa,
    })?;
    // The decrypting key reads PKCS#8 only; the pair reads both forms and writes it.
    let pkcs8 = pair.as_der().map_err(|_| KeyRefused::NotRsa)?;
    let key = PrivateDecryptingKey::from_pkcs8(pkcs8.as_ref()).map_err(|_| KeyRefused::NotRsa)?;
    match key.key_size_bits() {
        KEY_BITS => Pkcs1PrivateDecryptingKey::new(key).map_err(|_| KeyRefused::NotRsa),
        bits => Err(KeyRefused::Size(BitCount::Exactly(bits))),
    }
}
