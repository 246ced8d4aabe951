//! Claim, route, no-op component in a fresh sandbox, settle; and the floor of the same work.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::costs::Costs;
use crate::cpu;
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

/// How hosts worked off a filled outbox.
pub(crate) struct Drained {
    /// Events a second.
    pub(crate) rate: f64,
    /// Microseconds an event on a processor, of all hosts.
    pub(crate) host_micros: f64,
    /// The same of Postgres; 0 without one.
    pub(crate) postgres_micros: f64,
}

impl Drained {
    pub(crate) fn note(&self) -> String {
        let Self { host_micros: host, postgres_micros: postgres, .. } = self;
        format!("processor time an event: host {host:.1} µs, Postgres {postgres:.1} µs")
    }
}

pub(crate) async fn drain(
    scene: &Scene,
    url: &str,
    hosts: usize,
    events: u64,
) -> Fallible<Drained> {
    let server = scene.cluster.as_ref().map(Cluster::process_id).transpose()?;
    let of_server = || server.map_or(Ok(Duration::ZERO), cpu::of_family);
    let mut fleet = Fleet::start(scene, url, hosts, false).await?;
    let (host, postgres) = (fleet.processor_time()?, of_server()?);
    let clock = fleet.go().await?;
    fleet.until(events).await?;
    let took = clock.elapsed();
    let (host, postgres) = (fleet.processor_time()? - host, of_server()?.saturating_sub(postgres));
    fleet.stop().await?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / float(events);
    Ok(Drained {
        rate: float(events) / took.as_secs_f64(),
        host_micros: micros(host),
        postgres_micros: micros(postgres),
    })
}

/// The faster of two runs; one that was disturbed says nothing.
fn faster(best: Option<Drained>, run: Drained) -> Option<Drained> {
    Some(match best {
        Some(best) if best.rate > run.rate => best,
        Some(_) | None => run,
    })
}

fn add_drained(report: &mut Report, row: &str, best: Option<Drained>, events: u64) {
    if let Some(best) = best {
        let command = format!("host, {events} events, one process");
        report.add_noted(row, best.rate, "events/s", &command, best.note());
    }
}

pub(crate) async fn on_postgres(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let cluster = cluster(scene)?;
    let events = scene.options.scaled(scene.options.events);
    let mut best = None;
    let mut costs = None;
    for _ in 0..scene.options.repeat.max(1) {
        let url = fill::empty_postgres(cluster, DATABASE).await?;
        fill::postgres(cluster, DATABASE, Kind::Pending, events).await?;
        let before = Costs::of(cluster, DATABASE).await?;
        best = faster(best, drain(scene, &url, 1, events).await?);
        costs = Some((before, Costs::of(cluster, DATABASE).await?));
    }
    add_drained(report, "dispatch/postgres", best, events);
    if let Some((before, after)) = costs {
        Costs::add(report, "tidegate", before, after, events);
    }
    Ok(())
}

pub(crate) async fn on_sqlite(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let events = scene.options.scaled(scene.options.events);
    let mut best = None;
    for _ in 0..scene.options.repeat.max(1) {
        let url = fill::sqlite(scene, events).await?;
        best = faster(best, drain(scene, &url, 1, events).await?);
    }
    add_drained(report, "dispatch/sqlite", best, events);
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
