//! What the jobs count, and the text in which Prometheus reads it.
//!
//! Counters are of this process; the backlog is of the table. Labels are event types that have a
//! route, names of plugins, and verdicts: as many as the manifests say, and none needs escaping.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::breaker_counts::BreakerCounts;
use crate::domain::{Decision, EventType};
use crate::plugin::Copied;
use crate::store::{Backlog, Count, Settled, Settlement, TypeBacklog};

/// From a call that only computes to one that runs into the longest usual time-out.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];
/// Up to a full batch.
const EVENTS: [f64; 6] = [1.0, 5.0, 25.0, 100.0, 250.0, 500.0];

#[derive(Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
    breakers: BreakerCounts,
}

#[derive(Default)]
struct Counts {
    routes: BTreeMap<EventType, Route>,
    settles: Histogram<6>,
    /// When each job's last pass succeeded.
    passes: BTreeMap<&'static str, SystemTime>,
    wakeups: u64,
    /// What became of copies, by the plugin whose shadow they were for.
    copies: BTreeMap<String, [u64; COPIED.len()]>,
    /// Requests that were not signed, by network and rule.
    unsigned: BTreeMap<(String, &'static str), u64>,
}

const COPIED: [(Copied, &str); 3] =
    [(Copied::Same, "same"), (Copied::Different, "different"), (Copied::Skipped, "skipped")];

#[derive(Default)]
struct Route {
    claims: u64,
    claimed: u64,
    rate_limited: u64,
    /// By plugin and verdict.
    attempts: BTreeMap<String, [Histogram<9>; Verdict::ALL.len()]>,
}

/// What an attempt came to, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Done,
    Retry,
    Unknown,
    Defer,
    Interrupted,
    /// It failed on a canary, and goes to the live release.
    Canary,
    Failed,
    LeaseLost,
}

impl Verdict {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Done, "done"),
        (Self::Retry, "retry"),
        (Self::Unknown, "unknown"),
        (Self::Defer, "defer"),
        (Self::Interrupted, "interrupted"),
        (Self::Canary, "canary"),
        (Self::Failed, "failed"),
        (Self::LeaseLost, "lease_lost"),
    ];

    const fn of(settlement: &Settlement, settled: &Settled) -> Self {
        match settled {
            Settled::LeaseLost => Self::LeaseLost,
            Settled::TransitionRefused(_) if settlement.attempt.on_canary => Self::Canary,
            Settled::TransitionRefused(_) => Self::Failed,
            Settled::Settled => match &settlement.decision {
                Decision::Done(_) => Self::Done,
                Decision::Retry { outcome_unknown: true, .. } => Self::Unknown,
                Decision::Retry { outcome_unknown: false, .. } => Self::Retry,
                Decision::Defer { .. } => Self::Defer,
                Decision::Postpone { .. } => Self::Interrupted,
                Decision::BackToLive { .. } => Self::Canary,
                Decision::Fail(_) => Self::Failed,
            },
        }
    }
}

struct Histogram<const N: usize> {
    /// How many were at most as large as each bound, and larger than the one before.
    buckets: [u64; N],
    count: u64,
    sum: f64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { buckets: [0; N], count: 0, sum: 0.0 }
    }
}

impl<const N: usize> Histogram<N> {
    fn observe(&mut self, bounds: &[f64; N], value: f64) {
        self.count += 1;
        self.sum += value;
        if let Some(bucket) = bounds.iter().position(|bound| value <= *bound) {
            self.buckets[bucket] += 1;
        }
    }

    /// `labels` is empty, or ends with a comma.
    fn write(&self, text: &mut String, name: &str, labels: &str, bounds: &[f64; N]) {
        let mut below = 0;
        for (bound, bucket) in bounds.iter().zip(self.buckets) {
            below += bucket;
            line(text, &format!("{name}_bucket{{{labels}le=\"{bound}\"}}"), below);
        }
        line(text, &format!("{name}_bucket{{{labels}le=\"+Inf\"}}"), self.count);
        let braces = match labels.trim_end_matches(',') {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        line(text, &format!("{name}_sum{braces}"), self.sum);
        line(text, &format!("{name}_count{braces}"), self.count);
    }
}

impl Metrics {
    /// A panic while it was held left counts, and those are all there is.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn breakers(&self) -> &BreakerCounts {
        &self.breakers
    }

    /// One batch, and what the store answered for each.
    pub(super) fn settled(&self, batch: &[Settlement], answers: &[Settled]) {
        let mut counts = self.counts();
        counts.settles.observe(&EVENTS, batch.len() as f64);
        for (settlement, settled) in batch.iter().zip(answers) {
            let route = counts.route(&settlement.event_type);
            let plugin = &settlement.attempt.plugin;
            if !route.attempts.contains_key(plugin) {
                route.attempts.insert(plugin.clone(), Default::default());
            }
            let Some(verdicts) = route.attempts.get_mut(plugin) else { continue };
            let seconds = settlement.attempt.duration.as_secs_f64();
            verdicts[Verdict::of(settlement, settled) as usize].observe(&SECONDS, seconds);
        }
    }

    pub(super) fn claimed(&self, event_type: &EventType, events: usize) {
        let mut counts = self.counts();
        let route = counts.route(event_type);
        route.claims += 1;
        route.claimed += events as u64;
    }

    /// Events that were put aside because their rate left no room.
    pub(super) fn rate_limited(&self, event_type: &EventType, events: u32) {
        if events > 0 {
            self.counts().route(event_type).rate_limited += u64::from(events);
        }
    }

    /// A lane was woken before its poll.
    pub(super) fn woken(&self) {
        self.counts().wakeups += 1;
    }

    /// An attempt was copied for a shadow, or not.
    pub(super) fn copied(&self, plugin: &str, copied: Copied) {
        let mut counts = self.counts();
        let copies = counts.copies.entry(plugin.to_owned()).or_default();
        copies[copied as usize] += 1;
    }

    /// A rule forbade a signature, for ever or for now.
    pub(super) fn signing_refused(&self, network: &str, rule: &'static str) {
        *self.counts().unsigned.entry((network.to_owned(), rule)).or_default() += 1;
    }

    pub(super) fn passed(&self, job: &'static str) {
        self.counts().passes.insert(job, SystemTime::now());
    }

    /// Everything, in the text format of Prometheus.
    #[must_use]
    pub fn text(&self, backlog: &Backlog, untaken_after: Duration) -> String {
        let mut text = String::with_capacity(16 * 1024);
        write_backlog(&mut text, backlog, untaken_after);
        let counts = self.counts();
        head(&mut text, "tidegate_attempt_duration_seconds", "histogram", "Attempts by verdict.");
        for (event_type, route) in &counts.routes {
            for (plugin, verdicts) in &route.attempts {
                for (verdict, name) in Verdict::ALL {
                    let histogram = &verdicts[verdict as usize];
                    if histogram.count > 0 {
                        let labels = format!(
                            "event_type=\"{event_type}\",plugin=\"{plugin}\",verdict=\"{name}\","
                        );
                        let metric = "tidegate_attempt_duration_seconds";
                        histogram.write(&mut text, metric, &labels, &SECONDS);
                    }
                }
            }
        }
        let metric = "tidegate_settle_batch_events";
        head(&mut text, metric, "histogram", "Verdicts that were written in one transaction.");
        counts.settles.write(&mut text, metric, "", &EVENTS);
        head(&mut text, "tidegate_claims_total", "counter", "Claims, also those that found none.");
        for (event_type, route) in &counts.routes {
            let name = format!("tidegate_claims_total{{event_type=\"{event_type}\"}}");
            line(&mut text, &name, route.claims);
        }
        head(&mut text, "tidegate_claimed_events_total", "counter", "Events that were claimed.");
        for (event_type, route) in &counts.routes {
            let name = format!("tidegate_claimed_events_total{{event_type=\"{event_type}\"}}");
            line(&mut text, &name, route.claimed);
        }
        let metric = "tidegate_rate_limited_total";
        head(&mut text, metric, "counter", "Events put aside because their rate left no room.");
        for (event_type, route) in &counts.routes {
            line(
                &mut text,
                &format!("{metric}{{event_type=\"{event_type}\"}}"),
                route.rate_limited,
            );
        }
        let metric = "tidegate_shadow_copies_total";
        head(&mut text, metric, "counter", "Attempts that were copied for a shadow, or skipped.");
        for (plugin, copies) in &counts.copies {
            for (copied, result) in COPIED {
                let labels = format!("plugin=\"{plugin}\",result=\"{result}\"");
                line(&mut text, &format!("{metric}{{{labels}}}"), copies[copied as usize]);
            }
        }
        write_unsigned(&mut text, &counts.unsigned);
        head(&mut text, "tidegate_wakeups_total", "counter", "Lanes woken before their poll.");
        line(&mut text, "tidegate_wakeups_total", counts.wakeups);
        let metric = "tidegate_job_last_success_timestamp_seconds";
        head(&mut text, metric, "gauge", "When a job's last pass succeeded.");
        for (job, at) in &counts.passes {
            let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            line(&mut text, &format!("{metric}{{job=\"{job}\"}}"), at);
        }
        self.breakers.write(&mut text);
        text
    }
}

impl Counts {
    fn route(&mut self, event_type: &EventType) -> &mut Route {
        self.routes.entry(event_type.clone()).or_default()
    }
}

fn write_unsigned(text: &mut String, unsigned: &BTreeMap<(String, &'static str), u64>) {
    let metric = "tidegate_signing_refused_total";
    head(text, metric, "counter", "Requests of plugins that were not signed, by rule.");
    for ((network, rule), count) in unsigned {
        line(text, &format!("{metric}{{network=\"{network}\",rule=\"{rule}\"}}"), *count);
    }
}

fn write_backlog(text: &mut String, backlog: &Backlog, untaken_after: Duration) {
    let metric = "tidegate_backlog_events";
    head(text, metric, "gauge", "Events in the table that are not DONE; counting stops at 10000.");
    for found in &backlog.types {
        for (status, count) in [
            ("PENDING", found.pending),
            ("PROCESSING", found.processing),
            ("RETRYING", found.retrying),
            ("FAILED", found.failed),
        ] {
            let labels = format!("event_type=\"{}\",status=\"{status}\"", found.event_type);
            line(text, &format!("{metric}{{{labels}}}"), count.number);
        }
    }
    for (metric, help, count) in [
        (
            "tidegate_backlog_held_events",
            "Pending events that an earlier one of an ordered route holds; counting stops at 10000.",
            (|found| found.held) as fn(&TypeBacklog) -> Count,
        ),
        (
            "tidegate_backlog_rate_limited_events",
            "Events that wait for their rate; counting stops at 10000.",
            |found| found.rate_limited,
        ),
        (
            "tidegate_backlog_unrouted_events",
            "Events that no plugin of their type selects; counting stops at 10000.",
            |found| found.unrouted,
        ),
    ] {
        head(text, metric, "gauge", help);
        for found in &backlog.types {
            let name = format!("{metric}{{event_type=\"{}\"}}", found.event_type);
            line(text, &name, count(found).number);
        }
    }
    let aged = backlog.read_at.elapsed();
    let metric = "tidegate_waiting_withdrawals";
    head(text, metric, "gauge", "Withdrawals that wait for a signature, by rule.");
    for (rule, number) in &backlog.waits {
        line(text, &format!("{metric}{{rule=\"{rule}\"}}"), *number);
    }
    let metric = "tidegate_backlog_oldest_age_seconds";
    head(text, metric, "gauge", "Age of the oldest undelivered event.");
    for found in &backlog.types {
        let age = found.oldest_age.map_or(0.0, |age| (age + aged).as_secs_f64());
        line(text, &format!("{metric}{{event_type=\"{}\"}}", found.event_type), age);
    }
    let metric = "tidegate_backlog_untaken";
    head(
        text,
        metric,
        "gauge",
        "1 while events are due, their route is not paused, and no host is taking them.",
    );
    for found in &backlog.types {
        let untaken = u8::from(found.is_untaken(untaken_after));
        line(text, &format!("{metric}{{event_type=\"{}\"}}", found.event_type), untaken);
    }
    let metric = "tidegate_backlog_read_age_seconds";
    head(text, metric, "gauge", "How long ago the backlog was read.");
    line(text, metric, aged.as_secs_f64());
}

pub(super) fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

pub(super) fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Aggregate, EventId, LeaseToken, Receipt, Timestamp};
    use crate::store::{AttemptRecord, LeaseRef};

    fn settlement(decision: Decision) -> Settlement {
        Settlement {
            lease: LeaseRef { event: EventId::generate(), token: LeaseToken(1) },
            aggregate: Aggregate::new("ORDER", "1").unwrap(),
            event_type: "A".parse().unwrap(),
            decision,
            attempt: AttemptRecord {
                number: 1,
                plugin: "p".into(),
                release_digest: String::new(),
                started_at: Timestamp::UNIX_EPOCH,
                duration: Duration::from_millis(250),
                on_canary: false,
            },
        }
    }

    fn text(metrics: &Metrics, types: Vec<TypeBacklog>) -> String {
        let backlog = Backlog {
            read_at: std::time::Instant::now(),
            types,
            waits: vec![("balance".into(), 3)],
        };
        metrics.text(&backlog, Duration::from_secs(10))
    }

    #[test]
    fn attempts_are_counted_by_type_plugin_and_verdict() {
        let metrics = Metrics::default();
        let retry = |outcome_unknown| Decision::Retry {
            after: Duration::ZERO,
            reason: "no".into(),
            outcome_unknown,
        };
        let batch = [
            settlement(Decision::Done(Receipt::default())),
            settlement(Decision::Done(Receipt::default())),
            settlement(retry(false)),
            settlement(retry(true)),
        ];
        let answers = [Settled::Settled, Settled::LeaseLost, Settled::Settled, Settled::Settled];
        metrics.settled(&batch, &answers);
        metrics.claimed(&"A".parse().unwrap(), 4);
        metrics.claimed(&"A".parse().unwrap(), 0);
        metrics.rate_limited(&"A".parse().unwrap(), 3);
        metrics.woken();
        metrics.copied("p", Copied::Different);
        metrics.passed("OutboxRetryJob");
        let text = text(&metrics, Vec::new());
        for verdict in ["done", "lease_lost", "retry", "unknown"] {
            let labels = format!("event_type=\"A\",plugin=\"p\",verdict=\"{verdict}\"");
            let name = "tidegate_attempt_duration_seconds";
            for expected in [
                format!("{name}_bucket{{{labels},le=\"0.1\"}} 0"),
                format!("{name}_bucket{{{labels},le=\"0.5\"}} 1"),
                format!("{name}_bucket{{{labels},le=\"+Inf\"}} 1"),
                format!("{name}_sum{{{labels}}} 0.25"),
                format!("{name}_count{{{labels}}} 1"),
            ] {
                assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
            }
        }
        assert!(!text.contains("verdict=\"failed\""), "{text}");
        for expected in [
            "tidegate_settle_batch_events_bucket{le=\"1\"} 0",
            "tidegate_settle_batch_events_bucket{le=\"5\"} 1",
            "tidegate_settle_batch_events_count 1",
            "tidegate_claims_total{event_type=\"A\"} 2",
            "tidegate_claimed_events_total{event_type=\"A\"} 4",
            "tidegate_rate_limited_total{event_type=\"A\"} 3",
            "tidegate_wakeups_total 1",
            "tidegate_shadow_copies_total{plugin=\"p\",result=\"same\"} 0",
            "tidegate_shadow_copies_total{plugin=\"p\",result=\"different\"} 1",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
        }
        let job = "tidegate_job_last_success_timestamp_seconds{job=\"OutboxRetryJob\"} ";
        assert!(text.contains(job), "{text}");
    }

    #[test]
    fn the_backlog_is_that_of_the_table() {
        let count = |number| Count { number, at_least: false };
        let backlog = TypeBacklog {
            event_type: "A".parse().unwrap(),
            pending: count(3),
            processing: count(0),
            retrying: count(1),
            failed: count(2),
            rate_limited: count(7),
            unrouted: Count::default(),
            held: count(1),
            paused: false,
            oldest_age: Some(Duration::from_secs(60)),
            unclaimed_for: Some(Duration::from_secs(60)),
        };
        let text = text(&Metrics::default(), vec![backlog]);
        for expected in [
            "tidegate_backlog_events{event_type=\"A\",status=\"PENDING\"} 3",
            "tidegate_backlog_events{event_type=\"A\",status=\"FAILED\"} 2",
            "tidegate_waiting_withdrawals{rule=\"balance\"} 3",
            "tidegate_backlog_untaken{event_type=\"A\"} 1",
            "tidegate_backlog_held_events{event_type=\"A\"} 1",
            "tidegate_backlog_rate_limited_events{event_type=\"A\"} 7",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
        }
        assert!(text.contains("tidegate_backlog_oldest_age_seconds{event_type=\"A\"} 60."));
    }

    #[test]
    fn each_verdict_has_a_place_of_its_own() {
        for (place, (verdict, _)) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, place);
        }
        for (place, (copied, _)) in COPIED.into_iter().enumerate() {
            assert_eq!(copied as usize, place);
        }
    }
}
