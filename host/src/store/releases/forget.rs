//! Deleting the components of releases that nobody goes back to.

use super::{Outcome, Statements, Transactions};
use crate::store::StoreError;

const DOING: &str = "delete components of old releases";

/// What was just stored may be a release's of which nobody else knows yet.
const YOUNG_MICROS: i64 = 3_600_000_000;

/// Components of which no release is live, may become so, or is among the last `$1` of its plugin
/// that were.
const OLD: &str = "bytes IS NOT NULL AND stored_at <= {young} AND NOT EXISTS (SELECT 1 \
    FROM plugin_releases AS r WHERE r.digest = component_artifacts.digest \
    AND (r.state IN ('HELD', 'PREPARING', 'CANARY', 'SHADOW', 'LIVE') OR r.live_at IS NOT NULL \
    AND (SELECT count(*) FROM plugin_releases AS n WHERE n.plugin = r.plugin \
    AND n.state <> 'LIVE' AND n.live_at IS NOT NULL AND (n.live_at > r.live_at \
    OR n.live_at = r.live_at AND n.number > r.number)) < $1))";

pub(in crate::store) async fn delete_old_components<D: Transactions>(
    store: &D,
    keep: u32,
) -> Result<u64, StoreError> {
    store.change(DOING, move |c| Box::pin(async move { delete(c, keep).await })).await
}

async fn delete<C: Statements>(c: &mut C, keep: u32) -> Result<Outcome<u64>, StoreError> {
    let old = OLD.replace("{young}", &c.dialect().at(-YOUNG_MICROS));
    let sql = format!("SELECT digest FROM component_artifacts WHERE {old} LIMIT 1");
    if c.rows(DOING, &sql, vec![keep.into()]).await?.is_empty() {
        return Ok(Outcome::Undo(0));
    }
    // Nobody goes back to a release while this is decided.
    c.execute(DOING, "UPDATE plugins SET disabled = disabled", Vec::new()).await?;
    let sql = format!("UPDATE component_artifacts SET bytes = NULL WHERE {old}");
    Ok(Outcome::Keep(c.execute(DOING, &sql, vec![keep.into()]).await?))
}

/// Whether the component of a digest is still there.
pub(super) async fn has_component<C: Statements>(
    c: &mut C,
    doing: &'static str,
    digest: &str,
) -> Result<bool, StoreError> {
    let sql = "SELECT digest FROM component_artifacts WHERE digest = $1 AND bytes IS NOT NULL";
    Ok(!c.rows(doing, sql, vec![digest.into()]).await?.is_empty())
}
