//! Leases and verdicts.

use super::*;

impl Run<'_> {
    pub(super) async fn claim(
        &mut self,
        host: u8,
        event_type: EventType,
        limit: u32,
        lease: Wait,
        order: Order,
    ) -> Check {
        let host = format!("host-{host}");
        let among = ordered_among(order, &event_type);
        let request = Claim {
            host: &HostId::from_text(host.clone()),
            event_type: &event_type,
            limit,
            lease_for: duration(lease),
            ordered_among: &among,
        };
        let mut candidates = self.model.claimable(&event_type, &among);
        let events = self.world.store.claim(request).await.map_err(|e| failed(&e))?;
        let chosen: Vec<_> = events.iter().map(|e| e.id).collect();
        if limit >= 100 && candidates.len() > limit as usize {
            // A large claim may for a moment pass over what came into its back.
            candidates.iter_mut().for_each(|(_, at)| *at = self.model.now);
        }
        may_choose(&candidates, limit, &chosen)?;
        self.same("claim", &chosen.len().min(3), &candidates.len().min(limit as usize).min(3))?;
        self.model.claim(&chosen, &host, self.model.now.plus(halves(lease)));
        let (clock, at) = (now(), self.model.now);
        for row in &events {
            let event = self.model.event_mut(row.id).unwrap();
            differs(event, row, at, clock)?;
            self.leases.push(Taken {
                lease: lease_of(row),
                aggregate: row.aggregate.clone(),
                event_type: row.event_type.clone(),
                number: row.attempt_count + 1,
            });
        }
        Ok(())
    }

    pub(super) async fn extend(&mut self, leases: &[Pick], lease: Wait) -> Check {
        let leases = self.leases_of(leases);
        let found =
            self.world.store.extend(&leases, duration(lease)).await.map_err(|e| failed(&e))?;
        let until = self.model.now.plus(halves(lease));
        let expected = self.model.extend(&leases, until);
        self.same("extend", &found.into_iter().collect(), &expected)
    }

    pub(super) async fn save_checkpoint(&mut self, lease: Pick) -> Check {
        let Some(taken) = self.taken(lease) else { return Ok(()) };
        let bytes = self.model.now.step.to_le_bytes();
        let found =
            self.world.store.save_checkpoint(taken.lease, &bytes).await.map_err(|e| failed(&e))?;
        let expected = self.model.save_checkpoint(taken.lease, &bytes);
        self.same("save_checkpoint", &found, &expected)
    }

    pub(super) async fn settle(&mut self, verdicts: &[(Pick, Verdict)]) -> Check {
        let verdicts = verdicts.iter();
        let verdicts = verdicts.filter_map(|(pick, v)| Some((self.taken(*pick)?, *v))).collect();
        self.settle_these(verdicts).await
    }

    pub(super) async fn settle_these(&mut self, verdicts: Vec<(Taken, Verdict)>) -> Check {
        let batch: Vec<_> = verdicts.iter().map(|(taken, v)| self.settlement(taken, *v)).collect();
        let asked = batch.iter().map(|(settlement, _)| settlement.clone()).collect();
        let found = self.world.store.settle(asked).await.map_err(|e| failed(&e))?;
        if found.len() != batch.len() {
            return Err(format!("{} answers for {} settlements", found.len(), batch.len()));
        }
        for ((settlement, wait), found) in batch.iter().zip(found) {
            let refusal = match &found {
                Settled::TransitionRefused(reason) => reason.text.clone(),
                Settled::Settled | Settled::LeaseLost => String::new(),
            };
            let number = settlement.attempt.number;
            let (lease, decision) = (settlement.lease, &settlement.decision);
            let expected = self.model.settle(lease, decision, *wait, number, &refusal);
            let what = match decision {
                Decision::Done(_) => "settle done",
                Decision::Retry { .. } => "settle retry",
                Decision::Defer { .. } => "settle defer",
                Decision::Postpone { .. } => "settle postpone",
                Decision::BackToLive { .. } => "settle back to live",
                Decision::Fail(_) => "settle fail",
            };
            self.same(what, &found, &expected)?;
        }
        self.name_new_events().await
    }

    /// And the decision's wait, in halves.
    pub(super) fn settlement(&self, taken: &Taken, verdict: Verdict) -> (Settlement, i64) {
        let step = self.model.now.step;
        let reason = format!("step {step}");
        let (decision, wait) = match verdict {
            Verdict::Done { detail, standing, follow_ups, misfit } => {
                let other = Aggregate::new("ORDER", "another").unwrap();
                let about = if misfit { &other } else { &taken.aggregate };
                let new = |_| NewEvent::due_now(about.clone(), event_type(1), "{}".into());
                let receipt = Receipt {
                    detail: detail.then(|| format!("{{\"step\": {step}}}")),
                    standing: standing.map(|standing| match standing {
                        Stands::Broadcasted => Standing::Broadcasted,
                        Stands::Failed => Standing::Failed { reason: "closed".into() },
                    }),
                    follow_ups: (0..follow_ups).map(new).collect(),
                };
                (Decision::Done(receipt), 0)
            }
            Verdict::Retry { after, unknown } => {
                let (wait, after) = (halves(after), duration(after));
                (Decision::Retry { after, reason, outcome_unknown: unknown }, wait)
            }
            Verdict::Defer { after } => (Decision::Defer { after: duration(after) }, halves(after)),
            Verdict::Postpone { after, unknown } => {
                let (wait, after) = (halves(after), duration(after));
                (Decision::Postpone { after, reason, outcome_unknown: unknown }, wait)
            }
            Verdict::Fail(code) => (Decision::Fail(FailureReason { code, text: reason }), 0),
        };
        let attempt = AttemptRecord {
            number: taken.number,
            plugin: "a-plugin".into(),
            release_digest: "abc".into(),
            started_at: now(),
            duration: Duration::from_millis(5),
            on_canary: false,
        };
        let (aggregate, event_type) = (taken.aggregate.clone(), taken.event_type.clone());
        (Settlement { lease: taken.lease, aggregate, event_type, decision, attempt }, wait)
    }
}
