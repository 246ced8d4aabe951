//! Wake-ups from other processes. A hint that is lost delays an event until the next poll, and
//! loses none; after a reconnection everyone is woken, for hints may have been lost meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::store::releases::RELEASES;
use crate::store::wakeup::Wakeup;

/// The channel that the outbox's trigger notifies.
const CHANNEL: &str = "tidegate_outbox";

/// Between two attempts to reach a database that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// After so long without a hint the connection is tried: one whose other end is gone without a word
/// would be listened to for ever.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// How long the database may take to show that it is there.
const ANSWER_MAX: Duration = Duration::from_secs(5);

pub(super) struct Listening {
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
    is_on: Arc<AtomicBool>,
}

impl Listening {
    /// `releases` is woken by those who changed one, and `wakeup` by everybody else.
    pub(super) fn start(options: PgConnectOptions, wakeup: Wakeup, releases: Wakeup) -> Self {
        let stop = CancellationToken::new();
        let is_on = Arc::new(AtomicBool::new(false));
        let (stopped, on) = (stop.clone(), Arc::clone(&is_on));
        let task = tokio::spawn(async move {
            stopped.run_until_cancelled(listen_for_ever(options, &wakeup, &releases, &on)).await;
        });
        Self { stop, task: Mutex::new(Some(task)), is_on }
    }

    /// Where notifications do not arrive.
    pub(super) fn never() -> Self {
        Self { stop: CancellationToken::new(), task: Mutex::default(), is_on: Arc::default() }
    }

    /// Whether hints come now.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
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

async fn listen_for_ever(
    options: PgConnectOptions,
    wakeup: &Wakeup,
    releases: &Wakeup,
    is_on: &AtomicBool,
) {
    loop {
        let ended = listen(options.clone(), wakeup, releases, is_on).await;
        is_on.store(false, Ordering::Relaxed);
        if let Err(error) = ended {
            tracing::warn!(
                error = %error,
                "the store cannot listen for new events and polls until it can"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Listens until the connection is lost and cannot be had again.
async fn listen(
    options: PgConnectOptions,
    wakeup: &Wakeup,
    releases: &Wakeup,
    is_on: &AtomicBool,
) -> Result<(), sqlx::Error> {
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
    is_on.store(true, Ordering::Relaxed);
    wakeup.send();
    releases.send();
    loop {
        match timeout(SILENCE_MAX, listener.try_recv()).await {
            // Also after none, which says that the connection was lost and is there again.
            Ok(received) => {
                let received = received?;
                let of_releases = received.as_ref().map(|hint| hint.payload() == RELEASES);
                // After none, everything may have been missed.
                if of_releases != Some(true) {
                    wakeup.send();
                }
                if of_releases != Some(false) {
                    releases.send();
                }
            }
            Err(_) => match timeout(ANSWER_MAX, listener.execute("/* still there? */")).await {
                Ok(answered) => {
                    answered?;
                }
                Err(_) => return Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
            },
        }
    }
}
