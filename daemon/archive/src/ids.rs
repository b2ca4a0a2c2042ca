//! Ids of rows; each kind its own type, so that none is taken for another.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {
        $($(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        })+
    };
}

ids! {
    /// A configured plugin.
    InstanceId,
    /// A conversation, unique over all instances.
    ConversationId,
    /// A person, unique over all instances.
    PersonId,
    /// A message, unique over all instances, in order of arrival.
    MessageId,
    /// A file of some message.
    MediaId,
    /// A run of a job.
    RunId,
    /// Position in the order in which messages became readable; the first is 1.
    Rev,
}
