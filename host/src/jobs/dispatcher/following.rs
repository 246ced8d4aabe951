//! What a lane lets go when the routes of its type change: events that wait for a rate which there is
//! no more, and those that no plugin took.

use super::JOB;
use super::lane::Lane;
use super::limits::{TypeLimits, TypeRate};
use crate::domain::NetworkPattern;
use crate::store::CLAIM_MAX;

impl Lane {
    /// Lets go what waits for a rate that the manifests no longer have, whenever their rates change:
    /// what waits is then counted by the rate of now. What is missed comes by itself, within the hour.
    pub(super) async fn follow_rates(&self, last: &mut Option<Vec<TypeRate>>) {
        let job = &self.shared.job;
        let rates = TypeLimits::rates(&job.registry.current(), &self.event_type);
        // At the start those of the last run are unknown: without a rate, nothing may wait for one.
        let unchanged = match last.as_ref() {
            Some(last) => *last == rates,
            None => !rates.is_empty(),
        };
        while !unchanged && !self.shared.stop.is_cancelled() {
            match job.limits.end_rate_waits(&self.event_type, CLAIM_MAX).await {
                Ok(ended) if ended >= u64::from(CLAIM_MAX) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(job = JOB, event_type = %self.event_type, %error, "what waits for a rate was not let go");
                    break;
                }
            }
        }
        *last = Some(rates);
    }

    /// Lets go what no plugin took, whenever others select events of the type: whom it goes to now,
    /// shows when it is claimed. What is missed comes by itself, within a quarter of an hour.
    pub(super) async fn follow_selects(&self, last: &mut Option<Vec<Option<NetworkPattern>>>) {
        let job = &self.shared.job;
        let routes = job.registry.current();
        let selects = routes.of_type(&self.event_type).map(|it| it.manifest().network.clone());
        let selects: Vec<_> = selects.collect();
        if last.as_ref() == Some(&selects) {
            return;
        }
        while !self.shared.stop.is_cancelled() {
            match job.unrouted.let_unrouted_go(&self.event_type, CLAIM_MAX).await {
                Ok(gone) if gone >= u64::from(CLAIM_MAX) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(job = JOB, event_type = %self.event_type, %error, "what waits for a plugin was not let go");
                    return;
                }
            }
        }
        *last = Some(selects);
    }
}
