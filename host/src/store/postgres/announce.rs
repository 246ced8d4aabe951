//! Telling the other hosts about accepted withdrawals, outside the transactions that wrote them.
//!
//! Transactions that notify commit one after another, each waiting for the disk alone. So accepting
//! does not notify; a notification of its own follows, one for all that were accepted meanwhile. If
//! the process dies in between, the others find the events at their next poll.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connections::Connections;

/// Between two announcements: what is accepted in this time shares one.
const PAUSE: Duration = Duration::from_millis(2);

pub(super) struct Announcing {
    news: Arc<Notify>,
    /// Ends the task when the store goes.
    _stop: DropGuard,
}

impl Announcing {
    pub(super) fn start(pool: Connections) -> Self {
        let news = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        let (told, stopped) = (Arc::clone(&news), stop.clone());
        tokio::spawn(async move {
            stopped.run_until_cancelled(announce(pool, told)).await;
        });
        Self { news, _stop: stop.drop_guard() }
    }

    /// There are new events, and their transaction is over.
    pub(super) fn send(&self) {
        self.news.notify_one();
    }
}

async fn announce(pool: Connections, news: Arc<Notify>) {
    loop {
        news.notified().await;
        // It writes nothing, so its commit waits for no disk.
        let sent = sqlx::query("SELECT pg_notify('tidegate_outbox', '')").execute(&pool).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "new events were not announced; others find them at their poll");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
