//! Three hosts on one Postgres: releases alternate under load, and one host dies in the middle of a
//! deploy. No event is lost, failed or done by two.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidegate_tests::eventually::eventually;
use tidegate_tests::fleet::{Fleet, fenced_binary};
use tidegate_tests::machine;
use tidegate_tests::postgres::Postgres;
use tidegate_tests::process::Signal;
use tidegate_tests::seed;

use super::scene::{command, deploy, deployed, folder, installation, mark, mark_of, marker};

/// Deploys while events flow; `TIDEGATE_DEPLOYS` makes it longer.
const DEPLOYS: usize = 12;
/// 500 events a second, as long as hosts answer.
const AT_ONCE: u64 = 10;
const PAUSE: Duration = Duration::from_millis(20);
const ACCEPTED_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(120);

fn deploys() -> usize {
    let asked = std::env::var("TIDEGATE_DEPLOYS").ok();
    asked.map_or(DEPLOYS, |text| text.parse().expect("TIDEGATE_DEPLOYS is a number"))
}

/// Hands events in until it is told to stop; each batch again and again until some host takes it.
async fn load(fleet: Arc<Fleet>, stop: Arc<AtomicBool>, sent: Arc<AtomicU64>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !stop.load(Ordering::SeqCst) {
        let from = sent.load(Ordering::SeqCst);
        let begun = Instant::now();
        loop {
            let api = fleet.any_api(&mut random);
            let Err(why) = mark(&api, from..from + AT_ONCE).await else { break };
            assert!(begun.elapsed() < ACCEPTED_WITHIN, "no host takes events: {why}");
            tokio::time::sleep(PAUSE).await;
        }
        sent.store(from + AT_ONCE, Ordering::SeqCst);
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_alternate_on_three_hosts_and_one_dies_in_the_middle_of_a_deploy() {
    let _shared = machine::shared().await;
    let installation = installation();
    let Some(postgres) = Postgres::start(installation.path()).await else { return };
    let fleet = Fleet::start(&installation, &fenced_binary(), postgres.port(), &["", "", ""]).await;
    let fleet = Arc::new(fleet);
    let api = fleet.members()[0].api();
    let mut folders = Vec::new();
    for name in ["one", "two", "three"] {
        folders.push(folder(installation.path(), name, &marker(name, 0)).await);
    }
    deployed(&api, &folders[0]).await;

    let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let seed = seed::seed();
    let running =
        tokio::spawn(load(Arc::clone(&fleet), Arc::clone(&stop), Arc::clone(&sent), seed));
    let count = deploys();
    for round in 0..count {
        let ended = deploy(&api, &folders[(round + 1) % 2], &[]).await;
        assert_eq!(ended.code, 0, "deploy {round}: {ended:?}");
        assert!(ended.out.contains("is live on 3 of 3 hosts"), "{}", ended.out);
    }

    // One that no host has compiled yet, and one host that will never say what it made of it.
    let third = folders[2].clone();
    let deploying = {
        let (api, folder) = (api.clone(), third.clone());
        tokio::spawn(async move { deploy(&api, &folder, &[]).await })
    };
    let mut dying = fleet.members()[2].hold_process().await;
    dying.end(Signal::Kill).await;
    let ended = deploying.await.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    dying.start().await;
    drop(dying);
    // It has what is live before it takes anything.
    let returned = fleet.members()[2].api();
    let routes = returned.get("/v1/routes").await;
    let live = api.get("/v1/plugins/marker/releases?limit=1").await["releases"][0].clone();
    assert_eq!(live["state"], "LIVE", "{live}");
    assert!(routes.to_string().contains(live["digest"].as_str().unwrap()), "{routes}");

    stop.store(true, Ordering::SeqCst);
    running.await.unwrap();
    let sent = sent.load(Ordering::SeqCst);
    let done = eventually("all events are DONE", DONE_WITHIN, async || {
        let done = api.all("/v1/events?status=DONE").await;
        if done.len() as u64 == sent { Ok(done) } else { Err(format!("{} of {sent}", done.len())) }
    })
    .await;
    let mut marks = BTreeMap::new();
    for event in &done {
        // The dead host's attempts are taken over, and cost nothing either.
        assert_eq!(event["attempt_count"], 1, "{event}");
        *marks.entry(mark_of(event).to_owned()).or_insert(0) += 1;
    }
    eprintln!("{count} deploys and a death, {sent} events: {marks:?}");
    assert!(marks.len() >= 2 && !marks.contains_key("none"), "{marks:?}");
    let history = command(&api, &["plugin", "history", "marker", "--json"]).await.json();
    let rejected =
        history["decisions"].as_array().unwrap().iter().filter(|it| it["kind"] == "rejected");
    assert_eq!(rejected.count(), 0, "{history}");
    assert_eq!(fleet.panics(), Vec::<String>::new());
}
