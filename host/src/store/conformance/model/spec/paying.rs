//! What a payment needs.

use super::*;

impl Model {
    /// The answer of signing, as text.
    pub(in super::super) fn sign(
        &mut self,
        lease: LeaseRef,
        of: WithdrawalId,
        replace: bool,
        hash: &str,
    ) -> String {
        let Some(event) = self.held(lease) else { return "lease lost".into() };
        let live = event.event_type.as_str() == event_types::BLOCKCHAIN_BROADCAST_REQUESTED
            && event.aggregate.as_withdrawal() == Some(of);
        let withdrawal = self.withdrawals.get_mut(&of).filter(|w| live && w.is_open());
        let Some(withdrawal) = withdrawal else { return "not live".into() };
        if let Some(newest) = withdrawal.signed.last().filter(|_| !replace) {
            return format!("stored {newest} {}", withdrawal.nonce.unwrap());
        }
        if withdrawal.closing {
            return "refused: refused by rule nonce.closed: the payment was given up".into();
        }
        let nonce = *withdrawal.nonce.get_or_insert_with(|| {
            self.next_nonce += 1;
            self.next_nonce - 1
        });
        withdrawal.signed.push(hash.to_owned());
        format!("signed {hash} {nonce}")
    }

    /// All the steps or none. None if one is refused; else whether anything changed.
    pub(in super::super) fn conclude(&mut self, id: WithdrawalId, steps: &[Step]) -> Option<bool> {
        let before = (self.withdrawals.clone(), self.events.len());
        let traceparent = self.traceparent_of(id);
        let mut changed = false;
        for step in steps {
            match self.step(id, step.clone(), traceparent.clone()) {
                Some(step) => changed |= step,
                None => {
                    self.withdrawals = before.0;
                    self.events.truncate(before.1);
                    return None;
                }
            }
        }
        Some(changed)
    }

    pub(in super::super) fn request_broadcast(
        &mut self,
        id: WithdrawalId,
        not_within: i64,
    ) -> bool {
        if !self.withdrawals.get(&id).is_some_and(Withdrawal::is_open) {
            return false;
        }
        let broadcast = event_types::BLOCKCHAIN_BROADCAST_REQUESTED;
        let since = self.now.plus(-not_within);
        let is_in_the_way = |e: &&Event| {
            let ended = matches!(e.state, State::Done { .. } | State::Failed { .. });
            !ended || e.created > since
        };
        let mut earlier = self
            .events
            .iter()
            .filter(|e| e.event_type.as_str() == broadcast)
            .filter(|e| e.aggregate.as_withdrawal() == Some(id));
        if earlier.any(|e| is_in_the_way(&e)) {
            return false;
        }
        let traceparent = self.traceparent_of(id);
        self.write_own(id, broadcast, traceparent);
        true
    }

    /// Of the first event of a withdrawal that is still there: its request's.
    pub(super) fn traceparent_of(&self, id: WithdrawalId) -> Option<String> {
        let first = self.events.iter().find(|e| e.aggregate.as_withdrawal() == Some(id))?;
        first.traceparent.clone()
    }
}
