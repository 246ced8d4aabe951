//! How a release becomes live: on all hosts or on none, or tried first, on a share of the events or on
//! copies of them.
//!
//! ```text
//! HELD ──approve──► PREPARING ──all hosts prepared──► LIVE ──another one──► RETIRED
//!                    │  │  │                            ▲ └─────rollback────► ROLLED_BACK
//!                    │  │  └──with a share──► CANARY ──fine
//!                    │  │                       └──worse, or rollback───────► ROLLED_BACK
//!                    │  └──as a shadow──► SHADOW ──approve──► LIVE
//!                    ▼                      └──rollback─────────────────────► ROLLED_BACK
//!                 REJECTED      a later deploy takes HELD, PREPARING, CANARY and SHADOW to SUPERSEDED
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::canary::{CanaryVerdict, Share, Tally, judge_canary};
use super::shadow::ShadowPlan;

/// Names a release: the plugin, and its number within it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseName {
    pub plugin: String,
    pub number: u32,
}

impl fmt::Display for ReleaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.plugin, self.number)
    }
}

/// Where a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReleaseState {
    /// It asks for more than the live one: an operator must approve it.
    Held,
    /// The hosts fetch, check and compile it.
    Preparing,
    /// It gets a share of the events, and is compared with the live one.
    Canary,
    /// It gets copies of a share of the attempts, and nothing of what it does leaves the hosts.
    Shadow,
    /// New events go to it.
    Live,
    /// It was live until another one was.
    Retired,
    /// It was live, or tried, and was taken back.
    RolledBack,
    /// A host cannot load it, so none does.
    Rejected,
    /// A later one came before it was live.
    Superseded,
}

impl ReleaseState {
    pub const ALL: [Self; 9] = [
        Self::Held,
        Self::Preparing,
        Self::Canary,
        Self::Shadow,
        Self::Live,
        Self::Retired,
        Self::RolledBack,
        Self::Rejected,
        Self::Superseded,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Preparing => "PREPARING",
            Self::Canary => "CANARY",
            Self::Shadow => "SHADOW",
            Self::Live => "LIVE",
            Self::Retired => "RETIRED",
            Self::RolledBack => "ROLLED_BACK",
            Self::Rejected => "REJECTED",
            Self::Superseded => "SUPERSEDED",
        }
    }

    /// Whether it may still become live by itself or by an approval.
    #[must_use]
    pub const fn is_candidate(self) -> bool {
        match self {
            Self::Held | Self::Preparing | Self::Canary | Self::Shadow => true,
            Self::Live | Self::Retired | Self::RolledBack | Self::Rejected | Self::Superseded => {
                false
            }
        }
    }
}

impl fmt::Display for ReleaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReleaseState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

/// What a host made of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostVerdict {
    /// It could make it live at once.
    Prepared,
    /// Its new events go to it.
    Live,
    /// It cannot load it.
    Rejected { reason: String },
}

/// A host that is alive, and what it said; None while it is at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostStanding {
    pub host: String,
    pub verdict: Option<HostVerdict>,
}

/// The trial that a release is to pass before all events go to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryPlan {
    pub share: Share,
    /// After so many events it is promoted.
    pub events: u64,
}

/// A candidate, as a decision needs it.
#[derive(Debug, Clone)]
pub struct RolloutFacts<'a> {
    pub state: ReleaseState,
    pub canary: Option<CanaryPlan>,
    pub shadow: Option<ShadowPlan>,
    /// Whether the plugin has a live release: without one there is nothing to try it against.
    pub has_live: bool,
    /// How long it has been in its state.
    pub state_age: Duration,
    /// The hosts that are alive.
    pub hosts: &'a [HostStanding],
    pub live_tally: &'a Tally,
    pub canary_tally: &'a Tally,
}

/// What is to be done with a candidate. The store carries it out if nothing changed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutDecision {
    Wait,
    /// PREPARING → CANARY.
    BeginCanary,
    /// PREPARING → SHADOW.
    BeginShadow,
    /// PREPARING → LIVE.
    MakeLive,
    /// PREPARING → REJECTED.
    Reject {
        reason: String,
    },
    /// CANARY → LIVE.
    Promote {
        reason: String,
    },
    /// CANARY → ROLLED_BACK.
    RollBack {
        reason: String,
    },
}

/// Decides what becomes of a candidate. `prepare_within`: after so long without every host's word it
/// is rejected.
#[must_use]
pub fn decide_rollout(facts: &RolloutFacts<'_>, prepare_within: Duration) -> RolloutDecision {
    match facts.state {
        ReleaseState::Preparing => decide_preparing(facts, prepare_within),
        ReleaseState::Canary => {
            let Some(plan) = facts.canary else { return RolloutDecision::Wait };
            match judge_canary(facts.live_tally, facts.canary_tally, plan.events) {
                CanaryVerdict::GoOn => RolloutDecision::Wait,
                CanaryVerdict::Worse { why } => RolloutDecision::RollBack { reason: why },
                CanaryVerdict::Fine { why } => RolloutDecision::Promote { reason: why },
            }
        }
        // A person's turn.
        ReleaseState::Held | ReleaseState::Shadow
        // Nothing happens to these by themselves.
        | ReleaseState::Live
        | ReleaseState::Retired
        | ReleaseState::RolledBack
        | ReleaseState::Rejected
        | ReleaseState::Superseded => RolloutDecision::Wait,
    }
}

fn decide_preparing(facts: &RolloutFacts<'_>, prepare_within: Duration) -> RolloutDecision {
    let mut waited_for = Vec::new();
    for HostStanding { host, verdict } in facts.hosts {
        match verdict {
            Some(HostVerdict::Rejected { reason }) => {
                return RolloutDecision::Reject { reason: format!("{host}: {reason}") };
            }
            Some(HostVerdict::Prepared | HostVerdict::Live) => {}
            None => waited_for.push(host.as_str()),
        }
    }
    if facts.hosts.is_empty() || !waited_for.is_empty() {
        if facts.state_age < prepare_within {
            return RolloutDecision::Wait;
        }
        let who = if waited_for.is_empty() { "any host".to_owned() } else { waited_for.join(", ") };
        let reason = format!("no word of {who} within {} s", prepare_within.as_secs());
        return RolloutDecision::Reject { reason };
    }
    match (facts.canary, facts.shadow) {
        // What nothing of may leave the hosts must not become live for want of something to copy.
        (_, Some(_)) if !facts.has_live => RolloutDecision::Reject {
            reason: "nothing is live that it could be the shadow of".to_owned(),
        },
        (_, Some(_)) => RolloutDecision::BeginShadow,
        (Some(_), None) if facts.has_live => RolloutDecision::BeginCanary,
        (Some(_) | None, None) => RolloutDecision::MakeLive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn host(name: &str, verdict: Option<HostVerdict>) -> HostStanding {
        HostStanding { host: name.into(), verdict }
    }

    fn decided(
        state: ReleaseState,
        hosts: &[HostStanding],
        change: impl FnOnce(&mut RolloutFacts<'_>),
    ) -> RolloutDecision {
        let none = Tally::default();
        let mut facts = RolloutFacts {
            state,
            canary: None,
            shadow: None,
            has_live: true,
            state_age: Duration::from_secs(1),
            hosts,
            live_tally: &none,
            canary_tally: &none,
        };
        change(&mut facts);
        decide_rollout(&facts, LIMIT)
    }

    fn preparing(hosts: &[HostStanding]) -> RolloutDecision {
        decided(ReleaseState::Preparing, hosts, |_| {})
    }

    fn prepared(name: &str) -> HostStanding {
        host(name, Some(HostVerdict::Prepared))
    }

    fn plan() -> CanaryPlan {
        CanaryPlan { share: "5%".parse().unwrap(), events: 20 }
    }

    #[test]
    fn it_is_live_when_all_hosts_have_it_and_not_before() {
        assert_eq!(preparing(&[prepared("a"), host("b", None)]), RolloutDecision::Wait);
        let live = host("b", Some(HostVerdict::Live));
        assert_eq!(preparing(&[prepared("a"), live]), RolloutDecision::MakeLive);
        assert_eq!(preparing(&[]), RolloutDecision::Wait, "nobody has looked at it");
    }

    #[test]
    fn one_rejection_is_the_end_for_all() {
        let no = host("b", Some(HostVerdict::Rejected { reason: "no handler".into() }));
        let decision = preparing(&[prepared("a"), no, host("c", None)]);
        assert_eq!(decision, RolloutDecision::Reject { reason: "b: no handler".into() });
    }

    #[test]
    fn a_host_that_says_nothing_holds_it_up_for_a_time_only() {
        let hosts = [prepared("a"), host("b", None)];
        let late = |facts: &mut RolloutFacts<'_>| facts.state_age = LIMIT;
        let reason = "no word of b within 60 s".to_owned();
        let decision = decided(ReleaseState::Preparing, &hosts, late);
        assert_eq!(decision, RolloutDecision::Reject { reason });
        let decision = decided(ReleaseState::Preparing, &[], late);
        let reason = "no word of any host within 60 s".to_owned();
        assert_eq!(decision, RolloutDecision::Reject { reason });
        // All have spoken: late is better than never.
        let decision = decided(ReleaseState::Preparing, &[prepared("a")], late);
        assert_eq!(decision, RolloutDecision::MakeLive);
    }

    #[test]
    fn with_a_share_it_is_tried_first_unless_nothing_is_live() {
        let hosts = [prepared("a")];
        let decision =
            decided(ReleaseState::Preparing, &hosts, |facts| facts.canary = Some(plan()));
        assert_eq!(decision, RolloutDecision::BeginCanary);
        let decision = decided(ReleaseState::Preparing, &hosts, |facts| {
            facts.canary = Some(plan());
            facts.has_live = false;
        });
        assert_eq!(decision, RolloutDecision::MakeLive);
    }

    #[test]
    fn a_shadow_is_never_live_by_itself() {
        let hosts = [prepared("a")];
        let with_shadow = |facts: &mut RolloutFacts<'_>| {
            facts.shadow = Some(ShadowPlan { share: "20%".parse().unwrap(), events: 10 });
        };
        let decision = decided(ReleaseState::Preparing, &hosts, with_shadow);
        assert_eq!(decision, RolloutDecision::BeginShadow);
        let decision = decided(ReleaseState::Preparing, &hosts, |facts| {
            with_shadow(facts);
            facts.has_live = false;
        });
        assert!(matches!(decision, RolloutDecision::Reject { .. }), "{decision:?}");
        assert_eq!(decided(ReleaseState::Shadow, &hosts, with_shadow), RolloutDecision::Wait);
    }

    #[test]
    fn a_canary_is_promoted_or_rolled_back_with_its_figures() {
        let tally = |failed: u64| {
            let mut tally = Tally::default();
            (0..20).for_each(|i| tally.count(i >= failed, Duration::from_millis(1)));
            tally
        };
        let (good, bad) = (tally(0), tally(15));
        let judged = |canary: &Tally| {
            let none = Tally::default();
            let facts = RolloutFacts {
                state: ReleaseState::Canary,
                canary: Some(plan()),
                shadow: None,
                has_live: true,
                state_age: Duration::ZERO,
                hosts: &[],
                live_tally: &none,
                canary_tally: canary,
            };
            decide_rollout(&facts, LIMIT)
        };
        assert!(matches!(judged(&good), RolloutDecision::Promote { .. }));
        let RolloutDecision::RollBack { reason } = judged(&bad) else { panic!("not rolled back") };
        assert!(reason.contains("15 of 20 failed (75.0 %)"), "{reason}");
        assert_eq!(judged(&Tally::default()), RolloutDecision::Wait);
    }

    #[test]
    fn nothing_else_moves_by_itself() {
        let hosts = [prepared("a")];
        for state in ReleaseState::ALL {
            if matches!(state, ReleaseState::Preparing | ReleaseState::Canary) {
                continue;
            }
            let late = |facts: &mut RolloutFacts<'_>| facts.state_age = 10 * LIMIT;
            assert_eq!(decided(state, &hosts, late), RolloutDecision::Wait, "{state}");
        }
    }
}
