//! What the API shows. These shapes are a contract of their own: a key is added, never renamed.

use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::domain::{EventId, EventState, OutboxEvent, Timestamp, Withdrawal};
use crate::store::{EventHistory, HistoryEntry, WithdrawalWait};

/// RFC 3339 in UTC, with milliseconds.
pub(super) fn time(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// JSON text as JSON, to the letter: no number loses digits. Text that is no JSON is shown as text.
pub(super) fn json(text: String) -> Option<Box<RawValue>> {
    match RawValue::from_string(text) {
        Ok(json) => Some(json),
        Err(_) => to_raw_value("(not valid JSON)").ok(),
    }
}

#[derive(Debug, Serialize)]
pub(super) struct WithdrawalView {
    id: String,
    user_id: String,
    asset: String,
    network: String,
    amount: String,
    destination_address: String,
    status: &'static str,
    tx_hash: Option<String>,
    failure_reason: Option<String>,
    requested_at: String,
    broadcasted_at: Option<String>,
    confirmed_at: Option<String>,
    created_at: String,
    updated_at: String,
    /// What it waits for before anything (more) is signed for it.
    pub(super) waiting_for: Option<WaitView>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct WaitView {
    rule: String,
    reason: String,
    since: String,
}

impl From<WithdrawalWait> for WaitView {
    fn from(wait: WithdrawalWait) -> Self {
        Self { rule: wait.rule, reason: wait.reason, since: time(wait.since) }
    }
}

impl WithdrawalView {
    pub(super) fn waiting(withdrawal: Withdrawal, wait: Option<WithdrawalWait>) -> Self {
        Self { waiting_for: wait.map(Into::into), ..withdrawal.into() }
    }
}

impl From<Withdrawal> for WithdrawalView {
    fn from(withdrawal: Withdrawal) -> Self {
        let state = &withdrawal.state;
        Self {
            id: withdrawal.id.to_string(),
            status: state.status().as_str(),
            tx_hash: state.tx_hash().map(str::to_owned),
            failure_reason: state.failure_reason().map(str::to_owned),
            broadcasted_at: state.broadcasted_at().map(time),
            confirmed_at: state.confirmed_at().map(time),
            requested_at: time(withdrawal.requested_at),
            created_at: time(withdrawal.created_at),
            updated_at: time(withdrawal.updated_at),
            user_id: withdrawal.request.user_id,
            asset: withdrawal.request.asset,
            network: withdrawal.request.network.to_string(),
            amount: withdrawal.request.amount.to_string(),
            destination_address: withdrawal.request.destination_address,
            waiting_for: None,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct EventView {
    id: String,
    aggregate_type: String,
    aggregate_id: String,
    event_type: String,
    payload: Option<Box<RawValue>>,
    idempotency_key: String,
    status: &'static str,
    attempt_count: u32,
    interruption_count: u32,
    deferral_count: u32,
    outcome_unknown: bool,
    next_retry_at: Option<String>,
    last_error: Option<String>,
    failure_code: Option<&'static str>,
    skipped_at: Option<String>,
    detail: Option<Box<RawValue>>,
    release_digest: Option<String>,
    locked_by: Option<String>,
    locked_until: Option<String>,
    available_at: String,
    valid_until: Option<String>,
    traceparent: Option<String>,
    created_at: String,
    updated_at: String,
    held_by: Option<String>,
    waits_for: Option<String>,
}

/// What a PENDING event waits for besides a host.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits {
    /// An earlier event of its aggregate.
    pub(super) held_by: Option<EventId>,
    /// Its rate, or a plugin that takes it.
    pub(super) waits_for: Option<String>,
}

impl EventView {
    pub(super) fn new(event: OutboxEvent, waits: Waits) -> Self {
        let (next_retry_at, lease, failed) = match &event.state {
            EventState::Retrying { next_retry_at } => (Some(*next_retry_at), None, None),
            EventState::Processing(lease) => (None, Some(lease), None),
            EventState::Pending | EventState::Done => (None, None, None),
            EventState::Failed { code, skipped_at } => (None, None, Some((code, skipped_at))),
        };
        Self {
            id: event.id.to_string(),
            aggregate_type: event.aggregate.kind().to_owned(),
            aggregate_id: event.aggregate.id().to_owned(),
            event_type: event.event_type.to_string(),
            payload: json(event.payload),
            idempotency_key: event.idempotency_key.to_string(),
            status: event.state.status().as_str(),
            attempt_count: event.attempt_count,
            interruption_count: event.interruption_count,
            deferral_count: event.deferral_count,
            outcome_unknown: event.outcome_unknown,
            next_retry_at: next_retry_at.map(time),
            locked_by: lease.map(|lease| lease.locked_by.to_string()),
            locked_until: lease.map(|lease| time(lease.locked_until)),
            last_error: event.last_error,
            failure_code: failed.map(|(code, _)| code.as_str()),
            skipped_at: failed.and_then(|(_, skipped_at)| skipped_at.map(time)),
            detail: event.detail.and_then(json),
            release_digest: event.release_digest,
            available_at: time(event.available_at),
            valid_until: event.valid_until.map(time),
            traceparent: event.traceparent,
            created_at: time(event.created_at),
            updated_at: time(event.updated_at),
            held_by: waits.held_by.map(|id| id.to_string()),
            waits_for: waits.waits_for,
        }
    }
}

/// An event with what it went through.
#[derive(Debug, Serialize)]
pub(super) struct EventHistoryView {
    event: EventView,
    /// The earlier event that a PENDING one waits for.
    held_by: Option<String>,
    attempts: Vec<AttemptView>,
}

/// An attempt that did not end in DONE, or what an operator did.
#[derive(Debug, Serialize)]
pub(super) struct AttemptView {
    outcome: &'static str,
    attempt: u32,
    reason: String,
    plugin: Option<String>,
    release_digest: Option<String>,
    started_at: String,
    ended_at: String,
}

impl From<HistoryEntry> for AttemptView {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            outcome: entry.kind.as_str(),
            attempt: entry.attempt,
            reason: entry.reason,
            plugin: entry.plugin,
            release_digest: entry.release_digest,
            started_at: time(entry.started_at),
            ended_at: time(entry.ended_at),
        }
    }
}

impl EventHistoryView {
    pub(super) fn new(history: EventHistory, waits: Waits) -> Self {
        Self {
            held_by: waits.held_by.map(|id| id.to_string()),
            event: EventView::new(history.event, waits),
            attempts: history.entries.into_iter().map(Into::into).collect(),
        }
    }
}
