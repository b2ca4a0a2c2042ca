//! Who hears a conversation, remembered while nobody joins or leaves.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use stele_archive::{Audience, ConversationId, InstanceId, Live, PersonId, Result, Rev, Stay};

/// Most stays that are remembered, over all conversations of an instance; a conversation counts as one more.
const STAYS_KEPT: usize = 500_000;

/// Audiences by conversation, of one instance.
#[derive(Default)]
pub(super) struct Audiences {
    known: HashMap<ConversationId, Arc<Audience>>,
    stays: usize,
}

impl Audiences {
    /// Who hears what was committed after `since` in these conversations; stays are in the order of people.
    ///
    /// A stay never changes what it says of revisions that are there already, so what is read after the messages is right for
    /// them, and stays right while the version does.
    pub async fn of(
        &mut self,
        live: &dyn Live,
        instance: InstanceId,
        conversations: BTreeSet<ConversationId>,
        since: Rev,
    ) -> Result<HashMap<ConversationId, Arc<Audience>>> {
        let conversations: Vec<ConversationId> = conversations.into_iter().collect();
        let versions = live.audience_versions(instance, &conversations).await?;
        let mut found = HashMap::with_capacity(conversations.len());
        for (conversation, version) in conversations.into_iter().zip(versions) {
            let audience = match self.known.get(&conversation).filter(|known| known.version == version) {
                Some(known) => Arc::clone(known),
                None => {
                    let mut audience = live.audience(instance, conversation, since).await?;
                    audience.stays.sort_unstable_by_key(|stay| (stay.person, stay.after));
                    let audience = Arc::new(audience);
                    self.remember(conversation, Arc::clone(&audience));
                    audience
                }
            };
            found.insert(conversation, audience);
        }
        Ok(found)
    }

    fn remember(&mut self, conversation: ConversationId, audience: Arc<Audience>) {
        let more = audience.stays.len() + 1;
        if more > STAYS_KEPT {
            return;
        }
        if self.stays + more > STAYS_KEPT {
            self.known.clear();
            self.stays = 0;
        }
        self.stays += more;
        if let Some(before) = self.known.insert(conversation, audience) {
            self.stays -= before.stays.len() + 1;
        }
    }
}

/// The stays of a person in an audience whose stays are in the order of people.
pub(super) fn stays_of(audience: &Audience, person: PersonId) -> &[Stay] {
    let begin = audience.stays.partition_point(|stay| stay.person < person);
    let rest = &audience.stays[begin..];
    &rest[..rest.iter().take_while(|stay| stay.person == person).count()]
}
