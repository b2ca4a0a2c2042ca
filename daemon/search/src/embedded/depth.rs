//! Pages deep in an order of time.
//!
//! Of the rows before a page only their number matters. So the time they may have been sent in is cut into slices, the hits of
//! each are counted, and the slice in which the page begins is cut again, until no more than a window of hits is left before the
//! page. From there it is found like any other. Memory is that of the window and the slices, whatever the offset; and each time
//! the same view is looked at, so that commits in between do no harm.
//!
//! Stretches of a segment whose times lie in one slice are counted by their postings, those outside of what is cut are passed
//! over. So the first cut costs a walk along the shortest list, and a look at the times of what lies on the edges of slices.

use super::generation::View;
use super::matches::Search;
use super::schema::Fields;
use crate::index::{IndexQuery, Sort};
use std::ops::RangeInclusive;
use stele_archive::model::Micros;
use stele_archive::ops::Place;

/// Slices of a cut. Few, so that most stretches lie in one of them: of a million messages there are 245.
const SLICES: u32 = 32;

/// Moves the beginning of a page so that at most `window` hits are passed over from there; a page behind all hits becomes one of
/// no rows. Other orders than those of time stay as they are.
pub(super) fn approach(view: &View, fields: &Fields, window: usize, query: &mut IndexQuery) -> tantivy::Result<()> {
    if query.sort == Sort::Relevance || query.limit == 0 || query.offset <= window {
        return Ok(());
    }
    let order = Order(query.sort);
    let (mut range, mut before) = (order.after(query.beyond), query.offset as u64);
    while before > window as u64 && range.start() < range.end() {
        let mut cut = Cut::new(order, range);
        for (segment, spans) in view.segments() {
            Search { segment, fields, query }.weigh(spans.of(segment)?, &mut cut)?;
        }
        let Some(part) = cut.holding(&mut before) else {
            query.limit = 0;
            return Ok(());
        };
        range = part;
    }
    query.offset = usize::try_from(before).unwrap_or(usize::MAX);
    query.beyond = range.start().checked_sub(1).map(|last| order.place(last));
    Ok(())
}

/// An order of time, whose places are numbered in it.
#[derive(Clone, Copy, Debug)]
struct Order(Sort);

impl Order {
    fn number(self, sent_at: Micros, id: i64) -> u128 {
        let ascending = |number: i64| u128::from(number.cast_unsigned() ^ 1 << 63);
        let number = ascending(sent_at) << 64 | ascending(id);
        if self.0 == Sort::Oldest { number } else { !number }
    }

    fn place(self, number: u128) -> Place {
        let number = if self.0 == Sort::Oldest { number } else { !number };
        let signed = |number: u128| (number as u64 ^ 1 << 63).cast_signed();
        Place { sent_at: signed(number >> 64), id: signed(number) }
    }

    /// All places after one; one alone, which nothing has, after the last.
    fn after(self, place: Option<Place>) -> RangeInclusive<u128> {
        place.map_or(0, |place| self.number(place.sent_at, place.id).saturating_add(1))..=u128::MAX
    }

    /// All places of what was sent in this span.
    fn places(self, sent: &RangeInclusive<Micros>) -> RangeInclusive<u128> {
        let ends = [self.number(*sent.start(), i64::MIN), self.number(*sent.end(), i64::MAX)];
        ends[0].min(ends[1])..=ends[0].max(ends[1])
    }
}

/// A range of places, cut into slices of one size, a power of two.
pub(super) struct Cut {
    order: Order,
    range: RangeInclusive<u128>,
    shift: u32,
    slices: Vec<Slice>,
}

/// Hits of a slice, and between which places they are.
#[derive(Clone)]
struct Slice {
    hits: u64,
    first: u128,
    last: u128,
}

/// Where a stretch lies.
pub(super) enum Lies {
    Outside,
    /// In this slice alone.
    Within(usize),
    Across,
}

impl Cut {
    fn new(order: Order, range: RangeInclusive<u128>) -> Self {
        let bits = u128::BITS - (range.end() - range.start()).leading_zeros();
        let shift = bits.saturating_sub(SLICES.ilog2());
        let slices = vec![Slice { hits: 0, first: u128::MAX, last: 0 }; SLICES as usize];
        Self { order, range, shift, slices }
    }

    fn slice(&self, place: u128) -> usize {
        ((place - self.range.start()) >> self.shift) as usize
    }

    pub fn lies(&self, sent: &RangeInclusive<Micros>) -> Lies {
        let places = self.order.places(sent);
        if places.end() < self.range.start() || places.start() > self.range.end() {
            return Lies::Outside;
        }
        if places.start() < self.range.start() || places.end() > self.range.end() {
            return Lies::Across;
        }
        match (self.slice(*places.start()), self.slice(*places.end())) {
            (first, last) if first == last => Lies::Within(first),
            _ => Lies::Across,
        }
    }

    /// Adds hits of a stretch that lies within this slice.
    pub fn add_within(&mut self, slice: usize, sent: &RangeInclusive<Micros>, hits: u64) {
        let places = self.order.places(sent);
        self.add(slice, places, hits);
    }

    /// Whether something sent then may have a place in the range.
    pub fn may_hold(&self, sent_at: Micros) -> bool {
        !matches!(self.lies(&(sent_at..=sent_at)), Lies::Outside)
    }

    /// Adds a hit, if it has a place in the range.
    pub fn add_hit(&mut self, sent_at: Micros, id: i64) {
        let place = self.order.number(sent_at, id);
        if self.range.contains(&place) {
            self.add(self.slice(place), place..=place, 1);
        }
    }

    fn add(&mut self, slice: usize, places: RangeInclusive<u128>, hits: u64) {
        let slice = &mut self.slices[slice];
        slice.hits += hits;
        slice.first = slice.first.min(*places.start());
        slice.last = slice.last.max(*places.end());
    }

    /// The part of the range where as many hits as `before` have gone by, which is then how many of them are in that part;
    /// `None` when there are not more.
    fn holding(self, before: &mut u64) -> Option<RangeInclusive<u128>> {
        for slice in self.slices {
            match before.checked_sub(slice.hits) {
                Some(rest) => *before = rest,
                None => return Some(slice.first..=slice.last),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_are_numbered_in_the_order(
            a in (any::<i64>(), any::<i64>()),
            b in (any::<i64>(), any::<i64>()),
        ) {
            let [older, newer] = [Order(Sort::Oldest), Order(Sort::Newest)]
                .map(|order| order.number(a.0, a.1).cmp(&order.number(b.0, b.1)));
            prop_assert_eq!(older, a.cmp(&b));
            prop_assert_eq!(newer, b.cmp(&a));
            for sort in [Sort::Oldest, Sort::Newest] {
                let order = Order(sort);
                let place = Place { sent_at: a.0, id: a.1 };
                prop_assert_eq!(order.place(order.number(a.0, a.1)), place);
                prop_assert!(order.places(&(a.0..=a.0)).contains(&order.number(a.0, a.1)));
            }
        }

        #[test]
        fn a_cut_narrows_to_any_hit(
            hits in prop::collection::btree_set((prop_oneof![-3i64..3, any::<i64>()], prop_oneof![0i64..9, any::<i64>()]), 1..60),
            at in any::<prop::sample::Index>(),
            sort in prop::sample::select(&[Sort::Oldest, Sort::Newest][..]),
        ) {
            let order = Order(sort);
            let mut places: Vec<u128> = hits.iter().map(|(sent_at, id)| order.number(*sent_at, *id)).collect();
            places.sort_unstable();
            let (mut range, mut before) = (order.after(None), at.index(places.len()) as u64);
            let wanted = places[before as usize];
            let mut cuts = 0;
            while before > 0 || range.start() < range.end() {
                let mut cut = Cut::new(order, range.clone());
                hits.iter().for_each(|(sent_at, id)| cut.add_hit(*sent_at, *id));
                range = cut.holding(&mut before).expect("there are more hits");
                cuts += 1;
                prop_assert!(cuts <= 26, "each cut takes five of 128 bits off");
            }
            prop_assert_eq!(range, wanted..=wanted);
        }
    }
}
