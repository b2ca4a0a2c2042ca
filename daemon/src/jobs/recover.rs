//! A recovery run: hand parked envelopes to the plugin again, commit what can be read now.

use super::sync::{RunError, Work};
use stele_archive::{Commit, Committed, MessageId, RunReport, Stream};
use stele_plugin_api::ops::RecoverRequest;
use tokio_util::sync::CancellationToken;

/// Envelopes handed over at a time.
const BATCH: u32 = 500;

/// Goes once through everything that is parked. Returns whether it came to the end.
pub(super) async fn run(
    work: &Work,
    stop: &CancellationToken,
    report: &mut RunReport,
    mut progress: impl FnMut(&RunReport, &Committed) + Send,
) -> Result<bool, RunError> {
    let mut after = MessageId(0);
    loop {
        let rows = work.archive.parked(work.instance, &work.partition, after, BATCH).await?;
        let Some(last) = rows.last() else { return Ok(true) };
        if stop.is_cancelled() {
            return Ok(false);
        }
        after = last.reserved;
        let parked = rows.into_iter().map(|row| row.parked).collect();
        let recovered = work.source.recover(RecoverRequest { partition: work.partition.clone(), parked });
        let Some(recovered) = stop.run_until_cancelled(recovered).await else { return Ok(false) };
        let mut page = recovered?;
        // A recovery reads again what was pulled long ago: it moves no cursor.
        page.cursor = None;
        work.tell(&page, report);
        report.parked += page.parked.len() as u64;
        let commit = Commit {
            instance: work.instance,
            partition: &work.partition,
            stream: Stream::Messages,
            from: None,
            page: &page,
            now: work.clock.now(),
        };
        let committed = work.archive.commit(commit).await?;
        report.stored += committed.stored.len() as u64;
        report.known += committed.known;
        report.pages += 1;
        progress(report, &committed);
    }
}
