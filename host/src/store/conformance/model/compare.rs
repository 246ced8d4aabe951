//! Compares the whole state that a store shows with the model's.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::drive::{ALL, HALF, Run};
use super::spec::{Event, Moment, State};
use crate::domain::{EventState, EventStatus, FailureCode, OutboxEvent, Timestamp};
use crate::store::{EventFilter, HistoryKind, StoreError, WithdrawalFilter};

/// An event as both can say it. Times are halves from the sequence's begin, rounded.
#[derive(Debug, PartialEq)]
struct Shown<'a> {
    what: (&'a str, &'a str, &'a str, Option<&'a str>),
    key: Option<uuid::Uuid>,
    status: EventStatus,
    lease: Option<(&'a str, i64)>,
    failed: Option<(FailureCode, bool)>,
    /// Attempts, interruptions, deferrals.
    counts: (u32, u32, u32),
    unknown: bool,
    last_error: Option<&'a str>,
    detail: Option<&'a str>,
    digest: Option<&'a str>,
    available: i64,
    valid_until: Option<i64>,
    /// Of the lease or the wait.
    until: Option<i64>,
    created: i64,
}

fn expected(event: &Event) -> Shown<'_> {
    let (lease, failed, until) = match &event.state {
        State::Pending | State::Done { .. } => (None, None, None),
        State::Processing { host, until } => {
            (Some((host.as_str(), event.token)), None, Some(until.halves))
        }
        State::Retrying { due } => (None, None, Some(due.halves)),
        State::Failed { code, skipped } => (None, Some((*code, *skipped)), None),
    };
    Shown {
        what: (
            event.aggregate.kind(),
            event.aggregate.id(),
            event.event_type.as_str(),
            event.traceparent.as_deref(),
        ),
        key: event.key,
        status: event.status(),
        lease,
        failed,
        counts: (event.attempts, event.interruptions, event.deferrals),
        unknown: event.unknown,
        last_error: event.last_error.as_deref(),
        detail: event.detail.as_deref(),
        digest: event.digest.as_deref(),
        available: event.available.halves,
        valid_until: event.valid_until.map(|until| until.halves),
        until,
        created: event.created.halves,
    }
}

fn found(row: &OutboxEvent, now: Moment, clock: Timestamp) -> Shown<'_> {
    let halves = |at: Timestamp| {
        let half = i64::try_from(HALF.as_micros()).unwrap();
        let away = (at - clock).num_microseconds().unwrap();
        now.halves + (away + half / 2).div_euclid(half)
    };
    let (lease, failed, until) = match &row.state {
        EventState::Pending | EventState::Done => (None, None, None),
        EventState::Processing(lease) => (
            Some((lease.locked_by.as_str(), lease.token.0)),
            None,
            Some(halves(lease.locked_until)),
        ),
        EventState::Retrying { next_retry_at } => (None, None, Some(halves(*next_retry_at))),
        EventState::Failed { code, skipped_at } => {
            (None, Some((*code, skipped_at.is_some())), None)
        }
    };
    Shown {
        what: (
            row.aggregate.kind(),
            row.aggregate.id(),
            row.event_type.as_str(),
            row.traceparent.as_deref(),
        ),
        key: Some(row.idempotency_key),
        status: row.state.status(),
        lease,
        failed,
        counts: (row.attempt_count, row.interruption_count, row.deferral_count),
        unknown: row.outcome_unknown,
        last_error: row.last_error.as_deref(),
        detail: row.detail.as_deref(),
        digest: row.release_digest.as_deref(),
        available: halves(row.available_at),
        valid_until: row.valid_until.map(halves),
        until,
        created: halves(row.created_at),
    }
}

/// # Errors
/// What differs between the model's event and the store's row.
pub(super) fn differs(
    event: &Event,
    row: &OutboxEvent,
    now: Moment,
    clock: Timestamp,
) -> Result<(), String> {
    same(&format!("event {}", row.id), &found(row, now, clock), &expected(event))
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}:\n the store has {found:?}\n the model has {expected:?}"))
}

/// # Errors
/// The first difference.
pub(super) async fn whole_state(run: &Run<'_>) -> Result<(), String> {
    events(run).await?;
    history(run).await?;
    withdrawals(run).await?;
    payments(run).await?;
    checkpoints(run).await?;
    answers(run).await?;
    controls(run).await
}

fn failed(error: &StoreError) -> String {
    format!("the store failed: {error}")
}

async fn events(run: &Run<'_>) -> Result<(), String> {
    let rows =
        run.world.store.events(&EventFilter::default(), ALL).await.map_err(|e| failed(&e))?;
    let clock = super::super::world::now();
    let of: BTreeMap<_, _> = run.model.events.iter().map(|event| (event.id, event)).collect();
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    same("the list of events", &ids, &of.keys().rev().copied().collect())?;
    for row in &rows {
        differs(of[&row.id], row, run.model.now, clock)?;
    }
    let sql = "SELECT CAST(id AS text) FROM outbox_events ORDER BY position";
    let order = run.world.texts(sql).await;
    same("the order written", &order, &run.model.events.iter().map(|e| e.id.to_string()).collect())
}

async fn history(run: &Run<'_>) -> Result<(), String> {
    let sql = "SELECT CAST(event_id AS text) || ' ' || kind || ' ' || attempt || ' ' || reason \
               FROM outbox_attempts ORDER BY id";
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in run.world.texts(sql).await {
        let (event, told) = line.split_once(' ').unwrap();
        found.entry(event.to_owned()).or_default().push(told.to_owned());
    }
    let line = |(kind, attempt, reason): &(HistoryKind, u32, String)| {
        format!("{} {attempt} {reason}", kind.as_str())
    };
    let told = run.model.events.iter().filter(|event| !event.history.is_empty());
    let expected = told
        .map(|event| (event.id.to_string(), event.history.iter().map(line).collect()))
        .collect();
    same("the history", &found, &expected)
}

async fn withdrawals(run: &Run<'_>) -> Result<(), String> {
    let rows = run.world.store.withdrawals(&WithdrawalFilter::default(), ALL).await;
    let found: Vec<_> = rows
        .map_err(|e| failed(&e))?
        .iter()
        .map(|w| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            (w.id, w.state.status(), text(w.state.tx_hash()), text(w.state.failure_reason()))
        })
        .collect();
    let known = run.model.withdrawals.iter().rev();
    let expected =
        known.map(|(id, w)| (*id, w.status, w.tx_hash.clone(), w.reason.clone())).collect();
    same("the withdrawals", &found, &expected)?;
    let sql = "SELECT CAST(withdrawal_id AS text) || ' ' || from_status || ' ' || to_status \
               FROM withdrawal_transitions ORDER BY withdrawal_id, id";
    let steps = run.model.withdrawals.iter().flat_map(|(id, withdrawal)| {
        withdrawal.steps.iter().map(move |(from, to)| format!("{id} {from} {to}"))
    });
    same("the transitions", &run.world.texts(sql).await, &steps.collect())
}

async fn payments(run: &Run<'_>) -> Result<(), String> {
    let mut signed: Vec<_> = run
        .model
        .withdrawals
        .values()
        .flat_map(|w| w.signed.iter().map(move |hash| format!("{hash} {}", w.nonce.unwrap())))
        .collect();
    // Hashes grow with the steps.
    signed.sort_unstable();
    let sql = "SELECT hash || ' ' || nonce FROM signed_transactions ORDER BY id";
    same("what was signed", &run.world.texts(sql).await, &signed)?;
    let open = run.world.store.open_payments(1, None, 100).await.map_err(|e| failed(&e))?;
    let open: Vec<_> = open.iter().map(|payment| payment.withdrawal.id).collect();
    let is_open = run.model.withdrawals.iter().filter(|(_, w)| w.is_open());
    let mut expected: Vec<_> = is_open.filter_map(|(id, w)| Some((w.nonce?, *id))).collect();
    expected.sort_unstable();
    same("the open payments", &open, &expected.into_iter().map(|(_, id)| id).collect())
}

async fn checkpoints(run: &Run<'_>) -> Result<(), String> {
    let kept = run.model.events.iter().filter(|event| event.checkpoint.is_some());
    same("checkpoints", &run.world.count("checkpoints").await, &(kept.clone().count() as u64))?;
    for event in kept {
        let found = run.world.store.load_checkpoint(event.id).await.map_err(|e| failed(&e))?;
        same("a checkpoint", &found, &event.checkpoint)?;
    }
    Ok(())
}

async fn answers(run: &Run<'_>) -> Result<(), String> {
    let sql = "SELECT key || ' ' || fingerprint || ' ' || answer_body FROM idempotency_keys";
    let mut found = run.world.texts(sql).await;
    found.sort_unstable();
    let kept = run.model.answers.iter();
    let mut expected: Vec<_> = kept
        .map(|(key, (fingerprint, answer, _))| format!("{key} {fingerprint} {}", answer.body))
        .collect();
    expected.sort_unstable();
    same("the answers", &found, &expected)
}

async fn controls(run: &Run<'_>) -> Result<(), String> {
    let found = run.world.store.route_controls().await.map_err(|e| failed(&e))?;
    let found = found.into_iter().map(|control| (control.event_type, control.paused)).collect();
    same("the paused routes", &found, &run.model.paused)
}
