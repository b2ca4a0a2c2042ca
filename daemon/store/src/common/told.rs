//! What a page says of people and conversations, merged if it describes one twice.

use std::collections::HashMap;
use stele_archive::model::{Conversation, ConversationKind, Person};

/// What is said replaces what was known.
fn merge<T: Clone>(known: &mut Option<T>, told: Option<&T>) {
    if let Some(told) = told {
        *known = Some(told.clone());
    }
}

/// What a page says of people, by native id.
pub(crate) fn people(described: &[Person]) -> HashMap<&str, Person> {
    let mut told: HashMap<&str, Person> = HashMap::new();
    for person in described {
        let known = told.entry(&person.native_id).or_default();
        known.native_id.clone_from(&person.native_id);
        merge(&mut known.kind, person.kind.as_ref());
        merge(&mut known.name, person.name.as_ref());
        merge(&mut known.avatar, person.avatar.as_ref());
        merge(&mut known.attributes, person.attributes.as_ref());
    }
    told
}

/// What is known of a person.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KnownPerson {
    pub kind: Option<String>,
    pub name: String,
    pub avatar: String,
    pub attributes: Option<String>,
}

impl KnownPerson {
    /// With what was said of them.
    pub fn told(&self, told: &Person) -> Self {
        Self {
            kind: told.kind.as_ref().map(|kind| kind.as_str().to_owned()).or_else(|| self.kind.clone()),
            name: told.name.as_ref().unwrap_or(&self.name).clone(),
            avatar: told.avatar.as_ref().unwrap_or(&self.avatar).clone(),
            attributes: told.attributes.as_ref().or(self.attributes.as_ref()).cloned(),
        }
    }
}

/// What a page says of a conversation.
#[derive(Default)]
pub(crate) struct ToldConversation<'a> {
    /// Its words on the kind, in order: what they come to depends on what is known.
    kinds: Vec<&'a ConversationKind>,
    /// The rest.
    words: Conversation,
}

/// What a page says of conversations, by native id.
pub(crate) fn conversations(described: &[Conversation]) -> HashMap<&str, ToldConversation<'_>> {
    let mut told: HashMap<&str, ToldConversation<'_>> = HashMap::new();
    for conversation in described {
        let ToldConversation { kinds, words: known } = told.entry(&conversation.native_id).or_default();
        kinds.extend(&conversation.kind);
        if !conversation.partition.is_empty() {
            known.partition.clone_from(&conversation.partition);
        }
        merge(&mut known.title, conversation.title.as_ref());
        merge(&mut known.owner, conversation.owner.as_ref());
        merge(&mut known.archived, conversation.archived.as_ref());
        merge(&mut known.deleted, conversation.deleted.as_ref());
        merge(&mut known.attributes, conversation.attributes.as_ref());
    }
    told
}

/// What is known of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KnownConversation {
    pub partition: String,
    pub kind: ConversationKind,
    pub title: String,
    pub owner: String,
    pub attributes: Option<String>,
    pub archived: bool,
    pub deleted: bool,
}

impl KnownConversation {
    /// One nobody has described, of a page of this partition.
    pub fn new(partition: &str) -> Self {
        Self {
            partition: partition.to_owned(),
            kind: ConversationKind::System,
            title: String::new(),
            owner: String::new(),
            attributes: None,
            archived: false,
            deleted: false,
        }
    }

    /// With what was said of it.
    pub fn told(&self, told: &ToldConversation<'_>) -> Self {
        let ToldConversation { kinds, words } = told;
        Self {
            partition: if words.partition.is_empty() { &self.partition } else { &words.partition }.clone(),
            kind: kinds.iter().fold(&self.kind, |known, told| if told.corrects(known) { told } else { known }).clone(),
            title: words.title.as_ref().unwrap_or(&self.title).clone(),
            owner: words.owner.as_ref().unwrap_or(&self.owner).clone(),
            attributes: words.attributes.as_ref().or(self.attributes.as_ref()).cloned(),
            archived: words.archived.unwrap_or(self.archived),
            deleted: words.deleted.unwrap_or(self.deleted),
        }
    }

    /// Shown under the name of the other one?
    pub fn is_pair(&self) -> bool {
        matches!(self.kind, ConversationKind::Direct | ConversationKind::External | ConversationKind::Service)
    }
}
