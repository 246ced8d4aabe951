//! Wake-ups from other processes. A hint that is lost delays an event until the next poll, and
//! loses none; after a reconnection everyone is woken, for hints may have been lost meanwhile.

use std::sync::Mutex;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::store::wakeup::Wakeup;

/// The channel that the outbox's trigger notifies.
const CHANNEL: &str = "tidegate_outbox";

/// Between two attempts to reach a database that is away.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Listening {
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Listening {
    pub(super) fn start(options: PgConnectOptions, wakeup: Wakeup) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            stopped.run_until_cancelled(listen_for_ever(options, wakeup)).await;
        });
        Self { stop, task: Mutex::new(Some(task)) }
    }

    pub(super) async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().ok().and_then(|mut task| task.take());
        if let Some(task) = task {
            // A listener that panicked has nothing left to stop.
            let _ended = task.await;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen_for_ever(options: PgConnectOptions, wakeup: Wakeup) {
    loop {
        if let Err(error) = listen(options.clone(), &wakeup).await {
            tracing::warn!(
                error = %error,
                "the store cannot listen for new events and polls until it can"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Listens until the connection cannot be had again.
async fn listen(options: PgConnectOptions, wakeup: &Wakeup) -> Result<(), sqlx::Error> {
    // A connection of its own: waiting in the pool would take one from those who work.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(options)
        .await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.ignore_pool_close_event(true);
    listener.listen(CHANNEL).await?;
    loop {
        // Also after none, which says that the connection was lost and is there again.
        wakeup.send();
        listener.try_recv().await?;
    }
}
