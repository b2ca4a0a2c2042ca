//! A corp in a folder, as the stub library and the directory stand-in read it.

use super::{CorpSpec, Directory, Entry, KEY_VERSIONS, KeyPair, MediaFile, Sealer, Story, media};
use anyhow::{Context, Result};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

/// A corp whose upstream is a folder: `chatdata.jsonl`, `media/`, `faults`, … (see `vendor-stub/stub.c`), beside
/// `keys/<corp>-v<version>.pem` and `directory.json`.
pub struct CorpFolder {
    /// What it was made from.
    pub spec: CorpSpec,
    /// Its people.
    pub directory: Directory,
    root: PathBuf,
    keys: Vec<KeyPair>,
    sealers: Vec<Sealer>,
    seq: u64,
}

/// A message to add to a corp by hand.
#[derive(Clone, Debug)]
pub struct Draft {
    pub from: String,
    pub to: Vec<String>,
    pub room: String,
    pub time_ms: i64,
    pub msgtype: String,
    /// The members its type brings, e.g. `{"text":{"content":"…"}}`.
    pub fields: Value,
    pub key_version: u32,
}

impl Draft {
    /// A text between two people, now, under the newest key.
    pub fn text(from: &str, to: &str, content: &str) -> Self {
        Self {
            from: from.into(),
            to: vec![to.into()],
            room: String::new(),
            time_ms: chrono::Utc::now().timestamp_millis(),
            msgtype: "text".into(),
            fields: json!({ "text": { "content": content } }),
            key_version: KEY_VERSIONS[1],
        }
    }
}

impl CorpFolder {
    /// A corp without messages.
    pub fn empty(spec: &CorpSpec, root: &Path) -> Result<Self> {
        fs::create_dir_all(root.join("media"))?;
        fs::create_dir_all(root.join("keys"))?;
        let story = Story::new(spec);
        let directory = story.directory().clone();
        let keys = KEY_VERSIONS.into_iter().map(KeyPair::generate).collect::<Result<Vec<_>>>()?;
        // The random strings need no seed: nothing a test looks at depends on them.
        let mut rng = StdRng::seed_from_u64(spec.seed ^ 0x5ea1);
        let pool = (spec.messages / 16).clamp(4, Sealer::POOL);
        let sealers = keys.iter().map(|pair| Sealer::new(pair, pool, &mut rng)).collect::<Result<_>>()?;
        fs::write(root.join("secret"), &spec.archive_secret)?;
        fs::write(root.join("token"), "1")?;
        fs::write(root.join("directory.json"), serde_json::to_vec_pretty(&directory)?)?;
        File::create(root.join("chatdata.jsonl"))?;
        let folder = Self { spec: spec.clone(), directory, root: root.to_owned(), keys, sealers, seq: 0 };
        for pair in &folder.keys {
            // One key in each of the forms operators have.
            let text = if pair.version == KEY_VERSIONS[0] { pair.pkcs1_pem() } else { pair.pkcs8_pem() };
            fs::write(folder.key_file(pair.version), text)?;
        }
        Ok(folder)
    }

    /// A corp and its whole story.
    pub fn generate(spec: &CorpSpec, root: &Path) -> Result<Self> {
        let mut folder = Self::empty(spec, root)?;
        folder.extend(&mut Story::new(spec), usize::MAX)?;
        Ok(folder)
    }

    /// Adds up to so many messages of the story, with their files, and returns how many there were.
    pub fn extend(&mut self, story: &mut Story, messages: usize) -> Result<usize> {
        for (file, bytes) in story.pool().files() {
            let path = self.media_path(&file.fileid);
            if !path.exists() {
                fs::write(path, bytes)?;
            }
        }
        let chatdata = OpenOptions::new().append(true).open(self.root.join("chatdata.jsonl"))?;
        let mut out = BufWriter::with_capacity(1 << 20, chatdata);
        let mut count = 0;
        for entry in story.take(messages) {
            if self.spec.own_files {
                for file in &entry.media {
                    let (_, original) = file.fileid.split_once('.').context("a message's file names the pool's")?;
                    fs::hard_link(self.media_path(original), self.media_path(&file.fileid))?;
                }
            }
            out.write_all(self.seal(&entry).as_bytes())?;
            out.write_all(b"\n")?;
            self.seq = entry.seq;
            count += 1;
        }
        out.flush()?;
        Ok(count)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What to set as the instance's proxy so that the stub library reads this folder.
    pub fn proxy(&self) -> String {
        format!("file://{}", self.root.display())
    }

    /// The private key of this version, PEM: version 1 in PKCS#1, version 2 in PKCS#8.
    pub fn key_file(&self, version: u32) -> PathBuf {
        self.root.join("keys").join(format!("{}-v{version}.pem", self.spec.id))
    }

    /// Both key pairs.
    pub fn keys(&self) -> &[KeyPair] {
        &self.keys
    }

    /// The seq of the last message.
    pub fn last_seq(&self) -> u64 {
        self.seq
    }

    /// Adds a message and returns its msgid.
    pub fn add(&mut self, draft: &Draft) -> Result<String> {
        let seq = self.seq + 1;
        let mut msgid = format!("{seq}_{}", draft.time_ms);
        if draft.to.iter().chain([&draft.from]).any(|id| self.directory.is_external(id)) {
            msgid.push_str("_external");
        }
        let mut message = json!({
            "msgid": msgid, "action": if draft.msgtype == "revoke" { "recall" } else { "send" }, "from": draft.from,
            "tolist": draft.to, "roomid": draft.room, "msgtime": draft.time_ms, "msgtype": draft.msgtype,
        });
        if let (Value::Object(message), Value::Object(fields)) = (&mut message, &draft.fields) {
            message.extend(fields.clone());
        }
        self.add_raw(&msgid, draft.key_version, message.to_string().as_bytes())?;
        Ok(msgid)
    }

    /// Adds a message whose decrypted text is exactly this.
    pub fn add_raw(&mut self, msgid: &str, key_version: u32, plaintext: &[u8]) -> Result<u64> {
        let seq = self.seq + 1;
        let line = self.sealer(key_version).envelope(seq, msgid, plaintext);
        self.add_line(&line)?;
        self.seq = seq;
        Ok(seq)
    }

    /// Adds a line to `chatdata.jsonl` as it is.
    pub fn add_line(&self, line: &str) -> Result<()> {
        let mut file = OpenOptions::new().append(true).open(self.root.join("chatdata.jsonl"))?;
        file.write_all(format!("{line}\n").as_bytes())?;
        Ok(())
    }

    /// Adds an envelope under the next number, whatever number it has.
    pub fn add_line_as_next(&mut self, envelope: &Value) -> Result<()> {
        let mut envelope = envelope.clone();
        self.seq += 1;
        envelope["seq"] = json!(self.seq);
        self.add_line(&envelope.to_string())
    }

    /// Adds a file and returns what messages tell about it.
    pub fn add_media(&self, fileid: &str, extension: &'static str, bytes: &[u8]) -> Result<MediaFile> {
        fs::write(self.media_path(fileid), bytes)?;
        Ok(media::describe(fileid, extension, 3, bytes))
    }

    /// Where the bytes of a file are.
    pub fn media_path(&self, fileid: &str) -> PathBuf {
        self.root.join("media").join(fileid)
    }

    /// The fault rules in force from now on; see `struct rule` in `vendor-stub/stub.c`. Counts of `times` start anew.
    pub fn set_faults(&self, rules: &[&str]) -> Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".turns-") {
                fs::remove_file(entry.path())?;
            }
        }
        self.replace("faults", &format!("{}\n", rules.join("\n")))
    }

    /// Makes every token given out so far worthless.
    pub fn expire_tokens(&self) -> Result<()> {
        let now: u64 = fs::read_to_string(self.root.join("token"))?.trim().parse()?;
        self.replace("token", &(now + 1).to_string())
    }

    /// Starts the record of calls.
    pub fn record_calls(&self) -> Result<()> {
        Ok(fs::write(self.root.join("calls"), "")?)
    }

    /// The calls since [`Self::record_calls`].
    pub fn calls(&self) -> Result<Vec<String>> {
        Ok(fs::read_to_string(self.root.join("calls"))?.lines().map(str::to_owned).collect())
    }

    /// Writes beside and renames, so that the stub never reads half a file.
    fn replace(&self, name: &str, content: &str) -> Result<()> {
        let beside = self.root.join(format!(".{name}.new"));
        fs::write(&beside, content)?;
        Ok(fs::rename(beside, self.root.join(name))?)
    }

    fn sealer(&self, version: u32) -> &Sealer {
        &self.sealers[KEY_VERSIONS.iter().position(|known| *known == version).unwrap_or(0)]
    }

    fn seal(&self, entry: &Entry) -> String {
        self.sealer(entry.key_version).envelope(entry.seq, &entry.msgid, &entry.plaintext)
    }
}
