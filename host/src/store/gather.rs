//! Withdrawals that are handed in at the same time share one statement and one commit: commits are
//! what a disk is slow at, and one statement for many costs a database far less than many.
//!
//! Nobody waits for company: a lane takes what is there. While it is on its way, the next gather. A
//! caller that goes away loses the answer, never half of a withdrawal.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Mutex as Turn, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{AcceptWithdrawal, StoreError};

const DOING: &str = "accept a withdrawal";

/// Withdrawals of one transaction at most: the last one waits for all of them.
const BATCH_MAX: usize = 64;

/// Withdrawals that may wait. Whoever comes when it is full waits outside, in its own task.
const QUEUE_MAX: usize = 1_024;

/// What a store writes for several withdrawals at once.
#[async_trait]
pub(super) trait AcceptTogether: Send + Sync + 'static {
    /// Writes those whose idempotency key is free, in one transaction; says of each whether it was
    /// written. No two of them have the same key.
    async fn accept_together(&self, requests: &[AcceptWithdrawal])
    -> Result<Vec<bool>, StoreError>;
}

struct Waiting {
    request: AcceptWithdrawal,
    answer: oneshot::Sender<Result<bool, StoreError>>,
}

pub(super) struct Gathering {
    waiting: mpsc::Sender<Waiting>,
    stop: CancellationToken,
    lanes: Mutex<JoinSet<()>>,
}

impl Gathering {
    /// `lanes` is how many transactions may be on their way at the same time.
    pub(super) fn start(lanes: usize, store: impl AcceptTogether) -> Self {
        let (waiting, queue) = mpsc::channel(QUEUE_MAX);
        let queue = Arc::new(Turn::new(queue));
        let store = Arc::new(store);
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        for _ in 0..lanes {
            running.spawn(lane(Arc::clone(&store), Arc::clone(&queue), stop.clone()));
        }
        Self { waiting, stop, lanes: Mutex::new(running) }
    }

    /// Whether the withdrawal was written; if not, its key is taken.
    pub(super) async fn accept(&self, request: AcceptWithdrawal) -> Result<bool, StoreError> {
        let closed = || StoreError::unavailable(DOING, "the store is closed");
        let (answer, answered) = oneshot::channel();
        self.waiting.send(Waiting { request, answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Finishes what waits and takes nothing more. A repeat does nothing.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        let mut lanes =
            std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner));
        // A lane that panicked has nothing left to finish.
        while lanes.join_next().await.is_some() {}
    }
}

async fn lane(
    store: Arc<impl AcceptTogether>,
    queue: Arc<Turn<mpsc::Receiver<Waiting>>>,
    stop: CancellationToken,
) {
    // Whose key is also another's of the same batch.
    let mut later = Vec::new();
    loop {
        let mut taken = std::mem::take(&mut later);
        if taken.is_empty() {
            let mut queue = queue.lock().await;
            let came = tokio::select! {
                came = queue.recv_many(&mut taken, BATCH_MAX) => came,
                () = stop.cancelled(), if !queue.is_closed() => {
                    queue.close();
                    continue;
                }
            };
            if came == 0 {
                return;
            }
        }
        let mut keys = HashSet::new();
        let (batch, others): (Vec<_>, Vec<_>) = taken.into_iter().partition(|waiting| {
            let key = &waiting.request.idempotency;
            keys.insert((key.scope.clone(), key.key.clone()))
        });
        later = others;
        answer(&*store, batch).await;
    }
}

/// Writes a batch. If the database refuses it, each is written alone: one that breaks a rule takes
/// nothing of the others with it.
async fn answer(store: &impl AcceptTogether, batch: Vec<Waiting>) {
    let (requests, answers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|waiting| (waiting.request, waiting.answer)).unzip();
    let written = match store.accept_together(&requests).await {
        Ok(written) => written.into_iter().map(Ok).collect(),
        Err(StoreError::Conflict { .. }) if requests.len() > 1 => {
            let mut written = Vec::with_capacity(requests.len());
            for request in &requests {
                let alone = store.accept_together(std::slice::from_ref(request)).await;
                written.push(alone.map(|alone| alone == [true]));
            }
            written
        }
        Err(error) => vec![Err(error); requests.len()],
    };
    for (answer, written) in answers.into_iter().zip(written) {
        // Fails if nobody waits any more: the withdrawal stands as it is.
        let _unread = answer.send(written);
    }
}
