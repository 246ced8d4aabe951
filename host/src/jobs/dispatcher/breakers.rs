//! The circuit breakers as this host sees them: a copy of what all hosts share, and the runs of
//! failures that it counts itself.
//!
//! A lane asks here before it claims, so that events wait where they are, and nothing pays for a
//! target that is away. The store is written only when a breaker changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{JOB, Shared};
use crate::domain::{
    BreakerPolicy, BreakerState, BreakerStep, HostId, Outcome, Permit, TargetAnswer,
};
use crate::plugin::Manifest;
use crate::store::{BreakerKey, BreakerStore, ControlNote};

/// How often what other hosts and operators did is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a host has the probe; a host that died with it holds nobody up for longer.
const PROBE_FOR: Duration = Duration::from_secs(10);
/// What waits for a probe that another host has, or for its share, looks again after this.
const AGAIN: Duration = Duration::from_millis(200);

pub(super) struct Breakers {
    store: Arc<dyn BreakerStore>,
    host: HostId,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What is not simply closed, and when that was so.
    states: BTreeMap<BreakerKey, (BreakerState, Instant)>,
    /// Failures in a row on this host.
    runs: BTreeMap<BreakerKey, u32>,
}

impl Known {
    fn state(&self, key: &BreakerKey) -> BreakerState {
        self.states
            .get(key)
            .map_or(BreakerState::Closed { ago: None }, |(state, at)| state.later(at.elapsed()))
    }
}

/// What a lane may claim now.
pub(super) enum Admission {
    All,
    /// So many attempts at the same time.
    UpTo(usize),
    /// Nothing, for so long.
    Wait(Duration),
}

impl Breakers {
    pub(super) fn new(store: Arc<dyn BreakerStore>, host: HostId) -> Self {
        Self { store, host, known: Mutex::default() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a plugin may do now. Takes the probe where one is due.
    pub(super) async fn admit(&self, manifest: &Manifest) -> Admission {
        let policy = &manifest.breaker;
        let (permit, probes) = self.permit(manifest);
        match permit {
            Permit::All => Admission::All,
            Permit::Share(share) => {
                let all = manifest.limits.concurrency as u64;
                let some = all.saturating_mul(share.into()) / 1_000;
                Admission::UpTo(usize::try_from(some).unwrap_or(usize::MAX).max(1))
            }
            Permit::Nothing(left) => Admission::Wait(left.min(policy.open_for_max).min(LOOK)),
            Permit::Probe => {
                for key in &probes {
                    match self.store.take_probe(key, PROBE_FOR).await {
                        Ok(true) => {}
                        // Another host has it, or closed it meanwhile.
                        Ok(false) => return Admission::Wait(AGAIN),
                        Err(error) => {
                            tracing::warn!(job = JOB, %error, "the probe of a breaker cannot be taken");
                            return Admission::Wait(LOOK);
                        }
                    }
                }
                Admission::UpTo(1)
            }
        }
    }

    /// The strictest of a plugin's breakers, and those that want a probe.
    fn permit(&self, manifest: &Manifest) -> (Permit, Vec<BreakerKey>) {
        let known = self.known();
        let mut strictest = Permit::All;
        let mut probes = Vec::new();
        let of_plugin = known.states.iter().filter(|(key, _)| key.plugin == manifest.name);
        for (key, (state, at)) in of_plugin {
            let permit = state.later(at.elapsed()).permit(&manifest.breaker);
            if permit == Permit::Probe {
                probes.push(key.clone());
            }
            if strictness(permit) > strictness(strictest) {
                strictest = permit;
            }
        }
        (strictest, probes)
    }

    /// Whether an event of this plugin that was claimed beside others' must wait, and how long.
    pub(super) fn shut(&self, manifest: &Manifest) -> Option<Duration> {
        match self.permit(manifest).0 {
            Permit::Nothing(left) => Some(left.min(manifest.breaker.open_for_max)),
            Permit::All | Permit::Share(_) | Permit::Probe => None,
        }
    }

    /// Learns from the end of an attempt, and spares the event what was its target's doing.
    pub(super) async fn learn(
        &self,
        manifest: &Manifest,
        targets: BTreeMap<String, bool>,
        outcome: Outcome,
    ) -> Outcome {
        let mut outcome = outcome;
        let failed = matches!(outcome, Outcome::Retry { .. } | Outcome::Unknown { .. });
        for (target, answered) in targets {
            let key = BreakerKey { plugin: manifest.name.clone(), target };
            // One that did not answer, of an attempt that went well in the end, is no failure.
            let Some((state, step)) = self.notice(&key, answered, failed, &manifest.breaker) else {
                continue;
            };
            if failed && !answered && state.spares() {
                outcome = spared(outcome, &key, &manifest.breaker);
            }
            if let Some(step) = step {
                self.carry_out(&key, step, &outcome).await;
            }
        }
        outcome
    }

    fn notice(
        &self,
        key: &BreakerKey,
        answered: bool,
        failed: bool,
        policy: &BreakerPolicy,
    ) -> Option<(BreakerState, Option<BreakerStep>)> {
        let mut known = self.known();
        let answer = if answered {
            known.runs.remove(key);
            TargetAnswer::Alive
        } else if failed {
            let run = known.runs.entry(key.clone()).or_default();
            *run = run.saturating_add(1);
            TargetAnswer::Failed { in_a_row: *run }
        } else {
            return None;
        };
        let state = known.state(key);
        let step = state.step(answer, policy);
        // At once for this host's lanes; the others see it when they look.
        match (step, state) {
            (Some(BreakerStep::Open(left)), BreakerState::Open { trips, .. }) => {
                let trips = trips.saturating_add(1);
                let open = BreakerState::Open { left, trips };
                known.states.insert(key.clone(), (open, Instant::now()));
            }
            (Some(BreakerStep::Open(left)), BreakerState::Closed { .. } | BreakerState::Held) => {
                let open = BreakerState::Open { left, trips: 1 };
                known.states.insert(key.clone(), (open, Instant::now()));
            }
            (Some(BreakerStep::Close), _) => {
                let closed = BreakerState::Closed { ago: Some(Duration::ZERO) };
                known.states.insert(key.clone(), (closed, Instant::now()));
            }
            (None, _) => {}
        }
        Some((state, step))
    }

    async fn carry_out(&self, key: &BreakerKey, step: BreakerStep, outcome: &Outcome) {
        let (BreakerKey { plugin, target }, by) = (key, self.host.as_str());
        let changed = match step {
            BreakerStep::Open(open_for) => {
                let reason = reason_of(outcome);
                tracing::warn!(job = JOB, plugin.name = %plugin, breaker.target = %target, reason, "a breaker is open: the next attempt in {} ms; its events wait", open_for.as_millis());
                self.store.open_breaker(key, open_for, ControlNote { reason, by }).await
            }
            BreakerStep::Close => {
                tracing::info!(job = JOB, plugin.name = %plugin, breaker.target = %target, "a breaker is closed: its target answers again");
                let reason = "it answers again";
                self.store.close_breaker(key, ControlNote { reason, by }).await
            }
        };
        if let Err(error) = changed {
            // This host knows; the others find out for themselves.
            tracing::warn!(job = JOB, plugin.name = %plugin, breaker.target = %target, %error, "a breaker was not written");
        }
    }

    /// Takes over what the store says. A run of failures goes on.
    async fn look(&self) {
        match self.store.breakers().await {
            Ok(breakers) => {
                let now = Instant::now();
                let states = breakers.into_iter().map(|it| (it.key, (it.state, now))).collect();
                self.known().states = states;
            }
            Err(error) => tracing::debug!(job = JOB, %error, "the breakers cannot be read"),
        }
    }
}

/// Looks at the shared breakers until the stop.
pub(super) async fn watch(shared: Arc<Shared>) {
    loop {
        shared.breakers.look().await;
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn strictness(permit: Permit) -> (u8, u128) {
    match permit {
        Permit::All => (0, 0),
        Permit::Share(share) => (1, u128::from(1_000_u32.saturating_sub(share))),
        Permit::Probe => (2, 0),
        Permit::Nothing(left) => (3, left.as_micros()),
    }
}

fn reason_of(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Retry { reason, .. }
        | Outcome::Unknown { reason }
        | Outcome::Reject { reason }
        | Outcome::Interrupted { reason, .. } => reason,
        Outcome::Done(_) | Outcome::Defer { .. } => "",
    }
}

/// The same failure, which costs no attempt: the breaker was open, or this was its probe.
fn spared(outcome: Outcome, key: &BreakerKey, policy: &BreakerPolicy) -> Outcome {
    let said = |reason: String| format!("the breaker of {} is open: {reason}", key.target);
    match outcome {
        Outcome::Retry { reason, .. } => Outcome::Interrupted {
            reason: said(reason),
            after: policy.open_for,
            outcome_unknown: false,
        },
        Outcome::Unknown { reason } => Outcome::Interrupted {
            reason: said(reason),
            after: policy.open_for,
            outcome_unknown: true,
        },
        Outcome::Done(_)
        | Outcome::Defer { .. }
        | Outcome::Reject { .. }
        | Outcome::Interrupted { .. } => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{BreakerKey, MemoryBreakers};

    fn manifest(breaker: &str) -> Manifest {
        let text = format!("name = \"p\"\nhandles = [\"A\"]\n[breaker]\n{breaker}");
        Manifest::parse(&text, std::path::Path::new("plugin.toml")).unwrap()
    }

    fn breakers() -> (Breakers, Arc<MemoryBreakers>) {
        let store = Arc::<MemoryBreakers>::default();
        (Breakers::new(Arc::clone(&store) as _, HostId::generate("test")), store)
    }

    fn failed() -> Outcome {
        Outcome::Retry { reason: "503".into(), after: None }
    }

    async fn attempt(breakers: &Breakers, manifest: &Manifest, answered: bool) -> Outcome {
        let outcome = if answered { Outcome::Done(Default::default()) } else { failed() };
        let targets = BTreeMap::from([("t:443".to_owned(), answered)]);
        breakers.learn(manifest, targets, outcome).await
    }

    #[tokio::test]
    async fn a_run_of_failures_opens_it_and_one_success_ends_the_run() {
        let ((breakers, store), manifest) = (breakers(), manifest("failures = 3"));
        for answered in [false, false, true, false, false] {
            attempt(&breakers, &manifest, answered).await;
        }
        assert!(matches!(breakers.admit(&manifest).await, Admission::All));
        assert_eq!(attempt(&breakers, &manifest, false).await, failed(), "the third pays itself");
        assert!(matches!(breakers.admit(&manifest).await, Admission::Wait(_)));
        assert_eq!(store.breakers().await.unwrap()[0].reason, "503");
        // What was in hand and fails now does not pay.
        assert!(matches!(attempt(&breakers, &manifest, false).await, Outcome::Interrupted { .. }));
    }

    #[tokio::test]
    async fn a_failure_that_no_target_had_part_in_opens_nothing() {
        let ((breakers, _), manifest) = (breakers(), manifest("failures = 1"));
        for _ in 0..10 {
            assert_eq!(breakers.learn(&manifest, BTreeMap::new(), failed()).await, failed());
        }
        // Nor does a target that answered, or one that failed an attempt which went well.
        let answered = BTreeMap::from([("t:443".to_owned(), true)]);
        breakers.learn(&manifest, answered, failed()).await;
        let passed_over = BTreeMap::from([("t:443".to_owned(), false)]);
        breakers.learn(&manifest, passed_over, Outcome::Done(Default::default())).await;
        assert!(matches!(breakers.admit(&manifest).await, Admission::All));
    }

    #[tokio::test]
    async fn when_its_time_is_over_one_goes_and_its_success_lets_more_go() {
        let ((breakers, store), manifest) = (breakers(), manifest("failures = 1"));
        attempt(&breakers, &manifest, false).await;
        // In this store it is due at once.
        breakers.look().await;
        assert!(matches!(breakers.admit(&manifest).await, Admission::UpTo(1)));
        assert!(matches!(attempt(&breakers, &manifest, false).await, Outcome::Interrupted { .. }));
        breakers.look().await;
        attempt(&breakers, &manifest, true).await;
        assert!(matches!(breakers.admit(&manifest).await, Admission::UpTo(1)), "the ramp begins");
        assert!(matches!(store.breakers().await.unwrap()[0].state, BreakerState::Closed { .. }));
        breakers.look().await;
        assert!(matches!(breakers.admit(&manifest).await, Admission::All));
    }

    #[tokio::test]
    async fn what_an_operator_holds_lets_nothing_go_and_nothing_pay() {
        let ((breakers, store), manifest) = (breakers(), manifest("failures = 0"));
        let key = BreakerKey { plugin: "p".into(), target: "t:443".into() };
        store.hold_breaker(&key, ControlNote { reason: "x", by: "y" }).await.unwrap();
        breakers.look().await;
        assert!(matches!(breakers.admit(&manifest).await, Admission::Wait(_)));
        assert!(matches!(attempt(&breakers, &manifest, false).await, Outcome::Interrupted { .. }));
        attempt(&breakers, &manifest, true).await;
        assert!(matches!(breakers.admit(&manifest).await, Admission::Wait(_)));
    }
}
