//! What becomes of a release: each step under the lock of the plugin's row.

use super::forget::has_component;
use super::hosts::standings;
use super::read::{current, release, releases};
use super::statements::tell_others;
use super::{Outcome, OwnedNote, Statements};
use crate::domain::{HostStanding, HostVerdict, ReleaseName, ReleaseState, RolloutDecision};
use crate::store::{Approved, DecisionKind, PluginRelease, RolledBack, StoreError};

pub(super) const DOING: &str = "decide about a release";

/// Who decides where no person does.
pub(super) const HOST: &str = "tidegate";

/// Takes the plugin's row for this transaction; answers whether there is one. SQLite's writer is
/// alone anyway.
pub(super) async fn lock<C: Statements>(
    c: &mut C,
    doing: &'static str,
    plugin: &str,
) -> Result<bool, StoreError> {
    let sql = "UPDATE plugins SET disabled = disabled WHERE plugin = $1";
    Ok(c.execute(doing, sql, vec![plugin.into()]).await? == 1)
}

pub(super) async fn change_state<C: Statements>(
    c: &mut C,
    name: &ReleaseName,
    to: ReleaseState,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    let live_at = if to == ReleaseState::Live { ", live_at = {now}" } else { "" };
    let sql = format!(
        "UPDATE plugin_releases SET state = $3, reason = $4, state_at = {{now}}{live_at} \
         WHERE plugin = $1 AND number = $2"
    );
    let values =
        vec![name.plugin.as_str().into(), name.number.into(), to.as_str().into(), reason.into()];
    c.execute(DOING, &sql, values).await.map(drop)
}

/// A line of the plugin's history.
pub(super) async fn record<C: Statements>(
    c: &mut C,
    name: &ReleaseName,
    kind: DecisionKind,
    reason: &str,
    by: &str,
) -> Result<(), StoreError> {
    write_line(c, &name.plugin, Some(name.number), kind, reason, by).await
}

async fn write_line<C: Statements>(
    c: &mut C,
    plugin: &str,
    number: Option<u32>,
    kind: DecisionKind,
    reason: &str,
    by: &str,
) -> Result<(), StoreError> {
    let values = vec![
        plugin.into(),
        number.map(i64::from).into(),
        kind.as_str().into(),
        reason.into(),
        by.into(),
    ];
    let sql = "INSERT INTO release_decisions (plugin, number, kind, reason, decided_by, decided_at) \
               VALUES ($1, $2, $3, $4, $5, {now})";
    c.execute(DOING, sql, values).await.map(drop)
}

/// The steps that hosts take by themselves.
pub(super) async fn advance<C: Statements>(
    c: &mut C,
    name: &ReleaseName,
    decision: RolloutDecision,
) -> Result<Outcome<bool>, StoreError> {
    use ReleaseState::{Canary, Live, Preparing, Rejected, RolledBack as Back, Shadow};
    let (from, to, kind, reason) = match decision {
        RolloutDecision::Wait => return Ok(Outcome::Undo(false)),
        RolloutDecision::BeginCanary => (Preparing, Canary, DecisionKind::Canary, String::new()),
        RolloutDecision::BeginShadow => (Preparing, Shadow, DecisionKind::Shadow, String::new()),
        RolloutDecision::MakeLive => (Preparing, Live, DecisionKind::Live, String::new()),
        RolloutDecision::Reject { reason } => (Preparing, Rejected, DecisionKind::Rejected, reason),
        RolloutDecision::Promote { reason } => (Canary, Live, DecisionKind::Promoted, reason),
        RolloutDecision::RollBack { reason } => (Canary, Back, DecisionKind::RolledBack, reason),
    };
    lock(c, DOING, &name.plugin).await?;
    let (live, candidate) = current(c, DOING, &name.plugin).await?;
    let still = candidate.is_some_and(|it| it.name == *name && it.state == from);
    if !still || (from == Preparing && to != Rejected && !all_have_it(c, name).await?) {
        return Ok(Outcome::Undo(false));
    }
    if matches!(to, Canary | Shadow) && live.is_none() {
        return Ok(Outcome::Undo(false));
    }
    if to == Live {
        retire(c, live, name).await?;
    }
    let why = Some(reason.as_str()).filter(|reason| !reason.is_empty());
    change_state(c, name, to, why).await?;
    record(c, name, kind, &reason, HOST).await?;
    tell_others(c, DOING).await?;
    Ok(Outcome::Keep(true))
}

/// The release that was live gives way to another one.
async fn retire<C: Statements>(
    c: &mut C,
    live: Option<PluginRelease>,
    to: &ReleaseName,
) -> Result<(), StoreError> {
    let Some(live) = live else { return Ok(()) };
    let reason = format!("#{} replaced it", to.number);
    change_state(c, &live.name, ReleaseState::Retired, Some(&reason)).await
}

/// Whether every host that is alive could make it live at once, and there is one.
async fn all_have_it<C: Statements>(c: &mut C, name: &ReleaseName) -> Result<bool, StoreError> {
    let hosts = standings(c, name).await?;
    Ok(!hosts.is_empty() && hosts.iter().all(has_it))
}

const fn has_it(host: &HostStanding) -> bool {
    match host.verdict {
        Some(HostVerdict::Prepared | HostVerdict::Live) => true,
        Some(HostVerdict::Rejected { .. }) | None => false,
    }
}

pub(super) async fn approve<C: Statements>(
    c: &mut C,
    name: &ReleaseName,
    note: OwnedNote,
) -> Result<Outcome<Approved>, StoreError> {
    lock(c, DOING, &name.plugin).await?;
    let Some(found) = release(c, name).await? else {
        return Ok(Outcome::Undo(Approved::NotFound));
    };
    match found.state {
        ReleaseState::Held => {
            change_state(c, name, ReleaseState::Preparing, None).await?;
            record(c, name, DecisionKind::Approved, &note.reason, &note.by).await?;
        }
        ReleaseState::Shadow => {
            let hosts = standings(c, name).await?;
            let lacking = hosts.into_iter().filter(|host| !has_it(host));
            let lacking: Vec<_> = lacking.map(|host| host.host).collect();
            if !lacking.is_empty() {
                return Ok(Outcome::Undo(Approved::NotPrepared(lacking)));
            }
            let (live, _) = current(c, DOING, &name.plugin).await?;
            retire(c, live, name).await?;
            change_state(c, name, ReleaseState::Live, None).await?;
            record(c, name, DecisionKind::Promoted, &note.reason, &note.by).await?;
        }
        other => return Ok(Outcome::Undo(Approved::NotHeld(other))),
    }
    tell_others(c, DOING).await?;
    Ok(Outcome::Keep(Approved::Now))
}

pub(super) async fn roll_back<C: Statements>(
    c: &mut C,
    plugin: String,
    to: Option<u32>,
    note: OwnedNote,
) -> Result<Outcome<RolledBack>, StoreError> {
    lock(c, DOING, &plugin).await?;
    let (live, candidate) = current(c, DOING, &plugin).await?;
    if let (None, Some(candidate)) = (to, &candidate) {
        take_back(c, &candidate.name, &note).await?;
        tell_others(c, DOING).await?;
        return Ok(Outcome::Keep(RolledBack::CandidateTakenBack(candidate.name.number)));
    }
    let target = match to {
        Some(number) => release(c, &ReleaseName { plugin: plugin.clone(), number }).await?,
        None => {
            let condition = "WHERE plugin = $1 AND state = 'RETIRED' \
                             ORDER BY live_at DESC, number DESC LIMIT 1";
            releases(c, DOING, condition, vec![plugin.as_str().into()]).await?.pop()
        }
    };
    let Some(target) = target else { return Ok(Outcome::Undo(RolledBack::NothingBefore)) };
    let number = target.name.number;
    if target.state == ReleaseState::Live {
        return Ok(Outcome::Undo(RolledBack::Already(number)));
    }
    if target.live_at.is_none() {
        return Ok(Outcome::Undo(RolledBack::NeverLive(number)));
    }
    if !has_component(c, DOING, &target.digest).await? {
        return Ok(Outcome::Undo(RolledBack::ComponentGone(number)));
    }
    for of_now in [candidate, live].into_iter().flatten() {
        take_back(c, &of_now.name, &note).await?;
    }
    change_state(c, &target.name, ReleaseState::Live, None).await?;
    record(c, &target.name, DecisionKind::Live, &note.reason, &note.by).await?;
    tell_others(c, DOING).await?;
    Ok(Outcome::Keep(RolledBack::To(number)))
}

async fn take_back<C: Statements>(
    c: &mut C,
    name: &ReleaseName,
    note: &OwnedNote,
) -> Result<(), StoreError> {
    change_state(c, name, ReleaseState::RolledBack, Some(&note.reason)).await?;
    record(c, name, DecisionKind::RolledBack, &note.reason, &note.by).await
}

pub(super) async fn set_disabled<C: Statements>(
    c: &mut C,
    plugin: String,
    disabled: bool,
    note: OwnedNote,
) -> Result<Outcome<Option<bool>>, StoreError> {
    if !lock(c, DOING, &plugin).await? {
        return Ok(Outcome::Undo(None));
    }
    let sql = "UPDATE plugins SET disabled = $2, reason = $3, changed_by = $4, changed_at = {now} \
               WHERE plugin = $1 AND disabled <> $2";
    let values = vec![
        plugin.as_str().into(),
        disabled.into(),
        note.reason.as_str().into(),
        note.by.as_str().into(),
    ];
    if c.execute(DOING, sql, values).await? == 0 {
        return Ok(Outcome::Undo(Some(false)));
    }
    let kind = if disabled { DecisionKind::Disabled } else { DecisionKind::Enabled };
    write_line(c, &plugin, None, kind, &note.reason, &note.by).await?;
    tell_others(c, DOING).await?;
    Ok(Outcome::Keep(Some(true)))
}
