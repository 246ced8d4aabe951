//! What the figures hang on: cores, versions, settings.

use crate::fallible::Fallible;
use crate::scene::Scene;

pub(crate) async fn facts(scene: &Scene) -> Fallible<Vec<(String, String)>> {
    let cores = std::thread::available_parallelism()?.get();
    let mut facts: Vec<(String, String)> = vec![
        ("at".into(), chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
        ("cores".into(), cores.to_string()),
        ("processor".into(), processor().unwrap_or_else(|| "unknown".into())),
        ("system".into(), first_line("/proc/sys/kernel/osrelease")),
        ("load before".into(), first_line("/proc/loadavg")),
        ("tidegate".into(), format!("{} (release profile)", env!("CARGO_PKG_VERSION"))),
        ("peers".into(), "awa 0.6, riverqueue 0.5 (tests/bench/peers/Cargo.lock)".into()),
        ("payload".into(), format!("{} bytes of JSON", crate::fill::PAYLOAD.len())),
        ("events".into(), scene.options.scaled(scene.options.events).to_string()),
        (
            "component".into(),
            "plugins/examples/noop, concurrency = 1000, fresh sandbox a call".into(),
        ),
    ];
    if let Some(cluster) = &scene.cluster {
        facts.extend(cluster.facts().await?);
    }
    facts.push(("SQLite settings".into(), "journal_mode=WAL synchronous=FULL".into()));
    Ok(facts)
}

fn first_line(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
