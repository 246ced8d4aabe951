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
mod connections;
mod control;
mod listen;
mod maintain;
mod migrations;
mod operate;
mod pooler;
mod repair;
mod retain;
mod row;
mod settle;
mod sign;
mod write;

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use sqlx::postgres::PgConnectOptions;

use self::announce::Announcing;
use self::claim::Mark;
#[cfg(test)]
pub(super) use self::claim::{CLAIM, CLAIM_IN_ORDER};
use self::connections::Connections;
use self::listen::Listening;
#[cfg(test)]
pub(super) use self::migrations::in_one_transaction;
pub use self::pooler::Pooler;
#[cfg(test)]
pub(super) use self::retain::DELETE_FINISHED;
use super::StoreError;
use super::open::{OpenError, PostgresUrl, StoreOptions};
use super::wakeup::Wakeup;
use crate::domain::{EventType, Flow};

pub(super) struct Postgres {
    pool: Connections,
    flow: Arc<Flow>,
    wakeup: Wakeup,
    announcing: Announcing,
    marks: Mutex<HashMap<EventType, Mark>>,
    listening: Listening,
}

impl Postgres {
    pub(super) async fn open(url: &PostgresUrl, options: StoreOptions) -> Result<Self, OpenError> {
        let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
        let mut connect = PgConnectOptions::from_str(url.reveal())
            .map_err(|_| OpenError::Unreachable { cause: format!("{url} cannot be read") })?;
        // Who runs many hosts may tell them apart by a name in the URL.
        if connect.get_application_name().is_none() {
            connect = connect.application_name("tidegate");
        }
        let has_pooler = pooler::is_between(&connect, options.pooler).await.map_err(failed)?;
        let connect = if has_pooler { pooler::for_pooler(connect) } else { connect };
        let pool = Connections::open(connect.clone(), options.connections_max, has_pooler)
            .await
            .map_err(failed)?;
        if let Err(error) = migrations::apply(&pool).await {
            pool.close().await;
            return Err(error);
        }
        let wakeup = Wakeup::new();
        let listening = if has_pooler {
            tracing::info!(
                "a connection pooler in transaction mode is between this host and the database: \
                 it takes no notifications, so events of others are seen at the next poll"
            );
            Listening::never()
        } else {
            Listening::start(connect, wakeup.clone())
        };
        let announcing = Announcing::start(pool.clone());
        Ok(Self {
            pool,
            flow: Arc::new(options.flow),
            wakeup,
            announcing,
            marks: Mutex::default(),
            listening,
        })
    }

    async fn close(&self) {
        self.listening.stop().await;
        self.pool.close().await;
    }
}

/// A number of the chain as Postgres keeps it.
fn stored(doing: &'static str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number)
        .map_err(|_| StoreError::conflict(doing, format!("{number} is beyond what can be stored")))
}
