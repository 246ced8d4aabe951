//! The pool, and what a pool alone does not hold: no call waits for ever, no connection that hangs
//! stays in it, and a pooler in transaction mode may stand between it and the database.
//!
//! Behind such a pooler each transaction may run on another server connection. What a statement
//! was prepared as is then unknown, or is another's, so everything runs in a transaction, which
//! begins by forgetting what was prepared before.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{
    PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgQueryResult, PgRow, PgStatement,
    PgTypeInfo,
};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Either, Error, Execute, Executor,
    Postgres as Driver, SqlStr,
};
use tokio::time::timeout;

use crate::store::StoreError;
use crate::store::fault::{FaultMemory, StoreFault};

/// How long a call waits for a connection before it is answered as unavailable.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call may take. Ours take milliseconds; one that takes this long hangs on a lock, or on
/// a connection whose other end is gone without a word.
pub(super) const CALL_MAX: Duration = Duration::from_secs(30);

/// How long a connection that was left in the middle of something is waited for.
const TIDY_MAX: Duration = Duration::from_secs(5);

/// Each of the two steps of a look at the database. Together they are shorter than whoever asks
/// whether the host is ready waits for.
const CHECK_MAX: Duration = Duration::from_millis(900);

/// The pool. A clone is the same one.
#[derive(Clone)]
pub(super) struct Connections {
    pool: PgPool,
    options: PgConnectOptions,
    pooler: bool,
    faults: Arc<FaultMemory>,
}

impl Connections {
    /// Connects once, to see that it can be done. `pooler`: one in transaction mode is in between.
    pub(super) async fn open(
        options: PgConnectOptions,
        connections_max: u32,
        pooler: bool,
    ) -> Result<Self, Error> {
        let pool = PgPoolOptions::new()
            .max_connections(connections_max.max(1))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| Box::pin(prepare(connection, pooler)))
            .connect_with(options.clone())
            .await?;
        Ok(Self { pool, options, pooler, faults: Arc::default() })
    }

    pub(super) const fn has_pooler(&self) -> bool {
        self.pooler
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction. Dropped without a commit, it is undone.
    pub(super) async fn begin(&self) -> Result<Session, Error> {
        self.begin_with("BEGIN").await
    }

    /// The same, with a `BEGIN` of its own.
    pub(super) async fn begin_with(&self, begin: &'static str) -> Result<Session, Error> {
        let mut session = Session::new(self.checked_out().await?);
        session.in_transaction = true;
        let begun = if self.pooler {
            let forget = AssertSqlSafe(format!("{begin}; DEALLOCATE ALL"));
            within(session.execute(forget)).await
        } else {
            within(session.execute(begin)).await
        };
        match begun {
            Ok(_) => Ok(session),
            Err(error) => Err(self.noted(error)),
        }
    }

    /// A connection for one statement, or for several that need not be of one moment. Commit it,
    /// for behind a pooler it is a transaction.
    pub(super) async fn acquire(&self) -> Result<Session, Error> {
        if self.pooler {
            return self.begin().await;
        }
        Ok(Session::new(self.checked_out().await?))
    }

    /// A connection as it is, for the migrations.
    pub(super) async fn bare(&self) -> Result<PoolConnection<Driver>, Error> {
        self.checked_out().await
    }

    /// Bounds a use case that takes several statements, and notes what stood in its way.
    pub(super) async fn limited<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let done = timeout(CALL_MAX, work).await.unwrap_or_else(|_| {
            Err(StoreError::away(doing, StoreFault::TimedOut, "it took too long"))
        });
        if let Some(fault) = done.as_ref().err().and_then(StoreError::fault) {
            self.faults.note(fault);
        }
        done
    }

    /// Whether the database can be reached and written to now, and if not, what is the matter.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        const DOING: &str = "answer a ping";
        let away = |fault, cause: String| Err(StoreError::away(DOING, fault, cause));
        let mut session = match timeout(CHECK_MAX, self.acquire()).await {
            Ok(Ok(session)) => session,
            Ok(Err(Error::PoolTimedOut)) | Err(_) => {
                let (fault, cause) = self.why_no_connection().await;
                return away(fault, cause);
            }
            Ok(Err(error)) => return away(StoreFault::of(&error), error.to_string()),
        };
        // Of no table: a look must not wait for a lock, and be one more that does.
        let asked = sqlx::query_scalar("SELECT current_setting('transaction_read_only')::bool");
        let read_only = match timeout(CHECK_MAX, asked.fetch_one(&mut *session)).await {
            Ok(Ok(read_only)) => read_only,
            Ok(Err(error)) => return away(StoreFault::of(&error), error.to_string()),
            Err(_) => return away(StoreFault::TimedOut, "no answer in time".to_owned()),
        };
        if read_only {
            return away(StoreFault::ReadOnly, "it is read-only".to_owned());
        }
        let _ended = session.commit().await;
        match self.faults.recent() {
            Some(fault) => away(fault, "a moment ago it was".to_owned()),
            None => Ok(()),
        }
    }

    /// The pool tries again and again, and keeps to itself what it met. One try of our own tells.
    async fn why_no_connection(&self) -> (StoreFault, String) {
        match timeout(CHECK_MAX, self.options.connect()).await {
            Ok(Ok(connection)) => {
                let _closed = timeout(CHECK_MAX, connection.close()).await;
                (StoreFault::Busy, "the pool gave no connection, and a new one is there".to_owned())
            }
            Ok(Err(error)) => (StoreFault::of(&error), error.to_string()),
            Err(_) => (StoreFault::TimedOut, "no connection in time".to_owned()),
        }
    }

    async fn checked_out(&self) -> Result<PoolConnection<Driver>, Error> {
        self.pool.acquire().await.map_err(|error| self.noted(error))
    }

    fn noted(&self, error: Error) -> Error {
        self.faults.note(StoreFault::of(&error));
        error
    }

    /// Runs one statement to its end.
    async fn run<'q, E>(&self, query: E) -> Result<Vec<Either<PgQueryResult, PgRow>>, Error>
    where
        E: 'q + Execute<'q, Driver>,
    {
        let mut session = self.acquire().await?;
        let steps = within(session.fetch_many(query).try_collect::<Vec<_>>()).await;
        let steps = steps.map_err(|error| self.noted(error))?;
        session.commit().await.map_err(|error| self.noted(error))?;
        Ok(steps)
    }
}

/// What every new connection is told. A server that knows how (from 14 on) looks now and then
/// whether we are still there while it works or waits for us, and stops if not.
async fn prepare(connection: &mut PgConnection, pooler: bool) -> Result<(), Error> {
    if !pooler {
        let look = "SELECT set_config('client_connection_check_interval', '5s', false) \
                    WHERE current_setting('server_version_num')::int >= 140000";
        // Not everywhere can a server do it; then it works on for nobody.
        let _told = connection.execute(look).await;
    }
    Ok(())
}

async fn within<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(CALL_MAX, work).await.unwrap_or_else(|_| {
        Err(Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time")))
    })
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the options: they hold a password.
        f.debug_struct("Connections").field("pooler", &self.pooler).finish_non_exhaustive()
    }
}

/// A statement of its own, whose transaction is over when its rows are there.
impl<'c> Executor<'c> for &'c Connections {
    type Database = Driver;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Driver>,
    {
        let steps = async move { Ok::<_, Error>(stream::iter(self.run(query).await?).map(Ok)) };
        stream::once(steps).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Driver>,
    {
        Box::pin(async move {
            let steps = self.run(query).await?;
            Ok(steps.into_iter().find_map(Either::right))
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.acquire().await?.prepare_with(sql, parameters).await })
    }
}

/// A connection that is in use, mostly in a transaction. What is dropped half way is undone, and a
/// connection that does not come back from it is closed.
pub(super) struct Session {
    /// None only while it is dropped.
    connection: Option<PoolConnection<Driver>>,
    in_transaction: bool,
    /// Until the commit, something may be on its way.
    working: bool,
}

impl Session {
    const fn new(connection: PoolConnection<Driver>) -> Self {
        Self { connection: Some(connection), in_transaction: false, working: true }
    }

    /// Ends the transaction, if it is one. After an error nobody knows whether it was committed.
    pub(super) async fn commit(mut self) -> Result<(), Error> {
        if self.in_transaction {
            within(self.execute("COMMIT")).await?;
            self.in_transaction = false;
        }
        self.working = false;
        Ok(())
    }

    /// Undoes the transaction, if it is one, before it answers.
    pub(super) async fn rollback(mut self) -> Result<(), Error> {
        if self.in_transaction {
            within(self.execute("ROLLBACK")).await?;
            self.in_transaction = false;
        }
        self.working = false;
        Ok(())
    }
}

impl Deref for Session {
    type Target = PgConnection;

    #[allow(clippy::expect_used, reason = "only drop takes it")]
    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("there until the drop")
    }
}

impl DerefMut for Session {
    #[allow(clippy::expect_used, reason = "only drop takes it")]
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("there until the drop")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.working {
            return;
        }
        // Without a runtime the process is at its end, and its connections with it.
        if let (Some(connection), Ok(runtime)) =
            (self.connection.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(tidy(connection, self.in_transaction));
        }
    }
}

/// Brings a connection back into order, or closes it: if it does not answer, and if it is one to a
/// database that can only be read. After a failover the old one lives on as a standby, and a new
/// connection finds the way to its successor.
async fn tidy(mut connection: PoolConnection<Driver>, in_transaction: bool) {
    let undo = if in_transaction {
        "ROLLBACK; SHOW transaction_read_only"
    } else {
        "SHOW transaction_read_only"
    };
    let read_only = timeout(TIDY_MAX, sqlx::raw_sql(undo).fetch_one(&mut *connection)).await;
    let fit = match read_only {
        Ok(Ok(row)) => sqlx::Row::try_get::<String, _>(&row, 0).is_ok_and(|value| value == "off"),
        Ok(Err(_)) | Err(_) => false,
    };
    if !fit {
        connection.close_on_drop();
    }
}
