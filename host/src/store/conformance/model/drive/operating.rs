//! What operators do, and what a payment needs.

use super::*;

impl Run<'_> {
    pub(super) async fn repair(&mut self, operation: &Operation) -> Check {
        let store = &self.world.store;
        match operation {
            Operation::Replay(n) => {
                let id = self.event(*n, |e| e.status() == EventStatus::Failed);
                let found = store.replay(id, "me").await.map_err(|e| failed(&e))?;
                let expected = self.model.replay(id, "me");
                self.same("replay", &found, &expected)
            }
            Operation::Skip(n) => {
                let id = self.event(*n, |e| e.status() == EventStatus::Failed);
                let found = store.skip(id, "gone").await.map_err(|e| failed(&e))?;
                let expected = self.model.skip(id, "gone");
                self.same("skip", &found, &expected)
            }
            Operation::Cancel(n) => {
                let id = self.event(*n, |e| e.state == State::Pending);
                let found = store.cancel(id, "wrong").await.map_err(|e| failed(&e))?;
                let expected = self.model.cancel(id, "wrong");
                self.same("cancel", &found, &expected)
            }
            other => Err(format!("{other:?} repairs nothing")),
        }
    }

    pub(super) async fn sign(&mut self, lease: Pick, replace: bool) -> Check {
        let fits = |taken: &Taken| {
            taken.event_type.as_str() == BROADCAST && self.model.is_held(taken.lease)
        };
        let Some(taken) = picked(&self.leases, lease, fits) else { return Ok(()) };
        let newest = Pick { fitting: false, back: 0 };
        let withdrawal = taken.aggregate.as_withdrawal();
        let withdrawal = withdrawal.unwrap_or_else(|| self.withdrawal(newest));
        let request = SignPayment {
            lease: taken.lease,
            withdrawal,
            chain_id: 1,
            account: ACCOUNT.into(),
            replace,
        };
        let hash = format!("0x{:08x}", self.model.now.step);
        let signs = Signs(hash.clone());
        let found =
            match self.world.store.sign_payment(request, &signs).await.map_err(|e| failed(&e))? {
                Signing::Signed(t) => format!("signed {} {}", t.signed.hash, t.nonce),
                Signing::Stored(t) => format!("stored {} {}", t.signed.hash, t.nonce),
                Signing::Refused(why) => format!("refused: {why}"),
                Signing::LeaseLost => "lease lost".into(),
                Signing::NotLive(_) => "not live".into(),
            };
        let expected = self.model.sign(taken.lease, withdrawal, replace, &hash);
        self.same("sign", &found, &expected)
    }

    pub(super) async fn conclude(&mut self, n: Pick, to: &[WithdrawalStatus]) -> Check {
        let id = self.withdrawal(n);
        let known = self.model.withdrawals.get(&id).cloned();
        let hash = known.as_ref().and_then(|w| w.signed.last().cloned());
        let tx_hash = hash.clone().unwrap_or_else(|| "0xc0".into());
        let step = |status: &WithdrawalStatus| match status {
            WithdrawalStatus::Requested => Step::Reopen,
            WithdrawalStatus::Broadcasted => Step::Broadcast(tx_hash.clone()),
            WithdrawalStatus::Confirmed => Step::Confirm(tx_hash.clone()),
            WithdrawalStatus::Failed if hash.is_none() => Step::Fail("given up".into()),
            WithdrawalStatus::Failed => Step::Revert(tx_hash.clone(), "reverted".into()),
        };
        let steps: Vec<_> = to.iter().map(step).collect();
        let transitions = steps.iter().cloned().map(transition).collect();
        let request = Conclude { withdrawal: id, transitions, evidence: "{}".into(), watch: None };
        let found = self.world.store.conclude(request).await.map_err(|e| failed(&e))?;
        let found = match found {
            Concluded::Now { status, changed } => format!("{status} {changed}"),
            Concluded::NotFound => "not found".into(),
            Concluded::Refused(_) => "refused".into(),
        };
        let expected = match (&known, self.model.conclude(id, &steps)) {
            (None, _) => "not found".into(),
            (Some(_), None) => "refused".into(),
            (Some(_), Some(changed)) => {
                format!("{} {changed}", self.model.withdrawals[&id].status)
            }
        };
        self.same("conclude", &found, &expected)?;
        self.name_new_events().await
    }
}

fn transition(step: Step) -> Transition {
    match step {
        Step::Broadcast(tx_hash) => Transition::Broadcast { tx_hash },
        Step::Confirm(tx_hash) => Transition::Confirm { tx_hash },
        Step::Fail(reason) => Transition::Fail { reason },
        Step::Revert(tx_hash, reason) => Transition::Revert { tx_hash, reason },
        Step::Reopen => Transition::Reopen,
    }
}
