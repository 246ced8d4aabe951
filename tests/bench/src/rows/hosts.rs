//! Several hosts on one database.

use crate::fallible::Fallible;
use crate::fill::{self, Kind};
use crate::report::Report;
use crate::scene::Scene;

use super::dispatch::{DATABASE, cluster, drain};

pub(crate) async fn measure(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let cluster = cluster(scene)?;
    let events = scene.options.scaled(scene.options.events);
    for hosts in [1, 4, 8] {
        let url = fill::empty_postgres(cluster, DATABASE).await?;
        fill::postgres(cluster, DATABASE, Kind::Pending, events).await?;
        let drained = drain(scene, &url, hosts, events).await?;
        let command = format!("host × {hosts} processes, {events} events");
        report.add_noted(
            &format!("hosts/{hosts}"),
            drained.rate,
            "events/s",
            &command,
            drained.note(),
        );
    }
    Ok(())
}
