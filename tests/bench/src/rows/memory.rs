//! What a backlog costs the host in memory: it lies in the database, so nothing.

use crate::fallible::{Fallible, float};
use crate::fill::{self, Kind};
use crate::fleet::Fleet;
use crate::report::Report;
use crate::scene::Scene;

use super::dispatch::{DATABASE, cluster};

/// Events that the host works off before its memory is read, in both cases.
const WORKED_OFF: u64 = 50_000;

pub(crate) async fn measure(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let cluster = cluster(scene)?;
    let worked_off = scene.options.scaled(WORKED_OFF);
    let backlog = scene.options.scaled(scene.options.backlog);
    for (name, backlog) in [("empty", 0), ("backlog", backlog)] {
        let url = fill::empty_postgres(cluster, DATABASE).await?;
        fill::postgres(cluster, DATABASE, Kind::Pending, worked_off + backlog).await?;
        let mut fleet = Fleet::start(scene, &url, 1, false).await?;
        fleet.go().await?;
        fleet.until(worked_off).await?;
        let peak = fleet.peak_memory_kb()?;
        fleet.stop().await?;
        let command = format!("peak of the host after {worked_off} events, {backlog} more waiting");
        report.add(&format!("memory/{name}"), float(peak) / 1024.0, "MiB", &command);
    }
    cluster.drop(DATABASE).await
}
