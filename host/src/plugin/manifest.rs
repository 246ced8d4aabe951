//! `plugin.toml`: the operator's word on one plugin. Strict: what is not understood is an error that
//! names file, line and remedy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use sha2::{Digest, Sha256};

use super::grants::{Grants, RawGrants};
use super::limits::{Limits, RawLimits};
use super::release::hexadecimal;
use crate::domain::{
    BreakerPolicy, EventType, NetworkPattern, RetryPolicy, parse_duration, parse_size,
};

/// A plugin's manifest, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// SHA-256 of its text, lower-case hexadecimal. Two releases of one component may differ in it.
    pub digest: String,
    /// Its text.
    pub text: String,
    pub name: String,
    /// The event types that it handles; not empty, none twice.
    pub handles: Vec<EventType>,
    /// If set, only events whose payload has a `network` that matches.
    pub network: Option<NetworkPattern>,
    /// Whether events of one aggregate are handled one after another, in the order written.
    pub ordered: bool,
    pub limits: Limits,
    pub grants: Grants,
    /// Readable by the plugin. A JSON object.
    pub settings: serde_json::Value,
    pub retry: RetryPolicy,
    pub breaker: BreakerPolicy,
}

/// A manifest that cannot be used, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("{}: cannot be read: {cause}", file.display())]
    Unreadable { file: PathBuf, cause: String },
    /// `cause` is the parser's: it quotes the line and names the key.
    #[error("{}: {cause}", file.display())]
    Invalid { file: PathBuf, cause: String },
}

impl Manifest {
    /// # Errors
    /// See [`ManifestError`].
    pub fn read(file: &Path) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(file).map_err(|error| ManifestError::Unreadable {
            file: file.to_owned(),
            cause: error.to_string(),
        })?;
        Self::parse(&text, file)
    }

    /// # Errors
    /// See [`ManifestError`]. `file` is for its text, and what the manifest names by a relative path
    /// lies beside it.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ManifestError> {
        let invalid = |cause: String| ManifestError::Invalid { file: file.to_owned(), cause };
        let raw: RawManifest =
            toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().into()))?;
        raw.check(text, file.parent().unwrap_or(Path::new(""))).map_err(invalid)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    name: String,
    #[serde(deserialize_with = "parsed_list")]
    handles: Vec<EventType>,
    #[serde(default)]
    select: RawSelect,
    #[serde(default)]
    ordered: bool,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    grants: RawGrants,
    #[serde(default)]
    settings: toml::Table,
    #[serde(default)]
    retry: RawRetry,
    #[serde(default)]
    breaker: RawBreaker,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawSelect {
    #[serde(default, deserialize_with = "parsed_option")]
    network: Option<NetworkPattern>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawRetry {
    max_attempts: Option<u32>,
    #[serde(default, deserialize_with = "duration")]
    base: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    cap: Option<Duration>,
    max_deferrals: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawBreaker {
    failures: Option<u32>,
    #[serde(default, deserialize_with = "duration")]
    open_for: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    open_for_max: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    ramp: Option<Duration>,
}

impl RawManifest {
    /// `folder`: where the manifest lies.
    fn check(self, text: &str, folder: &Path) -> Result<Manifest, String> {
        check_name(&self.name)?;
        if self.handles.is_empty() {
            return Err("handles is empty: name at least one event type".into());
        }
        for (i, event_type) in self.handles.iter().enumerate() {
            if self.handles[..i].contains(event_type) {
                return Err(format!("handles lists {event_type} twice: remove one"));
            }
        }
        let settings = json("settings", toml::Value::Table(self.settings))?;
        Ok(Manifest {
            digest: hexadecimal(&Sha256::digest(text)),
            text: text.to_owned(),
            name: self.name,
            handles: self.handles,
            network: self.select.network,
            ordered: self.ordered,
            limits: self.limits.check()?,
            grants: self.grants.check(folder)?,
            settings,
            retry: self.retry.check()?,
            breaker: self.breaker.check()?,
        })
    }
}

/// What a plugin reads of a setting. JSON has no dates, which become texts, and no infinity.
fn json(key: &str, value: toml::Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => match serde_json::Number::from_f64(number) {
            Some(number) => number.into(),
            None => return Err(format!("{key} = {number} has no form in JSON: use a number")),
        },
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => {
            let items = items.into_iter().map(|item| json(key, item));
            items.collect::<Result<Vec<_>, _>>()?.into()
        }
        toml::Value::Table(fields) => {
            let fields = fields.into_iter().map(|(name, field)| {
                let field = json(&format!("{key}.{name}"), field)?;
                Ok::<_, String>((name, field))
            });
            serde_json::Value::Object(fields.collect::<Result<_, _>>()?)
        }
    })
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(())
    } else {
        Err(format!("name = {name:?} is not valid: use 1 to 64 of a-z, 0-9 and -"))
    }
}

impl RawRetry {
    fn check(self) -> Result<RetryPolicy, String> {
        let default = RetryPolicy::default();
        let policy = RetryPolicy {
            attempts_max: self.max_attempts.unwrap_or(default.attempts_max),
            base: self.base.unwrap_or(default.base),
            cap: self.cap.unwrap_or(default.cap),
            deferrals_max: self.max_deferrals.unwrap_or(default.deferrals_max),
        };
        if policy.attempts_max == 0 {
            return Err("retry.max_attempts = 0 is not valid: the first attempt counts".into());
        }
        if policy.cap < policy.base || policy.cap > RetryPolicy::WAIT_MAX {
            return Err("retry.cap must be at least retry.base and at most 1d".into());
        }
        Ok(policy)
    }
}

impl RawBreaker {
    fn check(self) -> Result<BreakerPolicy, String> {
        const OPEN_FOR_MIN: Duration = Duration::from_millis(100);
        let default = BreakerPolicy::default();
        let open_for = self.open_for.unwrap_or(default.open_for);
        let policy = BreakerPolicy {
            failures: self.failures.unwrap_or(default.failures),
            open_for,
            open_for_max: self.open_for_max.unwrap_or(default.open_for_max.max(open_for)),
            ramp: self.ramp.unwrap_or(default.ramp),
        };
        if policy.open_for < OPEN_FOR_MIN {
            return Err("breaker.open_for must be at least 100ms".into());
        }
        if policy.open_for_max < policy.open_for || policy.open_for_max > RetryPolicy::WAIT_MAX {
            return Err(
                "breaker.open_for_max must be at least breaker.open_for and at most 1d".into()
            );
        }
        if policy.ramp > RetryPolicy::WAIT_MAX {
            return Err("breaker.ramp must be at most 1d".into());
        }
        Ok(policy)
    }
}

/// A value that its own `FromStr` checks, with the line of the text in the error.
pub(super) fn parsed_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

fn parsed_option<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(Some).map_err(D::Error::custom)
}

pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_size(&text).map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(text, Path::new("plugin.toml")).map_err(|error| error.to_string())
    }

    const MINIMAL: &str = "name = \"a\"\nhandles = [\"A\"]\n";

    #[test]
    fn a_minimal_manifest_has_every_default_and_no_grant() {
        let manifest = parse(MINIMAL).unwrap();
        assert_eq!(manifest.limits, Limits::default());
        assert_eq!(manifest.retry, RetryPolicy::default());
        assert_eq!(manifest.breaker, BreakerPolicy::default());
        assert_eq!(manifest.grants, Grants::default());
        assert_eq!(manifest.settings, serde_json::json!({}));
    }

    #[test]
    fn a_full_manifest_is_read_whole() {
        let manifest = parse(
            r#"
            name = "evm-broadcast"
            handles = ["BLOCKCHAIN_BROADCAST_REQUESTED"]
            select = { network = "eip155:*" }
            ordered = true
            [limits]
            timeout = "2s"
            memory = "64MiB"
            fleet_concurrency = 8
            rate = "50/s"
            burst = 10
            rate_key = "partner.id"
            priority = 20
            [grants]
            http = ["https://a.example", { origin = "http://127.0.0.1:1", private = true }]
            secrets = ["KEY", { name = "OTHER", expose = true }]
            topics = ["tidegate.*"]
            networks = ["eip155:*"]
            transitions = ["broadcasted", "failed"]
            follow_ups = ["NEXT"]
            [settings]
            deep = { list = [1, "two"], since = 2026-01-31T09:30:00Z, half = 0.5, on = true }
            [retry]
            max_attempts = 3
            base = "1s"
            cap = "1m"
            "#,
        )
        .unwrap();
        assert_eq!(manifest.limits.memory, 64 << 20);
        let rate = manifest.limits.rate.unwrap();
        assert_eq!((rate.to_string().as_str(), rate.burst()), ("50/s", 10));
        assert_eq!(manifest.limits.rate_key.unwrap().to_string(), "partner.id");
        assert_eq!((manifest.limits.fleet_concurrency, manifest.limits.priority), (Some(8), 20));
        assert!(manifest.grants.http[1].private && !manifest.grants.http[0].private);
        assert!(manifest.grants.secret("OTHER").unwrap().expose);
        let deep = serde_json::json!(
            {"list": [1, "two"], "since": "2026-01-31T09:30:00Z", "half": 0.5, "on": true}
        );
        assert_eq!(manifest.settings, serde_json::json!({ "deep": deep }));
        assert_eq!(manifest.retry.attempts_max, 3);
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let cases = [
            ("", "missing field `name`"),
            ("name = \"a\"\n", "missing field `handles`"),
            ("name = \"A B\"\nhandles = [\"A\"]\n", "name = \"A B\" is not valid"),
            ("name = \"a\"\nhandles = []\n", "handles is empty"),
            ("name = \"a\"\nhandles = [\"A\", \"A\"]\n", "handles lists A twice"),
            ("name = \"a\"\nhandles = [\"a b\"]\n", "event type \"a b\" is not valid"),
            (&format!("{MINIMAL}colour = 1\n"), "unknown field `colour`"),
            (&format!("{MINIMAL}[limits]\ntimeout = 10\n"), "line 4"),
            (&format!("{MINIMAL}[limits]\ntimeout = \"10\"\n"), "\"10\" is no duration"),
            (&format!("{MINIMAL}[limits]\ntimeout = \"0s\"\n"), "limits.timeout must be"),
            (&format!("{MINIMAL}[limits]\nmemory = \"1GiB\"\n"), "limits.memory = 1073741824"),
            (&format!("{MINIMAL}[limits]\nconcurrency = 0\n"), "limits.concurrency = 0"),
            (&format!("{MINIMAL}[limits]\ninstances = 65\n"), "limits.instances = 65"),
            (&format!("{MINIMAL}[limits]\nhost_calls = 10001\n"), "use 0 to 10000"),
            (&format!("{MINIMAL}[limits]\ndetail = \"17MiB\"\n"), "limits.detail = 17825792"),
            (&format!("{MINIMAL}[limits]\nspeed = 1\n"), "unknown field `speed`"),
            (&format!("{MINIMAL}[limits]\nrate = \"50\"\n"), "limits.rate: \"50\" is no rate"),
            (&format!("{MINIMAL}[limits]\nrate = 50\n"), "line 4"),
            (
                &format!("{MINIMAL}[limits]\nrate = \"1/h\"\nburst = 25\n"),
                "limits.burst = 25 is out of range",
            ),
            (&format!("{MINIMAL}[limits]\nburst = 2\n"), "limits.burst is of a rate"),
            (&format!("{MINIMAL}[limits]\nrate_key = \"a\"\n"), "limits.rate_key is of a rate"),
            (
                &format!("{MINIMAL}[limits]\nrate = \"1/s\"\nrate_key = \"a..b\"\n"),
                "limits.rate_key: \"a..b\" is no rate_key",
            ),
            (
                &format!("{MINIMAL}[limits]\nfleet_concurrency = 0\n"),
                "limits.fleet_concurrency = 0",
            ),
            (&format!("{MINIMAL}[limits]\npriority = 101\n"), "limits.priority = 101"),
            (
                &format!("{MINIMAL}[grants]\nhttp = [\"a.b\"]\n"),
                "grants.http: \"a.b\" is no origin",
            ),
            (
                &format!("{MINIMAL}[grants]\nhttp = [{{ origin = \"http://a.b\", x = 1 }}]\n"),
                "unknown field `x`",
            ),
            (
                &format!(
                    "{MINIMAL}[grants]\nhttp = [\"http://A.b:80\", {{ origin = \"http://a.b\" }}]\n"
                ),
                "grants.http lists http://a.b twice",
            ),
            (
                &format!(
                    "{MINIMAL}[grants]\nsecrets = [\"K\", {{ name = \"K\", expose = true }}]\n"
                ),
                "grants.secrets lists K twice",
            ),
            (&format!("{MINIMAL}[grants]\ntransitions = [\"paid\"]\n"), "unknown variant `paid`"),
            (&format!("{MINIMAL}[grants]\nnetworks = [\"*\"]\n"), "network pattern \"*\""),
            (&format!("{MINIMAL}[select]\nasset = \"ETH\"\n"), "unknown field `asset`"),
            (
                &format!("{MINIMAL}[settings]\na = {{ b = inf }}\n"),
                "settings.a.b = inf has no form",
            ),
            (&format!("{MINIMAL}[retry]\nmax_attempts = 0\n"), "retry.max_attempts = 0"),
            (&format!("{MINIMAL}[breaker]\nopen_for = \"1ms\"\n"), "breaker.open_for must"),
            (&format!("{MINIMAL}[breaker]\nopen_for_max = \"2d\"\n"), "breaker.open_for_max"),
            (&format!("{MINIMAL}[retry]\nbase = \"2m\"\ncap = \"1m\"\n"), "retry.cap"),
        ];
        for (text, message) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("plugin.toml: "), "{error}");
            assert!(error.contains(message), "{error}\ndoes not contain {message}");
        }
    }

    #[test]
    fn the_examples_of_the_readme_are_manifests_and_show_the_defaults() {
        let blocks: Vec<&str> = include_str!("../../../README.md")
            .split("```toml\n")
            .filter_map(|rest| rest.split_once("```").map(|(block, _)| block))
            .filter(|block| block.starts_with("# plugin.toml"))
            .collect();
        assert_eq!(blocks.len(), 3, "the README has another number of manifests");
        for block in blocks {
            let manifest = parse(block).unwrap_or_else(|error| panic!("{error}"));
            // One shows limits that hold over all hosts, which by default there are none of.
            let shown = manifest.limits.rate.is_none().then_some(&manifest.limits);
            assert_eq!(shown.unwrap_or(&Limits::default()), &Limits::default());
            assert_eq!(manifest.retry, RetryPolicy::default());
            assert_eq!(manifest.breaker, BreakerPolicy::default());
        }
    }
}
