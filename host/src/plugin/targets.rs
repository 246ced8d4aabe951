//! The targets of a plugin: which it may have, which may be asked now, and what a call showed of them.

use std::any::Any;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::grants::Grants;

/// The broker's name among the targets.
pub(super) const BROKER: &str = "messaging";

/// Targets of one call that are kept; a guest may ask for more hosts than anybody wants to know of.
const TARGETS_MAX: usize = 16;

/// The targets that a plugin's grants name, by host and port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    pub named: BTreeSet<String>,
    /// A grant with a `*` allows others too.
    pub and_others: bool,
}

impl Targets {
    #[must_use]
    pub fn of(grants: &Grants) -> Self {
        let mut targets = Self::default();
        for grant in &grants.http {
            match grant.origin.target() {
                Some(target) => {
                    targets.named.insert(target);
                }
                None => targets.and_others = true,
            }
        }
        if !grants.topics.is_empty() {
            targets.named.insert(BROKER.to_owned());
        }
        targets
    }

    /// The one target, if there can be no other: then each of its events needs it.
    #[must_use]
    pub fn sole(&self) -> Option<&str> {
        let only = self.named.len() == 1 && !self.and_others;
        self.named.first().filter(|_| only).map(String::as_str)
    }
}

/// Held while an attempt works with a target.
pub type TargetPass = Box<dyn Any + Send + Sync>;

/// Says whether a target may be asked now. Asked once an attempt and target, before anything is sent.
#[async_trait]
pub trait TargetGate: Send + Sync {
    /// # Errors
    /// Nobody may for so long. Nothing is sent, and the event does not pay for it.
    async fn enter(&self, target: &str) -> Result<TargetPass, Duration>;
}

/// The targets of one attempt, by host and port. Shared with the tasks of its requests.
#[derive(Default)]
pub struct TargetReports {
    /// None: all may be asked.
    gate: Option<Arc<dyn TargetGate>>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    answered: BTreeMap<String, bool>,
    shut: Option<ShutTarget>,
    passes: Vec<TargetPass>,
}

/// A target that was not asked, because its breaker is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutTarget {
    pub target: String,
    /// Nobody asks it for so long.
    pub wait: Duration,
}

/// What an attempt showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetsSeen {
    /// Each target that was asked, and whether it answered when it was asked last.
    pub answered: BTreeMap<String, bool>,
    /// Of those that were not asked, the one that may be soonest.
    pub shut: Option<ShutTarget>,
}

impl TargetReports {
    /// For an attempt whose requests go through a gate.
    #[must_use]
    pub fn behind(gate: Option<Arc<dyn TargetGate>>) -> Arc<Self> {
        Arc::new(Self { gate, seen: Mutex::default() })
    }

    /// Whether a request may go there now. An attempt that was let through once goes on.
    pub(super) async fn may_ask(&self, target: &str) -> bool {
        let Some(gate) = &self.gate else { return true };
        if self.seen().answered.contains_key(target) {
            return true;
        }
        match gate.enter(target).await {
            Ok(pass) => {
                let mut seen = self.seen();
                // Each asks for one target, so no more than those that are kept hold a pass.
                if seen.passes.len() < TARGETS_MAX {
                    seen.passes.push(pass);
                }
                true
            }
            Err(wait) => {
                let mut seen = self.seen();
                if seen.shut.as_ref().is_none_or(|shut| wait < shut.wait) {
                    seen.shut = Some(ShutTarget { target: target.to_owned(), wait });
                }
                false
            }
        }
    }

    /// A request is on its way. Until it is answered, the target failed: said before it goes, so
    /// that a call that is dropped meanwhile counts.
    pub(super) fn asked(&self, target: &str) {
        self.set(target, false);
    }

    /// It answered, and not with "not now".
    pub(super) fn answered(&self, target: &str) {
        self.set(target, true);
    }

    /// Nothing was sent there, for a reason of the host's own.
    pub(super) fn spared(&self, target: &str) {
        self.seen().answered.remove(target);
    }

    fn set(&self, target: &str, answered: bool) {
        let known = &mut self.seen().answered;
        let room = known.len() < TARGETS_MAX;
        match known.entry(target.to_owned()) {
            Entry::Occupied(mut known) => *known.get_mut() = answered,
            Entry::Vacant(place) if room => {
                place.insert(answered);
            }
            Entry::Vacant(_) => {}
        }
    }

    /// What there is to learn of it, once.
    #[must_use]
    pub fn take(&self) -> TargetsSeen {
        let seen = std::mem::take(&mut *self.seen());
        TargetsSeen { answered: seen.answered, shut: seen.shut }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TargetReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetReports").field("answered", &self.seen().answered).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plugin::Manifest;

    fn targets(grants: &str) -> Targets {
        let text = format!("name = \"p\"\nhandles = [\"A\"]\n[grants]\n{grants}");
        Targets::of(&Manifest::parse(&text, Path::new("plugin.toml")).unwrap().grants)
    }

    #[test]
    fn a_plugin_has_the_targets_that_its_grants_name() {
        let one = r#"http = ["https://API.partner.example"]"#;
        assert_eq!(targets(one).sole(), Some("api.partner.example:443"));
        assert_eq!(targets(r#"topics = ["a", "b.*"]"#).sole(), Some(BROKER));
        for several in [
            r#"http = ["https://a.example", "https://b.example"]"#,
            r#"http = ["https://a.example", "https://a.example:8443"]"#,
            "http = [\"https://a.example\"]\ntopics = [\"t\"]",
            r#"http = ["https://*.a.example"]"#,
            "",
        ] {
            assert_eq!(targets(several).sole(), None, "{several}");
        }
        let six = r#"http = [{ origin = "http://[::1]:80", private = true }]"#;
        assert_eq!(targets(six).sole(), Some("[::1]:80"));
        assert!(targets(r#"http = ["https://*.a.example"]"#).and_others);
    }
}
