//! `GET /v1/withdrawals/{id}/timeline`: everything that happened to it, as one list in time order.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::{
    Closing, EventStatus, SignedTransaction, Timestamp, WithdrawalId, WithdrawalStatus,
};
use crate::store::{EventHistory, HistoryEntry, Timeline, TransitionRecord};

use super::super::path::PathId;
use super::super::problem::Problem;
use super::super::state::Shared;
use super::super::view::{WithdrawalView, json, time};

pub(in crate::api) async fn get_timeline(
    State(shared): State<Shared>,
    PathId(id): PathId<WithdrawalId>,
) -> Result<Json<TimelineView>, Problem> {
    let Some(timeline) = shared.api.operate.timeline(id).await? else {
        return Err(Problem::not_found("withdrawal"));
    };
    let mut view = TimelineView::from(timeline);
    view.withdrawal.waiting_for = shared.api.policies.waits(&[id]).await?.pop().map(Into::into);
    Ok(Json(view))
}

#[derive(Debug, Serialize)]
pub(in crate::api) struct TimelineView {
    withdrawal: WithdrawalView,
    entries: Vec<EntryView>,
}

/// One thing that happened, and when.
#[derive(Debug, Serialize)]
struct EntryView {
    at: String,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum What {
    /// The withdrawal took a step.
    Transition {
        from: Option<&'static str>,
        to: &'static str,
        tx_hash: Option<String>,
        reason: Option<String>,
        evidence: Option<Box<RawValue>>,
    },
    /// An event was written; `status` is what it is now.
    Event { event_id: String, event_type: String, status: &'static str },
    /// A transaction was signed and stored.
    Transaction {
        tx_hash: String,
        purpose: &'static str,
        chain_id: u64,
        account: String,
        nonce: u64,
        gas_limit: u64,
        fee_max_per_gas_wei: String,
        priority_fee_max_per_gas_wei: String,
    },
    /// It was given up after something was signed: the chain decides.
    Cancel { reason: String, asked_by: String },
    /// An attempt of an event ended without success, or an operator replayed it.
    Attempt {
        event_id: String,
        event_type: String,
        outcome: &'static str,
        attempt: u32,
        reason: String,
        plugin: Option<String>,
        release_digest: Option<String>,
        started_at: String,
    },
    /// An event's handler succeeded.
    Done {
        event_id: String,
        event_type: String,
        release_digest: Option<String>,
        detail: Option<Box<RawValue>>,
    },
}

impl From<Timeline> for TimelineView {
    fn from(timeline: Timeline) -> Self {
        let mut entries: Vec<(Timestamp, What)> = Vec::new();
        entries.extend(timeline.transitions.into_iter().map(transition));
        entries.extend(timeline.events.iter().map(event));
        entries.extend(timeline.transactions.into_iter().map(transaction));
        entries.extend(timeline.closing.map(|closing| {
            let Closing { reason, asked_by, asked_at } = closing;
            (asked_at, What::Cancel { reason, asked_by })
        }));
        for history in timeline.events {
            attempts(history, &mut entries);
        }
        // Stable: at one moment a transition comes before the events that it wrote.
        entries.sort_by_key(|(at, _)| *at);
        let view = |(at, what)| EntryView { at: time(at), what };
        Self {
            withdrawal: timeline.withdrawal.into(),
            entries: entries.into_iter().map(view).collect(),
        }
    }
}

fn transition(record: TransitionRecord) -> (Timestamp, What) {
    let what = What::Transition {
        from: record.from.map(WithdrawalStatus::as_str),
        to: record.to.as_str(),
        tx_hash: record.tx_hash,
        reason: record.reason,
        evidence: record.evidence.and_then(json),
    };
    (record.at, what)
}

fn event(history: &EventHistory) -> (Timestamp, What) {
    let event = &history.event;
    let what = What::Event {
        event_id: event.id.to_string(),
        event_type: event.event_type.to_string(),
        status: event.state.status().as_str(),
    };
    (event.created_at, what)
}

fn transaction(transaction: SignedTransaction) -> (Timestamp, What) {
    let signed = transaction.signed;
    let what = What::Transaction {
        tx_hash: signed.hash,
        purpose: signed.kind.as_str(),
        chain_id: transaction.chain_id,
        account: transaction.account,
        nonce: transaction.nonce,
        gas_limit: signed.gas_limit,
        // As text: a wei amount may be larger than what every JSON reader keeps exactly.
        fee_max_per_gas_wei: signed.fee_max_per_gas.to_string(),
        priority_fee_max_per_gas_wei: signed.priority_fee_max_per_gas.to_string(),
    };
    (transaction.signed_at, what)
}

fn attempts(history: EventHistory, entries: &mut Vec<(Timestamp, What)>) {
    let EventHistory { event, entries: attempts } = history;
    let attempt = |entry: HistoryEntry| {
        let what = What::Attempt {
            event_id: event.id.to_string(),
            event_type: event.event_type.to_string(),
            outcome: entry.kind.as_str(),
            attempt: entry.attempt,
            reason: entry.reason,
            plugin: entry.plugin,
            release_digest: entry.release_digest,
            started_at: time(entry.started_at),
        };
        (entry.ended_at, what)
    };
    entries.extend(attempts.into_iter().map(attempt));
    if event.state.status() == EventStatus::Done {
        let what = What::Done {
            event_id: event.id.to_string(),
            event_type: event.event_type.to_string(),
            release_digest: event.release_digest,
            detail: event.detail.and_then(json),
        };
        entries.push((event.updated_at, what));
    }
}
