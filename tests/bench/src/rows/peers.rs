//! The queues that a user would pick instead, each at several numbers of workers: as they come
//! (`peer/`), and with the shortest pause that each allows between two looks for jobs (`tuned/`).

use crate::costs::Costs;
use crate::fallible::Fallible;
use crate::peers;
use crate::report::Report;
use crate::scene::Scene;

use super::dispatch::{DATABASE, cluster};

/// The names that rows begin with, and the pause in the peers' words.
const SETTINGS: [(&str, &str); 2] = [("peer", "default"), ("tuned", "1")];

pub(crate) async fn awa(scene: &Scene, report: &mut Report) -> Fallible<()> {
    on_postgres(scene, report, "awa", &[256, 512, 1_000]).await
}

pub(crate) async fn river_postgres(scene: &Scene, report: &mut Report) -> Fallible<()> {
    on_postgres(scene, report, "river-postgres", &[100, 1_000, 2_000]).await
}

async fn on_postgres(
    scene: &Scene,
    report: &mut Report,
    peer: &str,
    workers: &[u64],
) -> Fallible<()> {
    let cluster = cluster(scene)?;
    // Peers are slower: a third of the events is as long a run.
    let jobs = scene.options.scaled(scene.options.events) / 3;
    for (kind, pause) in SETTINGS {
        let mut fastest: Option<(f64, Costs, Costs)> = None;
        for workers in workers {
            let url = cluster.create(DATABASE).await?;
            let mut before = None;
            let begin = async || {
                let mut connection = cluster.connect(DATABASE).await?;
                sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await?;
                sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await?;
                before = Some(Costs::of(cluster, DATABASE).await?);
                Ok(())
            };
            let run = peers::run(scene, peer, &url, jobs, *workers, pause, begin).await?;
            let after = Costs::of(cluster, DATABASE).await?;
            let row = format!("{kind}/postgres/{peer}/{workers}");
            report.add(&row, run.rate, "jobs/s", &run.settings);
            if fastest.is_none_or(|(rate, _, _)| run.rate > rate) {
                fastest = before.map(|before| (run.rate, before, after));
            }
        }
        if let Some((_, before, after)) = fastest {
            Costs::add(report, &format!("{kind}/{peer}"), before, after, jobs);
        }
    }
    Ok(())
}

pub(crate) async fn river_sqlite(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let jobs = scene.options.scaled(scene.options.events) / 3;
    for (kind, pause) in SETTINGS {
        for workers in [500, 1_000, 2_000] {
            let path = scene.folder("river")?.join("river.db").display().to_string();
            let run =
                peers::run(scene, "river-sqlite", &path, jobs, workers, pause, async || Ok(()))
                    .await?;
            let row = format!("{kind}/sqlite/river/{workers}");
            report.add(&row, run.rate, "jobs/s", &run.settings);
        }
    }
    Ok(())
}
