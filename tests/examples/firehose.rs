//! A source that costs nothing: as many messages as its configuration says, made from the sentences of the generated
//! corps, or, with a `protocol`, those of a crowd as its plugin stores them. Benches measure with it what the daemon takes in when
//! nothing has to be decrypted, and fill archives.

use rand::{SeedableRng, rngs::StdRng};
use stele_plugin_api::{
    Host, Plugin, Result, export_plugin,
    model::{Conversation, ConversationKind, Message, Page},
    ops::{Description, Empty, Partition, Partitions, PullRequest},
};
use stele_tests::corp::{TOPICS, sentence};
use stele_tests::crowd::{Crowd, Protocol};

/// Conversations the messages are spread over.
const CONVERSATIONS: u64 = 200;
/// Time of the first message, microseconds.
const START: i64 = 1_704_067_200_000_000;

struct Firehose(Config);

#[derive(serde::Deserialize)]
struct Config {
    messages: u64,
    protocol: Option<Protocol>,
}

impl Plugin for Firehose {
    type Config = Config;
    const NAME: &'static str = "firehose";
    const VERSION: &'static str = "1.0.0";

    async fn open(config: Config, _host: Host) -> Result<Self> {
        Ok(Self(config))
    }

    fn describe(&self) -> Description {
        let operations = ["describe", "health", "sync.discover", "sync.pull"].map(String::from).to_vec();
        Description { name: Self::NAME.into(), version: Self::VERSION.into(), operations, ..Description::default() }
    }

    async fn sync_discover(&self, _: Empty) -> Result<Partitions> {
        Ok(Partitions { partitions: vec![Partition { key: "all".into(), title: String::new() }] })
    }

    async fn sync_pull(&self, request: PullRequest) -> Result<Page> {
        let cursor = request.cursor.as_deref().map(String::from_utf8_lossy);
        let first: u64 = cursor.and_then(|text| text.parse().ok()).unwrap_or(0);
        let Config { messages, protocol } = self.0;
        let end = messages.min(first + u64::from(request.limit));
        let known = if first == 0 { known(&self.0) } else { Page::default() };
        let messages = match protocol.map(|protocol| Crowd { protocol, messages }) {
            Some(crowd) => (first..end).map(|number| crowd.message(number)).collect(),
            None => {
                let mut rng = StdRng::seed_from_u64(first);
                (first..end).map(|number| message(number, &mut rng)).collect()
            }
        };
        let cursor = Some(end.to_string().into());
        Ok(Page { messages, cursor, caught_up: end == self.0.messages, ..known })
    }
}

fn known(config: &Config) -> Page {
    match config.protocol {
        Some(protocol) => Crowd { protocol, messages: config.messages }.known(),
        None => Page { conversations: (0..CONVERSATIONS).map(conversation).collect(), ..Page::default() },
    }
}

fn conversation(number: u64) -> Conversation {
    Conversation {
        native_id: format!("c{number}"),
        partition: "all".into(),
        kind: Some(ConversationKind::Direct),
        ..Conversation::default()
    }
}

fn message(number: u64, rng: &mut StdRng) -> Message {
    let topic = usize::try_from(number).unwrap_or(0) % TOPICS.len();
    let text = sentence(TOPICS[topic], rng);
    let pair = number % CONVERSATIONS;
    let (one, other) = (format!("p{pair}"), format!("q{pair}"));
    let (sender, recipient) = if number.is_multiple_of(3) { (one, other) } else { (other, one) };
    Message {
        native_id: format!("m{number}"),
        conversation: format!("c{pair}"),
        seq: i64::try_from(number).ok(),
        sender,
        recipients: vec![recipient],
        sent_at: START + i64::try_from(number).unwrap_or(0) * 1_000,
        kind: "text".into(),
        body: serde_json::json!({ "content": text }).to_string().into(),
        text,
        ..Message::default()
    }
}

export_plugin!(Firehose);
