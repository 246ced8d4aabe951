//! Claim, route, no-op component in a fresh sandbox, settle; and the floor of the same work.

use crate::cluster::Cluster;
use crate::costs::Costs;
use crate::fallible::{Fallible, float};
use crate::fill::{self, Kind};
use crate::fleet::Fleet;
use crate::floor::{self, Until};
use crate::report::Report;
use crate::scene::Scene;

pub(crate) const NO_POSTGRES: &str = "no PostgreSQL server programs; apt-get install postgresql";

/// The database of rows that need one.
pub(crate) const DATABASE: &str = "bench";

pub(crate) fn cluster(scene: &Scene) -> Fallible<&Cluster> {
    scene.cluster.as_ref().ok_or_else(|| NO_POSTGRES.into())
}

/// Events a second of hosts that work off a filled outbox.
pub(crate) async fn drain(scene: &Scene, url: &str, hosts: usize, events: u64) -> Fallible<f64> {
    let mut fleet = Fleet::start(scene, url, hosts, false).await?;
    let clock = fleet.go().await?;
    fleet.until(events).await?;
    let took = clock.elapsed();
    fleet.stop().await?;
    Ok(float(events) / took.as_secs_f64())
}

pub(crate) async fn on_postgres(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let cluster = cluster(scene)?;
    let events = scene.options.scaled(scene.options.events);
    let mut best = 0.0_f64;
    let mut costs = None;
    for _ in 0..scene.options.repeat.max(1) {
        let url = fill::empty_postgres(cluster, DATABASE).await?;
        fill::postgres(cluster, DATABASE, Kind::Pending, events).await?;
        let before = Costs::of(cluster, DATABASE).await?;
        best = best.max(drain(scene, &url, 1, events).await?);
        costs = Some((before, Costs::of(cluster, DATABASE).await?));
    }
    report.add(
        "dispatch/postgres",
        best,
        "events/s",
        &format!("host, {events} events, one process"),
    );
    if let Some((before, after)) = costs {
        Costs::add(report, "tidegate", before, after, events);
    }
    Ok(())
}

pub(crate) async fn on_sqlite(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let events = scene.options.scaled(scene.options.events);
    let mut best = 0.0_f64;
    for _ in 0..scene.options.repeat.max(1) {
        let url = fill::sqlite(scene, events).await?;
        best = best.max(drain(scene, &url, 1, events).await?);
    }
    report.add("dispatch/sqlite", best, "events/s", &format!("host, {events} events, one process"));
    Ok(())
}

pub(crate) async fn floor(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let cluster = cluster(scene)?;
    let events = scene.options.scaled(scene.options.events);
    let script = scene.folder("floor")?.join("dispatch.sql");
    std::fs::write(&script, floor::DISPATCH)?;
    for (clients, batch) in [(1, 200), (2, 200), (4, 200), (2, 500), (4, 500)] {
        fill::empty_postgres(cluster, DATABASE).await?;
        fill::postgres(cluster, DATABASE, Kind::Pending, events).await?;
        // The last transactions of an uneven share would find nothing.
        let each = events / (clients * batch);
        let until = Until::TransactionsPerClient(each);
        let variables = [("batch", batch)];
        let tps = floor::pgbench(cluster, DATABASE, &script, clients, until, &variables).await?;
        report.add(
            &format!("floor/dispatch/{clients}x{batch}"),
            tps * float(batch),
            "events/s",
            &format!(
                "pgbench -M prepared -c {clients} -t {each} -D batch={batch}, claim and settle"
            ),
        );
    }
    Ok(())
}
