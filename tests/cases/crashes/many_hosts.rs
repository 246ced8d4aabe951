//! Three hosts on one Postgres, every fault that can be made, and callers that go on.

use std::io::Write;
use std::time::{Duration, Instant};

use tidegate_tests::fleet::{fenced_binary, unfenced_binary};
use tidegate_tests::machine;
use tidegate_tests::seed::{crash_for, seed};
use tokio::sync::watch;

use super::faults::make_faults;
use super::load::Load;
use super::scene::Scene;
use super::verdict::check;

const FAULTS_FOR: Duration = Duration::from_secs(60);
const FOUND_WITHIN: Duration = Duration::from_secs(60);
const AT_WORK_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Shown also when the test passes: what was survived is the point of it.
fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hosts_survive_every_fault_and_nothing_is_lost_or_done_twice() {
    let seed = seed();
    let _shared = machine::shared().await;
    let Some(scene) = Scene::start(&fenced_binary()).await else { return };
    let mut random = fastrand::Rng::with_seed(seed);
    let load = Load::start(&scene, &mut random);
    let (enough, until) = watch::channel(false);
    let begun = Instant::now();
    let ending = async {
        tokio::time::sleep(crash_for(FAULTS_FOR)).await;
        enough.send_replace(true);
    };
    let (timeline, ()) =
        futures_util::future::join(make_faults(&scene, &mut random, until), ending).await;
    let lasted = begun.elapsed().as_secs();
    let healed = Instant::now();
    // Nobody restarts a host that stands idle, so none may.
    scene.witness.all_take_part(scene.fleet.members().len(), AT_WORK_WITHIN).await;
    let known = load.finish().await;
    let tally = check(&scene, known).await;
    report(&format!(
        "crashes, seed {seed}: {lasted} s of faults: {timeline}; all done {} s later: {tally}",
        healed.elapsed().as_secs()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_fence_the_harness_finds_the_fault_within_a_minute() {
    let seed = seed();
    let Some(binary) = unfenced_binary() else { return };
    let _shared = machine::shared().await;
    let Some(scene) = Scene::start(&binary).await else { return };
    let mut random = fastrand::Rng::with_seed(seed);
    let load = Load::start(&scene, &mut random);
    let (_enough, until) = watch::channel(false);
    let begun = Instant::now();
    let found = async {
        loop {
            // The database may be away just now, which is one of the faults.
            let faults = scene.witness.faults().await.unwrap_or_default();
            if !faults.is_empty() {
                return faults;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let found = tokio::select! {
        found = found => found,
        () = tokio::time::sleep(FOUND_WITHIN) => panic!("not found within {FOUND_WITHIN:?}"),
        _ = make_faults(&scene, &mut random, until) => unreachable!("nobody said enough"),
    };
    report(&format!(
        "crashes, seed {seed}: without the fence, found after {:.1} s: {}",
        begun.elapsed().as_secs_f64(),
        found[0]
    ));
    assert!(found.iter().any(|fault| fault.contains("another than its holder")), "{found:#?}");
    drop(load);
}
