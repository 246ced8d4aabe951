//! The sections of the configuration beside `[[networks]]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::{Limits, Role, Token, Tokens};
use crate::domain::{EventType, Flow, WithdrawalStatus, parse_size};
use crate::jobs::Retention;
use crate::plugin::TrustedKeys;
use crate::store::{CLAIM_MAX, Pooler};

use super::reader::Section;
use super::redacted::Redacted;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// `sqlite:…` or `postgres:…`; may hold a password.
    pub url: Redacted,
    pub connections_max: u32,
    /// What stands between the host and Postgres.
    pub pooler: Pooler,
    /// How long a start waits for a store that is away.
    pub wait: Duration,
    /// Whether a host that starts brings an older schema up to date, or refuses it.
    pub migrate: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginsConfig {
    pub dir: PathBuf,
    /// Precompiled artifacts. Trusted: only the host may write it.
    pub cache_dir: PathBuf,
    /// Whether releases come from the store, and not from the folder.
    pub from_store: bool,
    /// Whether a release of the store that asks for more than the live one is held.
    pub hold_widening: bool,
    /// How long all hosts together have for a new release of the store.
    pub prepare_timeout: Duration,
    /// How long a replaced release may go on with what it has in hand.
    pub drain: Duration,
    /// The public keys of minisign of which one must have signed each component; none is needed
    /// if there is no list.
    pub require_signature: Option<TrustedKeys>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatchConfig {
    pub lease: Duration,
    /// The safety net under the wake-ups.
    pub poll: Duration,
    /// What a stop waits for before it interrupts.
    pub grace: Duration,
    pub batch: u32,
    /// So many lost hosts make an event poison.
    pub interruptions_max: u32,
    /// Attempts that this host makes at once, over all routes.
    pub attempts_max: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerConfig {
    /// A message that a plugin sends is refused.
    None,
    Nats {
        url: Redacted,
        stream: String,
        subject_prefix: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    pub format: LogFormat,
    /// As `tracing` has it: `info`, or `info,tidegate::jobs=debug`.
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn read_http(root: &mut Section<'_>) -> Limits {
    let mut section = root.section("http");
    let default = Limits::default();
    let body = section.parsed("body_max", |text| {
        match parse_size(text).map_err(|error| error.to_string())? {
            bytes @ 1_024..=16_777_216 => usize::try_from(bytes).map_err(|e| e.to_string()),
            _ => Err("must lie between 1KiB and 16MiB".to_owned()),
        }
    });
    let timeout = default.request_timeout;
    let limits = Limits {
        body_bytes_max: body.unwrap_or(default.body_bytes_max),
        request_timeout: section.duration("request_timeout", timeout, seconds(1)..=seconds(600)),
        requests_max: usize::try_from(section.integer("requests_max", 512, 1..=100_000))
            .unwrap_or(default.requests_max),
        backlog_age_max: section.duration_or(
            "backlog_age_max",
            "none",
            default.backlog_age_max,
            seconds(1)..=seconds(30 * 24 * 3_600),
        ),
        metrics_open: read_metrics_open(root),
        ..default
    };
    section.finish();
    limits
}

fn read_metrics_open(root: &mut Section<'_>) -> bool {
    let mut section = root.section("metrics");
    let open = section.parsed("access", |text| match text {
        "read" => Ok(false),
        "open" => Ok(true),
        other => Err(format!("{other:?} is no access: write \"read\" or \"open\"")),
    });
    section.finish();
    open.unwrap_or(false)
}

pub(super) fn read_store(root: &mut Section<'_>) -> Option<StoreConfig> {
    let mut section = root.section("store");
    let missing = !section.has("url") && !section.has("url_file");
    let url = section.secret("url", "url_file");
    if missing {
        section.missing::<()>("url", "url = \"sqlite:tidegate.db\"");
    }
    let known = ["sqlite:", "postgres:", "postgresql:"];
    if url.as_ref().is_some_and(|url| !known.iter().any(|scheme| url.reveal().starts_with(scheme)))
    {
        // The text is not repeated: it may hold a password.
        section.error("url", "must begin with sqlite: or postgres:");
    }
    let connections = section.integer("connections_max", 10, 1..=1_000);
    let pooler = section.parsed("pooler", |text| match text {
        "auto" => Ok(Pooler::Auto),
        "none" => Ok(Pooler::None),
        "transaction" => Ok(Pooler::Transaction),
        other => {
            Err(format!("{other:?} is no pooler: write \"auto\", \"none\" or \"transaction\""))
        }
    });
    let wait = section.duration("wait", seconds(30), seconds(0)..=seconds(3_600));
    let migrate = section.parsed("migrate", |text| match text {
        "auto" => Ok(true),
        "refuse" => Ok(false),
        other => Err(format!("{other:?} is no answer: write \"auto\" or \"refuse\"")),
    });
    section.finish();
    Some(StoreConfig {
        url: url?,
        connections_max: u32::try_from(connections).unwrap_or(10),
        pooler: pooler.unwrap_or_default(),
        wait,
        migrate: migrate.unwrap_or(true),
    })
}

pub(super) fn read_plugins(root: &mut Section<'_>) -> PluginsConfig {
    let folder = root.context().folder;
    let mut section = root.section("plugins");
    let dir = section.path("dir").unwrap_or_else(|| folder.join("plugins"));
    let cache_dir = section.path("cache_dir").unwrap_or_else(|| folder.join("plugins-cache"));
    if cache_dir.starts_with(&dir) {
        let why = "lies inside plugins.dir, where others may write: put it elsewhere";
        section.error("cache_dir", why);
    }
    let from = section.parsed("from", |text| match text {
        "folder" => Ok(false),
        "store" => Ok(true),
        other => Err(format!("{other:?} is no source: write \"folder\" or \"store\"")),
    });
    let widening = section.parsed("widening", |text| match text {
        "hold" => Ok(true),
        "allow" => Ok(false),
        other => Err(format!("{other:?} is no rule: write \"hold\" or \"allow\"")),
    });
    let prepare_timeout =
        section.duration("prepare_timeout", seconds(120), seconds(1)..=seconds(3_600));
    let drain = section.duration("drain", seconds(60), seconds(0)..=seconds(3_600));
    let require_signature = read_trusted_keys(&mut section);
    section.finish();
    PluginsConfig {
        dir,
        cache_dir,
        from_store: from.unwrap_or(false),
        hold_widening: widening.unwrap_or(true),
        prepare_timeout,
        drain,
        require_signature,
    }
}

/// Each key is checked, so that one that is mistyped is told, and not one that signed nothing.
fn read_trusted_keys(section: &mut Section<'_>) -> Option<TrustedKeys> {
    let key = |text: &str| {
        TrustedKeys::new([text]).map_err(|error| error.to_string())?;
        Ok(text.to_owned())
    };
    let keys = section.list("require_signature", key)?;
    if keys.is_empty() {
        section.error("require_signature", "lists no key: name one, or leave it out");
    }
    TrustedKeys::new(keys.iter().map(String::as_str)).ok()
}

pub(super) fn read_dispatch(root: &mut Section<'_>) -> DispatchConfig {
    let mut section = root.section("dispatch");
    let batch = section.integer("batch", 200, 1..=u64::from(CLAIM_MAX));
    let config = DispatchConfig {
        lease: section.duration("lease", seconds(30), seconds(2)..=seconds(3_600)),
        poll: section.duration("poll", seconds(1), Duration::from_millis(10)..=seconds(60)),
        grace: section.duration("grace", seconds(20), seconds(0)..=seconds(600)),
        interruptions_max: u32::try_from(section.integer("interruptions_max", 20, 1..=1_000))
            .unwrap_or(20),
        batch: u32::try_from(batch).unwrap_or(CLAIM_MAX),
        attempts_max: u32::try_from(section.integer("attempts_max", 1_000, 1..=100_000))
            .unwrap_or(1_000),
    };
    section.finish();
    config
}

pub(super) fn read_retention(root: &mut Section<'_>) -> Retention {
    let mut section = root.section("retention");
    let default = Retention::default();
    // Shorter than an hour, a caller that tries again could be taken for another one.
    let range = seconds(3_600)..=seconds(3_650 * 24 * 3_600);
    let keep = Retention {
        finished_events: section.duration_or(
            "finished_events",
            "never",
            default.finished_events,
            range.clone(),
        ),
        idempotency_keys: section.duration_or(
            "idempotency_keys",
            "never",
            default.idempotency_keys,
            range,
        ),
        releases: u32::try_from(section.integer("releases", 20, 1..=10_000)).ok(),
    };
    section.finish();
    keep
}

pub(super) fn read_tokens(root: &mut Section<'_>) -> Tokens {
    let mut tokens = Vec::new();
    for mut section in root.sections("tokens") {
        let missing: Vec<_> =
            ["name", "sha256", "roles"].into_iter().filter(|key| !section.has(key)).collect();
        let name = section.parsed("name", |text| {
            let valid =
                (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
            let rule = "needs 1 to 64 visible ASCII characters";
            if valid { Ok(text.to_owned()) } else { Err(rule.to_owned()) }
        });
        let sha256 = section.parsed("sha256", parse_digest);
        let roles =
            section.list("roles", |text| text.parse::<Role>().map_err(|error| error.to_string()));
        for key in missing {
            let example = "what `tidegate token new` prints";
            section.missing::<()>(key, example);
        }
        section.finish();
        if let (Some(name), Some(sha256), Some(roles)) = (name, sha256, roles) {
            tokens.push(Token { name, sha256, roles });
        }
    }
    Tokens::new(tokens).unwrap_or_else(|error| {
        root.error("tokens", error.to_string());
        Tokens::default()
    })
}

fn parse_digest(text: &str) -> Result<[u8; 32], String> {
    let rule = || "must be 64 hexadecimal digits, as `tidegate token new` prints them".to_owned();
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(rule());
    }
    for (i, byte) in digest.iter_mut().enumerate() {
        let pair = text.get(2 * i..2 * i + 2).ok_or_else(rule)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| rule())?;
    }
    Ok(digest)
}

/// A status that is not mentioned keeps its default.
pub(super) fn read_flow(root: &mut Section<'_>) -> Flow {
    let mut section = root.section("flow");
    let default = Flow::default();
    let mut on = BTreeMap::new();
    for (key, status) in [
        ("requested", WithdrawalStatus::Requested),
        ("broadcasted", WithdrawalStatus::Broadcasted),
        ("confirmed", WithdrawalStatus::Confirmed),
        ("failed", WithdrawalStatus::Failed),
    ] {
        let types = section.list(key, |text| text.parse::<EventType>().map_err(|e| e.to_string()));
        on.insert(status, types.unwrap_or_else(|| default.event_types(status).to_vec()));
    }
    let reopened =
        section.list("reopened", |text| text.parse::<EventType>().map_err(|e| e.to_string()));
    let reopened = reopened.unwrap_or_else(|| default.reopened_types().to_vec());
    let flow = Flow::new(on).unwrap_or_else(|error| {
        section.context().error(section.place(), "flow", error.to_string());
        default
    });
    let flow = flow.with_reopened(reopened);
    section.finish();
    flow
}

pub(super) fn read_broker(root: &mut Section<'_>) -> BrokerConfig {
    let mut section = root.section("broker");
    let kind = section.parsed("kind", |text| match text {
        "none" | "nats" => Ok(text.to_owned()),
        other => Err(format!("{other:?} is no broker: write \"nats\" or \"none\"")),
    });
    let config = match kind.as_deref() {
        Some("nats") => {
            let missing = !section.has("url") && !section.has("url_file");
            let url = section.secret("url", "url_file");
            if missing {
                section.missing::<()>("url", "url = \"nats://localhost:4222\"");
            }
            BrokerConfig::Nats {
                url: url.unwrap_or_else(|| Redacted::new(String::new())),
                stream: section.text("stream").unwrap_or_else(|| "TIDEGATE".into()),
                subject_prefix: section.text("subject_prefix").unwrap_or_else(|| "tidegate".into()),
            }
        }
        Some(_) | None => BrokerConfig::None,
    };
    section.finish();
    config
}

pub(super) fn read_log(root: &mut Section<'_>) -> LogConfig {
    let mut section = root.section("log");
    let default = LogConfig::default();
    let format = section.parsed("format", |text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("{other:?} is no format: write \"text\" or \"json\"")),
    });
    let filter = section.parsed("filter", |text| {
        let parsed = tracing_subscriber::EnvFilter::builder().parse(text);
        parsed.map(|_| text.to_owned()).map_err(|error| format!("is no filter: {error}"))
    });
    section.finish();
    LogConfig { format: format.unwrap_or(default.format), filter: filter.unwrap_or(default.filter) }
}
