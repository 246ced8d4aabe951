//! Manifests that plugins of a folder may have.

use async_trait::async_trait;

use super::{Outcome, OwnedNote, Statements, Transactions};
use crate::store::row::{Columns, named};
use crate::store::{ApprovalStore, ApprovedManifest, MANIFESTS_MAX, ReleaseNote, StoreError};

const DOING: &str = "keep approved manifests";

#[async_trait]
impl<D: Transactions> ApprovalStore for D {
    async fn approved_manifests(&self, plugin: &str) -> Result<Vec<ApprovedManifest>, StoreError> {
        let plugin = plugin.to_owned();
        self.read(DOING, move |c| Box::pin(async move { list(c, plugin).await.map(Outcome::Undo) }))
            .await
    }

    async fn approve_manifest(
        &self,
        plugin: &str,
        digest: &str,
        note: ReleaseNote<'_>,
    ) -> Result<bool, StoreError> {
        let (plugin, digest, note) = (plugin.to_owned(), digest.to_owned(), OwnedNote::from(note));
        self.change(DOING, move |c| Box::pin(async move { approve(c, plugin, digest, note).await }))
            .await
    }

    async fn keep_live_manifest(
        &self,
        plugin: &str,
        digest: &str,
        manifest: &str,
    ) -> Result<(), StoreError> {
        let (plugin, digest) = (plugin.to_owned(), digest.to_owned());
        let manifest = manifest.to_owned();
        self.change(DOING, move |c| {
            Box::pin(async move { keep_live(c, plugin, digest, manifest).await })
        })
        .await
    }
}

async fn list<C: Statements>(
    c: &mut C,
    plugin: String,
) -> Result<Vec<ApprovedManifest>, StoreError> {
    let sql = "SELECT plugin, manifest_digest, manifest FROM approved_manifests \
               WHERE plugin = $1 ORDER BY live_at IS NULL, live_at DESC, manifest_digest";
    let rows = c.rows(DOING, sql, vec![plugin.into()]).await?;
    let read = |row| {
        named("approved_manifests", "plugin", row, |row: &C::Row| {
            Ok(ApprovedManifest {
                digest: row.text("manifest_digest")?,
                manifest: row.text_or_null("manifest")?,
            })
        })
    };
    rows.iter().map(read).collect()
}

async fn approve<C: Statements>(
    c: &mut C,
    plugin: String,
    digest: String,
    note: OwnedNote,
) -> Result<Outcome<bool>, StoreError> {
    let sql = "INSERT INTO approved_manifests \
               (plugin, manifest_digest, reason, approved_by, approved_at) \
               VALUES ($1, $2, $3, $4, {now}) ON CONFLICT (plugin, manifest_digest) DO NOTHING";
    let values = vec![plugin.into(), digest.into(), note.reason.into(), note.by.into()];
    Ok(match c.execute(DOING, sql, values).await? {
        0 => Outcome::Undo(false),
        _ => Outcome::Keep(true),
    })
}

async fn keep_live<C: Statements>(
    c: &mut C,
    plugin: String,
    digest: String,
    manifest: String,
) -> Result<Outcome<()>, StoreError> {
    let sql = "INSERT INTO approved_manifests (plugin, manifest_digest, manifest, live_at) \
               VALUES ($1, $2, $3, {now}) ON CONFLICT (plugin, manifest_digest) \
               DO UPDATE SET manifest = excluded.manifest, live_at = excluded.live_at";
    let values = vec![plugin.as_str().into(), digest.into(), manifest.into()];
    c.execute(DOING, sql, values).await?;
    let sql = "DELETE FROM approved_manifests WHERE plugin = $1 AND live_at IS NOT NULL \
               AND manifest_digest NOT IN (SELECT manifest_digest FROM approved_manifests \
               WHERE plugin = $1 AND live_at IS NOT NULL ORDER BY live_at DESC LIMIT $2)";
    c.execute(DOING, sql, vec![plugin.into(), MANIFESTS_MAX.into()]).await?;
    Ok(Outcome::Keep(()))
}
