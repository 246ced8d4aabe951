//! What is counted about nodes, and the lines in which Prometheus reads it.
//!
//! A label is a node's scheme, host and port: never its path or user, which may be credentials.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::endpoint::Endpoint;
use super::heads::Heads;
use super::health::Standing;
use super::rpc::{Answer, RpcError};

/// In seconds, from a node beside the host to one that is about to time out.
const SECONDS: [f64; 7] = [0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

#[derive(Debug, Default)]
pub(super) struct NodeCounts {
    calls: AtomicU64,
    transport_errors: AtomicU64,
    rate_limited: AtomicU64,
    /// How many exchanges took at most as long as each bound, and longer than the one before.
    buckets: [AtomicU64; SECONDS.len()],
    exchanges: AtomicU64,
    micros: AtomicU64,
}

impl NodeCounts {
    pub(super) fn asked(
        &self,
        calls: usize,
        took: Duration,
        answered: &Result<Vec<Answer>, RpcError>,
    ) {
        add(&self.calls, calls as u64);
        add(&self.exchanges, 1);
        add(&self.micros, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let seconds = took.as_secs_f64();
        if let Some(bucket) = SECONDS.iter().position(|bound| seconds <= *bound) {
            add(&self.buckets[bucket], 1);
        }
        match answered {
            Err(RpcError::Transport { .. }) => add(&self.transport_errors, 1),
            Err(RpcError::RateLimited { .. }) => add(&self.rate_limited, 1),
            Err(
                RpcError::Refused { .. } | RpcError::WrongChain { .. } | RpcError::NoQuorum { .. },
            )
            | Ok(_) => {}
        }
    }
}

/// One network, as it is written.
pub(super) struct Network<'a> {
    pub(super) name: &'a str,
    pub(super) nodes: &'a [Arc<Endpoint>],
    pub(super) contradictions: u64,
    pub(super) heads: &'a Heads,
}

/// All networks under each metric's one heading, for the format wants a metric's lines together.
pub(super) fn write(networks: &[Network<'_>], text: &mut String) {
    if networks.is_empty() {
        return;
    }
    let metric = "tidegate_node_standing";
    head(
        text,
        metric,
        "gauge",
        "How a chain's node stands: 1 at up, rate_limited, away or wrong_chain.",
    );
    each(networks, |labels, node| {
        let now = node.standing();
        for (standing, name) in [
            (Standing::Up, "up"),
            (Standing::RateLimited, "rate_limited"),
            (Standing::Away, "away"),
            (Standing::WrongChain, "wrong_chain"),
        ] {
            let value = u64::from(standing == now);
            line(text, &format!("{metric}{{{labels},standing=\"{name}\"}}"), value);
        }
    });
    counter(networks, text, "tidegate_node_calls_total", "Calls of a chain's node.", |counts| {
        &counts.calls
    });
    let help = "Exchanges with a node that failed on the way.";
    counter(networks, text, "tidegate_node_transport_errors_total", help, |counts| {
        &counts.transport_errors
    });
    let help = "Times that a node ordered a wait.";
    counter(networks, text, "tidegate_node_rate_limited_total", help, |counts| {
        &counts.rate_limited
    });
    head(text, "tidegate_node_head", "gauge", "The newest block that a node told of.");
    each(networks, |labels, node| {
        line(text, &format!("tidegate_node_head{{{labels}}}"), node.head());
    });
    latencies(networks, text);
    let metric = "tidegate_node_contradictions_total";
    head(text, metric, "counter", "Things that nodes of one network say differently.");
    for network in networks {
        let name = format!("{metric}{{network=\"{}\"}}", network.name);
        line(text, &name, network.contradictions);
    }
    let metric = "tidegate_head_subscription_up";
    head(text, metric, "gauge", "Whether new heads come over a subscription, where one is wanted.");
    for network in networks.iter().filter(|network| network.heads.is_configured()) {
        let up = u64::from(network.heads.is_up());
        line(text, &format!("{metric}{{network=\"{}\"}}", network.name), up);
    }
    let metric = "tidegate_heads_total";
    head(text, metric, "counter", "New heads that came over a subscription.");
    for network in networks.iter().filter(|network| network.heads.is_configured()) {
        let seen = network.heads.seen();
        line(text, &format!("{metric}{{network=\"{}\"}}", network.name), seen);
    }
}

fn latencies(networks: &[Network<'_>], text: &mut String) {
    let metric = "tidegate_node_exchange_duration_seconds";
    head(text, metric, "histogram", "HTTP exchanges with a node; one may carry many calls.");
    each(networks, |labels, node| {
        let counts = node.counts();
        let mut below = 0;
        for (bound, bucket) in SECONDS.iter().zip(&counts.buckets) {
            below += bucket.load(Ordering::Relaxed);
            line(text, &format!("{metric}_bucket{{{labels},le=\"{bound}\"}}"), below);
        }
        let all = counts.exchanges.load(Ordering::Relaxed);
        line(text, &format!("{metric}_bucket{{{labels},le=\"+Inf\"}}"), all);
        let seconds = Duration::from_micros(counts.micros.load(Ordering::Relaxed)).as_secs_f64();
        line(text, &format!("{metric}_sum{{{labels}}}"), seconds);
        line(text, &format!("{metric}_count{{{labels}}}"), all);
    });
}

fn counter(
    networks: &[Network<'_>],
    text: &mut String,
    metric: &str,
    help: &str,
    of: fn(&NodeCounts) -> &AtomicU64,
) {
    head(text, metric, "counter", help);
    each(networks, |labels, node| {
        let value = of(node.counts()).load(Ordering::Relaxed);
        line(text, &format!("{metric}{{{labels}}}"), value);
    });
}

fn each(networks: &[Network<'_>], mut write: impl FnMut(&str, &Endpoint)) {
    for network in networks {
        for node in network.nodes {
            write(&format!("network=\"{}\",node=\"{}\"", network.name, node.label()), node);
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name} {value}");
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
