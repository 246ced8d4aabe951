//! The dispatcher's parts, against a store that a test holds in its hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::breakers::Breakers;
use super::gate::Gate;
use super::in_hand::{self, InHand};
use super::{DispatchConfig, DispatcherJob, Shared, settler};
use crate::domain::{
    Aggregate, Decision, EventId, EventType, HostId, LeaseToken, NewEvent, OutboxEvent, Receipt,
    Timestamp,
};
use crate::jobs::BrokerMessaging;
use crate::jobs::testing::away;
use crate::plugin::{
    CheckpointError, Registry, Routes, SandboxEngine, SecretSource, ServiceError, Services, Work,
};
use crate::store::{
    AttemptRecord, Bucket, Claim, DispatchStore, LeaseRef, LimitStore, LimitedClaim, RouteLimits,
    Settled, Settlement, StoreError, UnroutedStore,
};

/// Fails as often as it is told, and notes the batches that it settled.
pub(super) struct HandStore {
    /// Whether there are always as many events of a type as are asked for.
    pub(super) endless: bool,
    /// What was claimed, by type.
    pub(super) claimed: Mutex<BTreeMap<EventType, u32>>,
    /// What limited claims are answered.
    pub(super) limited: Mutex<VecDeque<LimitedClaim>>,
    /// What was put aside, and the types that were let go.
    pub(super) aside: Mutex<Vec<LeaseRef>>,
    pub(super) let_go: Mutex<Vec<EventType>>,
    failures: Mutex<u32>,
    settled: Mutex<Vec<Vec<LeaseRef>>>,
    extended: Mutex<VecDeque<Vec<EventId>>>,
    wakeup: watch::Sender<u64>,
}

impl HandStore {
    fn failing(times: u32) -> Arc<Self> {
        Arc::new(Self { failures: Mutex::new(times), ..Self::new() })
    }

    pub(super) fn new() -> Self {
        Self {
            endless: false,
            claimed: Mutex::default(),
            limited: Mutex::default(),
            aside: Mutex::default(),
            let_go: Mutex::default(),
            failures: Mutex::new(0),
            settled: Mutex::default(),
            extended: Mutex::default(),
            wakeup: watch::Sender::new(0),
        }
    }
}

/// An event that was just claimed.
pub(super) fn an_event(event_type: &EventType) -> OutboxEvent {
    let payload = r#"{"partner_id": "p7"}"#.into();
    let aggregate = Aggregate::new("ORDER", "1").unwrap();
    OutboxEvent::just_claimed(
        NewEvent::due_now(aggregate, event_type.clone(), payload),
        std::time::SystemTime::now().into(),
    )
}

#[async_trait]
impl DispatchStore for HandStore {
    async fn claim(&self, request: Claim<'_>) -> Result<Vec<OutboxEvent>, StoreError> {
        if !self.endless {
            return Ok(Vec::new());
        }
        let mut claimed = self.claimed.lock().unwrap();
        *claimed.entry(request.event_type.clone()).or_default() += request.limit;
        Ok((0..request.limit).map(|_| an_event(request.event_type)).collect())
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

#[async_trait]
impl LimitStore for HandStore {
    async fn claim_limited(
        &self,
        request: Claim<'_>,
        limits: Arc<dyn RouteLimits>,
    ) -> Result<LimitedClaim, StoreError> {
        let payload = r#"{"partner_id": "p7"}"#;
        assert_eq!(limits.bucket(payload).unwrap().key, "p7");
        assert_eq!(limits.rate("p").unwrap().to_string(), "50/s");
        assert_eq!(limits.plugins(), ["p"]);
        let answer = self.limited.lock().unwrap().pop_front().unwrap_or_default();
        let claimed = u32::try_from(answer.events.len()).unwrap();
        let mut all = self.claimed.lock().unwrap();
        *all.entry(request.event_type.clone()).or_default() += claimed;
        Ok(answer)
    }

    async fn rate_waits(&self, _: &[EventId]) -> Result<Vec<(EventId, Bucket)>, StoreError> {
        Ok(Vec::new())
    }

    async fn end_rate_waits(&self, _: &EventType, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn delete_idle_rates(&self, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl UnroutedStore for HandStore {
    async fn put_aside(&self, leases: &[LeaseRef]) -> Result<(), StoreError> {
        self.aside.lock().unwrap().extend(leases);
        Ok(())
    }

    async fn let_unrouted_go(&self, event_type: &EventType, _: u32) -> Result<u64, StoreError> {
        self.let_go.lock().unwrap().push(event_type.clone());
        Ok(0)
    }
}

struct Nothing;

#[async_trait]
impl SecretSource for Nothing {
    async fn value(&self, name: &str) -> Result<String, ServiceError> {
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
    let config = DispatchConfig { lease, ..DispatchConfig::default() };
    Arc::new(Shared {
        job: job(store, SandboxEngine::start().unwrap(), Routes::default(), config),
        in_hand: InHand::default(),
        gate: Gate::new(10),
        breakers: Breakers::new(
            Arc::<crate::store::MemoryBreakers>::default(),
            HostId::generate("test"),
            Arc::default(),
        ),
        settled: watch::Sender::new(0),
        stop: CancellationToken::new(),
        interrupt: CancellationToken::new(),
    })
}

pub(super) fn job(
    store: &Arc<HandStore>,
    engine: SandboxEngine,
    routes: Routes,
    config: DispatchConfig,
) -> DispatcherJob {
    let services = Services {
        checkpoints: Arc::new(Nothing),
        signer: Arc::new(NoSigner),
        messaging: Arc::new(BrokerMessaging(None)),
        secrets: Arc::new(Nothing),
    };
    DispatcherJob {
        store: Arc::clone(store) as _,
        limits: Arc::clone(store) as _,
        unrouted: Arc::clone(store) as _,
        breakers: Arc::<crate::store::MemoryBreakers>::default(),
        registry: Arc::new(Registry::new(routes)),
        engine,
        services,
        host: HostId::generate("test"),
        config,
        metrics: Arc::default(),
    }
}

struct NoSigner;

#[async_trait]
impl crate::plugin::Signer for NoSigner {
    async fn terms(
        &self,
        _: &Work,
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
            on_canary: false,
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
