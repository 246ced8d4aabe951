//! What the fleet keeps of its plugins: releases, what each host made of them, and what was decided.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::StoreError;
use crate::domain::{
    CanaryPlan, CanaryTallies, EventId, EventType, FailureCode, HostId, HostStanding, HostVerdict,
    ReleaseName, ReleaseState, RolloutDecision, ShadowPlan, ShadowTally, Timestamp,
};

/// A host that was not heard of for so long is dead: nobody waits for it.
pub const HOST_GONE_AFTER: Duration = Duration::from_secs(10);

/// What hosts, operators and those who deploy need of releases.
///
/// A plugin has at most one live release and at most one candidate. Whatever changes either happens
/// in one transaction under the lock of the plugin's row, and each change stands in the history.
#[async_trait]
pub trait ReleaseStore: Send + Sync {
    /// Keeps a component, once however many releases have it, and a release of it as the plugin's
    /// candidate: HELD or PREPARING. An earlier candidate becomes SUPERSEDED. The same content as
    /// the candidate, or as the live release where there is no candidate, makes no new release, and
    /// neither does a request that was made before.
    async fn deploy(&self, request: Deploy) -> Result<Deployed, StoreError>;

    /// The bytes of a component. None: no release ever had it, or they are not kept any more.
    async fn component(&self, digest: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Every plugin, with its live release and its candidate, by name.
    async fn plugins(&self) -> Result<Vec<PluginStanding>, StoreError>;

    /// A release, whatever became of it.
    async fn plugin_release(&self, name: &ReleaseName)
    -> Result<Option<PluginRelease>, StoreError>;

    /// A plugin's releases and decisions, newest first, at most so many of each.
    async fn release_history(
        &self,
        plugin: &str,
        limit: u32,
    ) -> Result<(Vec<PluginRelease>, Vec<ReleaseDecision>), StoreError>;

    /// Says that a host is alive. Hosts that were not heard of for a day are forgotten.
    async fn check_in(&self, host: &HostId) -> Result<(), StoreError>;

    /// A host stops: nobody waits for it any more.
    async fn check_out(&self, host: &HostId) -> Result<(), StoreError>;

    /// What a host made of a release. A repeat with the same word changes nothing.
    async fn report(
        &self,
        host: &HostId,
        release: &ReleaseName,
        verdict: &HostVerdict,
    ) -> Result<(), StoreError>;

    /// The hosts that are alive, and what each made of a release.
    async fn standings(&self, release: &ReleaseName) -> Result<Vec<HostStanding>, StoreError>;

    /// A host's own sums of a canary, as they are now; a repeat counts nothing twice.
    async fn keep_tallies(
        &self,
        host: &HostId,
        canary: &ReleaseName,
        tallies: &CanaryTallies,
    ) -> Result<(), StoreError>;

    /// The sums over all hosts, dead ones too.
    async fn tallies(&self, canary: &ReleaseName) -> Result<CanaryTallies, StoreError>;

    /// A host's own sums of a shadow, as they are now; a repeat counts nothing twice.
    async fn keep_shadow_tally(
        &self,
        host: &HostId,
        shadow: &ReleaseName,
        tally: &ShadowTally,
    ) -> Result<(), StoreError>;

    /// The sums over all hosts, dead ones too, of each release of a plugin that was a shadow, by its
    /// number.
    async fn shadow_tallies(&self, plugin: &str) -> Result<BTreeMap<u32, ShadowTally>, StoreError>;

    /// Carries a decision out, if the release is still in the state that it was made for, and, where
    /// all hosts must have it, all that are alive still have. Answers whether it was.
    async fn advance(
        &self,
        release: &ReleaseName,
        decision: &RolloutDecision,
    ) -> Result<bool, StoreError>;

    /// HELD → PREPARING; SHADOW → LIVE, where all hosts that are alive have it.
    async fn approve(
        &self,
        release: &ReleaseName,
        note: ReleaseNote<'_>,
    ) -> Result<Approved, StoreError>;

    /// Takes a candidate back, if there is one and no number is given; else makes a release live
    /// again that was live before: the given one, or the one before this.
    async fn roll_back(
        &self,
        plugin: &str,
        to: Option<u32>,
        note: ReleaseNote<'_>,
    ) -> Result<RolledBack, StoreError>;

    /// Disables a plugin on all hosts, so that its events wait, or enables it again. None: there is
    /// no such plugin; false: it was so already.
    async fn set_disabled(
        &self,
        plugin: &str,
        disabled: bool,
        note: ReleaseNote<'_>,
    ) -> Result<Option<bool>, StoreError>;

    /// A hint that something of all this changed.
    fn release_wakeups(&self) -> watch::Receiver<u64>;
}

/// Which release failed what.
#[async_trait]
pub trait BlameStore: Send + Sync {
    /// FAILED events that nobody gave up, by release, type and reason; the largest groups first.
    /// Looks at the newest [`FAILURES_MAX`] of them.
    async fn failures(&self) -> Result<Vec<FailureGroup>, StoreError>;

    /// FAILED → PENDING for up to `limit` events that were failed by this release, and for this
    /// reason if one is given, oldest first. Answers how many.
    async fn replay_failed(&self, request: ReplayFailed<'_>) -> Result<u64, StoreError>;
}

/// Of so many FAILED events the groups are made.
pub const FAILURES_MAX: u32 = 10_000;

#[derive(Debug, Clone)]
pub struct Deploy {
    pub plugin: String,
    pub component: Vec<u8>,
    /// SHA-256 of the component, in lower-case hexadecimal.
    pub digest: String,
    /// The text of `plugin.toml`.
    pub manifest: String,
    /// SHA-256 of the text.
    pub manifest_digest: String,
    pub signature: Option<String>,
    pub canary: Option<CanaryPlan>,
    /// None where there is a canary.
    pub shadow: Option<ShadowPlan>,
    /// The number of the live release that it was compared with; none if there was none.
    pub compared_with: Option<u32>,
    /// Why an operator must approve it; none if nobody must.
    pub hold: Option<String>,
    pub by: String,
    /// The caller's Idempotency-Key.
    pub key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployed {
    Now(PluginRelease),
    /// The same content, or the same request.
    Already(PluginRelease),
    /// Another release became live meanwhile: compare again.
    LiveChanged,
    /// The key was used for another request.
    KeyReused,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRelease {
    pub name: ReleaseName,
    pub digest: String,
    pub manifest: String,
    pub manifest_digest: String,
    pub signature: Option<String>,
    pub state: ReleaseState,
    /// Why it is held, was rejected or rolled back.
    pub reason: Option<String>,
    pub canary: Option<CanaryPlan>,
    pub shadow: Option<ShadowPlan>,
    pub created_by: String,
    pub created_at: Timestamp,
    pub state_at: Timestamp,
    /// How long it had been in its state when it was read.
    pub state_age: Duration,
    /// When it became live last.
    pub live_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginStanding {
    pub plugin: String,
    pub disabled: bool,
    /// Why it was disabled or enabled last, by whom, and when.
    pub reason: String,
    pub changed_by: String,
    pub changed_at: Timestamp,
    pub live: Option<PluginRelease>,
    pub candidate: Option<PluginRelease>,
}

/// Who decides, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseNote<'a> {
    pub reason: &'a str,
    pub by: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseDecision {
    /// None: it concerns the plugin.
    pub number: Option<u32>,
    pub kind: DecisionKind,
    pub reason: String,
    pub by: String,
    pub at: Timestamp,
}

/// What a line of a plugin's history tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecisionKind {
    Deployed,
    Held,
    Approved,
    Rejected,
    Canary,
    Shadow,
    Promoted,
    Live,
    RolledBack,
    Superseded,
    Disabled,
    Enabled,
}

impl DecisionKind {
    pub const ALL: [Self; 12] = [
        Self::Deployed,
        Self::Held,
        Self::Approved,
        Self::Rejected,
        Self::Canary,
        Self::Shadow,
        Self::Promoted,
        Self::Live,
        Self::RolledBack,
        Self::Superseded,
        Self::Disabled,
        Self::Enabled,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Held => "held",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
            Self::Promoted => "promoted",
            Self::Live => "live",
            Self::RolledBack => "rolled back",
            Self::Superseded => "superseded",
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approved {
    Now,
    /// It is neither HELD nor a SHADOW, but this.
    NotHeld(ReleaseState),
    /// It is a SHADOW, and these hosts could not make it live at once.
    NotPrepared(Vec<String>),
    NotFound,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolledBack {
    /// The live release is now this one.
    To(u32),
    /// This candidate was taken back; the live release stays.
    CandidateTakenBack(u32),
    /// This one is live already.
    Already(u32),
    /// There is no such plugin, or no release that was live before.
    NothingBefore,
    /// This one was never live, so nobody knows whether it can be.
    NeverLive(u32),
    /// This one was live so long ago that its component is not kept any more.
    ComponentGone(u32),
}

/// FAILED events with one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureGroup {
    /// None: no release worked on them.
    pub release_digest: Option<String>,
    /// The newest release with this digest, and its state, where the store has one.
    pub release: Option<(ReleaseName, ReleaseState)>,
    pub event_type: EventType,
    pub code: FailureCode,
    pub reason: String,
    pub count: u64,
    /// One of them.
    pub example: EventId,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayFailed<'a> {
    pub release_digest: &'a str,
    /// Only those whose error is this, to the letter.
    pub reason: Option<&'a str>,
    pub limit: u32,
    pub asked_by: &'a str,
}
