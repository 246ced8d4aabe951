//! The p99 of a neighbour's calls, alone and beside a plugin that does its worst.

use crate::fallible::Fallible;
use crate::isolation::Neighbours;
use crate::report::Report;
use crate::scene::Scene;

use super::single::percentile_ms;

/// What the other does, with 64 calls at the same time.
const DEEDS: [(&str, Option<&str>); 5] = [
    ("alone", None),
    ("spinning", Some("{\"do\": \"loop\"}")),
    ("allocating", Some("{\"do\": \"allocate\"}")),
    ("waiting", Some("{\"do\": \"sleep\"}")),
    ("logging", Some("{\"do\": \"log_flood\"}")),
];

pub(crate) async fn measure(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let neighbours = Neighbours::load(scene).await?;
    for (name, bad) in DEEDS {
        let mut delays = neighbours.delays(bad, scene.options.seconds()).await?;
        let row = format!("isolation/{name} p99");
        let command = "1,000 calls/s of a no-op beside 64 calls of another plugin";
        report.add(&row, percentile_ms(&mut delays, 99), "ms", command);
    }
    Ok(())
}
