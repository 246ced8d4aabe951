//! Releases of plugins: deployed, looked at, compared, approved, rolled back.

mod approve_held;
mod control;
mod deploy;
mod history;
mod multipart;
mod plan;
mod view;

pub(super) use approve_held::approve_held_plugin;
pub(super) use control::{approve_release, disable_plugin, enable_plugin, roll_back_plugin};
pub(super) use deploy::deploy_release;
pub(super) use history::{get_difference, get_release, get_release_history};

use axum::extract::Path;
use axum::extract::rejection::PathRejection;

use crate::domain::ReleaseName;
use crate::store::PluginRelease;

use super::problem::{Problem, ProblemKind};
use super::state::Shared;

type PluginPath = Result<Path<String>, PathRejection>;
type ReleasePath = Result<Path<(String, String)>, PathRejection>;

/// Where releases come from, and when a person must look at one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseRule {
    /// Whether this host takes its plugins from the store. If not, what is deployed would be
    /// nobody's.
    pub from_store: bool,
    /// Whether a release that asks for more than the live one is held until it is approved.
    pub hold_widening: bool,
}

impl Default for ReleaseRule {
    fn default() -> Self {
        Self { from_store: false, hold_widening: true }
    }
}

/// Refuses where the hosts take their plugins from folders.
fn require_store(shared: &Shared) -> Result<(), Problem> {
    if shared.api.releases_rule.from_store {
        return Ok(());
    }
    let detail = "This host takes its plugins from its folder. Set plugins.from = \"store\" on all \
                  hosts and start them again.";
    Err(Problem::new(ProblemKind::ReleasesNotFromStore, detail))
}

/// A text that can be no plugin's name names nothing.
fn plugin_of(path: PluginPath) -> Result<String, Problem> {
    let named = path.ok().map(|Path(name)| name).filter(|name| is_name(name));
    named.ok_or_else(|| Problem::not_found("plugin"))
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn release_of(path: ReleasePath) -> Result<ReleaseName, Problem> {
    let not_found = || Problem::not_found("release");
    let Path((plugin, number)) = path.map_err(|_| not_found())?;
    let number = number.parse().ok().filter(|number| *number > 0 && is_name(&plugin));
    Ok(ReleaseName { number: number.ok_or_else(not_found)?, plugin })
}

async fn find(shared: &Shared, name: &ReleaseName) -> Result<PluginRelease, Problem> {
    let found = shared.api.releases.plugin_release(name).await?;
    found.ok_or_else(|| Problem::not_found("release"))
}
