//! The queues that a user would pick instead, each at several numbers of workers.

use crate::costs::Costs;
use crate::fallible::Fallible;
use crate::peers;
use crate::report::Report;
use crate::scene::Scene;

use super::dispatch::{DATABASE, cluster};

pub(crate) async fn awa(scene: &Scene, report: &mut Report) -> Fallible<()> {
    on_postgres(scene, report, "awa", "awa", &[256, 512, 1_000, 2_000]).await
}

pub(crate) async fn river_postgres(scene: &Scene, report: &mut Report) -> Fallible<()> {
    on_postgres(scene, report, "river", "river-postgres", &[100, 500, 1_000, 2_000]).await
}

async fn on_postgres(
    scene: &Scene,
    report: &mut Report,
    name: &str,
    peer: &str,
    workers: &[u64],
) -> Fallible<()> {
    let cluster = cluster(scene)?;
    // Peers are slower: a third of the events is as long a run.
    let jobs = scene.options.scaled(scene.options.events) / 3;
    let mut cheapest = None;
    for workers in workers {
        let url = cluster.create(DATABASE).await?;
        let mut before = None;
        let run = peers::run(scene, peer, &url, jobs, *workers, async || {
            let mut connection = cluster.connect(DATABASE).await?;
            sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await?;
            sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await?;
            before = Some(Costs::of(cluster, DATABASE).await?);
            Ok(())
        })
        .await?;
        let after = Costs::of(cluster, DATABASE).await?;
        let row = format!("peer/postgres/{name}/{workers}");
        report.add(&row, run.rate, "jobs/s", &run.settings);
        if cheapest.as_ref().is_none_or(|(rate, _, _)| run.rate > *rate) {
            cheapest = before.map(|before| (run.rate, before, after));
        }
    }
    if let Some((_, before, after)) = cheapest {
        Costs::add(report, name, before, after, jobs);
    }
    Ok(())
}

pub(crate) async fn river_sqlite(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let jobs = scene.options.scaled(scene.options.events) / 3;
    for workers in [500, 1_000, 2_000] {
        let path = scene.folder("river")?.join("river.db").display().to_string();
        let run = peers::run(scene, "river-sqlite", &path, jobs, workers, async || Ok(())).await?;
        report.add(&format!("peer/sqlite/river/{workers}"), run.rate, "jobs/s", &run.settings);
    }
    Ok(())
}
