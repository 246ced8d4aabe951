//! What a new manifest asks for that the old one did not, in words, for people who must approve it.
//!
//! Manifests are taken apart completely: a field that is added to one does not compile until it is
//! said here whether more of it is more power.

use std::fmt::Display;
use std::time::Duration;

use serde_json::Value;

use super::grants::{Grants, HttpGrant, SecretGrant, TransitionGrant};
use super::limits::Limits;
use super::manifest::Manifest;
use crate::domain::{BreakerPolicy, NetworkPattern, Rate, RateKey, RetryPolicy};

/// One difference between two manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `may also call https://api.partner.example`, `limits.memory 32MiB → 64MiB`.
    pub text: String,
    /// Whether the new one may do more than the old one might. What is not clear counts as more.
    pub widens: bool,
}

/// Compares a manifest with the one before it. Without one before, everything that it asks for is
/// more, but for the limits that it leaves as they are by default.
#[must_use]
pub fn differences(old: Option<&Manifest>, new: &Manifest) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    let first_limits = Limits::default();
    let first_grants = Grants::default();
    let first_retry = RetryPolicy::default();
    let first_breaker = BreakerPolicy::default();
    let Manifest {
        name: _,
        digest: _,
        text: _,
        handles,
        network,
        ordered,
        limits,
        grants,
        settings,
        retry,
        breaker,
    } = new;
    let old_handles = old.map(|old| old.handles.as_slice()).unwrap_or_default();
    found.list("handles", "no longer handles", &texts(old_handles), &texts(handles));
    let show = |network: Option<&str>| network.unwrap_or("every network").to_owned();
    let old_network = old.map(|old| old.network.as_ref().map(NetworkPattern::as_str));
    let new_network = network.as_ref().map(NetworkPattern::as_str);
    if let Some(old_network) = old_network
        && old_network != new_network
    {
        let text = format!("select.network {} → {}", show(old_network), show(new_network));
        found.push(text, true);
    }
    let was_ordered = old.is_some_and(|old| old.ordered);
    if was_ordered != *ordered {
        found.push(format!("ordered {was_ordered} → {ordered}"), false);
    }
    compare_grants(&mut found, old.map_or(&first_grants, |old| &old.grants), grants);
    compare_limits(&mut found, old.map_or(&first_limits, |old| &old.limits), limits);
    compare_retry(&mut found, old.map_or(&first_retry, |old| &old.retry), retry);
    compare_breakers(&mut found, old.map_or(&first_breaker, |old| &old.breaker), breaker);
    let none = Value::Object(serde_json::Map::new());
    compare_settings(&mut found, old.map_or(&none, |old| &old.settings), settings);
    found.0
}

struct Found(Vec<Difference>);

impl Found {
    fn push(&mut self, text: String, widens: bool) {
        self.0.push(Difference { text, widens });
    }

    /// What is in one list and not in the other.
    fn list(&mut self, gained: &str, lost: &str, old: &[String], new: &[String]) {
        for item in new.iter().filter(|item| !old.contains(item)) {
            self.push(format!("{gained} {item}"), true);
        }
        for item in old.iter().filter(|item| !new.contains(item)) {
            self.push(format!("{lost} {item}"), false);
        }
    }

    /// A bound: none is the highest there is.
    fn bound<T: PartialOrd>(
        &mut self,
        key: &str,
        old: Option<&T>,
        new: Option<&T>,
        show: impl Fn(&T) -> String,
    ) {
        let widens = match (old, new) {
            (None, None) => return,
            (Some(old), Some(new)) if old == new => return,
            (Some(old), Some(new)) => new > old,
            (Some(_), None) => true,
            (None, Some(_)) => false,
        };
        let shown = |bound: Option<&T>| bound.map_or("no limit".to_owned(), &show);
        self.push(format!("{key} {} → {}", shown(old), shown(new)), widens);
    }
}

fn texts<T: Display>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn compare_grants(found: &mut Found, old: &Grants, new: &Grants) {
    let Grants { http, secrets, topics, networks, transitions, follow_ups } = new;
    compare_http(found, &old.http, http);
    compare_secrets(found, &old.secrets, secrets);
    let patterns = |grants: &Grants| -> Vec<String> {
        grants.topics.iter().map(|topic| topic.as_str().to_owned()).collect()
    };
    let Grants { topics: old_topics, .. } = old;
    if old_topics != topics {
        found.list(
            "may also publish to",
            "may no longer publish to",
            &patterns(old),
            &patterns(new),
        );
    }
    let signs = |grants: &Grants| -> Vec<String> {
        grants.networks.iter().map(|network| network.as_str().to_owned()).collect()
    };
    if old.networks != *networks {
        found.list("may also sign on", "may no longer sign on", &signs(old), &signs(new));
    }
    let steps = |transitions: &[TransitionGrant]| -> Vec<String> {
        let step = |transition: &TransitionGrant| match transition {
            TransitionGrant::Broadcasted => "BROADCASTED".to_owned(),
            TransitionGrant::Failed => "FAILED".to_owned(),
        };
        transitions.iter().map(step).collect()
    };
    found.list(
        "may also take withdrawals to",
        "may no longer take withdrawals to",
        &steps(&old.transitions),
        &steps(transitions),
    );
    found.list(
        "may also write events of type",
        "may no longer write events of type",
        &texts(&old.follow_ups),
        &texts(follow_ups),
    );
}

/// Lines of one origin are compared with each other. What one old line allowed whole is no more.
fn compare_http(found: &mut Found, old: &[HttpGrant], new: &[HttpGrant]) {
    for grant in new.iter().filter(|grant| !old.contains(grant)) {
        let before = old.iter().any(|old| old.origin == grant.origin);
        let covered = old.iter().any(|old| covers(old, grant));
        let verb = match (before, covered) {
            (_, true) => "may now only call",
            (true, false) => "may call otherwise:",
            (false, false) => "may also call",
        };
        found.push(format!("{verb} {grant}"), !covered);
    }
    for grant in old.iter().filter(|grant| !new.iter().any(|new| new.origin == grant.origin)) {
        found.push(format!("may no longer call {grant}"), false);
    }
}

/// Whether the old line allows everything that the new one does, in the same way.
fn covers(old: &HttpGrant, new: &HttpGrant) -> bool {
    let HttpGrant {
        origin,
        methods,
        paths,
        private,
        ca,
        client,
        connect_timeout,
        request_timeout,
        idle_timeout,
    } = new;
    let all = |old: &[String], new: &[String]| {
        old.is_empty() || (!new.is_empty() && new.iter().all(|item| old.contains(item)))
    };
    // A wait that is not given is the host's: longer or shorter, nobody can say here.
    let waits = |old: Option<Duration>, new: Option<Duration>| match (old, new) {
        (Some(old), Some(new)) => new <= old,
        (old, new) => old == new,
    };
    old.origin == *origin
        && all(&old.methods, methods)
        && all(&old.paths, paths)
        && (old.private || !*private)
        && old.ca == *ca
        && old.client == *client
        && waits(old.connect_timeout, *connect_timeout)
        && waits(old.request_timeout, *request_timeout)
        && waits(old.idle_timeout, *idle_timeout)
}

fn compare_secrets(found: &mut Found, old: &[SecretGrant], new: &[SecretGrant]) {
    for SecretGrant { name, expose, hosts } in new {
        let before = old.iter().find(|old| old.name == *name);
        let Some(before) = before else {
            found.push(format!("may also use the secret {name}"), true);
            if *expose {
                found.push(format!("also sees the value of the secret {name}"), true);
            }
            continue;
        };
        match (before.expose, *expose) {
            (false, true) => found.push(format!("also sees the value of the secret {name}"), true),
            (true, false) => {
                found.push(format!("no longer sees the value of the secret {name}"), false);
            }
            (true, true) | (false, false) => {}
        }
        if before.hosts != *hosts {
            // None is everywhere.
            let narrower = before.hosts.is_empty()
                || (!hosts.is_empty() && hosts.iter().all(|host| before.hosts.contains(host)));
            let places =
                if hosts.is_empty() { "everywhere".to_owned() } else { texts(hosts).join(", ") };
            found.push(format!("may send the secret {name} to {places}"), !narrower);
        }
    }
    for gone in old.iter().filter(|old| !new.iter().any(|new| new.name == old.name)) {
        found.push(format!("may no longer use the secret {}", gone.name), false);
    }
}

fn compare_limits(found: &mut Found, old: &Limits, new: &Limits) {
    let Limits {
        timeout,
        memory,
        concurrency,
        fleet_concurrency,
        rate,
        rate_key,
        priority,
        table_elements,
        instances,
        host_calls,
        random,
        log_lines,
        log_bytes,
        payload,
        detail,
        checkpoint,
        checkpoint_saves,
        follow_ups,
        follow_ups_bytes,
        requests,
        request_body,
        response_body,
    } = new;
    let number = |n: &u64| n.to_string();
    let time = |time: &Duration| format!("{time:?}");
    found.bound("limits.timeout", Some(&old.timeout), Some(timeout), time);
    let of = |n: usize| Some(n as u64);
    for (key, old, new) in [
        ("limits.memory", of(old.memory), of(*memory)),
        ("limits.payload", of(old.payload), of(*payload)),
        ("limits.checkpoint", of(old.checkpoint), of(*checkpoint)),
        ("limits.log_bytes", of(old.log_bytes), of(*log_bytes)),
        ("limits.detail", of(old.detail), of(*detail)),
        ("limits.follow_ups_bytes", of(old.follow_ups_bytes), of(*follow_ups_bytes)),
        ("limits.random", Some(old.random), Some(*random)),
        ("limits.request_body", Some(old.request_body), Some(*request_body)),
        ("limits.response_body", Some(old.response_body), Some(*response_body)),
    ] {
        found.bound(key, old.as_ref(), new.as_ref(), |bytes| size(*bytes));
    }
    for (key, old, new) in [
        ("limits.concurrency", of(old.concurrency), of(*concurrency)),
        (
            "limits.fleet_concurrency",
            old.fleet_concurrency.map(u64::from),
            fleet_concurrency.map(u64::from),
        ),
        ("limits.priority", Some(old.priority.into()), Some((*priority).into())),
        ("limits.log_lines", Some(old.log_lines.into()), Some((*log_lines).into())),
        ("limits.follow_ups", of(old.follow_ups), of(*follow_ups)),
        ("limits.table_elements", of(old.table_elements), of(*table_elements)),
        ("limits.instances", of(old.instances), of(*instances)),
        ("limits.host_calls", Some(old.host_calls.into()), Some((*host_calls).into())),
        (
            "limits.checkpoint_saves",
            Some(old.checkpoint_saves.into()),
            Some((*checkpoint_saves).into()),
        ),
        ("limits.requests", Some(old.requests.into()), Some((*requests).into())),
    ] {
        found.bound(key, old.as_ref(), new.as_ref(), number);
    }
    compare_rates(found, old.rate.as_ref(), rate.as_ref());
    compare_rate_keys(found, old.rate_key.as_ref(), rate_key.as_ref());
}

fn compare_rate_keys(found: &mut Found, old: Option<&RateKey>, new: Option<&RateKey>) {
    if old != new {
        let shown = |key: Option<&RateKey>| key.map_or("none".to_owned(), ToString::to_string);
        // Each key has a rate of its own, so another one may let more through.
        found.push(format!("limits.rate_key {} → {}", shown(old), shown(new)), true);
    }
}

fn compare_rates(found: &mut Found, old: Option<&Rate>, new: Option<&Rate>) {
    if old == new {
        return;
    }
    let shown = |rate: Option<&Rate>| {
        rate.map_or("no limit".to_owned(), |rate| {
            format!("{rate} with a burst of {}", rate.burst())
        })
    };
    let widens = match (old, new) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(old), Some(new)) => {
            new.interval_micros() < old.interval_micros() || new.burst() > old.burst()
        }
    };
    found.push(format!("limits.rate {} → {}", shown(old), shown(new)), widens);
}

/// Attempts are the operator's patience, and no power of the plugin.
fn compare_retry(found: &mut Found, old: &RetryPolicy, new: &RetryPolicy) {
    let RetryPolicy { attempts_max, base, cap, deferrals_max } = new;
    for (key, old, new) in [
        ("retry.max_attempts", old.attempts_max.to_string(), attempts_max.to_string()),
        ("retry.base", format!("{:?}", old.base), format!("{base:?}")),
        ("retry.cap", format!("{:?}", old.cap), format!("{cap:?}")),
        ("retry.max_deferrals", old.deferrals_max.to_string(), deferrals_max.to_string()),
    ] {
        if old != new {
            found.push(format!("{key} {old} → {new}"), false);
        }
    }
}

/// A breaker that opens later, or never, lets more through to a target that is away.
fn compare_breakers(found: &mut Found, old: &BreakerPolicy, new: &BreakerPolicy) {
    let BreakerPolicy { failures, open_for, open_for_max, ramp } = new;
    // 0 is never.
    let bound = |failures: u32| (failures > 0).then_some(failures);
    let (was, is) = (bound(old.failures), bound(*failures));
    found.bound("breaker.failures", was.as_ref(), is.as_ref(), u32::to_string);
    for (key, old, new) in [
        ("breaker.open_for", old.open_for, *open_for),
        ("breaker.open_for_max", old.open_for_max, *open_for_max),
        ("breaker.ramp", old.ramp, *ramp),
    ] {
        if old != new {
            found.push(format!("{key} {old:?} → {new:?}"), new < old);
        }
    }
}

/// What is granted stays granted whatever the settings say, so they widen nothing.
fn compare_settings(found: &mut Found, old: &Value, new: &Value) {
    let fields = |settings: &Value| settings.as_object().cloned().unwrap_or_default();
    let (old, new) = (fields(old), fields(new));
    let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys.into_iter().filter(|key| old.get(*key) != new.get(*key)) {
        let shown = |value: Option<&Value>| match value.map(Value::to_string) {
            None => "nothing".to_owned(),
            Some(text) if text.chars().count() > 80 => {
                format!("{}…", text.chars().take(80).collect::<String>())
            }
            Some(text) => text,
        };
        let text = format!("settings.{key} {} → {}", shown(old.get(key)), shown(new.get(key)));
        found.push(text, false);
    }
}

fn size(bytes: u64) -> String {
    let units = [(1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or(format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const OLD: &str = r#"
        name = "p"
        handles = ["A"]
        [limits]
        memory = "32MiB"
        rate = "10/s"
        fleet_concurrency = 10
        [grants]
        http = ["https://a.example", { origin = "http://10.0.0.1", private = true }]
        secrets = ["KEY"]
        topics = ["t.*"]
        [settings]
        url = "https://a.example"
    "#;

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(text, Path::new("plugin.toml")).unwrap()
    }

    /// What changes when this is written instead of that, and whether it widens.
    fn changed(from: &str, to: &str) -> Vec<(String, bool)> {
        assert!(OLD.contains(from), "{from}");
        let new = manifest(&OLD.replace(from, to));
        let found = differences(Some(&manifest(OLD)), &new);
        found.into_iter().map(|it| (it.text, it.widens)).collect()
    }

    #[test]
    fn the_same_manifest_has_no_difference() {
        assert_eq!(differences(Some(&manifest(OLD)), &manifest(OLD)), []);
    }

    #[test]
    fn whatever_is_asked_for_in_addition_widens() {
        for (from, to, text) in [
            ("[\"A\"]", "[\"A\", \"B\"]", "handles B"),
            (
                "http = [",
                "http = [\"https://evil.example\", ",
                "may also call https://evil.example",
            ),
            ("[\"KEY\"]", "[\"KEY\", \"OTHER\"]", "may also use the secret OTHER"),
            (
                "[\"KEY\"]",
                "[{ name = \"KEY\", expose = true }]",
                "also sees the value of the secret KEY",
            ),
            ("[\"t.*\"]", "[\"t.*\", \"u\"]", "may also publish to u"),
            ("[grants]", "[grants]\nnetworks = [\"eip155:1\"]", "may also sign on eip155:1"),
            (
                "[grants]",
                "[grants]\ntransitions = [\"failed\"]",
                "may also take withdrawals to FAILED",
            ),
            ("[grants]", "[grants]\nfollow_ups = [\"B\"]", "may also write events of type B"),
            ("\"32MiB\"", "\"33MiB\"", "limits.memory 32MiB → 33MiB"),
            ("\"10/s\"", "\"20/s\"", "limits.rate 10/s with a burst of 1 → 20/s with a burst of 2"),
            ("rate = \"10/s\"", "", "limits.rate 10/s with a burst of 1 → no limit"),
            ("fleet_concurrency = 10", "", "limits.fleet_concurrency 10 → no limit"),
            ("[limits]", "[limits]\ntimeout = \"11s\"", "limits.timeout 10s → 11s"),
            ("[limits]", "[limits]\nrequests = 33", "limits.requests 32 → 33"),
            ("[limits]", "[limits]\nlog_lines = 101", "limits.log_lines 100 → 101"),
            ("[limits]", "[limits]\npriority = 11", "limits.priority 10 → 11"),
            ("[limits]", "[limits]\nresponse_body = \"2MiB\"", "limits.response_body 1MiB → 2MiB"),
        ] {
            assert_eq!(changed(from, to), [(text.to_owned(), true)], "{to}");
        }
        let both = changed(
            "\"https://a.example\", {",
            "{ origin = \"https://a.example\", private = true }, {",
        );
        let text = "may call otherwise: https://a.example, private addresses too";
        assert_eq!(both, [(text.to_owned(), true)]);
    }

    #[test]
    fn a_narrower_line_of_an_origin_widens_nothing_and_a_wider_one_does() {
        let get = r#""https://a.example", {"#;
        let narrow = r#"{ origin = "https://a.example", methods = ["GET"], paths = ["/v1"] }, {"#;
        let text = "may now only call https://a.example, methods GET, paths /v1".to_owned();
        assert_eq!(changed(get, narrow), [(text, false)]);
        let old = manifest(&OLD.replace(get, narrow));
        let found = differences(Some(&old), &manifest(OLD));
        let text = "may call otherwise: https://a.example".to_owned();
        assert_eq!(found, [Difference { text, widens: true }]);
        let tied = "[{ name = \"KEY\", hosts = [\"https://a.example\"] }]";
        let text = "may send the secret KEY to https://a.example".to_owned();
        assert_eq!(changed("[\"KEY\"]", tied), [(text, false)]);
        let old = manifest(&OLD.replace("[\"KEY\"]", tied));
        let found = differences(Some(&old), &manifest(OLD));
        let text = "may send the secret KEY to everywhere".to_owned();
        assert_eq!(found, [Difference { text, widens: true }]);
    }

    #[test]
    fn less_and_other_settings_widen_nothing() {
        for (from, to, text) in [
            ("secrets = [\"KEY\"]", "", "may no longer use the secret KEY"),
            ("\"32MiB\"", "\"16MiB\"", "limits.memory 32MiB → 16MiB"),
            ("handles", "ordered = true\nhandles", "ordered false → true"),
            ("[settings]", "[retry]\nmax_attempts = 99\n[settings]", "retry.max_attempts 12 → 99"),
            ("url = \"https://a.example\"", "", "settings.url \"https://a.example\" → nothing"),
        ] {
            assert_eq!(changed(from, to), [(text.to_owned(), false)], "{to}");
        }
    }

    #[test]
    fn the_first_release_asks_for_everything_that_it_has() {
        let found = differences(None, &manifest(OLD));
        let widening: Vec<_> =
            found.iter().filter(|it| it.widens).map(|it| it.text.as_str()).collect();
        let expected = [
            "handles A",
            "may also call https://a.example",
            "may also call http://10.0.0.1, private addresses too",
            "may also use the secret KEY",
            "may also publish to t.*",
        ];
        assert_eq!(widening, expected);
    }
}
