//! Fresh sandboxes alone: no store, no claims, all cores.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::domain::{
    Aggregate, EventId, EventState, HostId, Lease, LeaseToken, OutboxEvent, Outcome,
};
use tidegate::plugin::{Release, Routes, SandboxEngine, Services};
use tidegate::store::{self, StoreOptions};
use tokio::task::JoinSet;

use crate::fallible::{Fallible, float};
use crate::fill::{EVENT_TYPE, PAYLOAD};
use crate::scene::Scene;
use crate::services::services;

/// Calls a second, by as many tasks as there are cores.
pub(crate) async fn calls_per_second(scene: &Scene, duration: Duration) -> Fallible<f64> {
    let url = format!("sqlite:{}", scene.folder("sandbox")?.join("empty.db").display());
    let store = store::open(&url.parse()?, StoreOptions::default()).await?;
    let engine = SandboxEngine::start()?;
    let routes = Routes::from_folder(&engine, &scene.plugins, None)?;
    let release = Arc::clone(routes.releases().first().ok_or("no plugin")?);
    let callers = std::thread::available_parallelism()?.get();
    let calls = Calls { engine, release, services: services(&store), event: Arc::new(event()?) };
    let rate = calls.per_second(callers, duration).await;
    store.close().await;
    rate
}

/// One call, to be made again and again.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) engine: SandboxEngine,
    pub(crate) release: Arc<Release>,
    pub(crate) services: Services,
    pub(crate) event: Arc<OutboxEvent>,
}

impl Calls {
    /// How many a second so many callers make, each one after another.
    pub(crate) async fn per_second(self, callers: usize, duration: Duration) -> Fallible<f64> {
        let clock = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..callers {
            let Self { engine, release, services, event } = self.clone();
            running.spawn(async move {
                let mut calls = 0_u64;
                while clock.elapsed() < duration {
                    match release.attempt(&engine, &event, &services).await {
                        Outcome::Done(_) => calls += 1,
                        other => return Err(format!("{other:?}")),
                    }
                }
                Ok(calls)
            });
        }
        let mut calls = 0;
        while let Some(caller) = running.join_next().await {
            calls += caller??;
        }
        Ok(float(calls) / clock.elapsed().as_secs_f64())
    }
}

pub(crate) fn event() -> Fallible<OutboxEvent> {
    event_with(PAYLOAD)
}

/// A claimed event with this payload.
pub(crate) fn event_with(payload: &str) -> Fallible<OutboxEvent> {
    let id = EventId::generate();
    let now = chrono::Utc::now();
    Ok(OutboxEvent {
        id,
        aggregate: Aggregate::withdrawal(tidegate::domain::WithdrawalId::generate()),
        event_type: EVENT_TYPE.parse()?,
        payload: payload.to_owned(),
        idempotency_key: id.as_uuid(),
        state: EventState::Processing(Lease {
            locked_by: HostId::generate("bench"),
            locked_until: now,
            token: LeaseToken(1),
        }),
        attempt_count: 0,
        interruption_count: 0,
        deferral_count: 0,
        outcome_unknown: false,
        last_error: None,
        detail: None,
        release_digest: None,
        available_at: now,
        valid_until: None,
        traceparent: None,
        created_at: now,
        updated_at: now,
    })
}
