//! As whom a conversation is read. An admin may name anybody, but is answered what that person may see: not what they have
//! cleared or deleted, nor what was said in a group after they left it (reference/openim.md §7.1).

use super::Upstream;
use super::client::CallError;
use crate::ids;

/// People who are asked for the same messages at most.
pub const MOST: usize = 8;

/// The two whose conversation this is. Ids may hold a `_`, so there may be more than one way to read it.
fn pairs(conversation: &str) -> impl Iterator<Item = (&str, &str)> {
    let of_two = ["si_", "sn_"].into_iter().find_map(|kind| conversation.strip_prefix(kind));
    let of_two = of_two.unwrap_or_default();
    let split = |(at, _)| (&of_two[..at], &of_two[at + 1..]);
    of_two.match_indices('_').map(split).filter(|(one, other)| !one.is_empty() && one <= other)
}

/// Who may be in a conversation of two, those who are known to be first.
fn ends(conversation: &str, known: &[String]) -> Vec<String> {
    let is_known = |id: &str| known.iter().any(|known| known == id);
    let mut pairs: Vec<_> = pairs(conversation).collect();
    if pairs.iter().any(|(one, other)| is_known(one) || is_known(other)) {
        pairs.retain(|(one, other)| is_known(one) || is_known(other));
    }
    let mut ends: Vec<_> = pairs.into_iter().flat_map(|(one, other)| [one, other]).map(str::to_owned).collect();
    ends.sort_by_key(|id| !is_known(id));
    ends.dedup();
    ends
}

impl Upstream {
    /// Who else may see what is in a conversation, beside these, and who of these may.
    pub(super) async fn readers(&self, conversation: &str, known: &[String]) -> Result<Vec<String>, CallError> {
        let mut readers = match ids::group_of(conversation) {
            None => ends(conversation, known),
            Some(group) => {
                let members = match self.client.members(group).await {
                    Ok(members) => members,
                    // It may be no more.
                    Err(CallError::Refused(..)) => Vec::new(),
                    Err(error) => return Err(error),
                };
                known.iter().cloned().chain(members).collect()
            }
        };
        let mut seen = std::collections::HashSet::new();
        readers.retain(|reader| seen.insert(reader.clone()));
        readers.truncate(MOST);
        Ok(readers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_told_from_one() {
        let check = |conversation, known: &[&str], expected: &[&str]| {
            let known: Vec<_> = known.iter().map(|id| (*id).to_owned()).collect();
            assert_eq!(ends(conversation, &known), expected, "{conversation}");
        };
        check("si_a_b", &["a"], &["a", "b"]);
        check("si_a_b", &["b"], &["b", "a"]);
        check("sn_a_imAdmin", &["a"], &["a", "imAdmin"]);
        check("si_u_10_u_2", &["u_2"], &["u_2", "u_10"]);
        check("si_me_me", &["me"], &["me"]);
        check("si_a_a_b", &["a"], &["a", "a_b"]);
        // Nobody known: whoever it may be.
        check("si_u_10_u_2", &[], &["u_10", "u_2"]);
        check("sg_team", &["a"], &[]);
    }
}
