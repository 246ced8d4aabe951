//! A store in memory with the meaning of the real ones, as far as the API sees it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::api::{JudgeError, WithdrawalJudge};
use crate::domain::*;
use crate::store::*;

#[derive(Default)]
pub(super) struct FakeStore {
    pub(super) rows: Mutex<Rows>,
    pub(super) unavailable: AtomicBool,
    pub(super) corrupt: AtomicBool,
    pub(super) hangs: AtomicBool,
}

#[derive(Default)]
pub(super) struct Rows {
    pub(super) withdrawals: Vec<Withdrawal>,
    pub(super) events: Vec<EventHistory>,
    pub(super) transitions: Vec<TransitionRecord>,
    pub(super) transactions: Vec<SignedTransaction>,
    pub(super) backlog: Vec<TypeBacklog>,
    pub(super) rate_waits: HashMap<EventId, Bucket>,
    pub(super) releases: Vec<PluginRelease>,
    /// Plugins and digests of their manifests.
    pub(super) approved: Vec<(String, String)>,
    controls: Vec<RouteControl>,
    answers: HashMap<(String, String), (String, Answer)>,
}

impl FakeStore {
    pub(super) fn is_empty(&self) -> bool {
        let rows = self.rows.lock().unwrap();
        rows.withdrawals.is_empty() && rows.events.is_empty() && rows.answers.is_empty()
    }

    async fn works(&self) -> Result<(), StoreError> {
        if self.hangs.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        if self.unavailable.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable {
                doing: "work",
                fault: StoreFault::Unreachable,
                cause: "hunter2".into(),
            });
        }
        if self.corrupt.load(Ordering::SeqCst) {
            let (row, what) = ("hunter2".into(), "hunter2".into());
            return Err(StoreError::CorruptRow { table: "withdrawals", row, what });
        }
        Ok(())
    }
}

impl Rows {
    fn answered(&self, claim: &IdempotencyClaim) -> Option<Accepted> {
        let kept = self.answers.get(&(claim.scope.clone(), claim.key.clone()))?;
        Some(if kept.0 == claim.fingerprint {
            Accepted::Replayed(kept.1.clone())
        } else {
            Accepted::KeyReused
        })
    }
}

fn as_row(event: NewEvent, now: Timestamp) -> EventHistory {
    let event = OutboxEvent {
        id: event.id,
        aggregate: event.aggregate,
        event_type: event.event_type,
        payload: event.payload,
        idempotency_key: event.idempotency_key,
        state: EventState::Pending,
        attempt_count: 0,
        interruption_count: 0,
        deferral_count: 0,
        outcome_unknown: false,
        last_error: None,
        detail: None,
        release_digest: None,
        available_at: event.available_at.unwrap_or(now),
        valid_until: event.valid_until,
        traceparent: event.traceparent,
        created_at: now,
        updated_at: now,
    };
    EventHistory { event, entries: vec![] }
}

#[async_trait]
impl AcceptStore for FakeStore {
    async fn accept_withdrawal(&self, request: AcceptWithdrawal) -> Result<Accepted, StoreError> {
        self.works().await?;
        let mut rows = self.rows.lock().unwrap();
        if let Some(answered) = rows.answered(&request.idempotency) {
            return Ok(answered);
        }
        let now = request.withdrawal.requested_at;
        let claim = request.idempotency;
        rows.transitions.push(TransitionRecord {
            from: None,
            to: WithdrawalStatus::Requested,
            tx_hash: None,
            reason: None,
            evidence: None,
            at: now,
        });
        rows.withdrawals.push(request.withdrawal);
        rows.events.extend(request.events.into_iter().map(|event| as_row(event, now)));
        rows.answers.insert((claim.scope, claim.key), (claim.fingerprint, request.answer));
        Ok(Accepted::Created)
    }

    async fn accept_events(&self, request: AcceptEvents) -> Result<AcceptedEvents, StoreError> {
        self.works().await?;
        let mut rows = self.rows.lock().unwrap();
        if let Some(answered) = rows.answered(&request.idempotency) {
            return Ok(AcceptedEvents::As(answered));
        }
        let taken: Vec<_> = rows.events.iter().map(|row| row.event.idempotency_key).collect();
        let keys = request.events.iter().map(|event| event.idempotency_key);
        let taken: Vec<_> = keys.filter(|key| taken.contains(key)).collect();
        if !taken.is_empty() {
            return Ok(AcceptedEvents::EventKeysTaken(taken));
        }
        let now = chrono::Utc::now();
        let claim = request.idempotency;
        rows.events.extend(request.events.into_iter().map(|event| as_row(event, now)));
        rows.answers.insert((claim.scope, claim.key), (claim.fingerprint, request.answer));
        Ok(AcceptedEvents::As(Accepted::Created))
    }

    async fn find_answer(&self, claim: &IdempotencyClaim) -> Result<Option<Accepted>, StoreError> {
        self.works().await?;
        Ok(self.rows.lock().unwrap().answered(claim))
    }
}

#[async_trait]
impl OperateStore for FakeStore {
    async fn withdrawal(&self, id: WithdrawalId) -> Result<Option<Withdrawal>, StoreError> {
        self.works().await?;
        let rows = self.rows.lock().unwrap();
        Ok(rows.withdrawals.iter().find(|row| row.id == id).cloned())
    }

    async fn withdrawals(
        &self,
        filter: &WithdrawalFilter,
        page: Page,
    ) -> Result<Vec<Withdrawal>, StoreError> {
        self.works().await?;
        let mut found = self.rows.lock().unwrap().withdrawals.clone();
        found.retain(|row| {
            filter.status.is_none_or(|status| row.state.status() == status)
                && filter.user_id.as_ref().is_none_or(|user| *user == row.request.user_id)
                && filter.network.as_ref().is_none_or(|network| *network == row.request.network)
                && filter.since.is_none_or(|since| row.requested_at >= since)
                && filter.until.is_none_or(|until| row.requested_at < until)
                && page.before.is_none_or(|before| row.id.as_uuid() < before)
        });
        found.sort_by_key(|row| std::cmp::Reverse(row.id));
        found.truncate(page.limit as usize);
        Ok(found)
    }

    async fn timeline(&self, id: WithdrawalId) -> Result<Option<Timeline>, StoreError> {
        self.works().await?;
        let rows = self.rows.lock().unwrap();
        let withdrawal = rows.withdrawals.iter().find(|row| row.id == id).cloned();
        Ok(withdrawal.map(|withdrawal| Timeline {
            closing: None,
            withdrawal,
            transitions: rows.transitions.clone(),
            events: rows.events.clone(),
            transactions: rows.transactions.clone(),
        }))
    }

    async fn event(&self, id: EventId) -> Result<Option<EventHistory>, StoreError> {
        self.works().await?;
        let rows = self.rows.lock().unwrap();
        Ok(rows.events.iter().find(|row| row.event.id == id).cloned())
    }

    async fn events(
        &self,
        filter: &EventFilter,
        page: Page,
    ) -> Result<Vec<OutboxEvent>, StoreError> {
        self.works().await?;
        let rows = self.rows.lock().unwrap();
        let mut found: Vec<_> = rows.events.iter().map(|row| row.event.clone()).collect();
        found.retain(|row| {
            filter.status.is_none_or(|status| row.state.status() == status)
                && filter.event_type.as_ref().is_none_or(|kind| *kind == row.event_type)
                && filter.aggregate_type.as_ref().is_none_or(|kind| kind == row.aggregate.kind())
                && filter.aggregate_id.as_ref().is_none_or(|id| id == row.aggregate.id())
                && page.before.is_none_or(|before| row.id.as_uuid() < before)
        });
        found.sort_by_key(|row| std::cmp::Reverse(row.id));
        found.truncate(page.limit as usize);
        Ok(found)
    }

    async fn replay(&self, id: EventId, asked_by: &str) -> Result<Replayed, StoreError> {
        self.works().await?;
        let mut rows = self.rows.lock().unwrap();
        let Some(row) = rows.events.iter_mut().find(|row| row.event.id == id) else {
            return Ok(Replayed::NotFound);
        };
        let status = row.event.state.status();
        if status != EventStatus::Failed {
            return Ok(Replayed::NotFailed(status));
        }
        row.event.state = EventState::Pending;
        told(row, HistoryKind::Replayed, asked_by);
        Ok(Replayed::Pending)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.works().await
    }

    fn is_woken_by_others(&self) -> bool {
        true
    }
}

impl FakeStore {
    async fn control(
        &self,
        paused: bool,
        event_type: &EventType,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        self.works().await?;
        let mut rows = self.rows.lock().unwrap();
        let found = rows.controls.iter().position(|control| control.event_type == *event_type);
        let was = found.map(|i| rows.controls.remove(i));
        let already = was.as_ref().is_some_and(|control| control.paused == paused);
        let control = RouteControl {
            event_type: event_type.clone(),
            paused,
            reason: note.reason.to_owned(),
            changed_by: note.by.to_owned(),
            changed_at: Timestamp::UNIX_EPOCH,
        };
        rows.controls.push(control);
        Ok(if already { ControlChange::Already } else { ControlChange::Changed })
    }
}

#[async_trait]
impl ControlStore for FakeStore {
    async fn pause_route(
        &self,
        event_type: &EventType,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        self.control(true, event_type, note).await
    }

    async fn resume_route(
        &self,
        event_type: &EventType,
        note: ControlNote<'_>,
    ) -> Result<ControlChange, StoreError> {
        self.control(false, event_type, note).await
    }

    async fn route_controls(&self) -> Result<Vec<RouteControl>, StoreError> {
        self.works().await?;
        Ok(self.rows.lock().unwrap().controls.clone())
    }
}

#[async_trait]
impl BacklogStore for FakeStore {
    async fn backlog(&self) -> Result<Vec<TypeBacklog>, StoreError> {
        self.works().await?;
        Ok(self.rows.lock().unwrap().backlog.clone())
    }

    async fn held(&self, _: &[EventType]) -> Result<Vec<(EventType, Count)>, StoreError> {
        Ok(Vec::new())
    }

    async fn waiting(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.works().await.map(|()| Vec::new())
    }
}

#[async_trait]
impl LimitStore for FakeStore {
    async fn claim_limited(
        &self,
        _: Claim<'_>,
        _: std::sync::Arc<dyn RouteLimits>,
    ) -> Result<LimitedClaim, StoreError> {
        Ok(LimitedClaim::default())
    }

    async fn rate_waits(&self, events: &[EventId]) -> Result<Vec<(EventId, Bucket)>, StoreError> {
        self.works().await?;
        let rows = self.rows.lock().unwrap();
        let waits = |id: &EventId| Some((*id, rows.rate_waits.get(id)?.clone()));
        Ok(events.iter().filter_map(waits).collect())
    }

    async fn end_rate_waits(&self, _: &EventType, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn delete_idle_rates(&self, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// So many pending events, the oldest of them due for so many seconds.
pub(super) fn a_backlog(event_type: &str, pending: u64, age_s: Option<u64>) -> TypeBacklog {
    let count = |number| Count { number, at_least: false };
    TypeBacklog {
        event_type: event_type.parse().unwrap(),
        pending: count(pending),
        processing: count(0),
        retrying: count(0),
        failed: count(0),
        rate_limited: count(0),
        unrouted: Count::default(),
        held: count(0),
        paused: false,
        oldest_age: age_s.map(Duration::from_secs),
        unclaimed_for: age_s.map(Duration::from_secs),
    }
}

fn told(row: &mut EventHistory, kind: HistoryKind, reason: &str) {
    row.entries.push(HistoryEntry {
        kind,
        attempt: 0,
        reason: reason.to_owned(),
        plugin: None,
        release_digest: None,
        started_at: row.event.updated_at,
        ended_at: row.event.updated_at,
    });
}

#[async_trait]
impl RepairStore for FakeStore {
    async fn cancel_withdrawal(
        &self,
        id: WithdrawalId,
        _reason: &str,
        _by: &str,
    ) -> Result<CancelledWithdrawal, StoreError> {
        self.works().await?;
        let rows = self.rows.lock().unwrap();
        let found = rows.withdrawals.iter().find(|row| row.id == id);
        Ok(match found.map(|row| row.state.status()) {
            None => CancelledWithdrawal::NotFound,
            Some(WithdrawalStatus::Requested | WithdrawalStatus::Failed) => {
                CancelledWithdrawal::Failed
            }
            Some(WithdrawalStatus::Broadcasted) => CancelledWithdrawal::Closing,
            Some(WithdrawalStatus::Confirmed) => CancelledWithdrawal::Paid,
        })
    }

    async fn skip(&self, id: EventId, reason: &str) -> Result<Skipped, StoreError> {
        self.works().await?;
        let mut rows = self.rows.lock().unwrap();
        let Some(row) = rows.events.iter_mut().find(|row| row.event.id == id) else {
            return Ok(Skipped::NotFound);
        };
        let at = row.event.updated_at;
        match &mut row.event.state {
            EventState::Failed { skipped_at: Some(_), .. } => return Ok(Skipped::Already),
            EventState::Failed { skipped_at, .. } => *skipped_at = Some(at),
            other => return Ok(Skipped::NotFailed(other.status())),
        }
        told(row, HistoryKind::Skipped, reason);
        Ok(Skipped::Now)
    }

    async fn cancel(&self, id: EventId, reason: &str) -> Result<Cancelled, StoreError> {
        self.works().await?;
        let mut rows = self.rows.lock().unwrap();
        let Some(row) = rows.events.iter_mut().find(|row| row.event.id == id) else {
            return Ok(Cancelled::NotFound);
        };
        match &row.event.state {
            EventState::Failed { code: FailureCode::Cancelled, .. } => {
                return Ok(Cancelled::Already);
            }
            _ if row.event.aggregate.kind() == WITHDRAWAL => return Ok(Cancelled::OfWithdrawal),
            EventState::Pending => {}
            other => return Ok(Cancelled::Begun(other.status())),
        }
        let skipped_at = Some(row.event.updated_at);
        row.event.state = EventState::Failed { code: FailureCode::Cancelled, skipped_at };
        told(row, HistoryKind::Cancelled, reason);
        Ok(Cancelled::Now)
    }

    async fn held_by(
        &self,
        event: EventId,
        ordered_among: &[EventType],
    ) -> Result<Option<EventId>, StoreError> {
        self.works().await?;
        let rows = self.rows.lock().unwrap();
        let earlier = rows.events.iter().map(|row| &row.event).take_while(|row| row.id != event);
        let open = |row: &&OutboxEvent| match row.state {
            EventState::Done | EventState::Failed { skipped_at: Some(_), .. } => false,
            _ => ordered_among.contains(&row.event_type),
        };
        Ok(earlier.filter(open).last().map(|row| row.id))
    }

    async fn holders(
        &self,
        events: &[EventId],
        ordered_among: &[EventType],
    ) -> Result<Vec<(EventId, EventId)>, StoreError> {
        let mut holders = Vec::new();
        for event in events {
            holders.extend(self.held_by(*event, ordered_among).await?.map(|by| (*event, by)));
        }
        Ok(holders)
    }
}

/// Orders the events of one type.
pub(super) struct FakeOrder;

impl crate::api::OrderedRoutes for FakeOrder {
    fn ordered_among(&self, event_type: &EventType, _: &str) -> Vec<EventType> {
        let ordered = event_type.as_str() == "ORDER_PAID";
        ordered.then(|| event_type.clone()).into_iter().collect()
    }
}

/// Says what it is told to, or waits until it is let go.
#[derive(Default)]
pub(super) struct FakeJudge {
    pub(super) verdict: Mutex<Option<JudgeError>>,
    pub(super) gate: Mutex<Option<std::sync::Arc<Semaphore>>>,
    pub(super) panics: AtomicBool,
}

#[async_trait]
impl WithdrawalJudge for FakeJudge {
    async fn judge(&self, _: &WithdrawalRequest) -> Result<(), JudgeError> {
        assert!(!self.panics.load(Ordering::SeqCst), "the judge was told to panic");
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        self.verdict.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl ReleaseStore for FakeStore {
    async fn deploy(&self, request: Deploy) -> Result<Deployed, StoreError> {
        self.works().await?;
        let mut rows = self.rows.lock().unwrap();
        let number = u32::try_from(rows.releases.len()).unwrap() + 1;
        let held = request.hold.is_some();
        let release = PluginRelease {
            name: ReleaseName { plugin: request.plugin, number },
            digest: request.digest,
            manifest: request.manifest,
            manifest_digest: request.manifest_digest,
            signature: request.signature,
            state: if held { ReleaseState::Held } else { ReleaseState::Preparing },
            reason: request.hold,
            canary: request.canary,
            shadow: request.shadow,
            created_by: request.by,
            created_at: Timestamp::UNIX_EPOCH,
            state_at: Timestamp::UNIX_EPOCH,
            state_age: Duration::ZERO,
            live_at: None,
        };
        if let Some(same) = rows.releases.iter().find(|it| it.digest == release.digest) {
            return Ok(Deployed::Already(same.clone()));
        }
        rows.releases.push(release.clone());
        Ok(Deployed::Now(release))
    }

    async fn component(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    async fn plugins(&self) -> Result<Vec<PluginStanding>, StoreError> {
        self.works().await?;
        let rows = self.rows.lock().unwrap();
        let of = |state: fn(ReleaseState) -> bool| {
            rows.releases.iter().rev().find(|it| state(it.state)).cloned()
        };
        let standing = rows.releases.first().map(|first| PluginStanding {
            plugin: first.name.plugin.clone(),
            disabled: false,
            reason: String::new(),
            changed_by: String::new(),
            changed_at: Timestamp::UNIX_EPOCH,
            live: of(|state| state == ReleaseState::Live),
            candidate: of(ReleaseState::is_candidate),
        });
        Ok(standing.into_iter().collect())
    }

    async fn plugin_release(
        &self,
        name: &ReleaseName,
    ) -> Result<Option<PluginRelease>, StoreError> {
        let rows = self.rows.lock().unwrap();
        Ok(rows.releases.iter().find(|it| it.name == *name).cloned())
    }

    async fn release_history(
        &self,
        _: &str,
        _: u32,
    ) -> Result<(Vec<PluginRelease>, Vec<ReleaseDecision>), StoreError> {
        let mut releases = self.rows.lock().unwrap().releases.clone();
        releases.reverse();
        Ok((releases, Vec::new()))
    }

    async fn check_in(&self, _: &HostId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn check_out(&self, _: &HostId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn report(&self, _: &HostId, _: &ReleaseName, _: &HostVerdict) -> Result<(), StoreError> {
        Ok(())
    }

    async fn standings(&self, _: &ReleaseName) -> Result<Vec<HostStanding>, StoreError> {
        let no = HostVerdict::Rejected { reason: "no room".into() };
        Ok(vec![HostStanding { host: "a".into(), verdict: Some(no) }])
    }

    async fn keep_tallies(
        &self,
        _: &HostId,
        _: &ReleaseName,
        _: &CanaryTallies,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    async fn tallies(&self, _: &ReleaseName) -> Result<CanaryTallies, StoreError> {
        Ok(CanaryTallies::default())
    }

    async fn keep_shadow_tally(
        &self,
        _: &HostId,
        _: &ReleaseName,
        _: &ShadowTally,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    async fn shadow_tallies(&self, _: &str) -> Result<BTreeMap<u32, ShadowTally>, StoreError> {
        let mut tally = ShadowTally::default();
        tally.count(EventId::generate(), Vec::new());
        let (kind, text) = (DifferenceKind::Verdict, "done → retry: no".to_owned());
        tally.count(EventId::generate(), vec![ShadowDifference { kind, text }]);
        tally.skip(SkipReason::Busy);
        Ok(BTreeMap::from([(1, tally.clone()), (2, tally)]))
    }

    async fn advance(&self, _: &ReleaseName, _: &RolloutDecision) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn approve(
        &self,
        name: &ReleaseName,
        _: ReleaseNote<'_>,
    ) -> Result<Approved, StoreError> {
        let mut rows = self.rows.lock().unwrap();
        let Some(found) = rows.releases.iter_mut().find(|it| it.name == *name) else {
            return Ok(Approved::NotFound);
        };
        found.state = match found.state {
            ReleaseState::Held => ReleaseState::Preparing,
            ReleaseState::Shadow => return Ok(Approved::NotPrepared(vec!["a".into()])),
            other => return Ok(Approved::NotHeld(other)),
        };
        Ok(Approved::Now)
    }

    async fn roll_back(
        &self,
        _: &str,
        to: Option<u32>,
        _: ReleaseNote<'_>,
    ) -> Result<RolledBack, StoreError> {
        Ok(to.map_or(RolledBack::NothingBefore, RolledBack::To))
    }

    async fn set_disabled(
        &self,
        plugin: &str,
        _: bool,
        _: ReleaseNote<'_>,
    ) -> Result<Option<bool>, StoreError> {
        let rows = self.rows.lock().unwrap();
        Ok(rows.releases.iter().any(|it| it.name.plugin == plugin).then_some(true))
    }

    fn release_wakeups(&self) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::channel(0).1
    }
}

#[async_trait]
impl ApprovalStore for FakeStore {
    async fn approved_manifests(&self, _: &str) -> Result<Vec<ApprovedManifest>, StoreError> {
        Ok(Vec::new())
    }

    async fn approve_manifest(
        &self,
        plugin: &str,
        digest: &str,
        _: ReleaseNote<'_>,
    ) -> Result<bool, StoreError> {
        self.works().await?;
        let approved = (plugin.to_owned(), digest.to_owned());
        let mut rows = self.rows.lock().unwrap();
        let new = !rows.approved.contains(&approved);
        rows.approved.push(approved);
        Ok(new)
    }

    async fn keep_live_manifest(&self, _: &str, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl BlameStore for FakeStore {
    async fn failures(&self) -> Result<Vec<FailureGroup>, StoreError> {
        self.works().await?;
        Ok(vec![FailureGroup {
            release_digest: Some("d".into()),
            release: Some((ReleaseName { plugin: "p".into(), number: 7 }, ReleaseState::Live)),
            event_type: "A".parse().unwrap(),
            code: FailureCode::Rejected,
            reason: "no".into(),
            count: 3,
            example: EventId::generate(),
            first_at: Timestamp::UNIX_EPOCH,
            last_at: Timestamp::UNIX_EPOCH,
        }])
    }

    async fn replay_failed(&self, request: ReplayFailed<'_>) -> Result<u64, StoreError> {
        self.works().await?;
        Ok(if request.release_digest == "d" { u64::from(request.limit) } else { 0 })
    }
}

/// Of policies the fake knows nothing: `policies` tests them on a real store.
#[async_trait]
impl PolicyStore for FakeStore {
    async fn approve_withdrawal(
        &self,
        _: WithdrawalId,
        _: Approver<'_>,
    ) -> Result<WithdrawalApproved, StoreError> {
        unreachable!("nothing is approved here")
    }

    async fn reject_withdrawal(
        &self,
        _: WithdrawalId,
        _: ControlNote<'_>,
    ) -> Result<WithdrawalRejected, StoreError> {
        unreachable!("nothing is rejected here")
    }

    async fn awaited_approvals(&self) -> Result<Vec<AwaitedApprovals>, StoreError> {
        self.works().await.map(|()| Vec::new())
    }

    async fn policy_decisions(&self, _: WithdrawalId) -> Result<Vec<PolicyDecision>, StoreError> {
        self.works().await.map(|()| Vec::new())
    }

    async fn approvals_of(&self, _: WithdrawalId) -> Result<Vec<WithdrawalApproval>, StoreError> {
        self.works().await.map(|()| Vec::new())
    }

    async fn freeze(
        &self,
        _: &FreezeSubject,
        _: ControlNote<'_>,
    ) -> Result<(Freeze, ControlChange), StoreError> {
        unreachable!("nothing is frozen here")
    }

    async fn lift_freeze(
        &self,
        _: i64,
        _: ControlNote<'_>,
    ) -> Result<Option<ControlChange>, StoreError> {
        unreachable!("nothing is frozen here")
    }

    async fn freezes(&self) -> Result<Vec<Freeze>, StoreError> {
        self.works().await.map(|()| Vec::new())
    }

    async fn keep_external_answer(
        &self,
        _: WithdrawalId,
        _: &str,
        _: &ExternalAnswer,
    ) -> Result<(), StoreError> {
        unreachable!("the API asks nobody")
    }

    async fn note_wait(&self, _: WithdrawalId, _: &str, _: &str) -> Result<(), StoreError> {
        unreachable!("the API notes no waits")
    }

    async fn waits(&self, _: &[WithdrawalId]) -> Result<Vec<WithdrawalWait>, StoreError> {
        self.works().await.map(|()| Vec::new())
    }
}
