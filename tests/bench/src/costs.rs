//! What work costs the database beside time: log bytes and dead rows.

use sqlx::Row;

use crate::cluster::Cluster;
use crate::fallible::{Fallible, float};
use crate::report::Report;

#[derive(Clone, Copy)]
pub(crate) struct Costs {
    wal_bytes: u64,
    /// Versions that updates and deletes left behind, whether vacuum took them since or not.
    dead_rows: u64,
    /// Those among them that indexes point to. The others are taken by whoever looks at their page
    /// next, and vacuum never sees them.
    indexed_dead_rows: u64,
}

impl Costs {
    /// Taken while nobody works: what backends counted is seen once they have ended.
    pub(crate) async fn of(cluster: &Cluster, database: &str) -> Fallible<Self> {
        let mut connection = cluster.connect(database).await?;
        let row = sqlx::query(
            "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS wal, \
             (SELECT coalesce(sum(n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables) AS dead, \
             (SELECT coalesce(sum(n_tup_upd - n_tup_hot_upd + n_tup_del), 0)::bigint \
             FROM pg_stat_user_tables) AS indexed",
        )
        .fetch_one(&mut connection)
        .await?;
        let count = |name| -> Fallible<u64> { Ok(row.try_get::<i64, _>(name)?.try_into()?) };
        Ok(Self {
            wal_bytes: count("wal")?,
            dead_rows: count("dead")?,
            indexed_dead_rows: count("indexed")?,
        })
    }

    /// The rows of one contender.
    pub(crate) fn add(report: &mut Report, who: &str, before: Self, after: Self, events: u64) {
        let per_event = |a: u64, b: u64| float(a.saturating_sub(b)) / float(events);
        let wal = per_event(after.wal_bytes, before.wal_bytes);
        report.add(
            &format!("wal/{who}"),
            wal,
            "bytes/event",
            "pg_current_wal_insert_lsn before, after",
        );
        let dead = per_event(after.dead_rows, before.dead_rows);
        report.add(
            &format!("dead/{who}"),
            dead,
            "rows/event",
            "updates + deletes of pg_stat_user_tables",
        );
        let indexed = per_event(after.indexed_dead_rows, before.indexed_dead_rows);
        report.add(
            &format!("dead/{who}, in indexes"),
            indexed,
            "rows/event",
            "the same without HOT updates",
        );
    }
}
