//! What a change of releases would do, in words: shown by `?plan=true`, which changes nothing.

use serde::Serialize;

use crate::plugin::{Difference, Manifest, differences};
use crate::store::PluginRelease;

use super::super::problem::{FieldError, Problem, ProblemKind};

#[derive(Debug, Clone, Serialize)]
pub(in crate::api) struct PlanView {
    plugin: String,
    /// What is live now.
    from: Option<SideView>,
    /// What would be live then.
    to: Option<SideView>,
    differences: Vec<DifferenceView>,
    /// Whether an operator must approve it first.
    held: bool,
    /// What would happen, one step after another.
    steps: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(in crate::api) struct SideView {
    /// None: it has none yet.
    number: Option<u32>,
    digest: String,
    manifest_digest: String,
}

#[derive(Debug, Clone, Serialize)]
pub(in crate::api) struct DifferenceView {
    text: String,
    widens: bool,
}

impl From<Difference> for DifferenceView {
    fn from(Difference { text, widens }: Difference) -> Self {
        Self { text, widens }
    }
}

impl From<&PluginRelease> for SideView {
    fn from(release: &PluginRelease) -> Self {
        Self {
            number: Some(release.name.number),
            digest: release.digest.clone(),
            manifest_digest: release.manifest_digest.clone(),
        }
    }
}

impl PlanView {
    /// A step that leaves the releases as they are.
    pub(super) fn of_steps(plugin: &str, live: Option<&PluginRelease>, steps: Vec<String>) -> Self {
        let live: Option<SideView> = live.map(SideView::from);
        let to = live.clone();
        Self {
            plugin: plugin.to_owned(),
            from: live,
            to,
            differences: Vec::new(),
            held: false,
            steps,
        }
    }

    /// From one release to another one of the store.
    pub(super) fn between(
        from: Option<&PluginRelease>,
        to: &PluginRelease,
        steps: Vec<String>,
    ) -> Result<Self, Problem> {
        let new = stored_manifest(to)?;
        let found = compare(from, &new)?;
        Ok(Self::new(&to.name.plugin, from, to.into(), found, false, steps))
    }

    pub(super) fn new(
        plugin: &str,
        from: Option<&PluginRelease>,
        to: SideView,
        found: Vec<Difference>,
        held: bool,
        steps: Vec<String>,
    ) -> Self {
        Self {
            plugin: plugin.to_owned(),
            from: from.map(SideView::from),
            to: Some(to),
            differences: found.into_iter().map(DifferenceView::from).collect(),
            held,
            steps,
        }
    }
}

impl SideView {
    pub(super) const fn new(digest: String, manifest_digest: String) -> Self {
        Self { number: None, digest, manifest_digest }
    }
}

/// What a manifest asks for that the live one does not.
pub(super) fn compare(
    live: Option<&PluginRelease>,
    new: &Manifest,
) -> Result<Vec<Difference>, Problem> {
    let old = live.map(stored_manifest).transpose()?;
    Ok(differences(old.as_ref(), new))
}

/// A manifest that comes with a request.
pub(super) fn read_manifest(text: &str) -> Result<Manifest, Problem> {
    Manifest::parse(text, "plugin.toml".as_ref()).map_err(|error| {
        let error = FieldError::new("manifest", "invalid", error.to_string());
        Problem::with_errors(ProblemKind::InvalidFields, vec![error])
    })
}

/// One that was taken once; a host of an older version may not understand a newer one's.
fn stored_manifest(release: &PluginRelease) -> Result<Manifest, Problem> {
    Manifest::parse(&release.manifest, "plugin.toml".as_ref()).map_err(|error| {
        tracing::warn!(release = %release.name, %error, "a stored manifest cannot be read");
        let detail = format!("This host cannot read the manifest of {}.", release.name);
        Problem::new(ProblemKind::ReleaseConflict, detail)
    })
}
