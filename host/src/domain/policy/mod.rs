//! What an operator wants to hold before anything is signed for a withdrawal: the rules, their
//! version, and (in `decide`) what they say.

mod decide;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::amount::Amount;
use super::id::WithdrawalId;
use super::name::Network;
use super::withdrawal::WithdrawalRequest;

pub use decide::{
    ExternalAnswer, Freeze, PolicyFacts, PolicyOutcome, PolicyRuling, decide_policy,
    replacement_ruling,
};

/// The names of the rules, as decisions and waits show them.
pub mod policy_rule {
    pub const FREEZE: &str = "policy.freeze";
    pub const AMOUNT: &str = "policy.amount";
    pub const DESTINATION: &str = "policy.destination";
    pub const WINDOW: &str = "policy.window";
    pub const COOLING_OFF: &str = "policy.cooling-off";
    pub const APPROVALS: &str = "policy.approvals";
    pub const EXTERNAL: &str = "policy.external";
    /// What is kept with a withdrawal that nothing stands against.
    pub const NONE: &str = "none";
}

/// What a rule is about: an asset, by the name that requests use, on one network or on all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AssetScope {
    pub asset: String,
    /// None: the rule is for each network that has the asset.
    pub network: Option<Network>,
}

impl AssetScope {
    #[must_use]
    pub fn covers(&self, request: &WithdrawalRequest) -> bool {
        self.asset == request.asset
            && self.network.as_ref().is_none_or(|network| *network == request.network)
    }
}

/// No withdrawal is larger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmountRule {
    pub scope: AssetScope,
    pub amount_max: Amount,
}

/// Whose withdrawals a window adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WindowScope {
    /// A user's; on all networks together, unless the rule names one.
    User,
    /// What one paying account pays.
    Account,
    /// All of a network.
    Network,
}

impl WindowScope {
    pub const ALL: [Self; 3] = [Self::User, Self::Account, Self::Network];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Account => "account",
            Self::Network => "network",
        }
    }
}

/// No more than `sum_max` is paid within `window`. What is in flight counts, however old it is;
/// what was confirmed counts for `window` from then on; what failed does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowRule {
    pub per: WindowScope,
    pub scope: AssetScope,
    pub window: Duration,
    pub sum_max: Amount,
}

/// Where a network's payments may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationRule {
    pub network: Network,
    /// If there is a list, only these are paid, and they need not cool off.
    pub allow: Option<BTreeSet<String>>,
    pub deny: BTreeSet<String>,
    /// How long a withdrawal to a destination waits that was never paid before.
    pub cooling_off: Duration,
}

/// Above `above`, so many people must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRule {
    pub scope: AssetScope,
    pub above: Amount,
    pub approvals: u32,
    /// Whose approvals count; empty: everybody's whose token has the role.
    pub approvers: BTreeSet<String>,
}

/// A service that is asked before the first signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalRule {
    pub url: String,
    /// How long its yes may be used.
    pub holds: Duration,
}

/// All rules, as they are configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRules {
    pub amounts: Vec<AmountRule>,
    pub windows: Vec<WindowRule>,
    pub destinations: Vec<DestinationRule>,
    pub approvals: Vec<ApprovalRule>,
    /// How long an approval holds.
    pub approval_ttl: Duration,
    pub external: Option<ExternalRule>,
}

impl Default for PolicyRules {
    fn default() -> Self {
        Self {
            amounts: Vec::new(),
            windows: Vec::new(),
            destinations: Vec::new(),
            approvals: Vec::new(),
            approval_ttl: Duration::from_secs(24 * 60 * 60),
            external: None,
        }
    }
}

/// Rules with their version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    rules: PolicyRules,
    version: String,
}

impl Default for Policies {
    fn default() -> Self {
        Self::new(PolicyRules::default())
    }
}

impl Policies {
    #[must_use]
    pub fn new(rules: PolicyRules) -> Self {
        let version = hex(&Sha256::digest(canonical(&rules).as_bytes()));
        Self { rules, version }
    }

    #[must_use]
    pub const fn rules(&self) -> &PolicyRules {
        &self.rules
    }

    /// SHA-256 of the rules in hexadecimal. The order in which they stand does not matter.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether there is no rule. Freezes hold all the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let PolicyRules { amounts, windows, destinations, approvals, approval_ttl: _, external } =
            &self.rules;
        amounts.is_empty()
            && windows.is_empty()
            && destinations.is_empty()
            && approvals.is_empty()
            && external.is_none()
    }

    /// The windows that a withdrawal must fit into, in the order of [`PolicyFacts::spent`].
    pub fn windows_for<'a>(
        &'a self,
        request: &'a WithdrawalRequest,
    ) -> impl Iterator<Item = &'a WindowRule> {
        self.rules.windows.iter().filter(|rule| rule.scope.covers(request))
    }

    /// The rule of a withdrawal's network.
    #[must_use]
    pub fn destinations_of(&self, network: &Network) -> Option<&DestinationRule> {
        self.rules.destinations.iter().find(|rule| rule.network == *network)
    }

    /// The approvals that a withdrawal needs: of the rules that it exceeds, each must be met.
    pub fn approvals_for<'a>(
        &'a self,
        request: &'a WithdrawalRequest,
    ) -> impl Iterator<Item = &'a ApprovalRule> {
        let exceeded =
            |rule: &&ApprovalRule| rule.scope.covers(request) && request.amount > rule.above;
        self.rules.approvals.iter().filter(exceeded)
    }
}

/// Who or what a freeze holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FreezeSubject {
    All,
    User(String),
    /// On one network, or on all.
    Asset {
        asset: String,
        network: Option<Network>,
    },
    Withdrawal(WithdrawalId),
}

/// The kind of a freeze's subject, as it is stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeScope {
    All,
    User,
    Asset,
    Withdrawal,
}

impl FreezeScope {
    pub const ALL: [Self; 4] = [Self::All, Self::User, Self::Asset, Self::Withdrawal];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::User => "user",
            Self::Asset => "asset",
            Self::Withdrawal => "withdrawal",
        }
    }
}

impl FreezeSubject {
    #[must_use]
    pub const fn scope(&self) -> FreezeScope {
        match self {
            Self::All => FreezeScope::All,
            Self::User(_) => FreezeScope::User,
            Self::Asset { .. } => FreezeScope::Asset,
            Self::Withdrawal(_) => FreezeScope::Withdrawal,
        }
    }
}

impl std::fmt::Display for FreezeSubject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::User(user) => write!(f, "the user {user}"),
            Self::Asset { asset, network: None } => write!(f, "the asset {asset}"),
            Self::Asset { asset, network: Some(network) } => {
                write!(f, "the asset {asset} on {network}")
            }
            Self::Withdrawal(_) => f.write_str("this withdrawal"),
        }
    }
}

/// Addresses of this family have one meaning in either case.
pub(super) fn same_address(network: &Network, one: &str, other: &str) -> bool {
    one == other || network.namespace() == "eip155" && one.eq_ignore_ascii_case(other)
}

/// What an external answer is bound to: who is paid what, and by which rules.
#[must_use]
pub fn facts_digest(id: WithdrawalId, request: &WithdrawalRequest, version: &str) -> String {
    let WithdrawalRequest { user_id, asset, network, amount, destination_address } = request;
    let mut hash = Sha256::new();
    let (id, amount) = (id.to_string(), amount.to_string());
    for part in [&id, user_id, asset, network.as_str(), &amount, destination_address, version] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One line a rule, sorted. Texts are quoted, so that no two sets of rules are written alike.
fn canonical(rules: &PolicyRules) -> String {
    // Taken apart, so that a new kind of rule cannot be forgotten here.
    let PolicyRules { amounts, windows, destinations, approvals, approval_ttl, external } = rules;
    let scope = |AssetScope { asset, network }: &AssetScope| {
        format!("{asset:?} on {}", network.as_ref().map_or("*", Network::as_str))
    };
    let mut lines = vec![format!("approvals hold {}us", approval_ttl.as_micros())];
    for AmountRule { scope: of, amount_max } in amounts {
        lines.push(format!("amount of {} max {amount_max}", scope(of)));
    }
    for WindowRule { per, scope: of, window, sum_max } in windows {
        let (per, of, window) = (per.as_str(), scope(of), window.as_micros());
        lines.push(format!("window per {per} of {of} in {window}us max {sum_max}"));
    }
    for DestinationRule { network, allow, deny, cooling_off } in destinations {
        let plain = |list: &BTreeSet<String>| {
            let evm = network.namespace() == "eip155";
            list.iter()
                .map(|text| if evm { text.to_ascii_lowercase() } else { text.clone() })
                .collect::<BTreeSet<_>>()
        };
        let (allow, deny) = (allow.as_ref().map(plain), plain(deny));
        let cooling_off = cooling_off.as_micros();
        lines.push(format!("on {network} allow {allow:?} deny {deny:?} cool {cooling_off}us"));
    }
    for ApprovalRule { scope: of, above, approvals, approvers } in approvals {
        lines.push(format!("{approvals} of {approvers:?} for {} above {above}", scope(of)));
    }
    if let Some(ExternalRule { url, holds }) = external {
        lines.push(format!("ask {url:?} yes holds {}us", holds.as_micros()));
    }
    lines.sort();
    format!("tidegate policies 1\n{}\n", lines.join("\n"))
}
