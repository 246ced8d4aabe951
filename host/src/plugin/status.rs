//! What operators see of the plugins of a host: the live releases, those that still end what they
//! have in hand, and the candidates that did not become live, with the reason.

use super::manifest::Manifest;
use crate::domain::Timestamp;

/// Where a release, or a candidate for one, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PluginState {
    /// New events go to it.
    Live,
    /// It does not validate, or clashes; what was live before stays so.
    Rejected,
    /// It is whole, and waits for an operator's word.
    Held,
    /// An operator switched it off.
    Disabled,
    /// Replaced or removed; it ends the attempts that it has in hand.
    Retiring,
}

impl PluginState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Rejected => "rejected",
            Self::Held => "held",
            Self::Disabled => "disabled",
            Self::Retiring => "retiring",
        }
    }
}

/// A candidate that is not live, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Where it comes from. A later candidate from there takes the place of this one.
    pub origin: String,
    /// Its name; that of its folder, if its manifest cannot be read.
    pub plugin: String,
    pub digest: Option<String>,
    pub manifest: Option<Manifest>,
    pub state: PluginState,
    pub reason: String,
}

/// One line of what operators see.
#[derive(Debug, Clone)]
pub struct PluginStatus {
    pub plugin: String,
    pub state: PluginState,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Where it comes from, such as its folder.
    pub origin: String,
    /// SHA-256 of the component.
    pub digest: Option<String>,
    /// None where it could not be read.
    pub manifest: Option<Manifest>,
    /// Why it is not live.
    pub reason: Option<String>,
    /// Calls that run now.
    pub calls_in_hand: usize,
}
