//! `[policies]`: what must hold before anything is signed.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::api::{Role, Tokens};
use crate::domain::{
    Amount, AmountRule, ApprovalRule, AssetScope, DestinationRule, ExternalRule, Network, Policies,
    PolicyRules, WindowRule, WindowScope, parse_duration,
};

use super::reader::Section;
use super::redacted::Redacted;

/// The policies, and how the external service is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoliciesConfig {
    pub policies: Policies,
    pub external: Option<ExternalPolicyConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalPolicyConfig {
    pub url: url::Url,
    /// The key of the HMAC that each request carries.
    pub secret: Redacted,
    /// A service that has not answered by then has not said yes.
    pub timeout: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const TTL_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 60 * 60);
const WINDOW_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(366 * 24 * 60 * 60);
const COOLING_OFF_RANGE: RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(30 * 24 * 60 * 60);
/// A plugin waits for it within its own time, 30 s by default.
const TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(15);
/// Whoever guesses keys must not guess this one.
const SECRET_BYTES_MIN: usize = 16;

pub(super) fn read_policies(root: &mut Section<'_>, tokens: &Tokens) -> PoliciesConfig {
    let mut section = root.section("policies");
    let approval_ttl = section.duration("approval_ttl", DAY, TTL_RANGE);
    let amounts = section.sections("amounts").into_iter().filter_map(read_amount).collect();
    let windows = section.sections("windows").into_iter().filter_map(read_window).collect();
    let destinations = read_destinations(&mut section);
    let approvals = section.sections("approvals");
    let approvals = approvals.into_iter().filter_map(|rule| read_approval(rule, tokens)).collect();
    let external = section.has("external").then(|| read_external(section.section("external")));
    if external.is_none() {
        let _ = section.take("external");
    }
    section.finish();
    let (external, rule) = external.flatten().unzip();
    let rules =
        PolicyRules { amounts, windows, destinations, approvals, approval_ttl, external: rule };
    PoliciesConfig { policies: Policies::new(rules), external }
}

fn read_scope(section: &mut Section<'_>) -> Option<AssetScope> {
    let asset = if section.has("asset") {
        section.text("asset")
    } else {
        let _ = section.take("asset");
        section.missing("asset", "asset = \"ETH\"")
    };
    let network = section.has("network");
    let named = read_network(section);
    // A rule whose network is mistyped must not become one for all.
    (!network || named.is_some()).then_some(())?;
    Some(AssetScope { asset: asset?, network: named })
}

fn read_network(section: &mut Section<'_>) -> Option<Network> {
    section.parsed("network", |text| text.parse::<Network>().map_err(|e| e.to_string()))
}

fn read_sum(section: &mut Section<'_>, name: &'static str) -> Option<Amount> {
    if !section.has(name) {
        let _ = section.take(name);
        return section.missing(name, &format!("{name} = \"100\""));
    }
    section.parsed(name, |text| {
        text.parse::<Amount>().map_err(|error| format!("{error}; write it in quotes"))
    })
}

fn read_amount(mut section: Section<'_>) -> Option<AmountRule> {
    let scope = read_scope(&mut section);
    let amount_max = read_sum(&mut section, "amount_max");
    section.finish();
    Some(AmountRule { scope: scope?, amount_max: amount_max? })
}

fn read_window(mut section: Section<'_>) -> Option<WindowRule> {
    let scope = read_scope(&mut section);
    let per = if section.has("per") {
        section.parsed("per", |text| {
            let known = WindowScope::ALL.into_iter().find(|per| per.as_str() == text);
            let names = "write \"user\", \"account\" or \"network\"";
            known.ok_or_else(|| format!("{text:?} is nothing to add up: {names}"))
        })
    } else {
        let _ = section.take("per");
        section.missing("per", "per = \"user\"")
    };
    let window = if section.has("window") {
        section.parsed("window", |text| {
            let window = parse_duration(text).map_err(|error| error.to_string())?;
            let (start, end) = (WINDOW_RANGE.start(), WINDOW_RANGE.end());
            let within = WINDOW_RANGE.contains(&window);
            if within { Ok(window) } else { Err(format!("must lie between {start:?} and {end:?}")) }
        })
    } else {
        let _ = section.take("window");
        section.missing("window", "window = \"24h\"")
    };
    let sum_max = read_sum(&mut section, "sum_max");
    section.finish();
    Some(WindowRule { per: per?, scope: scope?, window: window?, sum_max: sum_max? })
}

fn read_destinations(section: &mut Section<'_>) -> Vec<DestinationRule> {
    let mut rules: Vec<DestinationRule> = Vec::new();
    for rule in section.sections("destinations") {
        let name = rule.key("network");
        let Some(rule) = read_destination(rule) else { continue };
        if rules.iter().any(|other| other.network == rule.network) {
            let message = format!("{} has two lists: join them", rule.network);
            section.context().error(section.place(), &name, message);
        }
        rules.push(rule);
    }
    rules
}

fn read_destination(mut section: Section<'_>) -> Option<DestinationRule> {
    let had_network = section.has("network");
    let network = read_network(&mut section);
    if !had_network {
        section.missing::<()>("network", "network = \"eip155:1\"");
    }
    // An address that is mistyped would deny nobody.
    let evm = network.as_ref().is_some_and(|network| network.namespace() == "eip155");
    let address = |text: &str| {
        let hex = text.strip_prefix("0x").unwrap_or_default();
        let is_evm = hex.len() == 40 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if evm && !is_evm {
            return Err("must be 0x and 40 hexadecimal digits".to_owned());
        }
        if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned()) }
    };
    let allow = section.list("allow", address);
    let deny = section.list("deny", address);
    let cooling_off = section.duration("cooling_off", Duration::ZERO, COOLING_OFF_RANGE);
    section.finish();
    Some(DestinationRule {
        network: network?,
        allow: allow.map(BTreeSet::from_iter),
        deny: deny.unwrap_or_default().into_iter().collect(),
        cooling_off,
    })
}

/// Each name is that of a token with the role, so that no rule waits for nobody.
fn read_approval(mut section: Section<'_>, tokens: &Tokens) -> Option<ApprovalRule> {
    let scope = read_scope(&mut section);
    let above = read_sum(&mut section, "above");
    let approvals = u32::try_from(section.integer("approvals", 1, 1..=100)).unwrap_or(1);
    let can =
        |name: &str| tokens.named(name).is_some_and(|token| token.roles.contains(&Role::Approve));
    let approvers = section.list("approvers", |name| {
        let rule = "is no token with the role approve: name one of [[tokens]]";
        if can(name) { Ok(name.to_owned()) } else { Err(format!("{name:?} {rule}")) }
    });
    let approvers = approvers.map(BTreeSet::from_iter);
    if approvers.as_ref().is_some_and(BTreeSet::is_empty) {
        section.error("approvers", "names nobody: name somebody, or leave it out");
    }
    let all = || tokens.as_slice().iter().filter(|token| can(&token.name)).count();
    let there = approvers.as_ref().map_or_else(all, BTreeSet::len);
    if there < usize::try_from(approvals).unwrap_or(usize::MAX) {
        let message = format!("asks for {approvals} approvals, and {there} can approve");
        section.error("approvals", message);
    }
    section.finish();
    Some(ApprovalRule {
        scope: scope?,
        above: above?,
        approvals,
        approvers: approvers.unwrap_or_default(),
    })
}

fn read_external(mut section: Section<'_>) -> Option<(ExternalPolicyConfig, ExternalRule)> {
    let had_url = section.has("url");
    let url = section.parsed("url", |text| match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        // The text is not repeated: it may hold a key.
        Ok(_) | Err(_) => Err("is no http or https URL: correct it".to_owned()),
    });
    if !had_url {
        section.missing::<()>("url", "url = \"https://risk.example/decide\"");
    }
    let had_secret = section.has("secret") || section.has("secret_file");
    let secret = section.secret("secret", "secret_file");
    if !had_secret {
        section.missing::<()>("secret_file", "secret_file = \"policy.key\"");
    }
    if secret.as_ref().is_some_and(|secret| secret.reveal().len() < SECRET_BYTES_MIN) {
        let message = format!("is too short: it needs at least {SECRET_BYTES_MIN} bytes");
        section.error("secret", message);
    }
    let timeout = section.duration("timeout", Duration::from_secs(3), TIMEOUT_RANGE);
    let holds = section.duration("holds", Duration::from_secs(300), TTL_RANGE);
    section.finish();
    let url = url?;
    let rule = ExternalRule { url: url.to_string(), holds };
    Some((ExternalPolicyConfig { url, secret: secret?, timeout }, rule))
}
