//! The settler: writes what attempts came to, in batches that share a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

use super::gather::Patience;
use super::{JOB, Shared};
use crate::domain::{Decision, EventId};
use crate::jobs::cycle;
use crate::store::{Settled, Settlement};

/// Settlements in one transaction at most.
const BATCH: usize = 500;
/// The first pause after a failed batch.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Batches that are on their way at the same time. While one waits for its commit, the database has
/// another to work on; more than two would only make batches smaller.
const LANES: usize = 2;

/// Runs until all senders are gone and the queue is empty.
pub(super) async fn run(shared: Arc<Shared>, queue: mpsc::Receiver<Settlement>) {
    let queue = Mutex::new(queue);
    let (busy, patience) = (AtomicUsize::new(0), Patience::default());
    let lanes = std::array::from_fn::<_, LANES, _>(|_| run_lane(&shared, &queue, &busy, &patience));
    futures_util::future::join_all(lanes).await;
}

async fn run_lane(
    shared: &Shared,
    queue: &Mutex<mpsc::Receiver<Settlement>>,
    busy: &AtomicUsize,
    patience: &Patience,
) {
    loop {
        let batch = gather(&mut *queue.lock().await, busy, patience).await;
        if batch.is_empty() {
            return;
        }
        busy.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        settle(shared, batch).await;
        patience.note(began.elapsed());
        busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The next batch; empty at the end. One lane gathers at a time, so that a batch is never split, and
/// only while another one is on its way: where nothing is, nothing waits.
async fn gather(
    queue: &mut mpsc::Receiver<Settlement>,
    busy: &AtomicUsize,
    patience: &Patience,
) -> Vec<Settlement> {
    let mut batch = Vec::with_capacity(BATCH);
    if queue.recv_many(&mut batch, BATCH).await > 0 && busy.load(Ordering::Relaxed) > 0 {
        let more = async {
            while batch.len() < BATCH / 2 {
                let room = BATCH - batch.len();
                if queue.recv_many(&mut batch, room).await == 0 {
                    break;
                }
            }
        };
        // What was taken until the time is over is in the batch.
        let _ended = tokio::time::timeout(patience.wait(), more).await;
    }
    batch
}

/// Settles one batch, again and again while the store is away. A batch whose commit was lost on the
/// way is answered with `LeaseLost` when it is repeated, so a repeat does no harm. After a stop it is
/// given up once the leases have run out: the events are then another host's.
async fn settle(shared: &Shared, batch: Vec<Settlement>) {
    let store = &shared.job.store;
    let give_up = shared.job.config.lease;
    let mut failures = 0;
    let mut stopped_for = Duration::ZERO;
    loop {
        match store.settle(batch.clone()).await {
            Ok(answers) => {
                shared.job.metrics.settled(&batch, &answers);
                count_for_canaries(shared, &batch, &answers);
                for (settlement, settled) in batch.iter().zip(answers) {
                    report(settlement, settled);
                }
                break;
            }
            Err(error) => {
                failures += 1;
                let pause = cycle::backoff(RETRY_AFTER, failures);
                tracing::warn!(job = JOB, %error, events = batch.len(), "verdicts could not be settled; again in {} ms", pause.as_millis());
                if shared.stop.is_cancelled() {
                    stopped_for += pause;
                    if stopped_for > give_up {
                        tracing::error!(
                            job = JOB,
                            events = batch.len(),
                            "verdicts were not settled before the leases ran out; their events will be taken over"
                        );
                        break;
                    }
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
    for settlement in &batch {
        shared.in_hand.remove(settlement.lease);
    }
    shared.settled.send_modify(|batches| *batches += 1);
}

/// What each side of a canary is judged by: what came of events that nothing had gone wrong with
/// before. A canary that is over counts nothing more.
fn count_for_canaries(shared: &Shared, batch: &[Settlement], answers: &[Settled]) {
    let canaries = shared.job.registry.canaries().current();
    if canaries.is_empty() {
        return;
    }
    for (Settlement { decision, attempt, .. }, settled) in batch.iter().zip(answers) {
        let Some(canary) = canaries.of_plugin(&attempt.plugin) else { continue };
        let succeeded = match (settled, decision) {
            (Settled::LeaseLost, _) | (Settled::Settled, Decision::Postpone { .. }) => continue,
            (Settled::Settled, Decision::Done(_) | Decision::Defer { .. }) => true,
            (Settled::TransitionRefused(_), _)
            | (
                Settled::Settled,
                Decision::Retry { .. } | Decision::BackToLive { .. } | Decision::Fail(_),
            ) => false,
        };
        if attempt.number == 1 {
            let digest = &attempt.release_digest;
            canary.count(attempt.on_canary, digest, succeeded, attempt.duration);
        }
    }
}

fn report(settlement: &Settlement, settled: Settled) {
    let id: EventId = settlement.lease.event;
    let plugin = &settlement.attempt.plugin;
    match settled {
        Settled::Settled => match &settlement.decision {
            Decision::Done(_) => tracing::debug!(event.id = %id, plugin.name = %plugin, "done"),
            Decision::Retry { reason, after, .. } => {
                tracing::info!(event.id = %id, plugin.name = %plugin, attempt = settlement.attempt.number, %reason, "will be retried in {} ms", after.as_millis());
            }
            Decision::Defer { after } => {
                tracing::debug!(event.id = %id, plugin.name = %plugin, "deferred by {} ms", after.as_millis());
            }
            Decision::Postpone { reason, .. } => {
                tracing::info!(event.id = %id, plugin.name = %plugin, %reason, "postponed");
            }
            Decision::BackToLive { reason, .. } => {
                tracing::info!(event.id = %id, plugin.name = %plugin, %reason, "failed on the canary; the live release does it");
            }
            Decision::Fail(reason) => {
                tracing::warn!(event.id = %id, plugin.name = %plugin, %reason, "an event is FAILED");
            }
        },
        Settled::LeaseLost => {
            tracing::warn!(event.id = %id, plugin.name = %plugin, "a verdict was not settled: the lease was lost");
        }
        Settled::TransitionRefused(reason) if settlement.attempt.on_canary => {
            tracing::info!(event.id = %id, plugin.name = %plugin, %reason, "the canary's transition was refused; the live release does it");
        }
        Settled::TransitionRefused(reason) => {
            tracing::warn!(event.id = %id, plugin.name = %plugin, %reason, "an event is FAILED: its transition was refused");
        }
    }
}
