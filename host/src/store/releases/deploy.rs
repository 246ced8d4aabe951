//! Keeping a new release.

use super::decide::{change_state, lock, record};
use super::read::{current, release, releases};
use super::statements::tell_others;
use super::{Outcome, Statements};
use crate::domain::{ReleaseName, ReleaseState, Share};
use crate::store::{DecisionKind, Deploy, Deployed, PluginRelease, StoreError};

pub(super) const DOING: &str = "keep a release";

pub(super) async fn deploy<C: Statements>(
    c: &mut C,
    request: Deploy,
) -> Result<Outcome<Deployed>, StoreError> {
    let plugin = request.plugin.as_str();
    c.execute(
        DOING,
        "INSERT INTO plugins (plugin, disabled, reason, changed_by, changed_at) \
         VALUES ($1, $2, 'deployed', $3, {now}) ON CONFLICT (plugin) DO NOTHING",
        vec![plugin.into(), false.into(), request.by.as_str().into()],
    )
    .await?;
    lock(c, DOING, plugin).await?;
    if let Some(before) = asked_before(c, &request).await? {
        return Ok(Outcome::Undo(before));
    }
    let (live, candidate) = current(c, DOING, plugin).await?;
    if live.as_ref().map(|live| live.name.number) != request.compared_with {
        return Ok(Outcome::Undo(Deployed::LiveChanged));
    }
    if let Some(same) = candidate.as_ref().or(live.as_ref()).filter(|it| request.is_same_as(it)) {
        return Ok(Outcome::Undo(Deployed::Already(same.clone())));
    }
    let name = ReleaseName { plugin: plugin.to_owned(), number: next_number(c, plugin).await? };
    if let Some(candidate) = candidate {
        let reason = format!("#{} came after it", name.number);
        change_state(c, &candidate.name, ReleaseState::Superseded, Some(&reason)).await?;
        record(c, &candidate.name, DecisionKind::Superseded, &reason, &request.by).await?;
    }
    insert(c, &name, request).await?;
    tell_others(c, DOING).await?;
    let kept = release(c, &name).await?;
    let lost = || StoreError::conflict(DOING, "it is not there after it was written");
    Ok(Outcome::Keep(Deployed::Now(kept.ok_or_else(lost)?)))
}

impl Deploy {
    fn is_same_as(&self, release: &PluginRelease) -> bool {
        self.digest == release.digest
            && self.manifest_digest == release.manifest_digest
            && self.signature == release.signature
            // What is live needs no trial any more.
            && (self.has_trial_of(release) || release.state == ReleaseState::Live)
    }

    fn has_trial_of(&self, release: &PluginRelease) -> bool {
        self.canary == release.canary && self.shadow == release.shadow
    }
}

async fn asked_before<C: Statements>(
    c: &mut C,
    request: &Deploy,
) -> Result<Option<Deployed>, StoreError> {
    let Some(key) = request.key.as_deref() else { return Ok(None) };
    let condition = "WHERE created_by = $1 AND asked_key = $2";
    let values = vec![request.by.as_str().into(), key.into()];
    let found = releases(c, DOING, condition, values).await?.pop();
    Ok(found.map(|release| {
        let same = release.name.plugin == request.plugin
            && release.digest == request.digest
            && release.manifest_digest == request.manifest_digest
            && request.has_trial_of(&release);
        if same { Deployed::Already(release) } else { Deployed::KeyReused }
    }))
}

async fn next_number<C: Statements>(c: &mut C, plugin: &str) -> Result<u32, StoreError> {
    let condition = "WHERE plugin = $1 ORDER BY number DESC LIMIT 1";
    let newest = releases(c, DOING, condition, vec![plugin.into()]).await?.pop();
    Ok(newest.map_or(1, |newest| newest.name.number.saturating_add(1)))
}

async fn insert<C: Statements>(
    c: &mut C,
    name: &ReleaseName,
    request: Deploy,
) -> Result<(), StoreError> {
    c.execute(
        DOING,
        "INSERT INTO component_artifacts (digest, bytes, stored_at) VALUES ($1, $2, {now}) \
         ON CONFLICT (digest) DO UPDATE SET stored_at = excluded.stored_at, \
         bytes = coalesce(component_artifacts.bytes, excluded.bytes)",
        vec![request.digest.as_str().into(), request.component.into()],
    )
    .await?;
    let state = if request.hold.is_some() { ReleaseState::Held } else { ReleaseState::Preparing };
    let share = |share: Share| i64::from(share.hundredths());
    let events = |events: u64| i64::try_from(events).unwrap_or(i64::MAX);
    c.execute(
        DOING,
        "INSERT INTO plugin_releases (plugin, number, digest, manifest, manifest_digest, \
         signature, state, reason, canary_share, canary_events, shadow_share, shadow_events, \
         asked_key, created_by, created_at, state_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, \
         $10, $11, $12, $13, $14, {now}, {now})",
        vec![
            name.plugin.as_str().into(),
            name.number.into(),
            request.digest.into(),
            request.manifest.into(),
            request.manifest_digest.into(),
            request.signature.as_deref().into(),
            state.as_str().into(),
            request.hold.as_deref().into(),
            request.canary.map(|plan| share(plan.share)).into(),
            request.canary.map(|plan| events(plan.events)).into(),
            request.shadow.map(|plan| share(plan.share)).into(),
            request.shadow.map(|plan| events(plan.events)).into(),
            request.key.as_deref().into(),
            request.by.as_str().into(),
        ],
    )
    .await?;
    record(c, name, DecisionKind::Deployed, "", &request.by).await?;
    match &request.hold {
        Some(why) => record(c, name, DecisionKind::Held, why, super::decide::HOST).await,
        None => Ok(()),
    }
}
