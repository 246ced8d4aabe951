//! The store that several hosts share.
//!
//! Every clock is the database's. Locks are taken in one order, so that nobody waits in a circle:
//! events, then withdrawals by id, then accounts; what depends on a lock is read by a statement of
//! its own after it, for a statement sees what was there when it began.

mod accept;
mod announce;
mod backlog;
mod chain;
mod checkpoints;
mod claim;
mod control;
mod listen;
mod maintain;
mod operate;
mod repair;
mod retain;
mod row;
mod settle;
mod sign;
mod snapshot;
mod write;

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};

use self::announce::Announcing;
use self::claim::Mark;
#[cfg(test)]
pub(super) use self::claim::{CLAIM, CLAIM_IN_ORDER};
use self::listen::Listening;
#[cfg(test)]
pub(super) use self::retain::DELETE_FINISHED;
pub(super) use self::snapshot::PostgresSnapshot;
use super::gather::Gathering;
use super::open::{OpenError, PostgresUrl, StoreOptions};
use super::wakeup::Wakeup;
use super::{StoreError, migrate};
use crate::domain::{EventType, Flow};

/// How long a call waits for a connection before it is answered as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Transactions that write withdrawals at the same time: while some wait for their commit, the
/// database has others to work on.
const ACCEPTS: usize = 4;

pub(super) struct Postgres {
    pool: PgPool,
    flow: Arc<Flow>,
    wakeup: Wakeup,
    announcing: Announcing,
    gathering: Gathering,
    marks: Mutex<HashMap<EventType, Mark>>,
    listening: Listening,
}

impl Postgres {
    pub(super) async fn open(url: &PostgresUrl, options: StoreOptions) -> Result<Self, OpenError> {
        let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
        let connect = options_of(url)?;
        let pool = PgPoolOptions::new()
            .max_connections(options.connections_max.max(1))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(connect.clone())
            .await
            .map_err(failed)?;
        let mut connection = pool.acquire().await.map_err(failed)?;
        let prepared = prepare(&mut connection, options.migrate).await;
        // Closed, not returned: after a refusal it may still hold the migrations' lock.
        connection.close().await.map_err(failed)?;
        prepared?;
        let wakeup = Wakeup::new();
        let listening = Listening::start(connect, wakeup.clone());
        let announcing = Announcing::start(pool.clone());
        let gathering = Gathering::start(ACCEPTS, accept::Together(pool.clone()));
        Ok(Self {
            pool,
            flow: Arc::new(options.flow),
            wakeup,
            announcing,
            gathering,
            marks: Mutex::default(),
            listening,
        })
    }

    async fn close(&self) {
        self.gathering.close().await;
        self.listening.stop().await;
        self.pool.close().await;
    }
}

fn options_of(url: &PostgresUrl) -> Result<PgConnectOptions, OpenError> {
    PgConnectOptions::from_str(url.reveal())
        .map(|options| options.application_name("tidegate"))
        .map_err(|_| OpenError::Unreachable { cause: format!("{url} cannot be read") })
}

/// A connection for one purpose, beside every pool.
pub(super) async fn connect_alone(url: &PostgresUrl) -> Result<PgConnection, OpenError> {
    let connected = tokio::time::timeout(ACQUIRE_TIMEOUT, options_of(url)?.connect()).await;
    let connected =
        connected.map_err(|_| OpenError::Unreachable { cause: "no answer in time".to_owned() })?;
    connected.map_err(|error| OpenError::from_sqlx(&error))
}

/// Makes the schema this binary's, or finds that it is not.
async fn prepare(connection: &mut PgConnection, migrate: bool) -> Result<(), OpenError> {
    let list = migrate::postgres();
    if migrate {
        migrate::postgres::run(connection, &list).await?;
    } else {
        migrate::require_current_postgres(connection).await?;
    }
    Ok(())
}

/// A number of the chain as Postgres keeps it.
fn stored(doing: &'static str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number)
        .map_err(|_| StoreError::conflict(doing, format!("{number} is beyond what can be stored")))
}
