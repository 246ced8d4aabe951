//! Releases, for both databases: each statement is written once. What differs is how a database
//! takes a statement ([`Statements`]) and a transaction ([`Transactions`]).

mod approvals;
mod blame;
mod canary;
mod decide;
mod deploy;
mod forget;
mod hosts;
mod read;
mod shadow;
mod statements;

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio::sync::watch;

pub(super) use self::forget::delete_old_components;
pub(super) use self::statements::{Outcome, RELEASES, Statements, Transactions, Value, Work};
use super::{
    Approved, BlameStore, Deploy, Deployed, FailureGroup, PluginRelease, PluginStanding,
    ReleaseDecision, ReleaseNote, ReleaseStore, ReplayFailed, RolledBack, StoreError,
};
use crate::domain::{
    CanaryTallies, HostId, HostStanding, HostVerdict, ReleaseName, RolloutDecision, ShadowTally,
};

/// A note that outlives its caller.
struct OwnedNote {
    reason: String,
    by: String,
}

impl From<ReleaseNote<'_>> for OwnedNote {
    fn from(note: ReleaseNote<'_>) -> Self {
        Self { reason: note.reason.to_owned(), by: note.by.to_owned() }
    }
}

#[async_trait]
impl<D: Transactions> ReleaseStore for D {
    async fn deploy(&self, request: Deploy) -> Result<Deployed, StoreError> {
        let deployed = self
            .change(deploy::DOING, move |c| {
                Box::pin(async move { deploy::deploy(c, request).await })
            })
            .await?;
        if matches!(deployed, Deployed::Now(_)) {
            self.hint();
        }
        Ok(deployed)
    }

    async fn component(&self, digest: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let digest = digest.to_owned();
        self.read(read::DOING, move |c| {
            Box::pin(async move { read::component(c, digest).await.map(Outcome::Undo) })
        })
        .await
    }

    async fn plugins(&self) -> Result<Vec<PluginStanding>, StoreError> {
        self.read(read::DOING, |c| {
            Box::pin(async move { read::plugins(c).await.map(Outcome::Undo) })
        })
        .await
    }

    async fn plugin_release(
        &self,
        name: &ReleaseName,
    ) -> Result<Option<PluginRelease>, StoreError> {
        let name = name.clone();
        self.read(read::DOING, move |c| {
            Box::pin(async move { read::release(c, &name).await.map(Outcome::Undo) })
        })
        .await
    }

    async fn release_history(
        &self,
        plugin: &str,
        limit: u32,
    ) -> Result<(Vec<PluginRelease>, Vec<ReleaseDecision>), StoreError> {
        let plugin = plugin.to_owned();
        self.read(read::DOING, move |c| {
            Box::pin(async move { read::history(c, plugin, limit).await.map(Outcome::Undo) })
        })
        .await
    }

    async fn check_in(&self, host: &HostId) -> Result<(), StoreError> {
        let host = host.as_str().to_owned();
        self.change(hosts::DOING, move |c| Box::pin(async move { hosts::check_in(c, host).await }))
            .await
    }

    async fn check_out(&self, host: &HostId) -> Result<(), StoreError> {
        let host = host.as_str().to_owned();
        self.change(hosts::DOING, move |c| Box::pin(async move { hosts::check_out(c, host).await }))
            .await
    }

    async fn report(
        &self,
        host: &HostId,
        release: &ReleaseName,
        verdict: &HostVerdict,
    ) -> Result<(), StoreError> {
        let (host, release, verdict) = (host.as_str().to_owned(), release.clone(), verdict.clone());
        let changed = self
            .change(hosts::DOING, move |c| {
                Box::pin(async move { hosts::report(c, host, release, verdict).await })
            })
            .await?;
        if changed {
            self.hint();
        }
        Ok(())
    }

    async fn standings(&self, release: &ReleaseName) -> Result<Vec<HostStanding>, StoreError> {
        let release = release.clone();
        self.read(hosts::DOING, move |c| {
            Box::pin(async move { hosts::standings(c, &release).await.map(Outcome::Undo) })
        })
        .await
    }

    async fn keep_tallies(
        &self,
        host: &HostId,
        canary: &ReleaseName,
        tallies: &CanaryTallies,
    ) -> Result<(), StoreError> {
        let (host, canary, tallies) = (host.as_str().to_owned(), canary.clone(), tallies.clone());
        self.change(canary::DOING, move |c| {
            Box::pin(async move { canary::keep(c, host, canary, tallies).await })
        })
        .await
    }

    async fn tallies(&self, canary: &ReleaseName) -> Result<CanaryTallies, StoreError> {
        let canary = canary.clone();
        self.read(canary::DOING, move |c| {
            Box::pin(async move { canary::sums(c, canary).await.map(Outcome::Undo) })
        })
        .await
    }

    async fn keep_shadow_tally(
        &self,
        host: &HostId,
        shadow: &ReleaseName,
        tally: &ShadowTally,
    ) -> Result<(), StoreError> {
        let (host, shadow, tally) = (host.as_str().to_owned(), shadow.clone(), tally.clone());
        self.change(shadow::DOING, move |c| {
            Box::pin(async move { shadow::keep(c, host, shadow, tally).await })
        })
        .await
    }

    async fn shadow_tallies(&self, plugin: &str) -> Result<BTreeMap<u32, ShadowTally>, StoreError> {
        let plugin = plugin.to_owned();
        self.read(shadow::DOING, move |c| {
            Box::pin(async move { shadow::sums(c, plugin).await.map(Outcome::Undo) })
        })
        .await
    }

    async fn advance(
        &self,
        release: &ReleaseName,
        decision: &RolloutDecision,
    ) -> Result<bool, StoreError> {
        let (release, decision) = (release.clone(), decision.clone());
        let done = self
            .change(decide::DOING, move |c| {
                Box::pin(async move { decide::advance(c, &release, decision).await })
            })
            .await?;
        if done {
            self.hint();
        }
        Ok(done)
    }

    async fn approve(
        &self,
        release: &ReleaseName,
        note: ReleaseNote<'_>,
    ) -> Result<Approved, StoreError> {
        let (release, note) = (release.clone(), OwnedNote::from(note));
        let approved = self
            .change(decide::DOING, move |c| {
                Box::pin(async move { decide::approve(c, &release, note).await })
            })
            .await?;
        if approved == Approved::Now {
            self.hint();
        }
        Ok(approved)
    }

    async fn roll_back(
        &self,
        plugin: &str,
        to: Option<u32>,
        note: ReleaseNote<'_>,
    ) -> Result<RolledBack, StoreError> {
        let (plugin, note) = (plugin.to_owned(), OwnedNote::from(note));
        let done = self
            .change(decide::DOING, move |c| {
                Box::pin(async move { decide::roll_back(c, plugin, to, note).await })
            })
            .await?;
        if matches!(done, RolledBack::To(_) | RolledBack::CandidateTakenBack(_)) {
            self.hint();
        }
        Ok(done)
    }

    async fn set_disabled(
        &self,
        plugin: &str,
        disabled: bool,
        note: ReleaseNote<'_>,
    ) -> Result<Option<bool>, StoreError> {
        let (plugin, note) = (plugin.to_owned(), OwnedNote::from(note));
        let changed = self
            .change(decide::DOING, move |c| {
                Box::pin(async move { decide::set_disabled(c, plugin, disabled, note).await })
            })
            .await?;
        if changed == Some(true) {
            self.hint();
        }
        Ok(changed)
    }

    fn release_wakeups(&self) -> watch::Receiver<u64> {
        Transactions::release_wakeups(self)
    }
}

#[async_trait]
impl<D: Transactions> BlameStore for D {
    async fn failures(&self) -> Result<Vec<FailureGroup>, StoreError> {
        self.read(blame::DOING, |c| {
            Box::pin(async move { blame::failures(c).await.map(Outcome::Undo) })
        })
        .await
    }

    async fn replay_failed(&self, request: ReplayFailed<'_>) -> Result<u64, StoreError> {
        let (digest, limit) = (request.release_digest.to_owned(), request.limit);
        let (reason, by) = (request.reason.map(str::to_owned), request.asked_by.to_owned());
        let replayed = self
            .change(blame::DOING, move |c| {
                Box::pin(async move { blame::replay(c, digest, reason, limit, by).await })
            })
            .await?;
        if replayed > 0 {
            self.work_hint();
        }
        Ok(replayed)
    }
}
