//! OutboxDispatcherJob: claims due events, lets their plugins attempt them, and settles what came
//! of it.
//!
//! One lane for each event type, so that a slow target fills only its own share. Attempts end in
//! one bounded queue, which the settler empties in batches: what gathers while one batch commits is
//! the next one, so commits are shared without waiting for company.

mod attempt;
mod breakers;
mod following;
mod gate;
mod gather;
mod in_hand;
mod lane;
mod limits;
mod outrun;
mod settler;
#[cfg(test)]
mod sharing_tests;
mod target_gate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::{EventType, HostId};
use crate::jobs::Metrics;
use crate::plugin::{Registry, SandboxEngine, Services};
use crate::store::{BreakerStore, DispatchStore, LimitStore, UnroutedStore};
use breakers::Breakers;
use gate::Gate;
use in_hand::InHand;
use lane::Lane;

/// Settlements that wait for the settler. More than one batch, so that it never runs dry; not much
/// more, for each is an event whose lease ages.
const SETTLE_QUEUE: usize = 2_000;

const JOB: &str = "OutboxDispatcherJob";

#[derive(Debug, Clone)]
pub struct DispatchConfig {
    /// How long a claimed event belongs to this host unless it prolongs it.
    pub lease: Duration,
    /// How late an event may be seen if its wake-up is lost.
    pub poll: Duration,
    /// How long attempts in hand may go on after a stop, before they are interrupted.
    pub grace: Duration,
    /// Events in one claim at most.
    pub batch: u32,
    /// Attempts that this host makes at once, over all routes; then their priorities decide whose
    /// is the next.
    pub attempts_max: u32,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            grace: Duration::from_secs(10),
            batch: 500,
            // As many as there are instances.
            attempts_max: 1_000,
        }
    }
}

pub struct DispatcherJob {
    pub store: Arc<dyn DispatchStore>,
    pub limits: Arc<dyn LimitStore>,
    pub unrouted: Arc<dyn UnroutedStore>,
    pub breakers: Arc<dyn BreakerStore>,
    pub registry: Arc<Registry>,
    pub engine: SandboxEngine,
    pub services: Services,
    pub host: HostId,
    pub config: DispatchConfig,
    pub metrics: Arc<Metrics>,
}

/// What lanes and attempts share.
struct Shared {
    job: DispatcherJob,
    in_hand: InHand,
    gate: Arc<Gate>,
    breakers: Arc<Breakers>,
    /// Changes with each settled batch: on an ordered route the next event of an aggregate is free
    /// only then.
    settled: watch::Sender<u64>,
    /// Stage one of a stop: claim nothing more.
    stop: CancellationToken,
    /// Stage two: end what still runs.
    interrupt: CancellationToken,
}

impl DispatcherJob {
    /// Runs until `stop`; returns when everything that was claimed is settled or given back.
    pub async fn run(self, stop: CancellationToken) {
        tracing::info!(job = JOB, host = %self.host, "started");
        let grace = self.config.grace;
        let shared = Arc::new(Shared {
            gate: Gate::new(self.config.attempts_max),
            breakers: Breakers::new(
                Arc::clone(&self.breakers),
                self.host.clone(),
                Arc::clone(&self.metrics),
            ),
            job: self,
            in_hand: InHand::default(),
            settled: watch::Sender::new(0),
            stop: stop.clone(),
            interrupt: CancellationToken::new(),
        });
        let (settlements, queue) = mpsc::channel(SETTLE_QUEUE);
        let settler = tokio::spawn(settler::run(Arc::clone(&shared), queue));
        let leases = CancellationToken::new();
        let prolonger = tokio::spawn(in_hand::prolong_leases(Arc::clone(&shared), leases.clone()));

        let breakers = tokio::spawn(breakers::watch(Arc::clone(&shared)));

        let mut lanes = JoinSet::new();
        run_lanes(&shared, &settlements, &mut lanes).await;
        drop(settlements);
        interrupt_after(grace, &shared.interrupt, &mut lanes).await;
        // The last lane dropped the last sender: the settler ends when its queue is empty.
        log_panic("settler", settler.await);
        log_panic("watch over the breakers", breakers.await);
        leases.cancel();
        log_panic("prolonger", prolonger.await);
        tracing::info!(job = JOB, "stopped");
    }
}

/// Starts a lane for each event type that has a route, and again after each change of the routes.
/// A lane whose route is gone waits for another. Returns at the stop.
async fn run_lanes(
    shared: &Arc<Shared>,
    settlements: &mpsc::Sender<crate::store::Settlement>,
    lanes: &mut JoinSet<EventType>,
) {
    let mut changes = shared.job.registry.changes();
    let mut running: BTreeMap<EventType, ()> = BTreeMap::new();
    loop {
        changes.borrow_and_update();
        for event_type in shared.job.registry.current().event_types() {
            if running.insert(event_type.clone(), ()).is_none() {
                let lane = Lane::new(Arc::clone(shared), event_type.clone(), settlements.clone());
                lanes.spawn(lane.run());
            }
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            Some(ended) = lanes.join_next() => match ended {
                Ok(event_type) => { running.remove(&event_type); }
                Err(error) => {
                    // Which lane it was is unknown: start what is missing, and nothing twice.
                    tracing::error!(job = JOB, %error, "a lane panicked; restarting all lanes");
                    running.clear();
                    lanes.shutdown().await;
                }
            },
        }
    }
}

/// Waits for the lanes; after the grace time, interrupts what they still wait for.
async fn interrupt_after(
    grace: Duration,
    interrupt: &CancellationToken,
    lanes: &mut JoinSet<EventType>,
) {
    let drain = async { while lanes.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, drain).await.is_err() {
        tracing::warn!(job = JOB, "the grace time is over; interrupting attempts");
        interrupt.cancel();
        while lanes.join_next().await.is_some() {}
    }
}

fn log_panic(what: &str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(job = JOB, %error, "the {what} panicked");
    }
}
