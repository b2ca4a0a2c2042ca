//! Whatever happens to archive and index, a search gives what a scan of the archive gives, on each engine.

mod common;

use common::engine::{Engine, Home};
use common::{files, request, scan};
use proptest::prelude::*;
use std::fs;
use std::sync::Arc;
use stele_archive::ops::Place;
use stele_archive::{ConversationId, InstanceId, PersonId, Rev, StoredMessage};
use stele_search::contract::{MemoryArchive, text};
use stele_search::fold::fold;
use stele_search::{SearchIndex, SearchRequest, Searcher, Sort, Tailer};

const HOUR: i64 = 3_600_000_000;

#[derive(Clone, Debug)]
enum Step {
    /// Messages are committed; their times are in no order, so some of them are a backfill.
    Append(Vec<StoredMessage>),
    /// The tailer catches up.
    CatchUp,
    /// The daemon is restarted in good order.
    Restart,
    /// It dies while the tailer is at work, which was polled this often.
    Crash(usize),
    /// Somebody deletes the index while nothing runs.
    Delete,
    /// Somebody deletes it while it is open.
    DeleteOpen,
    /// A byte of a file changes, or its end is lost; a server loses a message.
    Damage { file: prop::sample::Index, at: prop::sample::Index, cut: bool },
    /// The index is built anew.
    Reindex,
    /// A backup of the archive is restored while nothing runs, and life goes on differently.
    Restore(prop::sample::Index, Vec<StoredMessage>),
}

fn messages() -> impl Strategy<Value = Vec<StoredMessage>> {
    let times = (-30i64..30, prop::option::weighted(0.1, -30i64..30));
    let people = prop::option::of(1i64..3);
    let message = (1i64..3, 1i64..4, people, any::<bool>(), times, text(0..=8), labels()).prop_map(
        |(instance, conversation, sender, image, (hour, expires), text, labels)| StoredMessage {
            instance: InstanceId(instance),
            // A conversation belongs to one instance.
            conversation: ConversationId(instance * 10 + conversation),
            sender: sender.map(PersonId),
            kind: if image { "image" } else { "text" }.into(),
            sent_at: hour * HOUR,
            expires_at: expires.map(|hour| hour * HOUR),
            text,
            labels,
            ..StoredMessage::default()
        },
    );
    prop::collection::vec(message, 1..25)
}

fn labels() -> impl Strategy<Value = Vec<String>> {
    prop::sample::subsequence(&["a", "b"][..], 0..=2).prop_map(|labels| labels.into_iter().map(str::to_owned).collect())
}

fn step() -> impl Strategy<Value = Step> {
    use prop::sample::Index;
    prop_oneof![
        6 => messages().prop_map(Step::Append),
        4 => Just(Step::CatchUp),
        1 => Just(Step::Restart),
        2 => (0usize..12).prop_map(Step::Crash),
        1 => Just(Step::Delete),
        1 => Just(Step::DeleteOpen),
        2 => (any::<Index>(), any::<Index>(), any::<bool>()).prop_map(|(file, at, cut)| Step::Damage { file, at, cut }),
        1 => Just(Step::Reindex),
        1 => (any::<Index>(), messages()).prop_map(|(upto, messages)| Step::Restore(upto, messages)),
    ]
}

fn query() -> impl Strategy<Value = SearchRequest> {
    (
        text(0..=2),
        prop::collection::vec((1i64..3).prop_map(InstanceId), 0..2),
        prop::option::of((1i64..3, 1i64..4)),
        prop::option::of((1i64..3).prop_map(PersonId)),
        (any::<bool>(), any::<bool>(), labels()),
        [(); 3].map(|()| prop::option::of(-30i64..30)),
        prop::sample::select(&[Sort::Newest, Sort::Oldest, Sort::Relevance][..]),
        prop::option::of((-30i64..30, 0i64..100)),
        (0u64..20, 0u32..20),
    )
        .prop_map(
            |(
                text,
                instances,
                conversation,
                sender,
                (image, no_text, labels),
                times,
                sort,
                beyond,
                (offset, limit),
            )| {
                let [since, until, unexpired_at] = times.map(|hour| hour.map(|hour| hour * HOUR));
                let beyond = beyond.filter(|_| sort != Sort::Relevance);
                SearchRequest {
                    instances,
                    conversation: conversation.map(|(instance, n)| common::within(instance, instance * 10 + n)),
                    sender,
                    kinds: if image { vec!["image".into()] } else { vec![] },
                    except_kinds: if no_text { vec!["text".into()] } else { vec![] },
                    labels,
                    since,
                    until,
                    unexpired_at,
                    sort,
                    beyond: beyond.map(|(hour, id)| Place { sent_at: hour * HOUR, id }),
                    offset,
                    limit,
                    ..request(&text)
                }
            },
        )
}

/// A daemon's search, and what outlives the daemon.
struct World {
    engine: Engine,
    archive: Arc<MemoryArchive>,
    home: Home,
    running: Option<(Arc<dyn SearchIndex>, Tailer, Searcher<MemoryArchive>)>,
}

impl World {
    async fn new(engine: Engine) -> Self {
        let mut world = Self { engine, archive: Arc::default(), home: engine.home().await, running: None };
        world.start().await;
        world
    }

    async fn start(&mut self) {
        let index = self.home.open().await;
        let tailer = self.engine.tailer(&self.archive, &index);
        let searcher = Searcher::new(self.archive.clone(), index.clone());
        self.running = Some((index, tailer, searcher));
    }

    fn commit(&self, messages: Vec<StoredMessage>) {
        for message in messages {
            self.archive.add(message);
        }
    }

    fn tailer(&self) -> &Tailer {
        &self.running.as_ref().expect("it runs").1
    }

    async fn catch_up(&self) {
        if let Err(error) = self.tailer().catch_up().await {
            // What was read for an index that is gone goes into no other.
            let is_once = self.engine == Engine::Meilisearch && error.to_string().contains("the index began anew");
            assert!(is_once, "{error}");
            self.tailer().catch_up().await.expect("nothing keeps it from catching up");
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Append(messages) => self.commit(messages),
            Step::CatchUp => self.catch_up().await,
            Step::Restart => {
                self.running = None;
                self.start().await;
            }
            Step::Crash(polls) => {
                {
                    let mut work = std::pin::pin!(self.tailer().catch_up());
                    for _ in 0..polls {
                        if poll_once(work.as_mut()).await {
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                }
                self.running = None;
                self.start().await;
            }
            Step::Delete => {
                self.running = None;
                self.home.delete().await;
                self.start().await;
            }
            Step::DeleteOpen => match &self.home {
                Home::Folder(folder) => files(folder.path()).iter().for_each(|file| match fs::remove_file(file) {
                    // The engine, which runs, may have taken it away itself.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    removed => removed.unwrap(),
                }),
                Home::Server(place) => {
                    place.delete(None).await;
                    // A search sees it at once.
                    self.compare(&request("")).await.unwrap();
                }
            },
            Step::Damage { file, at, cut } => match &self.home {
                Home::Folder(folder) => {
                    self.running = None;
                    drop(self.home.open().await);
                    let files = files(folder.path());
                    let file = file.get(&files);
                    let mut bytes = fs::read(file).unwrap();
                    let at = at.index(bytes.len());
                    if cut {
                        bytes.truncate(at)
                    } else {
                        bytes[at] ^= 0x55
                    }
                    fs::write(file, bytes).unwrap();
                    self.start().await;
                    // Checksums are compared when the tailer starts.
                    self.catch_up().await;
                }
                Home::Server(place) => {
                    self.catch_up().await;
                    let mut rows = self.archive.rows();
                    rows.retain(|row| !fold(&row.text).is_empty());
                    if !rows.is_empty() {
                        place.delete(Some(file.get(&rows).id.0)).await;
                        let reconciliation = self.tailer().reconcile().await.unwrap();
                        assert_eq!(reconciliation.differences.len(), 1, "{reconciliation:?}");
                        self.tailer().reindex(|_| {}).await.unwrap();
                    }
                }
            },
            Step::Reindex => drop(self.tailer().reindex(|_| {}).await.expect("nothing keeps it from being rebuilt")),
            Step::Restore(upto, messages) => {
                self.running = None;
                let rows = self.archive.rows();
                self.archive.truncate(Rev(upto.index(rows.len() + 1) as i64));
                self.commit(messages);
                self.start().await;
                self.catch_up().await;
            }
        }
    }

    async fn compare(&self, request: &SearchRequest) -> Result<(), TestCaseError> {
        let (_, _, searcher) = self.running.as_ref().expect("it runs");
        let page = searcher.search(request).await.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!((common::ids(&page), page.total), scan(&self.archive, request), "{:?}", request);
        for hit in &page.rows {
            prop_assert_eq!(hit.highlights.is_empty(), request.text.is_empty());
            for (start, end) in &hit.highlights {
                prop_assert!(hit.message.text.get(*start as usize..*end as usize).is_some_and(|part| !part.is_empty()));
            }
        }
        Ok(())
    }
}

/// Polls once; whether it is done.
async fn poll_once<F: Future>(mut work: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(work.as_mut().poll(context).is_ready())).await
}

fn a_search_gives_what_a_scan_gives(engine: Engine) {
    let config = ProptestConfig { cases: engine.rounds(24), max_shrink_iters: 200, ..ProptestConfig::default() };
    let steps = prop::collection::vec((step(), prop::collection::vec(query(), 1..4)), 1..14);
    proptest!(config, |(steps in steps)| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(engine).await;
            for (step, queries) in steps {
                world.step(step).await;
                for query in &queries {
                    world.compare(query).await?;
                }
            }
            world.catch_up().await;
            let tailer = world.tailer();
            let reconciliation = tailer.reconcile().await.unwrap();
            prop_assert!(reconciliation.agrees(), "{:?}", reconciliation);
            prop_assert_eq!(tailer.status().behind, 0);
            Ok(())
        })?;
    });
}

on_each_engine!(; blocking a_search_gives_what_a_scan_gives);
