//! How a statement that is written once reaches either database.

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::store::StoreError;
use crate::store::checks::Dialect;
use crate::store::error::Doing;
use crate::store::row::Columns;
use crate::store::writes::storable;

/// What is bound to `$1`, `$2` …
#[derive(Debug, Clone)]
pub(in crate::store) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
    Flag(bool),
    Bytes(Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(storable(text)))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(storable))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(Some(number.into()))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// What a job came to.
pub(in crate::store) enum Outcome<T> {
    Keep(T),
    /// The answer stands, and what was written is undone.
    Undo(T),
}

pub(in crate::store) type Work<'c, T> = BoxFuture<'c, Result<Outcome<T>, StoreError>>;

/// A connection of either database. Statements are ours and hold no word of a stranger's; they say
/// `{now}` for the database's clock.
#[async_trait]
pub(in crate::store) trait Statements: Send {
    type Row: Columns + Send + Sync;

    fn dialect(&self) -> Dialect;

    async fn run(&mut self, sql: String, values: Vec<Value>) -> Result<u64, sqlx::Error>;

    async fn fetch(
        &mut self,
        sql: String,
        values: Vec<Value>,
    ) -> Result<Vec<Self::Row>, sqlx::Error>;

    /// Runs a statement; answers the rows affected.
    async fn execute(
        &mut self,
        doing: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        let sql = sql.replace("{now}", &self.dialect().at(0));
        self.run(sql, values).await.doing(doing)
    }

    async fn rows(
        &mut self,
        doing: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<Vec<Self::Row>, StoreError> {
        let sql = sql.replace("{now}", &self.dialect().at(0));
        self.fetch(sql, values).await.doing(doing)
    }

    /// How long ago a column's time is, in microseconds.
    fn age(&self, column: &str) -> String {
        match self.dialect() {
            Dialect::Postgres => {
                format!("(extract(epoch FROM {{now}} - {column}) * 1000000)::bigint")
            }
            Dialect::Sqlite { .. } => format!("({{now}} - {column})"),
        }
    }
}

/// A store that runs several statements as one.
pub(in crate::store) trait Transactions: Send + Sync + 'static {
    type Connection: Statements;

    /// Runs `work` in a transaction, and answers after its commit.
    fn change<T, F>(
        &self,
        doing: &'static str,
        work: F,
    ) -> impl Future<Output = Result<T, StoreError>> + Send
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Self::Connection) -> Work<'c, T> + Send + 'static;

    /// Runs `work`, which only reads, on one snapshot where that matters.
    fn read<T, F>(
        &self,
        doing: &'static str,
        work: F,
    ) -> impl Future<Output = Result<T, StoreError>> + Send
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Self::Connection) -> Work<'c, T> + Send + 'static;

    /// Wakes the job of this host that looks after releases; other hosts are told by
    /// [`tell_others`] within the transaction.
    fn hint(&self);

    /// There is work for the dispatchers.
    fn work_hint(&self);

    fn release_wakeups(&self) -> watch::Receiver<u64>;
}

/// The payload by which hosts tell a change of releases from new events.
pub(in crate::store) const RELEASES: &str = "releases";

/// Tells the other hosts, with the commit. Only Postgres can; SQLite has no others.
pub(super) async fn tell_others<C: Statements>(
    c: &mut C,
    doing: &'static str,
) -> Result<(), StoreError> {
    match c.dialect() {
        Dialect::Postgres => {
            let sql = format!("SELECT pg_notify('tidegate_outbox', '{RELEASES}')");
            c.execute(doing, &sql, Vec::new()).await.map(drop)
        }
        Dialect::Sqlite { .. } => Ok(()),
    }
}
