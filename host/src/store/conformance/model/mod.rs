//! Random sequences of operations, done to a store and to a simple model of it, with every answer
//! and at the end the whole state compared. What fails is shrunk to the fewest operations.
//!
//! `TIDEGATE_SEED` repeats a run, `TIDEGATE_SEQUENCES` makes it longer or shorter.

mod compare;
mod drive;
mod operation;
mod spec;
mod withdrawal;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use self::drive::Run;
use self::operation::{Operation, operations};
use super::world::World;

/// Sequences of a store, together of all its workers.
const SQLITE_SEQUENCES: u32 = 1_600;
const POSTGRES_SEQUENCES: u32 = 400;
/// Operations of a sequence at most.
const LONGEST: usize = 80;
/// Each has a database of its own.
const WORKERS: u32 = 2;

/// Answers in a word or two, with how often they were given.
type Seen = BTreeMap<String, u32>;

/// What a run of the usual length always meets: else it would test little.
const ALWAYS_SEEN: &[&str] = &[
    "accept_events As Created",
    "accept_events As KeyReused",
    "accept_events As Replayed",
    "accept_events EventKeysTaken",
    "accept_withdrawal Created",
    "accept_withdrawal KeyReused",
    "accept_withdrawal Replayed Answer",
    "cancel Now",
    "cancel OfWithdrawal",
    "claim 3",
    "conclude BROADCASTED true",
    "conclude FAILED true",
    "conclude refused",
    "delete_answers 2",
    "delete_finished 1",
    "extend EventId",
    "fail_hopeless Expired",
    "fail_hopeless Poison",
    "held_by Some EventId",
    "pause Changed",
    "promote_due 2",
    "replay NotFailed Processing",
    "replay Pending",
    "resume Changed",
    "save_checkpoint false",
    "save_checkpoint true",
    "settle defer LeaseLost",
    "settle defer Settled",
    "settle done LeaseLost",
    "settle done Settled",
    "settle done TransitionRefused FailureReason",
    "settle fail LeaseLost",
    "settle fail Settled",
    "settle postpone Settled",
    "settle retry LeaseLost",
    "settle retry Settled",
    "sign lease lost",
    "sign not live",
    "sign signed",
    "skip Already",
    "skip Now",
    "take_over_lost_leases 1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_does_what_the_model_does() {
    let mut worlds = Vec::new();
    for _ in 0..WORKERS {
        worlds.push(World::sqlite_in_memory().await);
    }
    check("sqlite", worlds, SQLITE_SEQUENCES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_does_what_the_model_does() {
    let mut worlds = Vec::new();
    for _ in 0..WORKERS {
        let Some(world) = World::postgres().await else { return };
        worlds.push(world);
    }
    check("postgres", worlds, POSTGRES_SEQUENCES).await;
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

async fn check(store: &'static str, worlds: Vec<World>, sequences: u32) {
    let seed: u64 = from_environment("TIDEGATE_SEED").unwrap_or_else(|| fastrand::u32(..).into());
    let sequences = from_environment("TIDEGATE_SEQUENCES").unwrap_or(sequences).div_ceil(WORKERS);
    println!("TIDEGATE_SEED={seed}");
    let begun = Instant::now();
    let seen = Arc::new(Mutex::new(Seen::new()));
    // The seed of the worker that found something: the others need not look any further.
    let found = Arc::new(OnceLock::new());
    let runtime = tokio::runtime::Handle::current();
    let workers: Vec<_> = worlds
        .into_iter()
        .zip(seed..)
        .map(|(world, seed)| {
            let (runtime, seen, found) = (runtime.clone(), Arc::clone(&seen), Arc::clone(&found));
            tokio::task::spawn_blocking(move || {
                runtime.block_on(world.let_go_of_what_is_append_only());
                let config = Config {
                    cases: sequences,
                    rng_seed: RngSeed::Fixed(seed),
                    failure_persistence: None,
                    max_shrink_iters: 4_000,
                    ..Config::default()
                };
                let outcome = TestRunner::new(config).run(&operations(LONGEST), |sequence| {
                    if found.get().is_some_and(|finder| *finder != seed) {
                        return Ok(());
                    }
                    let ran = runtime.block_on(run(&world, &sequence, &seen));
                    let Err(what) = ran else { return Ok(()) };
                    if found.set(seed).is_ok() {
                        println!("{store}: found after {:?}, now shrinking", begun.elapsed());
                    }
                    match found.get() {
                        Some(finder) if *finder == seed => Err(TestCaseError::fail(what)),
                        Some(_) | None => Ok(()),
                    }
                });
                runtime.block_on(world.close());
                outcome.map_err(|error| format!("{error}"))
            })
        })
        .collect();
    for worker in workers {
        if let Err(error) = worker.await.unwrap() {
            panic!("{store}, TIDEGATE_SEED={seed}, {:?}: {error}", begun.elapsed());
        }
    }
    let mut seen = seen.lock().unwrap();
    let operations = seen.remove("operations").unwrap_or_default();
    println!(
        "{store}: {} sequences, {operations} operations, {:?}",
        sequences * WORKERS,
        begun.elapsed()
    );
    println!("{store}: {seen:?}");
    let missing = ALWAYS_SEEN.iter().filter(|answer| !seen.contains_key(**answer));
    let missing: Vec<_> = missing.collect();
    assert!(sequences * WORKERS < POSTGRES_SEQUENCES || missing.is_empty(), "never: {missing:?}");
}

async fn run(world: &World, sequence: &[Operation], seen: &Mutex<Seen>) -> Result<(), String> {
    world.clear().await;
    let mut run = Run::begin(world).await;
    let ran = run.run(sequence).await;
    let mut seen = seen.lock().unwrap();
    *seen.entry("operations".into()).or_default() += u32::try_from(sequence.len()).unwrap();
    for (answer, times) in run.seen {
        *seen.entry(answer).or_default() += times;
    }
    ran
}
