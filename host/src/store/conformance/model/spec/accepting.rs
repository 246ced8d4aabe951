//! Taking withdrawals and events.

use super::*;

impl Model {
    pub(in super::super) fn accept_withdrawal(
        &mut self,
        id: WithdrawalId,
        events: &[NewEvent],
        key: &IdempotencyClaim,
        answer: &Answer,
    ) -> Accepted {
        if let Some(before) = self.answered(key) {
            return before;
        }
        self.answers.insert(key.key.clone(), (key.fingerprint.clone(), answer.clone(), self.now));
        self.withdrawals.insert(id, Withdrawal::default());
        for event in events {
            self.write(event, None, None);
        }
        Accepted::Created
    }

    /// The moments are each event's `available_at` and `valid_until`.
    pub(in super::super) fn accept_events(
        &mut self,
        events: &[(NewEvent, Option<Moment>, Option<Moment>)],
        key: &IdempotencyClaim,
        answer: &Answer,
    ) -> AcceptedEvents {
        if let Some(before) = self.answered(key) {
            return AcceptedEvents::As(before);
        }
        let is_taken = |key: &Uuid| events.iter().any(|(event, ..)| event.idempotency_key == *key);
        let taken: Vec<_> = self.events.iter().filter_map(|e| e.key).filter(is_taken).collect();
        if !taken.is_empty() {
            return AcceptedEvents::EventKeysTaken(taken);
        }
        self.answers.insert(key.key.clone(), (key.fingerprint.clone(), answer.clone(), self.now));
        for (event, available, valid_until) in events {
            self.write(event, *available, *valid_until);
        }
        AcceptedEvents::As(Accepted::Created)
    }

    pub(in super::super) fn answered(&self, key: &IdempotencyClaim) -> Option<Accepted> {
        let (fingerprint, answer, _) = self.answers.get(&key.key)?;
        let same = *fingerprint == key.fingerprint;
        Some(if same { Accepted::Replayed(answer.clone()) } else { Accepted::KeyReused })
    }

    pub(super) fn write(
        &mut self,
        new: &NewEvent,
        available: Option<Moment>,
        valid_until: Option<Moment>,
    ) {
        self.events.push(Event {
            id: new.id,
            aggregate: new.aggregate.clone(),
            event_type: new.event_type.clone(),
            key: Some(new.idempotency_key),
            traceparent: new.traceparent.clone(),
            state: State::Pending,
            token: 0,
            attempts: 0,
            interruptions: 0,
            deferrals: 0,
            unknown: false,
            last_error: None,
            detail: None,
            digest: None,
            available: available.unwrap_or(self.now),
            valid_until,
            created: self.now,
            checkpoint: None,
            history: Vec::new(),
        });
    }

    /// An event that the store makes itself: its id and key are the store's.
    pub(super) fn write_own(
        &mut self,
        id: WithdrawalId,
        event_type: &str,
        traceparent: Option<String>,
    ) {
        let event_type = event_type.parse().unwrap();
        let event = NewEvent::due_now(Aggregate::withdrawal(id), event_type, "{}".into());
        self.write(&NewEvent { traceparent, ..event }, None, None);
        let own = self.events.last_mut().unwrap();
        (own.id, own.key) = (EventId::from_uuid(Uuid::nil()), None);
    }
}
