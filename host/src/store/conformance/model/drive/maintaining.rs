//! What the jobs do.

use super::*;

impl Run<'_> {
    /// What a pass chose, which only the store knows if there was more than it may take: those
    /// whose status is this now. None: those that are no more.
    pub(super) async fn chosen(
        &self,
        candidates: &Candidates,
        limit: u32,
        now: Option<EventStatus>,
    ) -> Result<Vec<EventId>, String> {
        let mut candidates = candidates.clone();
        candidates.sort_by_key(|(_, at)| *at);
        let mut chosen: Vec<_> = candidates.into_iter().map(|(id, _)| id).collect();
        if chosen.len() > limit as usize {
            let rows = self.world.store.events(&EventFilter::default(), ALL).await;
            let rows = rows.map_err(|e| failed(&e))?;
            let status: BTreeMap<_, _> = rows.iter().map(|e| (e.id, e.state.status())).collect();
            chosen.retain(|id| status.get(id).copied() == now);
        }
        Ok(chosen)
    }

    pub(super) async fn promote(&mut self, limit: u32) -> Check {
        let candidates = self.model.due_again();
        let found = self.world.store.promote_due(limit).await.map_err(|e| failed(&e))?;
        let chosen = self.chosen(&candidates, limit, Some(EventStatus::Pending)).await?;
        self.same("promote_due", &found, &(chosen.len() as u64))?;
        may_choose(&candidates, limit, &chosen)?;
        self.model.promote(&chosen);
        Ok(())
    }

    pub(super) async fn take_over(&mut self, limit: u32) -> Check {
        let candidates = self.model.lost_leases();
        let found = self.world.store.take_over_lost_leases(limit).await.map_err(|e| failed(&e))?;
        let chosen = self.chosen(&candidates, limit, Some(EventStatus::Retrying)).await?;
        self.same("take_over_lost_leases", &found, &(chosen.len() as u64))?;
        may_choose(&candidates, limit, &chosen)?;
        self.model.take_over(&chosen);
        Ok(())
    }

    pub(super) async fn fail_hopeless(&mut self, interruptions_max: u32, limit: u32) -> Check {
        let why = |e| self.model.why_hopeless(e, interruptions_max).map(|code| (e.id, code));
        let codes: BTreeMap<_, _> = self.model.events.iter().filter_map(why).collect();
        let found = self.world.store.fail_hopeless(interruptions_max, limit).await;
        let found = found.map_err(|e| failed(&e))?;
        let candidates = codes.keys().map(|id| (*id, self.model.now)).collect();
        let chosen: Vec<_> = found.iter().map(|(id, _)| *id).collect();
        may_choose(&candidates, limit, &chosen)?;
        for (id, reason) in &found {
            self.same("fail_hopeless", &reason.code, &codes[id])?;
            self.model.fail(*id, reason, 0);
        }
        self.name_new_events().await
    }

    pub(super) async fn delete_finished(&mut self, age: Wait, limit: u32) -> Check {
        let candidates = self.model.finished(halves(age));
        let found =
            self.world.store.delete_finished(duration(age), limit).await.map_err(|e| failed(&e))?;
        let chosen = self.chosen(&candidates, limit, None).await?;
        self.same("delete_finished", &found, &(chosen.len() as u64))?;
        may_choose(&candidates, limit, &chosen)?;
        self.model.delete(&chosen);
        Ok(())
    }

    pub(super) async fn delete_answers(&mut self, age: Wait, limit: u32) -> Check {
        let mut old = self.model.old_answers(halves(age));
        let found =
            self.world.store.delete_answers(duration(age), limit).await.map_err(|e| failed(&e))?;
        if old.len() > limit as usize {
            let left = self.texts("SELECT key FROM idempotency_keys").await;
            old.retain(|key| !left.contains(key));
            self.same("delete_answers", &old.len(), &(limit as usize))?;
        }
        self.same("delete_answers", &found, &(old.len() as u64))?;
        self.model.answers.retain(|key, _| !old.contains(key));
        Ok(())
    }
}
