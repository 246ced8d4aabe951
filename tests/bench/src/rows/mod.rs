//! The rows, in the order in which they are measured. A row that fails is a row that says so.

mod dispatch;
mod faults;
mod hosts;
mod ingest;
mod isolation;
mod latency;
mod memory;
mod payments;
mod peers;
mod plugins;
mod single;
mod swap;

use crate::fallible::Fallible;
use crate::machine;
use crate::options::Options;
use crate::report::{Report, progress};
use crate::scene::Scene;

pub(crate) async fn measure(options: Options) -> Fallible<()> {
    let json = options.json.clone();
    let scene = Scene::set(options).await?;
    let facts = machine::facts(&scene).await?;
    let mut report = Report::default();
    tokio::select! {
        () = all(&scene, &mut report) => {}
        // Dropping the scene stops the server; children end with their handles.
        interrupted = interrupted() => {
            interrupted?;
            progress("interrupted; the table holds what was measured until now");
        }
    }
    ratios(&mut report);
    report.print(&facts);
    if let Some(path) = json {
        report.write(&path, &facts)?;
    }
    Ok(())
}

/// Ctrl-C, or the wish of a supervisor.
async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}

/// Measures a row if it is wanted; what went wrong becomes its text.
macro_rules! row {
    ($scene:ident, $report:ident, $name:literal, $measure:path) => {
        if $scene.options.wants($name) {
            progress(concat!("measuring ", $name));
            if let Err(error) = $measure($scene, $report).await {
                $report.skip($name, &error.to_string());
            }
        }
    };
}

async fn all(scene: &Scene, report: &mut Report) {
    row!(scene, report, "dispatch/postgres", dispatch::on_postgres);
    row!(scene, report, "dispatch/sqlite", dispatch::on_sqlite);
    row!(scene, report, "floor/dispatch", dispatch::floor);
    row!(scene, report, "sandbox", single::sandbox);
    row!(scene, report, "outbound", single::outbound);
    row!(scene, report, "dev", single::dev);
    row!(scene, report, "peer/postgres/awa", peers::awa);
    row!(scene, report, "peer/postgres/river", peers::river_postgres);
    row!(scene, report, "peer/sqlite/river", peers::river_sqlite);
    row!(scene, report, "floor/ingest", ingest::floor);
    row!(scene, report, "ingest/postgres", ingest::on_postgres);
    row!(scene, report, "ingest/sqlite", ingest::on_sqlite);
    row!(scene, report, "latency", latency::measure);
    row!(scene, report, "payments", payments::measure);
    row!(scene, report, "hosts", hosts::measure);
    row!(scene, report, "held-open", faults::held_open);
    row!(scene, report, "finished", faults::finished);
    row!(scene, report, "recovery", faults::recovery);
    row!(scene, report, "swap", swap::measure);
    row!(scene, report, "swap/calls", plugins::calls_during_swaps);
    row!(scene, report, "rollback", plugins::rollback);
    row!(scene, report, "idle", plugins::idle_memory);
    row!(scene, report, "memory", memory::measure);
    row!(scene, report, "isolation", isolation::measure);
}

fn ratios(report: &mut Report) {
    let (all, least) =
        (report.figure("outbound/all checks"), report.figure("outbound/least checks"));
    report.ratio("ratio/outbound all checks ÷ least", all, least, "0.85");
    let ours = report.figure("dispatch/postgres");
    let peer = report.best("peer/postgres/");
    report.ratio("ratio/dispatch postgres ÷ best peer", ours, peer, "4, better 5");
    let tuned = report.best("tuned/postgres/");
    report.ratio("ratio/dispatch postgres ÷ best tuned peer", ours, tuned, "no aim");
    let floor = report.best("floor/dispatch/");
    report.ratio("ratio/dispatch postgres ÷ floor", ours, floor, "0.5");
    let (sqlite, river) = (report.figure("dispatch/sqlite"), report.best("peer/sqlite/"));
    report.ratio("ratio/dispatch sqlite ÷ river", sqlite, river, "5");
    let tuned = report.best("tuned/sqlite/");
    report.ratio("ratio/dispatch sqlite ÷ tuned river", sqlite, tuned, "no aim");
    let ingest = report.figure("ingest/postgres");
    let floor = report.best("floor/ingest/");
    report.ratio("ratio/ingest postgres ÷ floor", ingest, floor, "0.8");
    let sqlite = report.figure("ingest/sqlite");
    report.ratio("ratio/ingest sqlite ÷ postgres", sqlite, ingest, "1");
    let (one, eight) = (report.figure("latency/1 host p99"), report.figure("latency/8 hosts p99"));
    report.ratio("ratio/latency p99 of 8 hosts ÷ 1", eight, one, "at most 2");
    let one = report.figure("hosts/1");
    for hosts in ["4", "8"] {
        let many = report.figure(&format!("hosts/{hosts}"));
        report.ratio(&format!("ratio/{hosts} hosts ÷ 1"), many, one, "1");
    }
    let (held, free) = (report.figure("held-open/open"), report.figure("held-open/none"));
    report.ratio("ratio/transaction held open ÷ none", held, free, "0.5");
    let (many, few) = (report.figure("finished/many"), report.figure("finished/10000"));
    report.ratio("ratio/many finished ÷ 10000", many, few, "0.85");
    let (after, before) = (report.figure("recovery/after"), report.figure("recovery/before"));
    report.ratio("ratio/recovered ÷ before", after, before, "0.98");
    let during = report.figure("swap/calls during p99");
    let without = report.figure("swap/calls without p99");
    report.ratio("ratio/p99 of calls during swaps ÷ without", during, without, "at most 2");
    let alone = report.figure("isolation/alone p99");
    for other in ["spinning", "allocating", "waiting", "logging"] {
        let beside = report.figure(&format!("isolation/{other} p99"));
        report.ratio(&format!("ratio/p99 beside {other} ÷ alone"), beside, alone, "at most 2");
    }
    let (full, empty) = (report.figure("memory/backlog"), report.figure("memory/empty"));
    report.ratio("ratio/memory with backlog ÷ empty", full, empty, "at most 1.2");
}
