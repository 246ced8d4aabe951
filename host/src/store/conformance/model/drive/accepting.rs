//! Taking withdrawals and events.

use super::*;

impl Run<'_> {
    pub(super) fn answer(&self) -> Answer {
        let step = self.model.now.step;
        Answer { status: 201, location: "/x".into(), body: format!("{{\"step\": {step}}}") }
    }

    pub(super) async fn accept_withdrawal(&mut self, k: u8, fingerprint: u8) -> Check {
        let idempotency = key(&format!("k{k}"), fingerprint);
        let request = AcceptWithdrawal { idempotency, answer: self.answer(), ..acceptance("") };
        let (id, events) = (request.withdrawal.id, request.events.clone());
        let found =
            self.world.store.accept_withdrawal(request.clone()).await.map_err(|e| failed(&e))?;
        let known = self.model.withdrawals.len();
        let expected =
            self.model.accept_withdrawal(id, &events, &request.idempotency, &request.answer);
        if self.model.withdrawals.len() > known {
            self.withdrawals.push(id);
        }
        self.same("accept_withdrawal", &found, &expected)?;
        self.name_new_events().await
    }

    pub(super) async fn accept_events(
        &mut self,
        claim: IdempotencyClaim,
        events: &[NewOne],
    ) -> Check {
        let (clock, mut keys) = (now(), Vec::new());
        let at = |wait: i64| {
            let half = chrono::Duration::from_std(HALF).unwrap();
            clock + half * i32::try_from(wait).unwrap()
        };
        let mut new = Vec::new();
        for one in events {
            let about = match one.about {
                About::Order(n) => Aggregate::new("ORDER", &n.to_string()).unwrap(),
                About::Withdrawal(n) => Aggregate::withdrawal(self.withdrawal(n)),
                About::Nobody => Aggregate::withdrawal(WithdrawalId::from_uuid(Uuid::max())),
            };
            let mut event = NewEvent::due_now(about, event_type(one.event_type), "{}".into());
            if let Some(key) = one.key.filter(|key| !keys.contains(key)) {
                keys.push(key);
                event.idempotency_key = Uuid::from_u128(u128::from(key) + 1);
            }
            let available = match one.available {
                Available::Now => None,
                Available::Earlier => Some(-1),
                Available::In(wait) => Some(halves(wait)),
            };
            // No time at all is a time that is over.
            let valid_for = one.valid_for.map(|wait| if wait == 0 { -1 } else { halves(wait) });
            event.available_at = available.map(at);
            event.valid_until = valid_for.map(at);
            let moment = |wait: Option<i64>| wait.map(|wait| self.model.now.plus(wait));
            new.push((event, moment(available), moment(valid_for)));
        }
        let request = AcceptEvents {
            events: new.iter().map(|(event, ..)| event.clone()).collect(),
            idempotency: claim.clone(),
            answer: self.answer(),
        };
        let found = self.world.store.accept_events(request).await.map_err(|e| failed(&e))?;
        let answer = self.answer();
        let expected = self.model.accept_events(&new, &claim, &answer);
        self.same("accept_events", &found, &expected)?;
        self.name_new_events().await
    }
}
