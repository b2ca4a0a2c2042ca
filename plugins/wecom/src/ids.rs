//! Native ids: WeCom's own ones, prefixed by the corp, because they are unique within a corp only.
//!
//! | what | native id |
//! |---|---|
//! | person | `corp/user` |
//! | message | `corp/msgid`, and `corp/msgid#recipient` for the further copies of one without a room |
//! | conversation of two | `corp/d/a/b`, a ≤ b bytewise |
//! | group | `corp/g/room` |
//! | events of a corp | `corp/s` |
//! | media | `corp/sdkfileid` |
//!
//! Parts that contain a separator are percent-escaped; no id of WeCom does, so that they are spelled as they came. An
//! sdkfileid is base64 and full of slashes: it stands last and is not escaped.

use std::borrow::Cow;
use stele_plugin_api::model::{COPY, PersonKind};

/// The conversation of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Conversation {
    /// Two people, smaller id first: see [`Conversation::direct`].
    Direct(String, String),
    /// A group, by its room id.
    Group(String),
    /// What belongs to nobody: switch events, messages without receivers.
    System,
}

impl Conversation {
    /// The conversation of two people, in whatever order they come.
    pub fn direct(one: &str, other: &str) -> Self {
        let (first, second) = if one <= other { (one, other) } else { (other, one) };
        Self::Direct(first.to_owned(), second.to_owned())
    }

    /// Its native id.
    pub fn native_id(&self, corp: &str) -> String {
        let corp = escape(corp);
        match self {
            Self::Direct(first, second) => format!("{corp}/d/{}/{}", escape(first), escape(second)),
            Self::Group(room) => format!("{corp}/g/{}", escape(room)),
            Self::System => format!("{corp}/s"),
        }
    }

    /// Corp and conversation of a native id; `None` when it is none.
    pub fn parse(native_id: &str) -> Option<(String, Self)> {
        let mut parts = native_id.split('/');
        let corp = unescape(parts.next()?)?;
        let conversation = match parts.next()? {
            "d" => Self::Direct(unescape(parts.next()?)?, unescape(parts.next()?)?),
            "g" => Self::Group(unescape(parts.next()?)?),
            "s" => Self::System,
            _ => return None,
        };
        parts.next().is_none().then_some((corp, conversation))
    }
}

/// Native id of a person.
pub fn person(corp: &str, user: &str) -> String {
    format!("{}/{}", escape(corp), escape(user))
}

/// Corp and user of a person's native id.
pub fn parse_person(native_id: &str) -> Option<(String, String)> {
    let (corp, user) = native_id.split_once('/')?;
    if user.contains(['/', '#']) {
        return None;
    }
    Some((unescape(corp)?, unescape(user)?))
}

/// Native id of a message; `copy_for` names the recipient of a further copy.
pub fn message(corp: &str, msgid: &str, copy_for: Option<&str>) -> String {
    match copy_for {
        None => format!("{}/{}", escape(corp), escape(msgid)),
        Some(recipient) => format!("{}/{}{COPY}{}", escape(corp), escape(msgid), escape(recipient)),
    }
}

/// A message's native id, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageId {
    /// The corp.
    pub corp: String,
    /// WeCom's own id.
    pub msgid: String,
    /// Whose copy it is, when it is a further one.
    pub copy_for: Option<String>,
}

/// Takes a message's native id apart.
pub fn parse_message(native_id: &str) -> Option<MessageId> {
    let (corp, rest) = native_id.split_once('/')?;
    if rest.contains('/') {
        return None;
    }
    let (msgid, copy_for) = match rest.split_once('#') {
        Some((_, recipient)) if recipient.contains('#') => return None,
        Some((msgid, recipient)) => (msgid, Some(unescape(recipient)?)),
        None => (rest, None),
    };
    Some(MessageId { corp: unescape(corp)?, msgid: unescape(msgid)?, copy_for })
}

/// Handle of a file.
pub fn media(corp: &str, sdkfileid: &str) -> String {
    format!("{}/{sdkfileid}", escape(corp))
}

/// Corp and sdkfileid of a file's handle.
pub fn parse_media(handle: &str) -> Option<(String, String)> {
    let (corp, sdkfileid) = handle.split_once('/')?;
    Some((unescape(corp)?, sdkfileid.to_owned()))
}

/// Bytes of an id that WeCom itself gives to somebody outside of the company, or to a program.
const FOREIGN_ID: usize = 32;

/// What a person is, as far as their id tells (reference/wecom-archive.md §2.1): `wo` and `wm` are outside of the
/// company, `wb` are programs. What follows is base64, which has capitals, up to [`FOREIGN_ID`] bytes: a member may be
/// called `wolf` or `woLiu`, and what the directory says of them must stand. Anything else says nothing: members, and
/// people of an upstream or downstream partner, have the ids their companies gave them.
pub fn person_kind(user: &str) -> Option<PersonKind> {
    let kind = match user.as_bytes() {
        [b'w', b'o' | b'm', ..] => PersonKind::Customer,
        [b'w', b'b', ..] => PersonKind::Bot,
        _ => return None,
    };
    let is_foreign = user.len() == FOREIGN_ID && user.bytes().any(|byte| byte.is_ascii_uppercase());
    is_foreign.then_some(kind)
}

/// Whether a message has a party outside of the company: customers, and members of an upstream or downstream partner.
pub fn is_external(msgid: &str) -> bool {
    msgid.ends_with("_external") || msgid.ends_with("_updown_stream")
}

fn escape(part: &str) -> Cow<'_, str> {
    if !part.contains(['%', '/', '#']) {
        return Cow::Borrowed(part);
    }
    let mut escaped = String::with_capacity(part.len() + 8);
    for character in part.chars() {
        match character {
            '%' => escaped.push_str("%25"),
            '/' => escaped.push_str("%2F"),
            '#' => escaped.push_str("%23"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

fn unescape(part: &str) -> Option<String> {
    let mut text = String::with_capacity(part.len());
    let mut rest = part;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let (code, tail) = after.split_at_checked(2)?;
        text.push(match code {
            "25" => '%',
            "2F" => '/',
            "23" => '#',
            _ => return None,
        });
        rest = tail;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_of_wecom_are_spelled_as_they_came() {
        assert_eq!(person("corp123", "zhang.san@x"), "corp123/zhang.san@x");
        assert_eq!(message("corp123", "9_1700000000001_external", None), "corp123/9_1700000000001_external");
        assert_eq!(message("corp123", "9_17", Some("li")), "corp123/9_17#li");
        assert_eq!(Conversation::direct("wmA", "li").native_id("corp123"), "corp123/d/li/wmA");
        assert_eq!(Conversation::Group("wrX".into()).native_id("corp123"), "corp123/g/wrX");
        assert_eq!(Conversation::System.native_id("corp123"), "corp123/s");
        assert_eq!(media("corp123", "CtY/a+b=="), "corp123/CtY/a+b==");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in
            ["", "corp", "corp/x/y", "corp/d/a", "corp/d/a/b/c", "corp/g", "corp/s/x", "corp/g/%zz", "corp/g/%2"]
        {
            assert_eq!(Conversation::parse(text), None, "{text}");
        }
        for text in ["", "corp", "corp/a/b", "corp/a#b#c", "corp/%2"] {
            assert_eq!(parse_message(text), None, "{text}");
        }
        for text in ["", "corp", "corp/a/b", "corp/a#b"] {
            assert_eq!(parse_person(text), None, "{text}");
        }
    }

    #[test]
    fn kinds_follow_prefix_length_and_capitals() {
        for (user, kind) in [
            ("wmA0000000000000000000000000AAAA", Some(PersonKind::Customer)),
            ("wo_-bc00000000000000000000000AAA", Some(PersonKind::Customer)),
            ("wbabC000000000000000000000000AAA", Some(PersonKind::Bot)),
            ("wmA0000000000000000000000000AAA", None),
            ("wmA0000000000000000000000000AAAAA", None),
            ("wolfgang.amadeus.von.und.zu.tann", None),
            ("woLiu", None),
            ("wbWang", None),
            ("wolf", None),
            ("zhangW", None),
            ("w", None),
            ("", None),
        ] {
            assert_eq!(person_kind(user), kind, "{user}");
        }
    }

    proptest! {
        #[test]
        fn a_person_comes_back(corp in any::<String>(), user in any::<String>()) {
            prop_assert_eq!(parse_person(&person(&corp, &user)), Some((corp, user)));
        }

        #[test]
        fn a_message_comes_back(corp in any::<String>(), msgid in any::<String>(), copy_for in any::<Option<String>>()) {
            let native_id = message(&corp, &msgid, copy_for.as_deref());
            prop_assert_eq!(parse_message(&native_id), Some(MessageId { corp, msgid, copy_for }));
        }

        #[test]
        fn a_conversation_comes_back(corp in any::<String>(), a in any::<String>(), b in any::<String>()) {
            let direct = Conversation::direct(&a, &b);
            prop_assert_eq!(&direct, &Conversation::direct(&b, &a));
            for conversation in [direct, Conversation::Group(a), Conversation::System] {
                let native_id = conversation.native_id(&corp);
                prop_assert_eq!(Conversation::parse(&native_id), Some((corp.clone(), conversation)));
            }
        }

        #[test]
        fn a_file_comes_back(corp in any::<String>(), sdkfileid in any::<String>()) {
            prop_assert_eq!(parse_media(&media(&corp, &sdkfileid)), Some((corp, sdkfileid)));
        }

        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = (parse_person(&text), parse_message(&text), Conversation::parse(&text), parse_media(&text));
        }
    }
}
