//! What is counted of breakers, and how they stand, for Prometheus.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::metrics::{head, line};
use crate::domain::BreakerState;
use crate::store::BreakerKey;

/// As this host sees them. A target's name is what a URL has as host and port, so none needs escaping.
#[derive(Default)]
pub(super) struct BreakerCounts(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    states: BTreeMap<BreakerKey, BreakerState>,
    opened: BTreeMap<BreakerKey, u64>,
    refused: BTreeMap<BreakerKey, u64>,
}

impl BreakerCounts {
    /// How all of them stand now.
    pub(super) fn seen(&self, states: BTreeMap<BreakerKey, BreakerState>) {
        self.counts().states = states;
    }

    /// This host opened one.
    pub(super) fn opened(&self, key: &BreakerKey) {
        count(&mut self.counts().opened, key);
    }

    /// A request or a message was not sent.
    pub(super) fn refused(&self, key: &BreakerKey) {
        count(&mut self.counts().refused, key);
    }

    pub(super) fn write(&self, text: &mut String) {
        let counts = self.counts();
        let metric = "tidegate_breaker_state";
        head(text, metric, "gauge", "0: closed; 1: open, until a probe succeeds; 2: held open.");
        for (key, state) in &counts.states {
            let state = match state {
                BreakerState::Closed { .. } => 0,
                BreakerState::Open { .. } => 1,
                BreakerState::Held => 2,
            };
            line(text, &named(metric, key), state);
        }
        for (metric, help, counted) in [
            ("tidegate_breaker_opened_total", "Breakers that this host opened.", &counts.opened),
            (
                "tidegate_breaker_refused_total",
                "Requests and messages that were not sent because the target's breaker was open.",
                &counts.refused,
            ),
        ] {
            head(text, metric, "counter", help);
            for (key, number) in counted {
                line(text, &named(metric, key), number);
            }
        }
    }

    /// A panic while it was held left counts, and those are all there is.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(counted: &mut BTreeMap<BreakerKey, u64>, key: &BreakerKey) {
    *counted.entry(key.clone()).or_default() += 1;
}

fn named(metric: &str, BreakerKey { plugin, target }: &BreakerKey) -> String {
    format!("{metric}{{plugin=\"{plugin}\",target=\"{target}\"}}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn breakers_are_shown_by_plugin_and_target() {
        let key = |target: &str| BreakerKey { plugin: "p".into(), target: target.into() };
        let counts = BreakerCounts::default();
        let open = BreakerState::Open { left: Duration::ZERO, trips: 1 };
        counts.seen([(key("a:443"), open), (key("b:443"), BreakerState::Held)].into());
        counts.opened(&key("a:443"));
        counts.refused(&key("b:443"));
        counts.refused(&key("b:443"));
        let mut text = String::new();
        counts.write(&mut text);
        for expected in [
            "tidegate_breaker_state{plugin=\"p\",target=\"a:443\"} 1",
            "tidegate_breaker_state{plugin=\"p\",target=\"b:443\"} 2",
            "tidegate_breaker_opened_total{plugin=\"p\",target=\"a:443\"} 1",
            "tidegate_breaker_refused_total{plugin=\"p\",target=\"b:443\"} 2",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
        }
        counts.seen([(key("a:443"), BreakerState::Closed { ago: None })].into());
        let mut text = String::new();
        counts.write(&mut text);
        assert!(text.contains("target=\"a:443\"} 0") && !text.contains("\"b:443\"} 2\n#"));
    }
}
