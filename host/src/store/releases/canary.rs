//! What was counted of a canary and of the release beside it.

use super::{Outcome, Statements};
use crate::domain::{CanaryTallies, ReleaseName, Tally};
use crate::store::StoreError;
use crate::store::row::{Columns, named};

pub(super) const DOING: &str = "count a canary's events";

pub(super) async fn keep<C: Statements>(
    c: &mut C,
    host: String,
    canary: ReleaseName,
    tallies: CanaryTallies,
) -> Result<Outcome<()>, StoreError> {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    for (side, tally) in [("live", tallies.live), ("canary", tallies.canary)] {
        c.execute(
            DOING,
            "INSERT INTO canary_tallies (host, plugin, number, side, handled, failed, latencies, \
             updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, {now}) \
             ON CONFLICT (host, plugin, number, side) DO UPDATE SET handled = excluded.handled, \
             failed = excluded.failed, latencies = excluded.latencies, \
             updated_at = excluded.updated_at",
            vec![
                host.as_str().into(),
                canary.plugin.as_str().into(),
                canary.number.into(),
                side.into(),
                count(tally.handled).into(),
                count(tally.failed).into(),
                tally.latencies_text().into(),
            ],
        )
        .await?;
    }
    Ok(Outcome::Keep(()))
}

pub(super) async fn sums<C: Statements>(
    c: &mut C,
    canary: ReleaseName,
) -> Result<CanaryTallies, StoreError> {
    let sql = "SELECT host, side, handled, failed, latencies FROM canary_tallies \
               WHERE plugin = $1 AND number = $2";
    let mut sums = CanaryTallies::default();
    for row in &c.rows(DOING, sql, vec![canary.plugin.into(), canary.number.into()]).await? {
        let (side, tally) = named("canary_tallies", "host", row, |row| {
            let (handled, failed) = (row.count("handled")?, row.count("failed")?);
            let tally = Tally::from_parts(handled, failed, &row.text("latencies")?);
            Ok((row.text("side")?, tally.ok_or_else(|| "latencies cannot be read".to_owned())?))
        })?;
        match side.as_str() {
            "live" => sums.live.add(&tally),
            _ => sums.canary.add(&tally),
        }
    }
    Ok(sums)
}
