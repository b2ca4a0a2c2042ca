//! Stretches of a segment, and when their messages were sent.
//!
//! Messages arrive roughly in the order of time and stay in the order of arrival, so the times of a stretch are close to each other. Whoever
//! wants the newest looks at the last stretches and leaves the others alone.

use super::matches::values;
use super::schema;
use std::ops::{Range, RangeInclusive};
use std::sync::OnceLock;
use stele_archive::model::Micros;
use tantivy::{DocId, SegmentReader};

/// Messages of a stretch.
const LENGTH: u32 = 4_096;

/// A stretch.
#[derive(Debug)]
pub(super) struct Span {
    /// Its messages.
    pub docs: Range<DocId>,
    /// When the first and the last of them were sent.
    pub sent: RangeInclusive<Micros>,
}

/// The stretches of a segment: found when they are first asked for, in some milliseconds for a million messages.
#[derive(Debug, Default)]
pub(super) struct Spans(OnceLock<Vec<Span>>);

impl Spans {
    pub fn of(&self, segment: &SegmentReader) -> tantivy::Result<&[Span]> {
        if let Some(spans) = self.0.get() {
            return Ok(spans);
        }
        let sent_at = values(segment.fast_fields().i64(schema::SENT_AT)?, 0);
        let span = |start: DocId| {
            let docs = start..start.saturating_add(LENGTH).min(segment.max_doc());
            let times = || docs.clone().map(|doc| sent_at.get_val(doc));
            let sent = times().min().unwrap_or_default()..=times().max().unwrap_or_default();
            Span { docs, sent }
        };
        let spans = (0..segment.max_doc()).step_by(LENGTH as usize).map(span).collect();
        Ok(self.0.get_or_init(|| spans))
    }
}
