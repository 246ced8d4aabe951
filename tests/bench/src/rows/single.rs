//! Rows that need neither peers nor Postgres.

use std::time::Duration;

use crate::fallible::Fallible;
use crate::outbound::Checks;
use crate::report::Report;
use crate::scene::Scene;
use crate::{dev, outbound, sandbox};

pub(crate) async fn sandbox(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let calls = sandbox::calls_per_second(scene, scene.options.seconds() / 2).await?;
    report.add(
        "sandbox",
        calls,
        "calls/s",
        "Release::attempt of the no-op component, a task a core",
    );
    Ok(())
}

pub(crate) async fn outbound(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let duration = scene.options.seconds() / 2;
    // The two take turns, for the machine's speed changes while they run; the best of each counts.
    let (mut least, mut all) = (0.0_f64, 0.0_f64);
    for _ in 0..scene.options.repeat.max(1) {
        let rate = outbound::requests_per_second(scene, duration, Checks::Least).await?;
        least = least.max(rate);
        all = all.max(outbound::requests_per_second(scene, duration, Checks::All).await?);
    }
    let command = "PUT of 200 bytes from fresh sandboxes to loopback, 8 in flight";
    report.add("outbound/least checks", least, "requests/s", command);
    let command = "the same with 50 grants, a secret filled in and looked for, audit to a file";
    report.add("outbound/all checks", all, "requests/s", command);
    Ok(())
}

pub(crate) async fn dev(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let withdrawals = scene.options.scaled(200);
    let mut times = dev::confirmation_times(scene, withdrawals).await?;
    let command = format!("tidegate dev, {withdrawals} withdrawals one after another");
    report.add("dev/POST to CONFIRMED p50", percentile_ms(&mut times, 50), "ms", &command);
    report.add("dev/POST to CONFIRMED p99", percentile_ms(&mut times, 99), "ms", &command);
    Ok(())
}

/// By the nearest rank.
pub(crate) fn percentile_ms(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times.get(rank - 1).map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let mut times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let of = |times: &mut Vec<Duration>, percent| super::percentile_ms(times, percent);
        assert!((of(&mut times, 50) - 100.0).abs() < 1e-9);
        assert!((of(&mut times, 99) - 198.0).abs() < 1e-9);
    }
}
