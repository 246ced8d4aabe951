//! One unchanging view of the file, for the auditor. While it lasts, the log cannot begin anew.

use std::path::Path;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqliteConnection};

use super::now;
use super::write::micros_of;
use crate::store::StoreError;
use crate::store::auditing::Snapshot;
use crate::store::checks::Dialect;
use crate::store::error::Doing;
use crate::store::open::OpenError;

const DOING: &str = "audit the store";

pub(in crate::store) struct SqliteSnapshot {
    connection: SqliteConnection,
    now: i64,
}

impl SqliteSnapshot {
    pub(in crate::store) async fn open(path: &Path) -> Result<Self, OpenError> {
        let mut connection = super::connect_to_read(path).await?;
        // The view begins with the first read, so read at once, and the clock after it: leases that
        // it sees were taken before.
        for sql in ["BEGIN", "SELECT count(*) FROM sqlite_schema"] {
            connection.execute(sql).await.map_err(|error| OpenError::from_sqlx(&error))?;
        }
        Ok(Self { connection, now: micros_of(now()) })
    }
}

#[async_trait]
impl Snapshot for SqliteSnapshot {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite { now: self.now }
    }

    async fn pairs(
        &mut self,
        sql: &str,
        keys: Option<(&str, &str)>,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
        if let Some((from, to)) = keys {
            query = query.bind(from.to_owned()).bind(to.to_owned());
        }
        let rows = query.fetch_all(&mut self.connection).await.doing(DOING)?;
        rows.iter()
            .map(|row| Ok((row.try_get(0).doing(DOING)?, row.try_get(1).doing(DOING)?)))
            .collect()
    }

    async fn end(self: Box<Self>) {
        // Nothing was written: there is nothing to lose.
        let _closed = self.connection.close().await;
    }
}
