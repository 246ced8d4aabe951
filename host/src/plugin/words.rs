//! Grants and limits in words, for operators: what a plugin may do, a sentence each. Two releases
//! differ in what one has and the other has not.

use std::time::Duration;

use super::grants::{Grants, HttpGrant, SecretGrant, TransitionGrant};
use super::limits::{Limits, size};

impl Grants {
    /// What the plugin may do beyond computing; empty where it may do nothing.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        // Complete, so that a new grant gets its words.
        let Self { http, secrets, topics, networks, transitions, follow_ups } = self;
        let mut words = Vec::new();
        words.extend(http.iter().map(http_in_words));
        words.extend(secrets.iter().map(secret_in_words));
        words.extend(topics.iter().map(|topic| format!("may publish to {}", topic.as_str())));
        words.extend(
            networks.iter().map(|network| format!("may pay and send on {}", network.as_str())),
        );
        words.extend(transitions.iter().map(|transition| {
            let status = match transition {
                TransitionGrant::Broadcasted => "BROADCASTED",
                TransitionGrant::Failed => "FAILED",
            };
            format!("may move a withdrawal to {status}")
        }));
        words.extend(follow_ups.iter().map(|event_type| format!("may write {event_type} events")));
        words
    }
}

fn http_in_words(grant: &HttpGrant) -> String {
    format!("may call {grant}")
}

fn secret_in_words(SecretGrant { name, expose, hosts }: &SecretGrant) -> String {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let at = if hosts.is_empty() { String::new() } else { format!(" at {}", hosts.join(" ")) };
    match expose {
        true => format!("may read the value of the secret {name}"),
        false => format!("may use the secret {name}{at} without seeing it"),
    }
}

impl Limits {
    /// The keys of the manifest with what holds, defaults included; those that limit nothing are
    /// left out.
    #[must_use]
    pub fn in_words(&self) -> Vec<(&'static str, String)> {
        // Complete, so that a new limit is shown.
        let Self {
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
        } = self;
        let words = [
            ("timeout", Some(duration(*timeout))),
            ("memory", Some(size(*memory as u64))),
            ("concurrency", Some(concurrency.to_string())),
            ("fleet_concurrency", fleet_concurrency.map(|max| max.to_string())),
            ("rate", rate.map(|rate| rate.to_string())),
            ("rate_key", rate_key.as_ref().map(ToString::to_string)),
            ("priority", Some(priority.to_string())),
            ("table_elements", Some(table_elements.to_string())),
            ("instances", Some(instances.to_string())),
            ("host_calls", Some(host_calls.to_string())),
            ("random", Some(size(*random))),
            ("log_lines", Some(log_lines.to_string())),
            ("log_bytes", Some(size(*log_bytes as u64))),
            ("payload", Some(size(*payload as u64))),
            ("detail", Some(size(*detail as u64))),
            ("checkpoint", Some(size(*checkpoint as u64))),
            ("checkpoint_saves", Some(checkpoint_saves.to_string())),
            ("follow_ups", Some(follow_ups.to_string())),
            ("follow_ups_bytes", Some(size(*follow_ups_bytes as u64))),
            ("requests", Some(requests.to_string())),
            ("request_body", Some(size(*request_body))),
            ("response_body", Some(size(*response_body))),
        ];
        words.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// As a manifest has it.
fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0ms".to_owned(),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plugin::Manifest;

    #[test]
    fn each_grant_is_a_sentence() {
        let manifest = Manifest::parse(
            r#"
            name = "a"
            handles = ["A"]
            [grants]
            http = ["https://*.a.example:8443", { origin = "http://10.0.0.1", private = true }]
            secrets = ["KEY", { name = "TOKEN", expose = true }]
            topics = ["t.*"]
            networks = ["eip155:*"]
            transitions = ["broadcasted"]
            follow_ups = ["B"]
            "#,
            Path::new("plugin.toml"),
        );
        let words = manifest.unwrap().grants.in_words();
        assert_eq!(
            words,
            [
                "may call https://*.a.example:8443",
                "may call http://10.0.0.1, private addresses too",
                "may use the secret KEY without seeing it",
                "may read the value of the secret TOKEN",
                "may publish to t.*",
                "may pay and send on eip155:*",
                "may move a withdrawal to BROADCASTED",
                "may write B events",
            ]
        );
        assert!(Grants::default().in_words().is_empty());
    }

    #[test]
    fn limits_are_written_as_in_a_manifest() {
        let limits = Limits { timeout: Duration::from_millis(1_500), ..Limits::default() };
        let words = limits.in_words();
        assert!(words.contains(&("timeout", "1500ms".into())), "{words:?}");
        assert!(words.contains(&("memory", "32MiB".into())), "{words:?}");
        assert!(words.contains(&("payload", "256KiB".into())), "{words:?}");
        assert!(words.iter().all(|(key, _)| *key != "rate"), "{words:?}");
    }
}
