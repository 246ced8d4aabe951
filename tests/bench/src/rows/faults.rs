//! What users of such queues suffer from: a long reader, a long past, a database that restarts.

use std::time::{Duration, Instant};

use crate::fallible::{Fallible, float};
use crate::fill::{self, Kind};
use crate::fleet::Fleet;
use crate::report::Report;
use crate::scene::Scene;

use super::dispatch::{DATABASE, cluster, drain};

/// A transaction that was opened before, and holds back vacuum meanwhile.
pub(crate) async fn held_open(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let cluster = cluster(scene)?;
    let events = scene.options.scaled(200_000);
    for (name, held) in [("none", false), ("open", true)] {
        let url = fill::empty_postgres(cluster, DATABASE).await?;
        fill::postgres(cluster, DATABASE, Kind::Pending, events).await?;
        let mut reader = cluster.connect(DATABASE).await?;
        if held {
            let hold = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()";
            sqlx::raw_sql(hold).execute(&mut reader).await?;
        }
        let drained = drain(scene, &url, 1, events).await?;
        drop(reader);
        let command = format!("host, {events} events; a repeatable-read transaction: {name}");
        report.add_noted(
            &format!("held-open/{name}"),
            drained.rate,
            "events/s",
            &command,
            drained.note(),
        );
    }
    Ok(())
}

/// The same work before few and before many finished rows.
pub(crate) async fn finished(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let cluster = cluster(scene)?;
    let events = scene.options.scaled(scene.options.events);
    let many = scene.options.scaled(scene.options.finished);
    for (name, finished) in [("10000", 10_000), ("many", many)] {
        let url = fill::empty_postgres(cluster, DATABASE).await?;
        fill::postgres(cluster, DATABASE, Kind::Finished, finished).await?;
        fill::postgres(cluster, DATABASE, Kind::Pending, events).await?;
        let drained = drain(scene, &url, 1, events).await?;
        let command = format!("host, {events} events behind {finished} finished ones");
        report.add_noted(
            &format!("finished/{name}"),
            drained.rate,
            "events/s",
            &command,
            drained.note(),
        );
    }
    cluster.drop(DATABASE).await
}

/// The rate before Postgres was restarted, and from five seconds after it was back.
pub(crate) async fn recovery(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let cluster = cluster(scene)?;
    let window = scene.options.seconds() / 2;
    // More than the fastest host works off in all windows.
    let events = scene.options.scaled(1_000_000);
    let url = fill::empty_postgres(cluster, DATABASE).await?;
    fill::postgres(cluster, DATABASE, Kind::Pending, events).await?;
    let mut fleet = Fleet::start(scene, &url, 1, false).await?;
    fleet.go().await?;
    rate(&mut fleet, Duration::from_secs(1)).await?;
    let before = rate(&mut fleet, window).await?;
    // Blocks this thread only: hosts are other processes, and their lines wait.
    cluster.restart("immediate")?;
    let back = Instant::now();
    let done_when_back = fleet.done();
    let mut first_after = None;
    while back.elapsed() < Duration::from_secs(5) {
        rate(&mut fleet, Duration::from_millis(100)).await?;
        if first_after.is_none() && fleet.done() > done_when_back {
            first_after = Some(back.elapsed());
        }
    }
    let after = rate(&mut fleet, window).await?;
    fleet.stop().await?;
    let command = format!("host, {events} events; pg_ctl -m immediate stop, start");
    report.add("recovery/before", before, "events/s", &command);
    let first = first_after.map_or(f64::NAN, |time| time.as_secs_f64());
    report.add("recovery/first event", first, "s", "after the server took connections again");
    report.add("recovery/after", after, "events/s", "from 5 s after the server was back");
    Ok(())
}

/// Events a second in the next `window`.
async fn rate(fleet: &mut Fleet, window: Duration) -> Fallible<f64> {
    let (clock, done) = (Instant::now(), fleet.done());
    let end = tokio::time::sleep(window);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            heard = fleet.listen() => { heard?; }
        }
    }
    Ok(float(fleet.done() - done) / clock.elapsed().as_secs_f64())
}
