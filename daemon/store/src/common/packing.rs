//! Lists in one value.

/// Labels in the order they are kept in.
pub(crate) fn distinct(labels: &[String]) -> Vec<&str> {
    let mut labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// Labels as they are kept. What is no list of them has been tampered with, and tells none.
pub(crate) fn labels(kept: Option<&str>) -> Vec<String> {
    kept.and_then(|kept| serde_json::from_str(kept).ok()).unwrap_or_default()
}

/// Ids as LEB128, one after the other; nothing for nobody.
pub(crate) fn pack(ids: &[i64]) -> Option<Vec<u8>> {
    if ids.is_empty() {
        return None;
    }
    let mut packed = Vec::with_capacity(ids.len() * 3);
    for id in ids {
        let mut rest = id.cast_unsigned();
        while rest >= 0x80 {
            packed.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        packed.push(rest as u8);
    }
    Some(packed)
}

/// The ids in what [`pack`] made.
pub(crate) fn unpack(packed: &[u8]) -> Vec<i64> {
    let (mut ids, mut id, mut shift) = (Vec::new(), 0_u64, 0);
    for byte in packed {
        id |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if byte & 0x80 == 0 {
            ids.push(id.cast_signed());
            (id, shift) = (0, 0);
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::{pack, unpack};

    #[test]
    fn recipients_survive_packing() {
        for ids in [vec![1], vec![127, 128, 129], vec![i64::MAX, 1, 0], (1..5000).collect()] {
            assert_eq!(unpack(&pack(&ids).expect("somebody")), ids);
        }
        assert_eq!(pack(&[]), None);
    }
}
