//! How many requests went where and came to what. The labels are a manifest's own words, so there
//! are as many as manifests say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) enum Answered {
    /// The first digit of the status.
    Class(u8),
    /// No answer, or not all of it.
    Error,
    Denied,
}

const OUTCOMES: [&str; 7] = ["1xx", "2xx", "3xx", "4xx", "5xx", "error", "denied"];

impl Answered {
    fn place(self) -> usize {
        match self {
            Self::Class(class @ 1..=5) => usize::from(class) - 1,
            Self::Class(_) | Self::Error => 5,
            Self::Denied => 6,
        }
    }
}

/// Of one plugin and one origin of its manifest.
#[derive(Default)]
pub(in crate::plugin) struct OriginCounts {
    requests: [AtomicU64; OUTCOMES.len()],
    micros: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
}

impl OriginCounts {
    pub(in crate::plugin) fn count(
        &self,
        answered: Answered,
        took: Duration,
        bytes_out: u64,
        bytes_in: u64,
    ) {
        let add = |counter: &AtomicU64, by: u64| counter.fetch_add(by, Ordering::Relaxed);
        add(&self.requests[answered.place()], 1);
        add(&self.micros, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        add(&self.bytes_out, bytes_out);
        add(&self.bytes_in, bytes_in);
    }
}

/// Kept for as long as the process lives, so that a counter never falls when a release is replaced.
#[derive(Default)]
pub(in crate::plugin) struct Counts(Mutex<BTreeMap<(String, String), Arc<OriginCounts>>>);

impl Counts {
    pub(in crate::plugin) fn of(&self, plugin: &str, origin: &str) -> Arc<OriginCounts> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(counts.entry((plugin.to_owned(), origin.to_owned())).or_default())
    }

    pub(in crate::plugin) fn text(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# TYPE tidegate_outbound_requests_total counter");
        for ((plugin, origin), of) in counts.iter() {
            for (outcome, requests) in OUTCOMES.iter().zip(&of.requests) {
                let requests = requests.load(Ordering::Relaxed);
                if requests > 0 {
                    let labels = labels(plugin, origin);
                    let _ = writeln!(
                        text,
                        "tidegate_outbound_requests_total{{{labels},outcome=\"{outcome}\"}} {requests}"
                    );
                }
            }
        }
        type Of = fn(&OriginCounts) -> &AtomicU64;
        let sums: [(&str, Of, u64); 3] = [
            ("tidegate_outbound_sent_bytes_total", |of| &of.bytes_out, 1),
            ("tidegate_outbound_received_bytes_total", |of| &of.bytes_in, 1),
            ("tidegate_outbound_seconds_total", |of| &of.micros, 1_000_000),
        ];
        for (name, get, unit) in sums {
            let _ = writeln!(text, "# TYPE {name} counter");
            for ((plugin, origin), of) in counts.iter() {
                let sum = get(of).load(Ordering::Relaxed);
                if sum == 0 {
                    continue;
                }
                let labels = labels(plugin, origin);
                let _ = if unit == 1 {
                    writeln!(text, "{name}{{{labels}}} {sum}")
                } else {
                    let (whole, rest) = (sum / unit, sum % unit);
                    writeln!(text, "{name}{{{labels}}} {whole}.{rest:06}")
                };
            }
        }
        text
    }
}

/// Neither a plugin's name nor an origin in canonical form has a character to escape.
fn labels(plugin: &str, origin: &str) -> String {
    format!("plugin=\"{plugin}\",origin=\"{origin}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told_by_plugin_origin_and_outcome() {
        let counts = Counts::default();
        let of = counts.of("a", "https://*.example.com");
        of.count(Answered::Class(2), Duration::from_millis(1_500), 10, 20);
        counts.of("a", "https://*.example.com").count(Answered::Error, Duration::ZERO, 1, 0);
        counts.of("b", "none").count(Answered::Denied, Duration::ZERO, 0, 0);
        let text = counts.text();
        for line in [
            "tidegate_outbound_requests_total{plugin=\"a\",origin=\"https://*.example.com\",outcome=\"2xx\"} 1",
            "tidegate_outbound_requests_total{plugin=\"a\",origin=\"https://*.example.com\",outcome=\"error\"} 1",
            "tidegate_outbound_requests_total{plugin=\"b\",origin=\"none\",outcome=\"denied\"} 1",
            "tidegate_outbound_sent_bytes_total{plugin=\"a\",origin=\"https://*.example.com\"} 11",
            "tidegate_outbound_seconds_total{plugin=\"a\",origin=\"https://*.example.com\"} 1.500000",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\nis not in\n{text}");
        }
        assert!(!text.contains("4xx"), "{text}");
    }
}
