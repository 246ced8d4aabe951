//! The circuit breakers as this host sees them: a copy of what all hosts share, and the runs of
//! failures that it counts itself.
//!
//! A lane asks here before it claims, so that events wait where they are, and nothing pays for a
//! target that is away. Which target an event will need, only its plugin knows: where there are
//! several, all events go, and what is asked for an open one is answered by [`super::target_gate`].
//! The store is written only when a breaker changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{JOB, Shared};
use crate::domain::{
    BreakerPolicy, BreakerState, BreakerStep, HostId, Outcome, Permit, TargetAnswer,
};
use crate::jobs::Metrics;
use crate::plugin::{Manifest, Targets, TargetsSeen};
use crate::store::{BreakerKey, BreakerStore, ControlNote};

/// How often what other hosts and operators did is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How long a host has the probe; a host that died with it holds nobody up for longer.
const PROBE_FOR: Duration = Duration::from_secs(10);
/// Targets of one plugin that have breakers. Under a `*` a plugin may make up names without end; of
/// what is beyond, failures open nothing.
const TARGETS_MAX: usize = 100;
/// What waits for a probe that another host has, or for its share, looks again after this.
const AGAIN: Duration = Duration::from_millis(200);

pub(super) struct Breakers {
    pub(super) store: Arc<dyn BreakerStore>,
    host: HostId,
    pub(super) metrics: Arc<Metrics>,
    known: Mutex<Known>,
}

#[derive(Default)]
pub(super) struct Known {
    /// What is not simply closed, and when that was so.
    states: BTreeMap<BreakerKey, (BreakerState, Instant)>,
    /// Failures in a row on this host.
    runs: BTreeMap<BreakerKey, u32>,
    /// Attempts that work with a target whose breaker closed a while ago.
    pub(super) ramping: BTreeMap<BreakerKey, usize>,
}

impl Known {
    /// Whether a target can have a breaker beside those that its plugin has.
    fn has_room(&self, key: &BreakerKey) -> bool {
        let known = |of: &BreakerKey| of.plugin == key.plugin && of != key;
        let count = self.runs.keys().filter(|of| known(of) && !self.states.contains_key(of));
        count.count() + self.states.keys().filter(|of| known(of)).count() < TARGETS_MAX
    }

    pub(super) fn state(&self, key: &BreakerKey) -> BreakerState {
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
    pub(super) fn new(
        store: Arc<dyn BreakerStore>,
        host: HostId,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self { store, host, metrics, known: Mutex::default() })
    }

    pub(super) fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a plugin may do now. Takes the probe where one is due, and there is one target.
    pub(super) async fn admit(&self, manifest: &Manifest) -> Admission {
        let policy = &manifest.breaker;
        let (permit, sole) = self.permit(manifest);
        match (permit, sole) {
            (Permit::All, _) | (Permit::Share(_), None) => Admission::All,
            (Permit::Share(share), Some(_)) => Admission::UpTo(part(manifest, share)),
            (Permit::Nothing(left), _) => Admission::Wait(left.min(policy.open_for_max).min(LOOK)),
            // Who asks for one of them takes its probe.
            (Permit::Probe, None) => Admission::UpTo(1),
            (Permit::Probe, Some(key)) => match self.take_probe(&key).await {
                Ok(()) => Admission::UpTo(1),
                Err(wait) => Admission::Wait(wait),
            },
        }
    }

    /// # Errors
    /// Another host has it, or closed it meanwhile, or nobody can say: wait for so long.
    pub(super) async fn take_probe(&self, key: &BreakerKey) -> Result<(), Duration> {
        match self.store.take_probe(key, PROBE_FOR).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(AGAIN),
            Err(error) => {
                tracing::warn!(job = JOB, %error, "the probe of a breaker cannot be taken");
                Err(LOOK)
            }
        }
    }

    /// What the plugin's targets allow, and the key of its target if it has but one. Of several the
    /// one that allows most counts: some events need only that.
    fn permit(&self, manifest: &Manifest) -> (Permit, Option<BreakerKey>) {
        let known = self.known();
        if known.states.is_empty() {
            return (Permit::All, None);
        }
        let targets = Targets::of(&manifest.grants);
        let key =
            |target: &str| BreakerKey { plugin: manifest.name.clone(), target: target.to_owned() };
        let permit = |target: &str| known.state(&key(target)).permit(&manifest.breaker);
        if let Some(sole) = targets.sole() {
            return (permit(sole), Some(key(sole)));
        }
        if targets.and_others {
            return (Permit::All, None);
        }
        let permits = targets.named.iter().map(|target| permit(target));
        let most = permits.min_by_key(|permit| strictness(*permit));
        (most.unwrap_or(Permit::All), None)
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
        seen: TargetsSeen,
        outcome: Outcome,
    ) -> Outcome {
        let mut outcome = outcome;
        let failed = matches!(outcome, Outcome::Retry { .. } | Outcome::Unknown { .. });
        for (target, answered) in seen.answered {
            let key = BreakerKey { plugin: manifest.name.clone(), target };
            // One that did not answer, of an attempt that went well in the end, is no failure.
            let Some((state, step)) = self.notice(&key, answered, failed, &manifest.breaker) else {
                continue;
            };
            if failed && !answered && state.spares() {
                outcome = spared(outcome, &key.target, manifest.breaker.open_for);
            }
            if let Some(step) = step {
                self.carry_out(&key, step, &outcome).await;
            }
        }
        match seen.shut {
            // It was not even asked.
            Some(shut) => spared(outcome, &shut.target, shut.wait),
            None => outcome,
        }
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
        } else if failed && known.has_room(key) {
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
        if step.is_some() {
            self.tell_metrics(&known);
        }
        Some((state, step))
    }

    fn tell_metrics(&self, known: &Known) {
        let states = known.states.iter().map(|(key, (state, _))| (key.clone(), *state));
        self.metrics.breakers().seen(states.collect());
    }

    async fn carry_out(&self, key: &BreakerKey, step: BreakerStep, outcome: &Outcome) {
        let (BreakerKey { plugin, target }, by) = (key, self.host.as_str());
        let changed = match step {
            BreakerStep::Open(open_for) => {
                let reason = reason_of(outcome);
                tracing::warn!(job = JOB, plugin.name = %plugin, breaker.target = %target, reason, "a breaker is open: the next attempt in {} ms; its events wait", open_for.as_millis());
                self.metrics.breakers().opened(key);
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
    pub(super) async fn look(&self) {
        match self.store.breakers().await {
            Ok(breakers) => {
                let now = Instant::now();
                let states = breakers.into_iter().map(|it| (it.key, (it.state, now))).collect();
                let mut known = self.known();
                known.states = states;
                self.tell_metrics(&known);
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

/// So much of what the plugin may do at once, in thousandths; at least one attempt.
pub(super) fn part(manifest: &Manifest, share: u32) -> usize {
    let all = manifest.limits.concurrency as u64;
    let some = all.saturating_mul(share.into()) / 1_000;
    usize::try_from(some).unwrap_or(usize::MAX).max(1)
}

/// The same failure, which costs no attempt: the breaker was open, or this was its probe.
fn spared(outcome: Outcome, target: &str, after: Duration) -> Outcome {
    let said = |reason: String| {
        let text = format!("the breaker of {target} is open");
        // The host's own words may have come through the plugin.
        if reason.contains(&text) { reason } else { format!("{text}: {reason}") }
    };
    match outcome {
        Outcome::Retry { reason, .. } => {
            Outcome::Interrupted { reason: said(reason), after, outcome_unknown: false }
        }
        Outcome::Unknown { reason } => {
            Outcome::Interrupted { reason: said(reason), after, outcome_unknown: true }
        }
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

    fn with_grants(breaker: &str, grants: &str) -> Manifest {
        let text =
            format!("name = \"p\"\nhandles = [\"A\"]\n[breaker]\n{breaker}\n[grants]\n{grants}");
        Manifest::parse(&text, std::path::Path::new("plugin.toml")).unwrap()
    }

    fn manifest(breaker: &str) -> Manifest {
        with_grants(breaker, r#"http = ["https://t"]"#)
    }

    fn breakers() -> (Arc<Breakers>, Arc<MemoryBreakers>) {
        let store = Arc::<MemoryBreakers>::default();
        let host = HostId::generate("test");
        (Breakers::new(Arc::clone(&store) as _, host, Arc::default()), store)
    }

    fn asked(target: &str, answered: bool) -> TargetsSeen {
        TargetsSeen { answered: BTreeMap::from([(target.to_owned(), answered)]), shut: None }
    }

    fn failed() -> Outcome {
        Outcome::Retry { reason: "503".into(), after: None }
    }

    async fn attempt(breakers: &Breakers, manifest: &Manifest, answered: bool) -> Outcome {
        let outcome = if answered { Outcome::Done(Default::default()) } else { failed() };
        breakers.learn(manifest, asked("t:443", answered), outcome).await
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
            let nobody = TargetsSeen::default();
            assert_eq!(breakers.learn(&manifest, nobody, failed()).await, failed());
        }
        // Nor does a target that answered, or one that failed an attempt which went well.
        breakers.learn(&manifest, asked("t:443", true), failed()).await;
        let passed_over = asked("t:443", false);
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

    #[tokio::test]
    async fn of_several_targets_one_that_is_open_holds_nobody_up_and_all_of_them_do() {
        let (breakers, _) = breakers();
        let several = with_grants("failures = 1", r#"http = ["https://t", "https://u"]"#);
        let fail = async |target: &str| {
            breakers.learn(&several, asked(target, false), failed()).await;
        };
        fail("t:443").await;
        assert!(matches!(breakers.admit(&several).await, Admission::All));
        assert_eq!(breakers.shut(&several), None);
        // Of a wildcard nobody knows what else there is.
        let any = with_grants("failures = 1", r#"http = ["https://t", "https://*.u.example"]"#);
        fail("u:443").await;
        assert!(matches!(breakers.admit(&any).await, Admission::All));
        assert!(matches!(breakers.admit(&several).await, Admission::Wait(_)));
        assert!(breakers.shut(&several).is_some());
    }

    #[tokio::test]
    async fn a_plugin_does_not_wait_for_what_it_has_no_grant_for_any_more() {
        let (breakers, _) = breakers();
        let before = with_grants("failures = 1", r#"http = ["https://old"]"#);
        breakers.learn(&before, asked("old:443", false), failed()).await;
        assert!(matches!(breakers.admit(&before).await, Admission::Wait(_)));
        assert!(matches!(breakers.admit(&manifest("failures = 1")).await, Admission::All));
    }

    #[tokio::test]
    async fn names_without_end_open_no_breakers_without_end() {
        let ((breakers, store), manifest) = (breakers(), manifest("failures = 1"));
        for n in 0..TARGETS_MAX + 50 {
            breakers.learn(&manifest, asked(&format!("h{n}:443"), false), failed()).await;
        }
        assert_eq!(store.breakers().await.unwrap().len(), TARGETS_MAX);
    }
}
