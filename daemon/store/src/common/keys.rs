//! What can be looked up: texts of up to so many bytes, whichever the backend, so that an archive can be moved from the one to the
//! other.

use crate::postgres::text::written;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;
use stele_archive::model::{Message, Page, Parked};
use stele_archive::{ArchiveError, Commit, Result, Stream};

/// Longest text of an index, in bytes as Postgres writes it: three of them must fit on one of its pages of 8 KiB.
const MAX_KEY: usize = 2_000;
/// Bytes a text of one may grow to when it is written.
const GROWTH: usize = 3;
/// Bytes of what stands for a longer text, before its hash.
const BEGINNING: usize = 600;

const MESSAGE: &str = "the native id of a message";
const CONVERSATION: &str = "the native id of a conversation";
const PERSON: &str = "the native id of a person";

/// Longest text, in bytes, that fits whatever it says.
pub(crate) const CERTAIN: usize = MAX_KEY / GROWTH;

/// Refuse a text that cannot be looked up.
pub(crate) fn check(what: &str, key: &str) -> Result<()> {
    if fits(key) {
        return Ok(());
    }
    let begin: String = key.chars().take(40).collect();
    Err(ArchiveError::Invalid(format!("{}: {begin:?}…", reason(what))))
}

/// The page as it can be stored. What a source delivered is taken: messages that something of cannot be looked up are parked, and so are
/// people and conversations; of members of a conversation such are left out. What somebody appends, who can be told, is refused.
pub(crate) fn storable<'p>(commit: &Commit<'p>) -> Result<Cow<'p, Page>> {
    let page = commit.page;
    check("a partition", commit.partition)?;
    page.reached.iter().try_for_each(|reached| check("a partition", &reached.partition))?;
    let Some((what, key)) = keys(page).find(|(_, key)| !fits(key)) else { return Ok(Cow::Borrowed(page)) };
    if page.cursor.is_none() && commit.stream == Stream::Messages {
        check(what, key)?;
    }
    let mut page = page.clone();
    let parked = &mut page.parked;
    parked.iter_mut().for_each(|envelope| shorten(&mut envelope.native_id));
    let mut park = |what: &str, native_id: &str, whole: serde_json::Result<String>| {
        let mut native_id = native_id.to_owned();
        shorten(&mut native_id);
        // No plugin takes this for an envelope of its own.
        let envelope = format!("as it came: {}", whole.unwrap_or_default()).into_bytes().into();
        parked.push(Parked { native_id, reason: reason(what), envelope });
    };
    page.messages.retain(|message| {
        let unfit = of_message(message).find(|(_, key)| !fits(key));
        unfit.inspect(|(what, _)| park(what, &message.native_id, serde_json::to_string(message))).is_none()
    });
    page.people.retain(|person| {
        let fits = fits(&person.native_id);
        if !fits {
            park(PERSON, &person.native_id, serde_json::to_string(person));
        }
        fits
    });
    page.conversations.retain(|conversation| {
        let fits = fits(&conversation.native_id);
        if !fits {
            park(CONVERSATION, &conversation.native_id, serde_json::to_string(conversation));
        }
        fits
    });
    for conversation in &mut page.conversations {
        let members = conversation.members.iter_mut().chain([&mut conversation.joined, &mut conversation.left]);
        members.for_each(|members| members.retain(|native| fits(native)));
        conversation.kind = conversation.kind.take().filter(|kind| fits(kind.as_str()));
    }
    page.revocations.iter_mut().for_each(|revocation| shorten(&mut revocation.native_id));
    Ok(Cow::Owned(page))
}

fn fits(key: &str) -> bool {
    key.len() <= CERTAIN || written(key).len() <= MAX_KEY
}

fn reason(what: &str) -> String {
    format!("{what} is longer than the {MAX_KEY} bytes that can be looked up")
}

/// All that a page names, with what it is.
fn keys(page: &Page) -> impl Iterator<Item = (&'static str, &str)> {
    let conversations = page.conversations.iter().flat_map(|conversation| {
        let members = conversation.members.iter().flatten().chain(&conversation.joined).chain(&conversation.left);
        let kind = conversation.kind.as_ref().map(|kind| ("the kind of a conversation", kind.as_str()));
        let own = [(CONVERSATION, conversation.native_id.as_str())].into_iter().chain(kind);
        own.chain(members.map(|native| (PERSON, native.as_str())))
    });
    let people = page.people.iter().map(|person| (PERSON, person.native_id.as_str()));
    let revocations = page.revocations.iter().map(|revocation| (MESSAGE, revocation.native_id.as_str()));
    let parked = page.parked.iter().map(|parked| (MESSAGE, parked.native_id.as_str()));
    page.messages.iter().flat_map(of_message).chain(conversations).chain(people).chain(revocations).chain(parked)
}

fn of_message(message: &Message) -> impl Iterator<Item = (&'static str, &str)> {
    let own = [
        (MESSAGE, message.native_id.as_str()),
        (CONVERSATION, &message.conversation),
        (PERSON, &message.sender),
        ("a client id", message.client_id.as_deref().unwrap_or_default()),
        ("the kind of a message", &message.kind),
    ];
    let recipients = message.recipients.iter().map(|native| (PERSON, native.as_str()));
    let files = message.media.iter().map(|file| ("the handle of a file", file.handle.as_str()));
    own.into_iter().chain(recipients).chain(files)
}

/// Replace what does not fit by its beginning and its hash: the same for the same text.
fn shorten(key: &mut String) {
    if fits(key) {
        return;
    }
    let mut short = key[..key.floor_char_boundary(BEGINNING)].to_owned();
    short.push('…');
    Sha256::digest(key.as_bytes()).iter().for_each(|byte| _ = write!(short, "{byte:02x}"));
    *key = short;
}
