//! The peers' program, run once with each number of workers.

use crate::fallible::{Fallible, float};
use crate::process::Process;
use crate::scene::Scene;

pub(crate) struct Run {
    pub(crate) rate: f64,
    pub(crate) settings: String,
}

/// One run of a peer over a queue that it fills itself. `begin` is called before the measured part.
/// `pause` is what the peer waits between two looks for jobs: its own default, or milliseconds.
pub(crate) async fn run(
    scene: &Scene,
    peer: &str,
    address: &str,
    jobs: u64,
    workers: u64,
    pause: &str,
    begin: impl AsyncFnOnce() -> Fallible<()>,
) -> Fallible<Run> {
    let program = scene.options.peers.as_deref().filter(|path| path.is_file());
    let program = program.ok_or("the peers were not built")?;
    let (jobs_text, workers_text) = (jobs.to_string(), workers.to_string());
    let mut process = Process::start(program, &[peer, address, &jobs_text, &workers_text, pause])?;
    process.after("filled").await?;
    begin().await?;
    process.say("go").await?;
    let seconds: f64 = process.after("done").await?.parse()?;
    process.stop().await?;
    let settings = format!("peers {peer} {jobs} jobs, {workers} workers, pause {pause}");
    Ok(Run { rate: float(jobs) / seconds, settings })
}
