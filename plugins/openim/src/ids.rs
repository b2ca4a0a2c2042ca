//! Ids of conversations, and what they say (reference/openim.md §6).

use stele_plugin_api::model::{Conversation, ConversationKind};

/// `sessionType` of two people.
pub const SINGLE: i32 = 1;
/// `sessionType` of a group of old, whose messages were stored for each member.
pub const WRITE_GROUP: i32 = 2;
/// `sessionType` of a group.
pub const GROUP: i32 = 3;
/// `sessionType` of what a system account tells somebody.
pub const NOTIFICATION: i32 = 4;

/// The conversation a message is in; `None` for a `sessionType` there is not.
pub fn conversation(session_type: i32, send_id: &str, recv_id: &str, group_id: &str) -> Option<String> {
    match session_type {
        SINGLE => Some(pair("si", send_id, recv_id)),
        WRITE_GROUP => Some(format!("g_{group_id}")),
        GROUP => Some(group(group_id)),
        NOTIFICATION => Some(pair("sn", send_id, recv_id)),
        _ => None,
    }
}

/// The conversation of a group.
pub fn group(group_id: &str) -> String {
    format!("sg_{group_id}")
}

/// The group of a conversation.
pub fn group_of(conversation: &str) -> Option<&str> {
    conversation.strip_prefix("sg_").or_else(|| conversation.strip_prefix("g_"))
}

/// The channel beside a conversation that tells what becomes of its messages.
pub fn notices(conversation: &str) -> String {
    let (_, rest) = conversation.split_once('_').unwrap_or(("", conversation));
    format!("n_{rest}")
}

/// What a conversation is, by its id.
pub fn kind(conversation: &str) -> ConversationKind {
    match conversation.split_once('_') {
        Some(("si", _)) => ConversationKind::Direct,
        Some(("sg" | "g", _)) => ConversationKind::Group,
        _ => ConversationKind::System,
    }
}

/// A conversation of which no more is known than its id.
pub fn described(conversation: &str) -> Conversation {
    Conversation { native_id: conversation.to_owned(), kind: Some(kind(conversation)), ..Conversation::default() }
}

/// The label of a message to this person or group.
pub fn to(id: &str) -> String {
    format!("to:{id}")
}

/// The label of a message with this `sessionType`.
pub fn session(session_type: i32) -> String {
    format!("session:{session_type}")
}

/// The two in the order of their bytes.
fn pair(kind: &str, one: &str, other: &str) -> String {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    format!("{kind}_{first}_{second}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_are_named_as_the_original_names_them() {
        let check = |session_type, send_id, recv_id, group_id, expected: Option<&str>| {
            assert_eq!(conversation(session_type, send_id, recv_id, group_id).as_deref(), expected);
        };
        check(SINGLE, "u_2", "u_10", "", Some("si_u_10_u_2"));
        check(SINGLE, "u_10", "u_2", "", Some("si_u_10_u_2"));
        check(SINGLE, "a", "B", "", Some("si_B_a"));
        check(SINGLE, "me", "me", "", Some("si_me_me"));
        check(WRITE_GROUP, "a", "", "g", Some("g_g"));
        check(GROUP, "a", "", "team_1", Some("sg_team_1"));
        check(NOTIFICATION, "imAdmin", "a", "", Some("sn_a_imAdmin"));
        check(0, "a", "b", "g", None);
    }

    #[test]
    fn an_id_tells_what_it_is() {
        let check = |id, is, group: Option<&str>, beside| {
            assert_eq!((kind(id), group_of(id), notices(id).as_str()), (is, group, beside), "{id}");
        };
        check("si_a_b", ConversationKind::Direct, None, "n_a_b");
        check("sg_team_1", ConversationKind::Group, Some("team_1"), "n_team_1");
        check("g_old", ConversationKind::Group, Some("old"), "n_old");
        check("sn_a_b", ConversationKind::System, None, "n_a_b");
        check("n_a_b", ConversationKind::System, None, "n_a_b");
        check("odd", ConversationKind::System, None, "n_odd");
    }
}
