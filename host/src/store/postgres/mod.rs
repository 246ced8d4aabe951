//! The store that several hosts share.
//!
//! Every clock is the database's. Locks are taken in one order, so that nobody waits in a circle:
//! events, then withdrawals by id, then those of policies, then accounts; what depends on a lock is read by a statement of
//! its own after it, for a statement sees what was there when it began.

mod accept;
mod accounts;
mod announce;
mod backlog;
mod breakers;
mod chain;
mod checkpoints;
mod claim;
mod claims;
mod connections;
mod control;
mod ends;
mod leases;
mod limits;
mod listen;
mod maintain;
mod migrations;
mod operate;
mod policies;
mod pooler;
mod releases;
mod repair;
mod retain;
mod row;
mod settle;
mod sign;
mod snapshot;
mod unrouted;
mod write;

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use self::announce::Announcing;
#[cfg(test)]
pub(super) use self::claim::{BY_KEY, CLAIM, CLAIM_BEHIND_MARK, CLAIM_IN_ORDER};
use self::claims::Claims;
use self::connections::{ACQUIRE_TIMEOUT, Connections};
#[cfg(test)]
pub(super) use self::limits::DUE;
use self::listen::Listening;
#[cfg(test)]
pub(super) use self::migrations::in_one_transaction;
pub use self::pooler::Pooler;
#[cfg(test)]
pub(super) use self::retain::DELETE_FINISHED;
#[cfg(test)]
pub(super) use self::settle::{SETTLE, SETTLE_DONE};
pub(super) use self::snapshot::PostgresSnapshot;
use super::StoreError;
use super::gather::Gathering;
use super::open::{OpenError, PostgresUrl, StoreOptions};
use super::wakeup::Wakeup;
use crate::domain::{EventType, Flow, Policies};

/// Transactions that write withdrawals at the same time: while some wait for their commit, the
/// database has others to work on.
const ACCEPTS: usize = 4;

pub(super) struct Postgres {
    pool: Connections,
    flow: Arc<Flow>,
    policies: Arc<Policies>,
    wakeup: Wakeup,
    announcing: Announcing,
    gathering: Gathering,
    /// When a claim of a type last looked from the very start.
    looked_at: Mutex<HashMap<EventType, Instant>>,
    claims: Claims,
    /// When events were last looked for that are leased and in no claim.
    searched_at: Mutex<Option<Instant>>,
    listening: Listening,
    /// The hint that releases changed.
    releases: Wakeup,
}

impl Postgres {
    pub(super) async fn open(url: &PostgresUrl, options: StoreOptions) -> Result<Self, OpenError> {
        let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
        let connect = options_of(url)?;
        let has_pooler = pooler::is_between(&connect, options.pooler).await.map_err(failed)?;
        let connect = if has_pooler { pooler::for_pooler(connect) } else { connect };
        let pool = Connections::open(connect.clone(), options.connections_max, has_pooler)
            .await
            .map_err(failed)?;
        if let Err(error) = migrations::apply(&pool, options.migrate).await {
            pool.close().await;
            return Err(error);
        }
        let (wakeup, releases) = (Wakeup::new(), Wakeup::new());
        let listening = if has_pooler {
            tracing::info!(
                "a connection pooler in transaction mode is between this host and the database: \
                 it takes no notifications, so events of others are seen at the next poll"
            );
            Listening::never()
        } else {
            Listening::start(connect, wakeup.clone(), releases.clone())
        };
        let announcing = Announcing::start(pool.clone());
        let gathering = Gathering::start(ACCEPTS, accept::Together(pool.clone()));
        Ok(Self {
            pool,
            flow: Arc::new(options.flow),
            policies: Arc::new(options.policies),
            wakeup,
            announcing,
            gathering,
            looked_at: Mutex::default(),
            claims: Claims::default(),
            searched_at: Mutex::default(),
            listening,
            releases,
        })
    }

    async fn close(&self) {
        self.gathering.close().await;
        self.listening.stop().await;
        self.pool.close().await;
    }
}

fn options_of(url: &PostgresUrl) -> Result<PgConnectOptions, OpenError> {
    let options = PgConnectOptions::from_str(url.reveal())
        .map_err(|_| OpenError::Unreachable { cause: format!("{url} cannot be read") })?;
    // Who runs many hosts may tell them apart by a name in the URL.
    Ok(if options.get_application_name().is_none() {
        options.application_name("tidegate")
    } else {
        options
    })
}

/// A connection for one purpose, beside every pool.
pub(super) async fn connect_alone(url: &PostgresUrl) -> Result<PgConnection, OpenError> {
    let connected = tokio::time::timeout(ACQUIRE_TIMEOUT, options_of(url)?.connect()).await;
    let connected =
        connected.map_err(|_| OpenError::Unreachable { cause: "no answer in time".to_owned() })?;
    connected.map_err(|error| OpenError::from_sqlx(&error))
}

/// A number of the chain as Postgres keeps it.
fn stored(doing: &'static str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number)
        .map_err(|_| StoreError::conflict(doing, format!("{number} is beyond what can be stored")))
}
