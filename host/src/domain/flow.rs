//! Which outbox events a transition of a withdrawal writes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::event::NewEvent;
use super::name::{Aggregate, EventType, event_types};
use super::withdrawal::{Withdrawal, WithdrawalStatus};

/// For each status that a withdrawal enters, the event types to write. Configuration; the default
/// is the flow of the README's picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    on: BTreeMap<WithdrawalStatus, Vec<EventType>>,
    /// Where a reorganisation of the chain took CONFIRMED back.
    reopened: Vec<EventType>,
}

/// A flow that would leave money where it is without a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    #[error(
        "flow.requested must hold BLOCKCHAIN_BROADCAST_REQUESTED: without it no withdrawal is paid"
    )]
    NothingBroadcasts,
    #[error("flow.{status} lists {event_type} twice")]
    Twice { status: String, event_type: EventType },
}

impl Flow {
    /// # Errors
    /// See [`FlowError`].
    pub fn new(on: BTreeMap<WithdrawalStatus, Vec<EventType>>) -> Result<Self, FlowError> {
        let broadcasts = on.get(&WithdrawalStatus::Requested).is_some_and(|types| {
            types.iter().any(|t| t.as_str() == event_types::BLOCKCHAIN_BROADCAST_REQUESTED)
        });
        if !broadcasts {
            return Err(FlowError::NothingBroadcasts);
        }
        for (status, types) in &on {
            for (i, event_type) in types.iter().enumerate() {
                if types[..i].contains(event_type) {
                    let status = status.as_str().to_lowercase();
                    return Err(FlowError::Twice { status, event_type: event_type.clone() });
                }
            }
        }
        Ok(Self { on, reopened: Self::default().reopened })
    }

    /// The same flow, with other types for a withdrawal that is open again.
    #[must_use]
    pub fn with_reopened(self, reopened: Vec<EventType>) -> Self {
        Self { reopened, ..self }
    }

    /// The event types that are written where a reorganisation of the chain took CONFIRMED back.
    #[must_use]
    pub fn reopened_types(&self) -> &[EventType] {
        &self.reopened
    }

    /// The event types that entering `status` writes, in the order in which they are written.
    #[must_use]
    pub fn event_types(&self, status: WithdrawalStatus) -> &[EventType] {
        self.on.get(&status).map_or(&[], Vec::as_slice)
    }

    /// Whether entering some status writes this type.
    #[must_use]
    pub fn writes(&self, event_type: &EventType) -> bool {
        self.on.values().flatten().chain(&self.reopened).any(|written| written == event_type)
    }

    /// The events to write together with a withdrawal that has just entered its status.
    #[must_use]
    pub fn events(&self, withdrawal: &Withdrawal, traceparent: Option<&str>) -> Vec<NewEvent> {
        events_of(withdrawal, self.event_types(withdrawal.state.status()), traceparent)
    }

    /// The events to write together with a withdrawal that was CONFIRMED and is under way again.
    #[must_use]
    pub fn events_of_reopened(
        &self,
        withdrawal: &Withdrawal,
        traceparent: Option<&str>,
    ) -> Vec<NewEvent> {
        events_of(withdrawal, &self.reopened, traceparent)
    }
}

fn events_of(
    withdrawal: &Withdrawal,
    types: &[EventType],
    traceparent: Option<&str>,
) -> Vec<NewEvent> {
    let payload = withdrawal_payload(withdrawal).to_string();
    types
        .iter()
        .map(|event_type| NewEvent {
            traceparent: traceparent.map(str::to_owned),
            ..NewEvent::due_now(
                Aggregate::withdrawal(withdrawal.id),
                event_type.clone(),
                payload.clone(),
            )
        })
        .collect()
}

impl Default for Flow {
    fn default() -> Self {
        use event_types as types;
        let list = |names: &[&str]| {
            names.iter().filter_map(|name| name.parse().ok()).collect::<Vec<EventType>>()
        };
        Self {
            on: BTreeMap::from([
                (
                    WithdrawalStatus::Requested,
                    list(&[
                        types::WITHDRAWAL_REQUESTED,
                        types::PARTNER_SYNC_REQUESTED,
                        types::BLOCKCHAIN_BROADCAST_REQUESTED,
                    ]),
                ),
                (
                    WithdrawalStatus::Broadcasted,
                    list(&[types::WITHDRAWAL_BROADCASTED, types::PARTNER_SYNC_REQUESTED]),
                ),
                (
                    WithdrawalStatus::Confirmed,
                    list(&[types::WITHDRAWAL_CONFIRMED, types::PARTNER_SYNC_REQUESTED]),
                ),
                (
                    WithdrawalStatus::Failed,
                    list(&[types::WITHDRAWAL_FAILED, types::PARTNER_SYNC_REQUESTED]),
                ),
            ]),
            reopened: list(&[types::WITHDRAWAL_REOPENED, types::PARTNER_SYNC_REQUESTED]),
        }
    }
}

/// The payload of every event of a withdrawal: its record at that moment. All keys are always
/// there. This is what plugins read, so a key is never renamed or removed.
#[must_use]
pub fn withdrawal_payload(withdrawal: &Withdrawal) -> Value {
    let request = &withdrawal.request;
    let state = &withdrawal.state;
    let time = |at: super::Timestamp| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    json!({
        "withdrawal_id": withdrawal.id.to_string(),
        "user_id": request.user_id,
        "asset": request.asset,
        "network": request.network.as_str(),
        "amount": request.amount.to_string(),
        "destination_address": request.destination_address,
        "status": state.status().as_str(),
        "tx_hash": state.tx_hash(),
        "failure_reason": state.failure_reason(),
        "requested_at": time(withdrawal.requested_at),
        "broadcasted_at": state.broadcasted_at().map(time),
        "confirmed_at": state.confirmed_at().map(time),
    })
}

#[cfg(test)]
mod tests {
    use super::super::withdrawal::tests::a_withdrawal;
    use super::*;

    #[test]
    fn the_default_flow_is_valid_and_complete() {
        let flow = Flow::default();
        assert_eq!(Flow::new(flow.on.clone()), Ok(flow.clone()));
        let counts = WithdrawalStatus::ALL.map(|status| flow.event_types(status).len());
        assert_eq!(counts, [3, 2, 2, 2]);
    }

    #[test]
    fn a_flow_that_never_pays_is_refused() {
        let none = BTreeMap::from([(WithdrawalStatus::Requested, vec![])]);
        assert_eq!(Flow::new(none), Err(FlowError::NothingBroadcasts));
    }

    #[test]
    fn events_of_one_transition_share_the_payload_and_nothing_else() {
        let withdrawal = a_withdrawal();
        let events = Flow::default().events(&withdrawal, Some("00-ab-cd-01"));
        assert_eq!(events.len(), 3);
        for event in &events {
            assert_eq!(event.aggregate.as_withdrawal(), Some(withdrawal.id));
            assert_eq!(event.payload, withdrawal_payload(&withdrawal).to_string());
            assert_eq!(event.traceparent.as_deref(), Some("00-ab-cd-01"));
        }
        assert_ne!(events[0].idempotency_key, events[1].idempotency_key);
    }
}
