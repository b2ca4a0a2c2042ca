//! The hub against an archive in memory. Time stands still and goes on when everybody waits, so nothing here takes any.

use super::testing::{Fake, NOW, asked, hub, hub_at, options};
use super::{Carrier, End, Hub, Listener, Options, Refused, Step, poll};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use stele_archive::{ManualClock, Rev};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longer than the hub ever pauses.
const QUIET: Duration = Duration::from_secs(40);

async fn listen(hub: &Arc<Hub>, person: i64, session: &str, since: Option<Rev>) -> Listener {
    hub.listen(&asked(person, session, since), Carrier::WebSocket).await.expect("there is room")
}

/// What comes until nothing more does, and why it ended if it did.
async fn all(listener: &mut Listener) -> (Vec<Rev>, Option<End>) {
    let mut heard = Vec::new();
    loop {
        match tokio::time::timeout(QUIET, listener.next()).await {
            Ok(Step::Event(event)) => heard.push(event.rev),
            Ok(Step::End(end)) => return (heard, end),
            Err(_) => return (heard, None),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_a_member_hears_what_comes_and_nothing_from_before() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, options());
    [1, 2].iter().for_each(|person| fake.turn(7, *person));
    fake.say(7);
    let (mut one, mut two, mut three) =
        (listen(&hub, 1, "a", None).await, listen(&hub, 2, "b", None).await, listen(&hub, 3, "c", None).await);
    let first = fake.say(7);
    fake.turn(7, 2);
    fake.turn(7, 3);
    let second = fake.say(7);
    fake.say(8);
    hub.wake();
    assert_eq!(all(&mut one).await, (vec![first, second], None));
    assert_eq!(all(&mut two).await, (vec![first], None));
    assert_eq!(all(&mut three).await, (vec![second], None));
    assert_eq!(fake.rendered.lock().unwrap().len(), 3, "each once");
}

#[tokio::test(start_paused = true)]
async fn audiences_are_read_when_they_change() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, options());
    fake.turn(7, 1);
    let mut listener = listen(&hub, 1, "a", None).await;
    for expected in [1, 1, 1, 2, 2] {
        if expected == 2 && fake.audiences_read.load(Ordering::SeqCst) == 1 {
            fake.turn(7, 2);
        }
        let rev = fake.say(7);
        hub.wake();
        assert_eq!(all(&mut listener).await.0, [rev]);
        assert_eq!(fake.audiences_read.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_long_after_it_was_sent_is_only_replayed() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, options());
    fake.turn(7, 1);
    let mut listener = listen(&hub, 1, "a", None).await;
    let old = fake.say_at(7, NOW - 3_600_000_001);
    let new = fake.say_at(7, NOW - 3_600_000_000);
    hub.wake();
    assert_eq!(all(&mut listener).await.0, [new]);
    let mut back = listen(&hub, 1, "b", Some(Rev(0))).await;
    assert_eq!(all(&mut back).await.0, [old, new]);
}

#[tokio::test(start_paused = true)]
async fn what_waited_long_for_the_plugin_is_news_all_the_same() {
    let fake = Arc::new(Fake::default());
    let clock = Arc::new(ManualClock::new(NOW));
    let hub = hub_at(&fake, Options { queue: 8, ..options() }, Arc::clone(&clock));
    fake.turn(7, 1);
    let mut listener = listen(&hub, 1, "a", None).await;
    fake.is_away.store(true, Ordering::SeqCst);
    // Several batches.
    let said: Vec<Rev> = (0..20).map(|_| fake.say(7)).collect();
    hub.wake();
    tokio::time::sleep(Duration::from_secs(7200)).await;
    clock.advance(7200 * 1_000_000);
    fake.is_away.store(false, Ordering::SeqCst);
    assert_eq!(all(&mut listener).await.0, said);
    fake.say(7);
    hub.wake();
    assert_eq!(all(&mut listener).await.0, [], "what comes now is two hours old");
}

#[tokio::test(start_paused = true)]
async fn a_message_the_plugin_dies_over_keeps_nothing_else_back_and_is_not_tried_again() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, options());
    fake.turn(7, 1);
    let mut listener = listen(&hub, 1, "a", None).await;
    let (first, poison, last) = (fake.say(7), fake.say(7), fake.say(7));
    *fake.poison.lock().unwrap() = poison.to_string();
    fake.is_deadly.store(true, Ordering::SeqCst);
    hub.wake();
    assert_eq!(all(&mut listener).await.0, [first, last]);
    let mut back = listen(&hub, 1, "b", Some(Rev(0))).await;
    assert_eq!(all(&mut back).await.0, [first, last]);
    assert_eq!(fake.deaths.load(Ordering::SeqCst), 4, "once with others, and three times alone");
    // A new plugin may do better.
    hub.render_by(Some(fake.clone()));
    fake.poison.lock().unwrap().clear();
    let mut back = listen(&hub, 1, "b", Some(Rev(0))).await;
    assert_eq!(all(&mut back).await.0, [first, poison, last]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_skipped_while_the_archive_or_the_plugin_is_away() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, options());
    fake.turn(7, 1);
    let mut listener = listen(&hub, 1, "a", None).await;
    let mut expected = Vec::new();
    for _ in 0..3 {
        fake.is_away.store(true, Ordering::SeqCst);
        expected.push(fake.say(7));
        hub.wake();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let mut back = listen(&hub, 1, "b", Some(Rev(0))).await;
        assert_eq!(all(&mut listener).await.0, []);
        assert_eq!(all(&mut back).await.0, []);
        fake.is_away.store(false, Ordering::SeqCst);
        assert_eq!(all(&mut listener).await.0, expected[expected.len() - 1..]);
        assert_eq!(all(&mut back).await.0, expected);
    }
    let mut back = listen(&hub, 1, "b", Some(Rev(0))).await;
    fake.is_down.store(true, Ordering::SeqCst);
    let last = fake.say(7);
    hub.wake();
    assert_eq!(all(&mut listener).await.0, []);
    assert_eq!(all(&mut back).await.0, []);
    assert!(matches!(hub.listen(&asked(1, "c", None), Carrier::Sse).await, Err(Refused::Archive(_))));
    fake.is_down.store(false, Ordering::SeqCst);
    assert_eq!(all(&mut listener).await.0, [last]);
    expected.push(last);
    assert_eq!(all(&mut back).await.0, expected);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_rendered_keeps_nothing_else_back() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, options());
    fake.turn(7, 1);
    let mut listener = listen(&hub, 1, "a", None).await;
    let (first, poison, last) = (fake.say(7), fake.say(7), fake.say(7));
    *fake.poison.lock().unwrap() = poison.to_string();
    hub.wake();
    assert_eq!(all(&mut listener).await.0, [first, last]);
    let mut back = listen(&hub, 1, "b", Some(Rev(0))).await;
    assert_eq!(all(&mut back).await.0, [first, last]);
    // One that is mended in time is not lost.
    let poison = fake.say(7);
    *fake.poison.lock().unwrap() = poison.to_string();
    hub.wake();
    tokio::time::sleep(Duration::from_secs(3)).await;
    fake.poison.lock().unwrap().clear();
    assert_eq!(all(&mut listener).await.0, [poison]);
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_and_who_comes_back_all_the_time_keep_nobody_waiting_and_miss_nothing() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, Options { queue: 8, ..options() });
    fake.turn(7, 1);
    let (mut slow, mut quick) = (listen(&hub, 1, "slow", None).await, listen(&hub, 1, "quick", None).await);
    let mut back = listen(&hub, 1, "back", None).await;
    let begun = Instant::now();
    let mut said: Vec<Rev> = (0..500).map(|_| fake.say(7)).collect();
    hub.wake();
    for rev in &said {
        assert!(matches!(quick.next().await, Step::Event(event) if event.rev == *rev));
        assert!(matches!(back.next().await, Step::Event(event) if event.rev == *rev));
        back = listen(&hub, 1, "back", Some(*rev)).await;
    }
    // Time goes on only when everybody waits.
    assert_eq!(begun.elapsed(), Duration::ZERO);
    said.push(fake.say(7));
    hub.wake();
    for rev in &said[..300] {
        assert!(matches!(slow.next().await, Step::Event(event) if event.rev == *rev));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(all(&mut slow).await, (said[300..].to_vec(), None));
    // It is level again.
    let last = fake.say(7);
    hub.wake();
    assert_eq!(all(&mut slow).await, (vec![last], None));
}

#[tokio::test(start_paused = true)]
async fn who_takes_less_than_comes_loses_its_place_and_who_had_a_burst_does_not() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, Options { queue: 8, ..options() });
    fake.turn(7, 1);
    fake.turn(8, 2);
    fake.turn(9, 3);
    let begun = Instant::now();
    // One takes nothing, one an event a second; of both more is said. The third had a burst.
    let mut nothing = listen(&hub, 2, "nothing", None).await;
    let mut little = listen(&hub, 1, "little", None).await;
    let mut burst = listen(&hub, 3, "burst", None).await;
    let mut said: Vec<Rev> = (0..2000).map(|_| fake.say(9)).collect();
    let (mut heard, mut ended) = (Vec::new(), None);
    for second in 0..400 {
        (0..100).for_each(|_| _ = fake.say(7));
        _ = fake.say(8);
        if second % 10 == 0 {
            said.push(fake.say(9));
        }
        hub.wake();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Step::Event(event) = burst.next().await else { panic!("a burst costs nobody their place") };
        heard.push(event.rev);
        if ended.is_none() && !matches!(little.next().await, Step::Event(_)) {
            ended = Some(begun.elapsed());
        }
    }
    let bound = Duration::from_secs(60)..Duration::from_secs(65);
    assert!(ended.is_some_and(|ended| bound.contains(&ended)), "{ended:?}");
    assert_eq!(all(&mut little).await, (vec![], Some(End::Slow)));
    assert_eq!(all(&mut nothing).await, (vec![], Some(End::Slow)));
    let (rest, end) = all(&mut burst).await;
    heard.extend(rest);
    assert_eq!((heard, end), (said, None));
}

#[tokio::test(start_paused = true)]
async fn one_large_event_may_wait_alone() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, Options { queue_bytes: 0, ..options() });
    fake.turn(7, 1);
    let mut listener = listen(&hub, 1, "a", None).await;
    let first = fake.say(7);
    hub.wake();
    assert_eq!(all(&mut listener).await, (vec![first], None));
    let said: Vec<Rev> = (0..3).map(|_| fake.say(7)).collect();
    hub.wake();
    tokio::time::sleep(QUIET).await;
    assert_eq!(all(&mut listener).await, (said, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_read_for_a_listener_is_read_on_when_it_does_something_else_meanwhile() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, options());
    fake.turn(7, 1);
    let (poison, last) = (fake.say(7), fake.say(7));
    *fake.poison.lock().unwrap() = poison.to_string();
    let mut listener = listen(&hub, 1, "a", Some(Rev(0))).await;
    // Less than it takes until a message is given up.
    let mut heard = None;
    for _ in 0..4 {
        heard = heard.or(tokio::time::timeout(Duration::from_secs(10), listener.next()).await.ok());
    }
    assert!(matches!(heard, Some(Step::Event(event)) if event.rev == last));
}

#[tokio::test(start_paused = true)]
async fn there_is_one_connection_of_a_session() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, Options { max_sessions: 2, ..options() });
    fake.turn(7, 1);
    let mut earlier = listen(&hub, 1, "a", None).await;
    let _other = listen(&hub, 1, "b", None).await;
    let refused = hub.listen(&asked(1, "c", None), Carrier::Sse).await;
    assert!(matches!(refused, Err(Refused::Full)));
    let mut later = listen(&hub, 1, "a", None).await;
    assert_eq!(all(&mut earlier).await, (vec![], Some(End::Replaced)));
    // The end of the earlier one is not that of the later one.
    drop(earlier);
    let rev = fake.say(7);
    hub.wake();
    assert_eq!(all(&mut later).await, (vec![rev], None));
    drop(later);
    listen(&hub, 1, "c", None).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_of_polls_outlives_each_of_them_for_a_while() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, options());
    fake.turn(7, 1);
    let next = async |since: Option<Rev>, ms: u64| {
        let listener = hub.listen(&asked(1, "a", since), Carrier::Poll).await.expect("there is room");
        let until = Instant::now() + Duration::from_millis(ms);
        poll::next(listener, until, &CancellationToken::new()).await.map(|event| event.rev)
    };
    let say = || {
        let rev = fake.say(7);
        hub.wake();
        rev
    };
    assert_eq!(next(None, 30_000).await, None);
    let (first, second) = (say(), say());
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(next(None, 1).await, Some(first));
    // Whoever did not get the answer says so.
    assert_eq!(next(Some(Rev(0)), 1000).await, Some(first));
    assert_eq!(next(Some(first), 1000).await, Some(second));
    assert_eq!(next(Some(second), 1000).await, None);
    assert_eq!(next(Some(first), 1000).await, Some(second));
    // Too long away: what came meanwhile is had by the last id alone.
    tokio::time::sleep(Duration::from_secs(70)).await;
    let third = say();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(next(None, 1000).await, None);
    assert_eq!(next(Some(second), 1000).await, Some(third));
}

#[tokio::test(start_paused = true)]
async fn a_session_of_polls_misses_nothing_however_much_comes_between_two_of_them() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, Options { queue: 16, ..options() });
    fake.turn(7, 1);
    let next = async || {
        let listener = hub.listen(&asked(1, "a", None), Carrier::Poll).await.expect("there is room");
        let until = Instant::now() + Duration::from_secs(1);
        poll::next(listener, until, &CancellationToken::new()).await.map(|event| event.rev)
    };
    assert_eq!(next().await, None);
    let said: Vec<Rev> = (0..1000).map(|_| fake.say(7)).collect();
    hub.wake();
    for rev in said {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(next().await, Some(rev));
        fake.say(8);
        hub.wake();
    }
    assert_eq!(next().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_hub_rests_while_nobody_listens_and_ends_when_it_is_closed() {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, options());
    fake.turn(7, 1);
    let mut listener = listen(&hub, 1, "a", None).await;
    let rev = fake.say(7);
    hub.wake();
    assert!(matches!(listener.next().await, Step::Event(event) if event.rev == rev));
    drop(listener);
    fake.say(7);
    hub.wake();
    tokio::time::sleep(QUIET).await;
    assert_eq!(fake.rendered.lock().unwrap().len(), 1);
    let mut listener = listen(&hub, 1, "a", None).await;
    let rev = fake.say(7);
    hub.wake();
    assert!(matches!(listener.next().await, Step::Event(event) if event.rev == rev));
    hub.close();
    assert_eq!(all(&mut listener).await, (vec![], Some(End::Stopped)));
    assert!(matches!(hub.listen(&asked(1, "a", None), Carrier::Sse).await, Err(Refused::Closed)));
}

/// What happens in a history.
#[derive(Clone, Debug)]
enum Act {
    Say(i64),
    /// A person joins or leaves.
    Turn(i64, i64),
    /// A session's connection is made anew, from what it has heard or from now on.
    Connect(usize, bool),
    Take(usize, u8),
    Down(bool),
    Away(bool),
    /// Others get so many turns.
    Pause(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..3_i64).prop_map(Act::Say),
        3 => (0..3_i64, 0..3_i64).prop_map(|(conversation, person)| Act::Turn(conversation, person)),
        3 => (0..SESSIONS, any::<bool>()).prop_map(|(session, again)| Act::Connect(session, again)),
        4 => (0..SESSIONS, 0..6_u8).prop_map(|(session, events)| Act::Take(session, events)),
        1 => any::<bool>().prop_map(Act::Down),
        1 => any::<bool>().prop_map(Act::Away),
        4 => (0..8_u8).prop_map(Act::Pause),
    ]
}

const SESSIONS: usize = 6;

/// A session's connection, since when it hears, and what it heard.
struct Heard {
    listener: Listener,
    from: Rev,
    heard: Vec<Rev>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever happens meanwhile: each connection hears exactly what its person was there for since it began, in order, once.
    #[test]
    fn each_connection_hears_its_messages(
        acts in prop::collection::vec(act(), 1..60),
        dawdles in prop::collection::vec(0..5_u8, 0..200),
        queue in prop_oneof![Just(1_usize), Just(4), Just(1000)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(history(acts, dawdles, queue));
    }
}

async fn history(acts: Vec<Act>, dawdles: Vec<u8>, queue: usize) {
    let fake = Arc::new(Fake::default());
    let hub = hub(&fake, Options { queue, ..options() });
    *fake.dawdles.lock().unwrap() = dawdles;
    let mut sessions: [Option<Heard>; SESSIONS] = Default::default();
    for act in acts {
        match act {
            Act::Say(conversation) => {
                fake.say(conversation);
                hub.wake();
            }
            Act::Turn(conversation, person) => fake.turn(conversation, person),
            Act::Connect(index, again) => {
                let before = sessions[index].take();
                if let Some(before) = &before {
                    check(&fake, index, before, false);
                }
                let since =
                    before.as_ref().filter(|_| again).map(|before| *before.heard.last().unwrap_or(&before.from));
                let session = index.to_string();
                let connected = hub.listen(&asked(person(index), &session, since), Carrier::WebSocket).await;
                let from = since.unwrap_or_else(|| fake.last());
                // Nothing is said while somebody is let in: this alone acts.
                sessions[index] = connected.ok().map(|listener| Heard { listener, from, heard: Vec::new() });
            }
            Act::Take(index, events) => {
                let Some(Heard { listener, heard, .. }) = &mut sessions[index] else { continue };
                for _ in 0..events {
                    match tokio::time::timeout(Duration::from_millis(1), listener.next()).await {
                        Ok(Step::Event(event)) => heard.push(event.rev),
                        Ok(Step::End(end)) => panic!("nobody is slow here: {end:?}"),
                        Err(_) => break,
                    }
                }
            }
            Act::Down(is_down) => fake.is_down.store(is_down, Ordering::SeqCst),
            Act::Away(is_away) => fake.is_away.store(is_away, Ordering::SeqCst),
            Act::Pause(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    fake.is_down.store(false, Ordering::SeqCst);
    fake.is_away.store(false, Ordering::SeqCst);
    for (index, session) in sessions.iter_mut().enumerate() {
        let Some(session) = session else { continue };
        let (rest, end) = all(&mut session.listener).await;
        session.heard.extend(rest);
        assert_eq!(end, None);
        check(&fake, index, session, true);
    }
}

/// Sessions two of a person.
fn person(index: usize) -> i64 {
    index as i64 / 2
}

fn check(fake: &Fake, index: usize, session: &Heard, is_all: bool) {
    let expected = fake.heard(person(index), session.from);
    match is_all {
        true => assert_eq!(session.heard, expected),
        false => assert!(expected.starts_with(&session.heard), "{:?} of {expected:?}", session.heard),
    }
}
