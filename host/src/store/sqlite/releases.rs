//! Statements about releases, as SQLite takes them.

use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Sqlite as Driver};
use tokio::sync::watch;

use super::write::micros_of;
use super::writer;
use super::{Sqlite, now};
use crate::store::StoreError;
use crate::store::checks::Dialect;
use crate::store::error::Doing;
use crate::store::releases::{Outcome, Statements, Transactions, Value, Work};

/// Not kept prepared: the time stands in the text, so no statement comes twice.
fn query(sql: String, values: Vec<Value>) -> sqlx::query::Query<'static, Driver, SqliteArguments> {
    let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
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
impl Statements for SqliteConnection {
    type Row = SqliteRow;

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite { now: micros_of(now()) }
    }

    async fn run(&mut self, sql: String, values: Vec<Value>) -> Result<u64, sqlx::Error> {
        Ok(query(sql, values).execute(self).await?.rows_affected())
    }

    async fn fetch(
        &mut self,
        sql: String,
        values: Vec<Value>,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        query(sql, values).fetch_all(self).await
    }
}

impl Transactions for Sqlite {
    type Connection = SqliteConnection;

    async fn change<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        self.writer
            .write(doing, move |c| {
                Box::pin(async move {
                    Ok(match work(c).await? {
                        Outcome::Keep(answer) => writer::Outcome::Keep(answer),
                        Outcome::Undo(answer) => writer::Outcome::Undo(answer),
                    })
                })
            })
            .await
    }

    async fn read<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let mut tx = self.reads.begin().await.doing(doing)?;
        match work(&mut tx).await? {
            Outcome::Keep(answer) | Outcome::Undo(answer) => Ok(answer),
        }
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
