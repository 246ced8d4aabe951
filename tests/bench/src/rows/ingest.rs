//! Withdrawals over HTTP, and the floor of the same insert.

use crate::fallible::{Fallible, float};
use crate::fill;
use crate::floor::{self, Until};
use crate::ingest::post_for;
use crate::process::Process;
use crate::report::Report;
use crate::scene::Scene;

use super::dispatch::{DATABASE, cluster};

const CONNECTIONS: usize = 64;

pub(crate) async fn floor(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let cluster = cluster(scene)?;
    let script = scene.folder("floor")?.join("ingest.sql");
    // A colon would begin one of pgbench's variables.
    let payload = fill::PAYLOAD.replace(':', ": ");
    std::fs::write(&script, floor::INGEST.replace("@PAYLOAD@", &payload))?;
    for clients in [4, 8, 16, 32] {
        fill::empty_postgres(cluster, DATABASE).await?;
        // Transactions that notify commit one after another; bare statements do not.
        let mut connection = cluster.connect(DATABASE).await?;
        let bare = "ALTER TABLE outbox_events DISABLE TRIGGER outbox_events_wake";
        sqlx::raw_sql(bare).execute(&mut connection).await?;
        let seconds = scene.options.seconds().as_secs() / 2;
        let until = Until::Seconds(seconds);
        let tps = floor::pgbench(cluster, DATABASE, &script, clients, until, &[]).await?;
        report.add(
            &format!("floor/ingest/{clients}"),
            tps,
            "withdrawals/s",
            &format!("pgbench -M prepared -c {clients} -T {seconds}, one statement a withdrawal"),
        );
    }
    Ok(())
}

pub(crate) async fn on_postgres(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let url = fill::empty_postgres(cluster(scene)?, DATABASE).await?;
    post(scene, report, "ingest/postgres", &url).await
}

pub(crate) async fn on_sqlite(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let url = format!("sqlite:{}", scene.folder("ingest")?.join("tidegate.db").display());
    post(scene, report, "ingest/sqlite", &url).await
}

async fn post(scene: &Scene, report: &mut Report, row: &str, url: &str) -> Fallible<()> {
    let mut api = Process::of_ours(&["api", "--store", url])?;
    let address = api.after("ready").await?;
    let duration = scene.options.seconds();
    // Connections, plans and files are warm afterwards.
    post_for(&address, CONNECTIONS, duration / 5).await?;
    let clock = std::time::Instant::now();
    let created = post_for(&address, CONNECTIONS, duration).await?;
    let rate = float(created) / clock.elapsed().as_secs_f64();
    api.stop().await?;
    let command = format!("api, POST /v1/withdrawals, {CONNECTIONS} keep-alive connections");
    report.add(row, rate, "withdrawals/s", &command);
    Ok(())
}
