//! Pages far from the beginning.
//!
//! The server passes over rows one value of the sort after the other, and a time is nearly everybody's own: it takes more than 10 s
//! for 125,000 rows. How many rows each value has it tells in milliseconds. So a page is asked for among the rows of the values
//! it lies in.

use std::collections::HashMap;

/// Rows to pass over from which on it is worth while.
pub const DEEP: usize = 1_000;

/// The parts of a time, in the order of the sort.
pub const TIMES: [&str; 2] = ["th", "tl"];

/// The values that a page lies in.
#[derive(Debug, PartialEq)]
pub struct Values {
    pub least: i64,
    pub greatest: i64,
    /// Rows that come before all of them.
    pub before: usize,
}

impl Values {
    /// Those that hold `length` rows from `from` on, by the number of rows of each; `None` where the rows end before that.
    pub fn holding(counts: &HashMap<String, usize>, newest_first: bool, from: usize, length: usize) -> Option<Self> {
        let number = |(value, count): (&String, &usize)| Some((value.parse::<f64>().ok()? as i64, *count));
        let mut counts: Vec<(i64, usize)> = counts.iter().filter_map(number).collect();
        counts.sort_unstable();
        if newest_first {
            counts.reverse();
        }
        let mut passed = 0;
        let mut values: Option<Self> = None;
        for (value, count) in counts {
            if passed + count > from {
                let values = values.get_or_insert(Self { least: value, greatest: value, before: passed });
                (values.least, values.greatest) = (values.least.min(value), values.greatest.max(value));
            }
            passed += count;
            if passed >= from.saturating_add(length) {
                break;
            }
        }
        values
    }

    /// The rows that have one of them.
    pub fn filter(&self, field: &str) -> String {
        format!("{field} >= {} AND {field} <= {}", self.least, self.greatest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_page_is_among_the_rows_of_its_values(
            rows in prop::collection::vec(-5i64..5, 0..60),
            newest_first: bool,
            from in 0usize..70,
            length in 1usize..20,
        ) {
            let mut counts: HashMap<String, usize> = HashMap::new();
            rows.iter().for_each(|row| *counts.entry(row.to_string()).or_default() += 1);
            let mut rows = rows;
            rows.sort_unstable();
            if newest_first {
                rows.reverse();
            }
            let page: Vec<i64> = rows.iter().copied().skip(from).take(length).collect();
            match Values::holding(&counts, newest_first, from, length) {
                None => prop_assert!(page.is_empty()),
                Some(values) => {
                    let among = rows.iter().copied().filter(|row| (values.least..=values.greatest).contains(row));
                    prop_assert_eq!(among.skip(from - values.before).take(length).collect::<Vec<_>>(), page);
                }
            }
        }
    }
}
