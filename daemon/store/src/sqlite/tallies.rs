//! Counters that make totals exact and cheap.

use super::bulk::{Bulk, Values};
use super::commit::Txn;
use super::error::Failure;
use crate::common::message::NewMessage;
use crate::common::tallies::Tallies;
use std::sync::LazyLock;

static TALLY: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT OR FAIL INTO tally (conversation, day, kind, n) VALUES",
        "(?, ?, ?, ?)",
        "ON CONFLICT (conversation, day, kind) DO UPDATE SET n = n + excluded.n",
    )
});
static EXPIRING: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT OR FAIL INTO expiring (conversation, day, kind, n) VALUES",
        "(?, ?, ?, ?)",
        "ON CONFLICT (conversation, day, kind) DO UPDATE SET n = n + excluded.n",
    )
});
static DAYS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT OR FAIL INTO day_total (day, n) VALUES",
        "(?, ?)",
        "ON CONFLICT (day) DO UPDATE SET n = n + excluded.n",
    )
});

/// Count the new messages.
pub(super) async fn count(txn: &mut Txn<'_>, rows: &[NewMessage<'_>]) -> Result<(), Failure> {
    let Tallies { sent, expiring, days } = Tallies::of(rows);
    for (bulk, tallies) in [(&*TALLY, sent), (&*EXPIRING, expiring)] {
        let tallies: Vec<_> = tallies.into_iter().collect();
        for (sql, tallies) in bulk.cut(&tallies) {
            let mut values = Values::with_capacity(tallies.len() * 4);
            for ((conversation, day, kind), n) in tallies {
                values.put(*conversation)?;
                values.put(*day)?;
                values.put(*kind)?;
                values.put(*n)?;
            }
            sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
        }
    }
    let days: Vec<_> = days.into_iter().collect();
    for (sql, days) in DAYS.cut(&days) {
        let mut values = Values::with_capacity(days.len() * 2);
        for (day, n) in days {
            values.put(*day)?;
            values.put(*n)?;
        }
        sqlx::query_with(sql, values.done()).execute(&mut *txn.connection).await?;
    }
    Ok(())
}
