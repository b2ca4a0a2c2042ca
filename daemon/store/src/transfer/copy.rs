//! Moving rows.

use super::rows::{Column, Field, bind_key};
use super::tables::{TABLES, Table};
use super::{MARK, Mark, OWN, stored};
use crate::postgres::{Failure, again, commit};
use crate::{PostgresArchive, SqliteArchive};
use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, Executor, Postgres, Row};
use stele_archive::Result;

/// Most rows of a transaction.
const ROWS: i64 = 5_000;
/// Most bytes of a transaction, about; a larger row goes alone.
const BYTES: usize = 8 << 20;

/// Move the next rows of a table, and note how far it has come. Returns how many there were.
pub(super) async fn some(from: &SqliteArchive, to: &PostgresArchive, table: &Table, mark: &mut Mark) -> Result<u64> {
    let mut columns: Vec<Column> = table.columns.iter().map(|(_, _, kind)| Column::new(*kind)).collect();
    let (mut rows, mut bytes, mut last) = (0, 0, Vec::new());
    {
        let mut snapshot = from.read().await?;
        let sql = table.stored_sql(mark.after.is_some(), true);
        let query = bind_key(sqlx::query(AssertSqlSafe(sql)), mark.after.as_deref().unwrap_or_default()).bind(ROWS);
        let mut found = query.fetch(&mut *snapshot);
        while bytes < BYTES
            && let Some(row) = found.try_next().await.map_err(stored)?
        {
            let fields =
                table.columns.iter().enumerate().map(|(number, (_, _, kind))| Field::stored(&row, number, *kind));
            let fields: Vec<Field> = fields.collect::<Result<_, _>>().map_err(stored)?;
            bytes += fields.iter().map(Field::size).sum::<usize>();
            last = table.key.iter().map(|column| fields[*column].json()).collect();
            columns.iter_mut().zip(fields).for_each(|(column, field)| column.push(field));
            rows += 1;
        }
    }
    if rows == 0 {
        return Ok(0);
    }
    mark.after = Some(last);
    let mark = &*mark;
    again(|| async {
        let mut transaction = to.begin().await?;
        let insert = sqlx::query(AssertSqlSafe(table.insert_sql()));
        let insert = columns.iter().fold(insert, |query, column| column.bind(query));
        insert.execute(&mut *transaction).await?;
        note(&mut *transaction, mark).await?;
        commit(transaction).await
    })
    .await?;
    Ok(rows)
}

/// Go on with the next table.
pub(super) async fn next_table(to: &PostgresArchive, mark: &mut Mark) -> Result<()> {
    (mark.table, mark.after) = (mark.table + 1, None);
    let mark = &*mark;
    Ok(again(|| async { note(&mut *to.lend().await?, mark).await }).await?)
}

async fn note(executor: impl Executor<'_, Database = Postgres>, mark: &Mark) -> Result<(), Failure> {
    let sql = "UPDATE state SET value = $3 WHERE instance = $1 AND key = $2";
    sqlx::query(sql).bind(OWN.0).bind(MARK).bind(mark.json()).execute(executor).await?;
    Ok(())
}

/// What SQLite reads from its tables when it is opened, and Postgres keeps in a row.
pub(super) async fn numbers(from: &SqliteArchive, to: &PostgresArchive) -> Result<()> {
    let mut snapshot = from.read().await?;
    let sql = "SELECT ifnull((SELECT max(id) FROM message), 0), \
               ifnull((SELECT max(late) FROM message WHERE late IS NOT NULL), 0), ifnull((SELECT max(reserved) FROM parked), 0), \
               ifnull((SELECT max(id) FROM person), 0), ifnull((SELECT max(id) FROM conversation), 0), \
               ifnull((SELECT max(id) FROM media), 0), ifnull((SELECT max(id) FROM word), 0), \
               ifnull((SELECT max(id) FROM instance), 0), ifnull((SELECT max(id) FROM ledger), 0), \
               ifnull((SELECT max(id) FROM run), 0), (SELECT count(*) FROM parked), (SELECT count(*) FROM revocation), \
               (SELECT blobs FROM blob_total), (SELECT bytes FROM blob_total), \
               (SELECT hash FROM ledger ORDER BY id DESC LIMIT 1)";
    let row = sqlx::query(sql).fetch_one(&mut *snapshot).await.map_err(stored)?;
    let number = |column: usize| -> i64 { row.get(column) };
    let last_rev = number(0).max(number(1));
    let hash = row.get::<Option<Vec<u8>>, _>(14).unwrap_or_else(|| vec![0; 32]);
    let done = again(|| async {
        let mut transaction = to.begin().await?;
        let sql = "UPDATE head SET version = version + 1, next_id = $1, last_rev = $2, next_person = $3, \
                   next_conversation = $4, next_media = $5, next_word = $6, next_instance = $7, next_page = $8, next_run = $9, \
                   parked = $10, revocations = $11, hash = $12 WHERE one = 1";
        let mut head = sqlx::query(sql).bind(last_rev.max(number(2)) + 1).bind(last_rev);
        for column in 3..=9 {
            head = head.bind(number(column) + 1);
        }
        head.bind(number(10)).bind(number(11)).bind(&hash).execute(&mut *transaction).await?;
        let total = sqlx::query("UPDATE blob_total SET blobs = $1, bytes = $2 WHERE one = 1");
        total.bind(number(12)).bind(number(13)).execute(&mut *transaction).await?;
        commit(transaction).await
    });
    Ok(done.await?)
}

/// Tell the planner what there is now.
pub(super) async fn analyze(to: &PostgresArchive) -> Result<()> {
    for table in TABLES {
        again(|| async {
            let analyze = sqlx::query(AssertSqlSafe(format!("ANALYZE {}", table.name)));
            analyze.execute(&mut *to.lend().await?).await?;
            Ok(())
        })
        .await?;
    }
    Ok(())
}
