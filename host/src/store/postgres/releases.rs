//! Statements about releases, as Postgres takes them.

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Postgres as Driver};
use tokio::sync::watch;

use super::Postgres;
use crate::store::StoreError;
use crate::store::checks::Dialect;
use crate::store::error::Doing;
use crate::store::releases::{Outcome, Statements, Transactions, Value, Work};

fn query(sql: String, values: Vec<Value>) -> sqlx::query::Query<'static, Driver, PgArguments> {
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in values {
        query = match value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
            Value::Flag(flag) => query.bind(flag),
            Value::Bytes(bytes) => query.bind(bytes),
        };
    }
    query
}

#[async_trait]
impl Statements for PgConnection {
    type Row = PgRow;

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn run(&mut self, sql: String, values: Vec<Value>) -> Result<u64, sqlx::Error> {
        Ok(query(sql, values).execute(self).await?.rows_affected())
    }

    async fn fetch(&mut self, sql: String, values: Vec<Value>) -> Result<Vec<PgRow>, sqlx::Error> {
        query(sql, values).fetch_all(self).await
    }
}

impl Transactions for Postgres {
    type Connection = PgConnection;

    async fn change<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
    {
        self.pool
            .limited(doing, async {
                let mut tx = self.pool.begin().await.doing(doing)?;
                match work(&mut tx).await? {
                    Outcome::Keep(answer) => {
                        tx.commit().await.doing(doing)?;
                        Ok(answer)
                    }
                    Outcome::Undo(answer) => {
                        tx.rollback().await.doing(doing)?;
                        Ok(answer)
                    }
                }
            })
            .await
    }

    async fn read<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
    {
        self.change(doing, work).await
    }

    fn hint(&self) {
        self.releases.send();
    }

    fn work_hint(&self) {
        self.wakeup.send();
    }

    fn release_wakeups(&self) -> watch::Receiver<u64> {
        self.releases.subscribe()
    }
}
