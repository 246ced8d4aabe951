//! The dispatcher's parts, against a store that a test holds in its hand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::in_hand::{self, InHand};
use super::{DispatchConfig, DispatcherJob, Shared, settler};
use crate::domain::{
    Aggregate, Decision, EventId, HostId, LeaseToken, OutboxEvent, Receipt, Timestamp,
};
use crate::jobs::BrokerMessaging;
use crate::jobs::testing::away;
use crate::plugin::{
    CheckpointError, Registry, Routes, SandboxEngine, SecretSource, ServiceError, Services, Work,
};
use crate::store::{
    AttemptRecord, Claim, DispatchStore, LeaseRef, Settled, Settlement, StoreError,
};

/// Fails as often as it is told, and notes the batches that it settled.
struct HandStore {
    failures: Mutex<u32>,
    settled: Mutex<Vec<Vec<LeaseRef>>>,
    extended: Mutex<VecDeque<Vec<EventId>>>,
    wakeup: watch::Sender<u64>,
}

impl HandStore {
    fn failing(times: u32) -> Arc<Self> {
        Arc::new(Self {
            failures: Mutex::new(times),
            settled: Mutex::default(),
            extended: Mutex::default(),
            wakeup: watch::Sender::new(0),
        })
    }
}

#[async_trait]
impl DispatchStore for HandStore {
    async fn claim(&self, _: Claim<'_>) -> Result<Vec<OutboxEvent>, StoreError> {
        Ok(Vec::new())
    }

    async fn extend(&self, _: &[LeaseRef], _: Duration) -> Result<Vec<EventId>, StoreError> {
        Ok(self.extended.lock().unwrap().pop_front().unwrap_or_default())
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(away());
        }
        let leases = settlements.iter().map(|settlement| settlement.lease).collect();
        self.settled.lock().unwrap().push(leases);
        Ok(settlements.iter().map(|_| Settled::Settled).collect())
    }

    async fn release(&self, _: &[LeaseRef]) -> Result<(), StoreError> {
        Ok(())
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.wakeup.subscribe()
    }
}

struct Nothing;

impl SecretSource for Nothing {
    fn value(&self, name: &str) -> Result<String, ServiceError> {
        Err(ServiceError(format!("no secret {name}")))
    }
}

#[async_trait]
impl crate::plugin::Checkpoints for Nothing {
    async fn load(&self, _: &Work) -> Result<Option<Vec<u8>>, CheckpointError> {
        Ok(None)
    }

    async fn save(&self, _: &Work, _: &[u8]) -> Result<(), CheckpointError> {
        Ok(())
    }
}

fn shared(store: &Arc<HandStore>, lease: Duration) -> Arc<Shared> {
    let services = Services {
        checkpoints: Arc::new(Nothing),
        signer: Arc::new(NoSigner),
        messaging: Arc::new(BrokerMessaging(None)),
        secrets: Arc::new(Nothing),
    };
    Arc::new(Shared {
        job: DispatcherJob {
            store: Arc::clone(store) as _,
            registry: Arc::new(Registry::new(Routes::default())),
            engine: SandboxEngine::start().unwrap(),
            services,
            host: HostId::generate("test"),
            config: DispatchConfig { lease, ..DispatchConfig::default() },
            metrics: Arc::default(),
        },
        in_hand: InHand::default(),
        settled: watch::Sender::new(0),
        stop: CancellationToken::new(),
        interrupt: CancellationToken::new(),
    })
}

struct NoSigner;

#[async_trait]
impl crate::plugin::Signer for NoSigner {
    async fn terms(
        &self,
        _: &crate::domain::Network,
        _: &str,
    ) -> Result<crate::plugin::PaymentTerms, crate::plugin::SignError> {
        Err(crate::plugin::SignError::Unavailable("no chain".into()))
    }

    async fn signed(
        &self,
        _: &Work,
    ) -> Result<Option<crate::domain::SignedTransaction>, crate::plugin::SignError> {
        Ok(None)
    }

    async fn sign(
        &self,
        _: &Work,
        _: &crate::domain::Network,
        _: crate::plugin::SignRequest,
    ) -> Result<crate::domain::SignedTransaction, crate::plugin::SignError> {
        Err(crate::plugin::SignError::Unavailable("no chain".into()))
    }
}

fn a_settlement() -> Settlement {
    Settlement {
        lease: LeaseRef { event: EventId::generate(), token: LeaseToken(1) },
        aggregate: Aggregate::new("ORDER", "1").unwrap(),
        event_type: "NOOP".parse().unwrap(),
        decision: Decision::Done(Receipt::default()),
        attempt: AttemptRecord {
            number: 1,
            plugin: "noop".into(),
            release_digest: String::new(),
            started_at: Timestamp::UNIX_EPOCH,
            duration: Duration::ZERO,
        },
    }
}

#[tokio::test]
async fn what_gathers_while_the_settler_waits_is_one_batch() {
    let store = HandStore::failing(0);
    let (sender, queue) = mpsc::channel(10);
    let leases: Vec<_> = (0..3).map(|_| a_settlement()).collect();
    let expected: Vec<_> = leases.iter().map(|settlement| settlement.lease).collect();
    for settlement in leases {
        sender.send(settlement).await.unwrap();
    }
    drop(sender);
    settler::run(shared(&store, Duration::from_secs(30)), queue).await;
    assert_eq!(*store.settled.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn a_batch_is_settled_when_the_store_is_back() {
    let store = HandStore::failing(2);
    let (sender, queue) = mpsc::channel(10);
    sender.send(a_settlement()).await.unwrap();
    drop(sender);
    settler::run(shared(&store, Duration::from_secs(30)), queue).await;
    assert_eq!(store.settled.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn after_a_stop_the_settler_gives_up_when_the_leases_have_run_out() {
    let store = HandStore::failing(u32::MAX);
    let (sender, queue) = mpsc::channel(10);
    sender.send(a_settlement()).await.unwrap();
    drop(sender);
    let shared = shared(&store, Duration::ZERO);
    shared.stop.cancel();
    let settled = settler::run(shared, queue);
    tokio::time::timeout(Duration::from_secs(10), settled).await.unwrap();
    assert!(store.settled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_attempt_whose_lease_was_lost_is_told_so() {
    let store = HandStore::failing(0);
    let shared = shared(&store, Duration::from_millis(3));
    let (kept, lost) = (a_settlement().lease, a_settlement().lease);
    let _kept = shared.in_hand.add(kept);
    let lost_token = shared.in_hand.add(lost);
    store.extended.lock().unwrap().push_back(vec![kept.event]);
    let ended = CancellationToken::new();
    let prolonging = tokio::spawn(in_hand::prolong_leases(Arc::clone(&shared), ended.clone()));
    tokio::time::timeout(Duration::from_secs(10), lost_token.cancelled()).await.unwrap();
    // Asked before another pass, in which the script knows of no lease at all.
    shared.in_hand.remove(kept);
    ended.cancel();
    prolonging.await.unwrap();
}

#[tokio::test]
async fn a_dispatcher_without_work_stops_at_once() {
    let store = HandStore::failing(0);
    let shared = Arc::into_inner(shared(&store, Duration::from_secs(30))).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(shared.job.run(stop.clone()));
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
}
