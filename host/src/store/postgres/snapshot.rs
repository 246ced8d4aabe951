//! One unchanging view of the store, for the auditor. While it lasts, vacuum keeps what it sees.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use crate::store::StoreError;
use crate::store::auditing::Snapshot;
use crate::store::checks::Dialect;
use crate::store::error::Doing;
use crate::store::open::{OpenError, PostgresUrl};

const DOING: &str = "audit the store";

pub(in crate::store) struct PostgresSnapshot(PgConnection);

impl PostgresSnapshot {
    pub(in crate::store) async fn open(url: &PostgresUrl) -> Result<Self, OpenError> {
        let mut connection = super::connect_alone(url).await?;
        // A role may bound its statements; an audit takes what it takes.
        for sql in [
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            "SET LOCAL statement_timeout = 0",
            "SET LOCAL idle_in_transaction_session_timeout = 0",
        ] {
            connection.execute(sql).await.map_err(|error| OpenError::from_sqlx(&error))?;
        }
        Ok(Self(connection))
    }
}

#[async_trait]
impl Snapshot for PostgresSnapshot {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn pairs(
        &mut self,
        sql: &str,
        keys: Option<(&str, &str)>,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
        if let Some((from, to)) = keys {
            query = query.bind(from).bind(to);
        }
        let rows = query.fetch_all(&mut self.0).await.doing(DOING)?;
        rows.iter()
            .map(|row| Ok((row.try_get(0).doing(DOING)?, row.try_get(1).doing(DOING)?)))
            .collect()
    }

    async fn end(self: Box<Self>) {
        // Nothing was written: there is nothing to lose.
        let _closed = self.0.close().await;
    }
}
