//! A vendor that is none: its network is a list, its cipher a word before base64, its RSA real.
#![allow(dead_code)] // Each suite uses its part.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeySize, Pkcs1PublicEncryptingKey, PrivateDecryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use stele_plugin_api::testing::MockHost;
use stele_plugin_api::{Host, Secret, ops};
use stele_wecom::Wecom;
use stele_wecom::config::Config;
use stele_wecom::vendor::{Chunk, Code, Egress, Fault, Handle, Vendor};
use tokio::sync::Notify;

/// The corp of every test.
pub const CORP: &str = "corp123";
/// A random key as long as real ones.
const RANDOM_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234567";
/// Bytes before the PKCS#1 part of a 2048-bit key in PKCS#8.
const PKCS8_HEADER: usize = 26;

/// A key pair of a version.
pub struct KeyPair {
    private: PrivateDecryptingKey,
    public: Pkcs1PublicEncryptingKey,
}

impl KeyPair {
    /// A new pair.
    pub fn generate(size: KeySize) -> Self {
        let private = PrivateDecryptingKey::generate(size).expect("key generation works");
        let public = Pkcs1PublicEncryptingKey::new(private.public_key()).expect("the public half is usable");
        Self { private, public }
    }

    /// Two pairs of 2048 bits that all tests share: making one takes its time.
    pub fn shared(version: u32) -> &'static Self {
        static PAIRS: OnceLock<[KeyPair; 2]> = OnceLock::new();
        let pairs = PAIRS.get_or_init(|| [Self::generate(KeySize::Rsa2048), Self::generate(KeySize::Rsa2048)]);
        &pairs[usize::try_from(version).expect("versions are small") - 1]
    }

    /// The private half, `BEGIN PRIVATE KEY`.
    pub fn pkcs8(&self) -> String {
        pem("PRIVATE KEY", self.private.as_der().expect("the key can be written").as_ref())
    }

    /// The private half, `BEGIN RSA PRIVATE KEY`.
    pub fn pkcs1(&self) -> String {
        pem("RSA PRIVATE KEY", &self.private.as_der().expect("the key can be written").as_ref()[PKCS8_HEADER..])
    }

    /// A text, sealed and in base64.
    pub fn seal(&self, text: &str) -> String {
        let mut block = vec![0; self.public.ciphertext_size()];
        let length = self.public.encrypt(text.as_bytes(), &mut block).expect("the text fits").len();
        STANDARD.encode(&block[..length])
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A text message from zhang to li.
pub fn text_message(seq: u64, content: &str) -> Value {
    json!({"msgid": format!("m{seq}"), "action": "send", "from": "zhang", "tolist": ["li"], "roomid": "",
        "msgtime": 1_700_000_000_000_u64 + seq, "msgtype": "text", "text": {"content": content}})
}

/// How the network behaves once.
pub enum Mood {
    /// The library returns this code.
    Returns(i32),
    /// WeCom answers this.
    Says(Vec<u8>),
    /// The reply is cut in half.
    Cut,
    /// Every envelope comes twice, the last ones first.
    Shuffled,
    /// The call does not return before the vendor is released, and then as usual.
    Hangs,
}

/// What a fake vendor knows and did.
#[derive(Default)]
pub struct World {
    envelopes: Vec<Value>,
    /// How the next calls for messages go; after that everything is fine.
    pub chat: VecDeque<Mood>,
    /// What the next calls for files return; after that everything is fine.
    pub media: VecDeque<i32>,
    /// Files by id.
    pub files: HashMap<String, Vec<u8>>,
    /// `(after, limit)` of each call for messages.
    pub asked: Vec<(u64, u32)>,
    /// Indexes of the calls for files.
    pub indexes: Vec<String>,
    /// Handles ever made.
    pub handles: usize,
    /// Plaintexts that were asked for.
    pub decrypted: usize,
    /// A plaintext with this in it is never decrypted: the call hangs.
    pub deadly: Option<String>,
}

/// A vendor that is none. Clones share everything.
#[derive(Clone, Default)]
pub struct FakeVendor {
    world: Arc<Mutex<World>>,
    /// Told when a call hangs.
    pub hangs: Arc<Notify>,
    released: Arc<(Mutex<bool>, Condvar)>,
}

/// Bytes of a chunk; the real one has 512 KiB.
pub const CHUNK: usize = 16;

impl FakeVendor {
    /// What it knows and did.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message, sealed with the key of this version.
    pub fn send(&self, seq: u64, version: u32, plaintext: &[u8]) {
        let key = KeyPair::shared(version).seal(RANDOM_KEY);
        self.send_sealed(seq, &json!(version), &key, plaintext);
    }

    /// Sends a message whose random key is sealed like this.
    pub fn send_sealed(&self, seq: u64, version: &Value, random_key: &str, plaintext: &[u8]) {
        self.world().envelopes.push(json!({
            "seq": seq, "msgid": format!("m{seq}"), "publickey_ver": version, "encrypt_random_key": random_key,
            "encrypt_chat_msg": format!("{RANDOM_KEY}|{}", STANDARD.encode(plaintext)),
        }));
    }

    /// Sends a text message from zhang to li.
    pub fn send_text(&self, seq: u64, content: &str) {
        self.send(seq, 1, text_message(seq, content).to_string().as_bytes());
    }

    /// Lets hanging calls go on.
    pub fn release(&self) {
        *self.released.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.released.1.notify_all();
    }

    /// [`Self::release`] when the test ends, however it does: the runtime waits for calls that hang.
    pub fn released_at_last(&self) -> impl Drop {
        struct AtLast(FakeVendor);
        impl Drop for AtLast {
            fn drop(&mut self) {
                self.0.release();
            }
        }
        AtLast(self.clone())
    }

    fn hang(&self) {
        self.hangs.notify_one();
        let mut released = self.released.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*released {
            released = self.released.1.wait(released).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// An instance on top of it.
    pub fn instance(&self, host: &Host, config: Value) -> Wecom {
        let config: Config = serde_json::from_value(config).expect("the configuration has the right shape");
        Wecom::with_library(&config, host, &Ok((Arc::new(self.clone()), "fake".to_owned())))
    }
}

impl Vendor for FakeVendor {
    fn open(&self, corp: &str, secret: &Secret) -> Result<Box<dyn Handle>, Fault> {
        assert_eq!((corp, secret.expose()), (CORP, "s3cr3t"));
        self.world().handles += 1;
        Ok(Box::new(FakeHandle(self.clone())))
    }

    fn decrypt(&self, random_key: &[u8], message: &str) -> Result<Vec<u8>, Fault> {
        let wrong = || Fault::Returned(Code::WRONG_KEY);
        let (key, sealed) = message.split_once('|').ok_or_else(wrong)?;
        if key.as_bytes() != random_key {
            return Err(wrong());
        }
        let plaintext = STANDARD.decode(sealed).map_err(|_| wrong())?;
        let deadly = {
            let mut world = self.world();
            world.decrypted += 1;
            world.deadly.clone()
        };
        if deadly.is_some_and(|deadly| String::from_utf8_lossy(&plaintext).contains(&deadly)) {
            self.hang();
        }
        Ok(plaintext)
    }
}

struct FakeHandle(FakeVendor);

impl Handle for FakeHandle {
    fn chat_data(&mut self, after: u64, limit: u32, egress: &Egress) -> Result<Vec<u8>, Fault> {
        assert!(egress.timeout_seconds >= 1);
        let mut world = self.0.world();
        world.asked.push((after, limit));
        let newer = world.envelopes.iter().filter(|envelope| envelope["seq"].as_u64() > Some(after));
        let mut envelopes: Vec<Value> = newer.take(limit as usize).cloned().collect();
        let reply =
            |envelopes: &[Value]| json!({"errcode": 0, "errmsg": "ok", "chatdata": envelopes}).to_string().into_bytes();
        let mood = world.chat.pop_front();
        drop(world);
        match mood {
            Some(Mood::Hangs) => {
                self.0.hang();
                Ok(reply(&envelopes))
            }
            Some(Mood::Returns(code)) => Err(Fault::Returned(Code(code))),
            Some(Mood::Says(body)) => Ok(body),
            Some(Mood::Cut) => {
                let body = reply(&envelopes);
                Ok(body[..body.len() / 2].to_vec())
            }
            Some(Mood::Shuffled) => {
                envelopes.extend(envelopes.clone());
                envelopes.reverse();
                Ok(reply(&envelopes))
            }
            None => Ok(reply(&envelopes)),
        }
    }

    fn media_chunk(&mut self, index: &str, sdkfileid: &str, _: &Egress) -> Result<Chunk, Fault> {
        let mut world = self.0.world();
        world.indexes.push(index.to_owned());
        if let Some(code) = world.media.pop_front() {
            return Err(Fault::Returned(Code(code)));
        }
        let bytes = world.files.get(sdkfileid).ok_or(Fault::Returned(Code::FILE_ID))?;
        let start = if index.is_empty() { 0 } else { index.parse().expect("the index is one of ours") };
        let end = bytes.len().min(start + CHUNK);
        Ok(Chunk { bytes: bytes[start..end].to_vec(), next: end.to_string(), last: end == bytes.len() })
    }
}

/// A configuration with the keys of these versions.
pub fn config(versions: &[u32]) -> Value {
    let keys: Vec<Value> =
        versions.iter().map(|version| json!({"version": version, "pem": KeyPair::shared(*version).pkcs8()})).collect();
    json!({
        "api_keys": [{"key": "your_secret_key"}],
        "calls_per_minute": 100_000,
        "corp": [{"id": CORP, "name": "Example", "archive_secret": "s3cr3t", "private_keys": keys}],
    })
}

/// A host that keeps the plugin's state, as the daemon does.
pub fn host() -> MockHost {
    let state: Arc<Mutex<HashMap<String, Bytes>>> = Arc::default();
    let written = Arc::clone(&state);
    MockHost::new()
        .on::<ops::StateGet>(move |key| {
            Ok(ops::StateValue { value: state.lock().expect("no test panicked").get(&key.key).cloned() })
        })
        .on::<ops::StatePut>(move |entry| {
            let mut state = written.lock().expect("no test panicked");
            match entry.value {
                Some(value) => state.insert(entry.key, value),
                None => state.remove(&entry.key),
            };
            Ok(ops::Empty {})
        })
}
