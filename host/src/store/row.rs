//! From rows to the domain: one function a table, for both databases.
//!
//! A row is read column by column through [`Columns`]; what a column's type is differs between the
//! databases, what it means does not. A row that cannot be is named, never guessed at.

mod payments;

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use uuid::Uuid;

use super::writes::Hopeless;
use super::{
    Answer, Breaker, BreakerKey, Cancelled, EventHistory, HistoryEntry, HistoryKind, Replayed,
    RouteControl, Skipped, StoreError, Timeline, TransitionRecord,
};
use crate::domain::{
    Aggregate, BreakerState, EventId, EventState, EventStatus, FailureCode, FailureReason, HostId,
    Lease, LeaseToken, OutboxEvent, Payment, Timestamp, WITHDRAWAL, Withdrawal, WithdrawalId,
    WithdrawalRequest, WithdrawalState, WithdrawalStatus,
};

pub(super) use payments::{account, account_note, payment, payment_watch, signed_transaction};

/// What went wrong with one column.
pub(super) type ColumnError = String;

/// A row of either database. A name that the query did not select is an error like any other.
pub(super) trait Columns {
    fn text_or_null(&self, column: &str) -> Result<Option<String>, ColumnError>;
    fn integer_or_null(&self, column: &str) -> Result<Option<i64>, ColumnError>;
    fn time_or_null(&self, column: &str) -> Result<Option<Timestamp>, ColumnError>;
    fn uuid(&self, column: &str) -> Result<Uuid, ColumnError>;
    fn flag(&self, column: &str) -> Result<bool, ColumnError>;
    fn bytes(&self, column: &str) -> Result<Vec<u8>, ColumnError>;

    fn text(&self, column: &str) -> Result<String, ColumnError> {
        self.text_or_null(column)?.ok_or_else(|| format!("{column} is null"))
    }

    fn integer(&self, column: &str) -> Result<i64, ColumnError> {
        self.integer_or_null(column)?.ok_or_else(|| format!("{column} is null"))
    }

    fn time(&self, column: &str) -> Result<Timestamp, ColumnError> {
        self.time_or_null(column)?.ok_or_else(|| format!("{column} is null"))
    }

    /// An integer of a narrower type.
    fn count<N: TryFrom<i64>>(&self, column: &str) -> Result<N, ColumnError> {
        let value = self.integer(column)?;
        N::try_from(value).map_err(|_| format!("{column} cannot be {value}"))
    }

    /// A text with a form of its own.
    fn parse<T: FromStr>(&self, column: &str) -> Result<T, ColumnError> {
        let text = self.text(column)?;
        text.parse().map_err(|_| format!("{column} cannot be {text:?}"))
    }
}

/// Reads one row, and names it if it cannot be.
pub(super) fn named<R: Columns, T>(
    table: &'static str,
    key: &str,
    row: &R,
    read: impl FnOnce(&R) -> Result<T, ColumnError>,
) -> Result<T, StoreError> {
    read(row).map_err(|what| {
        let row = match (row.uuid(key), row.text_or_null(key)) {
            (Ok(id), _) => format!("{key} {id}"),
            (Err(_), Ok(Some(text))) => format!("{key} {text}"),
            (Err(_), _) => format!("{key} unknown"),
        };
        StoreError::CorruptRow { table, row, what }
    })
}

pub(super) fn event<R: Columns>(row: &R) -> Result<OutboxEvent, StoreError> {
    named("outbox_events", "id", row, |row| {
        let aggregate = Aggregate::new(&row.text("aggregate_type")?, &row.text("aggregate_id")?)
            .map_err(shown)?;
        Ok(OutboxEvent {
            id: EventId::from_uuid(row.uuid("id")?),
            aggregate,
            event_type: row.parse("event_type")?,
            payload: row.text("payload")?,
            idempotency_key: row.uuid("idempotency_key")?,
            state: event_state(row)?,
            attempt_count: row.count("attempt_count")?,
            interruption_count: row.count("interruption_count")?,
            deferral_count: row.count("deferral_count")?,
            outcome_unknown: row.flag("outcome_unknown")?,
            last_error: row.text_or_null("last_error")?,
            detail: row.text_or_null("detail")?,
            release_digest: row.text_or_null("release_digest")?,
            available_at: row.time("available_at")?,
            valid_until: row.time_or_null("valid_until")?,
            traceparent: row.text_or_null("traceparent")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
        })
    })
}

fn event_state<R: Columns>(row: &R) -> Result<EventState, ColumnError> {
    let status: EventStatus = row.parse("status")?;
    let locked_by = row.text_or_null("locked_by")?;
    let locked_until = row.time_or_null("locked_until")?;
    let next_retry_at = row.time_or_null("next_retry_at")?;
    let skipped_at = row.time_or_null("skipped_at")?;
    if skipped_at.is_some() && status != EventStatus::Failed {
        return Err(format!("status {status} with skipped_at"));
    }
    match (status, locked_by, locked_until, next_retry_at) {
        (EventStatus::Processing, Some(locked_by), Some(locked_until), None) => {
            Ok(EventState::Processing(Lease {
                locked_by: HostId::from_text(locked_by),
                locked_until,
                token: LeaseToken(row.integer("lease_token")?),
            }))
        }
        (EventStatus::Retrying, None, None, Some(next_retry_at)) => {
            Ok(EventState::Retrying { next_retry_at })
        }
        (EventStatus::Pending, None, None, None) => Ok(EventState::Pending),
        (EventStatus::Done, None, None, None) => Ok(EventState::Done),
        (EventStatus::Failed, None, None, None) => {
            Ok(EventState::Failed { code: row.parse("failure_code")?, skipped_at })
        }
        (status, ..) => Err(format!("status {status} with another status's columns")),
    }
}

pub(super) fn withdrawal<R: Columns>(row: &R) -> Result<Withdrawal, StoreError> {
    named("withdrawals", "id", row, |row| {
        Ok(Withdrawal {
            id: WithdrawalId::from_uuid(row.uuid("id")?),
            request: WithdrawalRequest {
                user_id: row.text("user_id")?,
                asset: row.text("asset")?,
                network: row.parse("network")?,
                amount: row.parse("amount")?,
                destination_address: row.text("destination_address")?,
            },
            state: withdrawal_state(row)?,
            requested_at: row.time("requested_at")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
        })
    })
}

fn withdrawal_state<R: Columns>(row: &R) -> Result<WithdrawalState, ColumnError> {
    let status: WithdrawalStatus = row.parse("status")?;
    let broadcast = match (row.text_or_null("tx_hash")?, row.time_or_null("broadcasted_at")?) {
        (Some(tx_hash), Some(at)) => Some((tx_hash, at)),
        (None, None) => None,
        _ => return Err("tx_hash and broadcasted_at do not go together".to_owned()),
    };
    let confirmed_at = row.time_or_null("confirmed_at")?;
    let reason = row.text_or_null("failure_reason")?;
    match (status, broadcast, confirmed_at, reason) {
        (WithdrawalStatus::Requested, None, None, None) => Ok(WithdrawalState::Requested),
        (WithdrawalStatus::Broadcasted, Some((tx_hash, broadcasted_at)), None, None) => {
            Ok(WithdrawalState::Broadcasted { tx_hash, broadcasted_at })
        }
        (
            WithdrawalStatus::Confirmed,
            Some((tx_hash, broadcasted_at)),
            Some(confirmed_at),
            None,
        ) => Ok(WithdrawalState::Confirmed { tx_hash, broadcasted_at, confirmed_at }),
        (WithdrawalStatus::Failed, broadcast, None, Some(reason)) => {
            Ok(WithdrawalState::Failed { reason, broadcast })
        }
        (status, ..) => Err(format!("status {status} with another status's columns")),
    }
}

pub(super) fn transition<R: Columns>(row: &R) -> Result<TransitionRecord, StoreError> {
    named("withdrawal_transitions", "withdrawal_id", row, |row| {
        Ok(TransitionRecord {
            from: Some(row.parse("from_status")?),
            to: row.parse("to_status")?,
            tx_hash: row.text_or_null("tx_hash")?,
            reason: row.text_or_null("reason")?,
            evidence: row.text_or_null("evidence")?,
            at: row.time("created_at")?,
        })
    })
}

/// A line of history, and the event that it belongs to.
pub(super) fn history<R: Columns>(row: &R) -> Result<(EventId, HistoryEntry), StoreError> {
    named("outbox_attempts", "event_id", row, |row| {
        let kind = row.text("kind")?;
        let entry = HistoryEntry {
            kind: one_of(&HistoryKind::ALL, HistoryKind::as_str, &kind)?,
            attempt: row.count("attempt")?,
            reason: row.text("reason")?,
            plugin: row.text_or_null("plugin")?,
            release_digest: row.text_or_null("release_digest")?,
            started_at: row.time("started_at")?,
            ended_at: row.time("ended_at")?,
        };
        Ok((EventId::from_uuid(row.uuid("event_id")?), entry))
    })
}

/// What was answered for an idempotency key, and the fingerprint that it was used for.
pub(super) fn answer<R: Columns>(row: &R) -> Result<(String, Answer), StoreError> {
    named("idempotency_keys", "key", row, |row| {
        let answer = Answer {
            status: row.count("answer_status")?,
            location: row.text("answer_location")?,
            body: row.text("answer_body")?,
        };
        Ok((row.text("fingerprint")?, answer))
    })
}

pub(super) fn route_control<R: Columns>(row: &R) -> Result<RouteControl, StoreError> {
    named("route_controls", "event_type", row, |row| {
        Ok(RouteControl {
            event_type: row.parse("event_type")?,
            paused: row.flag("paused")?,
            reason: row.text("reason")?,
            changed_by: row.text("changed_by")?,
            changed_at: row.time("changed_at")?,
        })
    })
}

pub(super) fn breaker<R: Columns>(row: &R) -> Result<Breaker, StoreError> {
    named("breakers", "plugin", row, |row| {
        // A clock that was set back makes a past of the future: it is now, then.
        let micros = |column: &str| -> Result<Duration, ColumnError> {
            Ok(Duration::from_micros(u64::try_from(row.integer(column)?).unwrap_or(0)))
        };
        let state = match row.text("state")?.as_str() {
            "CLOSED" => BreakerState::Closed { ago: Some(micros("ago_micros")?) },
            "OPEN" => {
                BreakerState::Open { left: micros("left_micros")?, trips: row.count("trips")? }
            }
            "HELD" => BreakerState::Held,
            other => return Err(format!("state cannot be {other:?}")),
        };
        Ok(Breaker {
            key: BreakerKey { plugin: row.text("plugin")?, target: row.text("target")? },
            state,
            reason: row.text("reason")?,
            changed_by: row.text("changed_by")?,
            changed_at: row.time("changed_at")?,
        })
    })
}

/// An event that is to be given up; `code` says why.
pub(super) fn hopeless<R: Columns>(row: &R) -> Result<Hopeless, StoreError> {
    named("outbox_events", "id", row, |row| {
        let code: FailureCode = row.parse("code")?;
        let text = match code {
            FailureCode::Expired => {
                format!("it had not begun when its time ended, {}", row.time("valid_until")?)
            }
            FailureCode::Poison
            | FailureCode::Rejected
            | FailureCode::AttemptsExhausted
            | FailureCode::DeferralsExhausted
            | FailureCode::Malformed
            | FailureCode::Cancelled => {
                format!("hosts were lost {} times at it", row.integer("interruption_count")?)
            }
        };
        Ok(Hopeless {
            id: EventId::from_uuid(row.uuid("id")?),
            aggregate: Aggregate::new(&row.text("aggregate_type")?, &row.text("aggregate_id")?)
                .map_err(shown)?,
            event_type: row.parse("event_type")?,
            reason: FailureReason { code, text },
            traceparent: row.text_or_null("traceparent")?,
        })
    })
}

/// Why an event was not replayed.
pub(super) fn not_replayed(event: EventId, status: Option<&str>) -> Result<Replayed, StoreError> {
    let Some(status) = status else { return Ok(Replayed::NotFound) };
    status.parse().map(Replayed::NotFailed).map_err(|()| StoreError::CorruptRow {
        table: "outbox_events",
        row: format!("id {event}"),
        what: format!("status cannot be {status:?}"),
    })
}

/// Why an event was not skipped: the row as it is.
pub(super) fn not_skipped<R: Columns>(row: Option<&R>) -> Result<Skipped, StoreError> {
    let Some(row) = row else { return Ok(Skipped::NotFound) };
    named("outbox_events", "id", row, |row| {
        let status: EventStatus = row.parse("status")?;
        Ok(match row.time_or_null("skipped_at")? {
            Some(_) => Skipped::Already,
            None => Skipped::NotFailed(status),
        })
    })
}

/// Why an event was not cancelled: the row as it is.
pub(super) fn not_cancelled<R: Columns>(row: Option<&R>) -> Result<Cancelled, StoreError> {
    let Some(row) = row else { return Ok(Cancelled::NotFound) };
    named("outbox_events", "id", row, |row| {
        let status: EventStatus = row.parse("status")?;
        let code = row.text_or_null("failure_code")?;
        Ok(if code.as_deref() == Some(FailureCode::Cancelled.as_str()) {
            Cancelled::Already
        } else if row.text("aggregate_type")? == WITHDRAWAL {
            Cancelled::OfWithdrawal
        } else {
            Cancelled::Begun(status)
        })
    })
}

impl Timeline {
    /// `steps` are those after the first, which every withdrawal takes by being accepted.
    pub(super) fn of(
        payment: Payment,
        steps: Vec<TransitionRecord>,
        events: Vec<EventHistory>,
    ) -> Self {
        let Payment { withdrawal, transactions, closing } = payment;
        let first = TransitionRecord {
            from: None,
            to: WithdrawalStatus::Requested,
            tx_hash: None,
            reason: None,
            evidence: None,
            at: withdrawal.requested_at,
        };
        let transitions = std::iter::once(first).chain(steps).collect();
        Self { withdrawal, transitions, events, transactions, closing }
    }
}

/// One column of a row that has no shape of its own.
pub(super) fn field<T>(
    table: &'static str,
    value: Result<T, ColumnError>,
) -> Result<T, StoreError> {
    value.map_err(|what| StoreError::CorruptRow { table, row: "unnamed".to_owned(), what })
}

pub(super) fn one_of<T: Copy>(
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
    text: &str,
) -> Result<T, ColumnError> {
    all.iter().copied().find(|value| as_str(*value) == text).ok_or_else(|| format!("{text:?}"))
}

fn shown(error: impl Display) -> ColumnError {
    error.to_string()
}
