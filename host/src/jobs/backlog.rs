//! OutboxBacklogJob: reads what is undelivered, for the metrics and for back-pressure.
//!
//! Requests and scrapes look at what it read last, so that no number of them costs a query.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cycle::{self, Duty, Rest};
use super::metrics::Metrics;
use crate::plugin::Registry;
use crate::store::{Backlog, BacklogStore, StoreError, backlog_of};

pub struct BacklogJob {
    pub store: Arc<dyn BacklogStore>,
    /// Which routes are ordered.
    pub registry: Arc<Registry>,
    pub poll: Duration,
    pub seen: watch::Sender<Backlog>,
}

impl BacklogJob {
    /// What is seen before the first pass: nothing.
    #[must_use]
    pub fn channel() -> (watch::Sender<Backlog>, watch::Receiver<Backlog>) {
        watch::channel(Backlog { read_at: Instant::now(), types: Vec::new(), waits: Vec::new() })
    }

    /// # Errors
    /// The store's; what was seen before stays, and ages.
    pub async fn run_once(&self) -> Result<(), StoreError> {
        // Before the query: an age is then never too small.
        let read_at = Instant::now();
        let routes = self.registry.current();
        let types = backlog_of(&*self.store, routes.ordered()).await?;
        let waits = self.store.waiting().await?;
        self.seen.send_replace(Backlog { read_at, types, waits });
        Ok(())
    }

    pub async fn run(self, metrics: Arc<Metrics>, stop: CancellationToken) {
        cycle::run(&self, self.poll, &metrics, stop).await;
    }
}

#[async_trait]
impl Duty for BacklogJob {
    const NAME: &'static str = "OutboxBacklogJob";
    type Error = StoreError;

    async fn pass(&self) -> Result<Rest, StoreError> {
        self.run_once().await?;
        Ok(Rest::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use crate::domain::EventType;
    use crate::jobs::testing::away;
    use crate::plugin::Routes;
    use crate::store::{Count, TypeBacklog};

    struct Script(Mutex<VecDeque<Result<Vec<TypeBacklog>, StoreError>>>);

    #[async_trait]
    impl BacklogStore for Script {
        async fn backlog(&self) -> Result<Vec<TypeBacklog>, StoreError> {
            self.0.lock().unwrap().pop_front().unwrap_or(Ok(Vec::new()))
        }

        async fn held(&self, _: &[EventType]) -> Result<Vec<(EventType, Count)>, StoreError> {
            Ok(Vec::new())
        }

        async fn waiting(&self) -> Result<Vec<(String, u64)>, StoreError> {
            Ok(Vec::new())
        }
    }

    fn waiting(age: Duration) -> TypeBacklog {
        let none = Count::default();
        TypeBacklog {
            event_type: "A".parse().unwrap(),
            pending: Count { number: 1, at_least: false },
            processing: none,
            retrying: none,
            failed: none,
            rate_limited: none,
            unrouted: none,
            held: none,
            paused: false,
            oldest_age: Some(age),
            unclaimed_for: Some(age),
        }
    }

    #[tokio::test]
    async fn what_was_seen_stays_and_ages_while_the_store_is_away() {
        let minute = Duration::from_secs(60);
        let script = VecDeque::from([Ok(vec![waiting(minute)]), Err(away())]);
        let (seen, watching) = BacklogJob::channel();
        let registry = Arc::new(Registry::new(Routes::default()));
        let store = Arc::new(Script(Mutex::new(script)));
        let job = BacklogJob { store, registry, poll: minute, seen };
        let a: EventType = "A".parse().unwrap();
        assert_eq!(watching.borrow().oldest_age([&a]), None);
        job.run_once().await.unwrap();
        let age = watching.borrow().oldest_age([&a]).unwrap();
        assert!(age >= minute);
        job.run_once().await.unwrap_err();
        assert!(watching.borrow().oldest_age([&a]).unwrap() >= age);
        job.run_once().await.unwrap();
        assert_eq!(watching.borrow().oldest_age([&a]), None);
    }
}
