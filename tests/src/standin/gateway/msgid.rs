//! Message ids as quick-im-core makes them (reference/gateway.md §8).

const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
/// The lowest bit of the 13th character, which is always 0.
const ALWAYS_ZERO: u128 = 1 << 15;

/// The id of the `counter`th message of a millisecond.
pub fn msg_id(ms: i64, counter: u16, kind: u8, conversation: &str) -> String {
    let hash =
        conversation.bytes().fold(0x811c_9dc5_u32, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte));
    let bits = u128::from(ms.unsigned_abs()) << 38
        | u128::from(counter & 0xfff) << 26
        | u128::from(kind & 0xf) << 22
        | u128::from(hash & 0x3f_ffff);
    write(bits & !ALWAYS_ZERO)
}

/// The millisecond in an id of the right form.
pub fn ms_of(id: &str) -> Option<i64> {
    let characters = id.bytes().filter(|byte| *byte != b'-');
    let bits = characters.clone().try_fold(0_u128, |bits, byte| {
        let value = ALPHABET.iter().position(|known| *known == byte)?;
        Some(bits << 5 | value as u128)
    })?;
    (characters.count() == 16).then_some((bits >> 38) as i64)
}

fn write(bits: u128) -> String {
    let mut text = String::with_capacity(19);
    for place in 0..16 {
        if matches!(place, 5 | 9 | 13) {
            text.push('-');
        }
        text.push(char::from(ALPHABET[(bits >> (75 - 5 * place) & 31) as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_reference() {
        let documents = "87ba7679-b682-47e7-8499-0385dda22b66";
        let other = "11111111-2222-3333-4444-555555555555";
        let known = [
            (1_697_986_744_068, 1, 0, documents, "EDCZL-SY32-243Y-VWQ"),
            (1_697_986_882_878, 1, 0, documents, "EDCZM-UUHJ-243Y-VWQ"),
            (1_698_119_710_632, 1, 0, documents, "EDDZB-9HC2-243Y-VWQ"),
            (1_700_000_000_000, 1, 1, other, "EDTZL-QJ22-247Q-S2K"),
            (1_700_000_000_000, 2, 1, other, "EDTZL-QJ22-267Q-S2K"),
        ];
        for (ms, counter, kind, conversation, id) in known {
            assert_eq!(msg_id(ms, counter, kind, conversation), id);
            assert_eq!(ms_of(id), Some(ms));
        }
        assert_eq!(ms_of("alice"), None);
    }
}
