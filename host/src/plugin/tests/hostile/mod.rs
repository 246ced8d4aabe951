//! The hostile suite: one component, or one deed, for each limit and each trick. Each ends with the
//! reason that the operator reads, and leaves the host, its neighbour and its memory as they were.

mod compiled;
mod deeds;
mod texts;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::components::{ENGINE, attempt, event, hostile, manifest};
use super::fakes::{Fakes, services};
use super::server::{Answer, Server};
use crate::domain::Outcome;
use crate::plugin::Release;

/// Within this the neighbour goes on, whatever was tried beside it.
const NEIGHBOUR_WITHIN: Duration = Duration::from_secs(20);
/// What the process may have grown by in the end: the compiler's and the allocator's own leftovers.
const RESIDENT_MARGIN_MIB: u64 = 300;

/// One trick: what is tried, and what must come of it.
struct Trick {
    name: String,
    how: How,
    /// Of the manifest, beside the grants without which `hostile` is not loaded.
    manifest: String,
    end: End,
}

enum How {
    /// A component of its own.
    Component(Box<dyn Fn() -> Vec<u8> + Send>),
    /// What `hostile` does when it is asked.
    Deed(Value),
    /// The same, where the outcome of an attempt before is not known.
    DeedAfterUnknown(Value),
}

/// How it ends, and a part of the reason.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It never becomes live.
    Refused(&'static str),
    /// It did not happen: the event is tried again.
    Retry(&'static str),
    /// It may have happened.
    Unknown(&'static str),
    /// One of the two: how a request ends that the call outlives, its guest says.
    GivenUp,
    /// The event is FAILED at once.
    Reject(&'static str),
    /// It was let, for it does no harm.
    Harmless,
}

fn component(name: &str, end: End, wasm: impl Fn() -> Vec<u8> + Send + 'static) -> Trick {
    Trick { name: name.into(), how: How::Component(Box::new(wasm)), manifest: QUICK.into(), end }
}

fn deed(name: &str, end: End, payload: Value) -> Trick {
    Trick { name: name.into(), how: How::Deed(payload), manifest: QUICK.into(), end }
}

impl Trick {
    fn with(mut self, manifest: impl Into<String>) -> Self {
        self.manifest = manifest.into();
        self
    }
}

/// So that what never ends by itself is over soon.
const QUICK: &str = "[limits]\ntimeout = \"300ms\"\n";

/// What became of a trick.
#[derive(Debug)]
enum Ended {
    Refused(String),
    Outcome(Outcome),
}

impl Ended {
    fn reason(&self) -> &str {
        match self {
            Self::Refused(reason)
            | Self::Outcome(
                Outcome::Retry { reason, .. }
                | Outcome::Unknown { reason }
                | Outcome::Reject { reason }
                | Outcome::Interrupted { reason, .. },
            ) => reason,
            Self::Outcome(Outcome::Done(_)) => "done",
            Self::Outcome(Outcome::Defer { .. }) => "deferred",
        }
    }

    fn is(&self, end: End) -> bool {
        match (end, self) {
            (End::Refused(said), Self::Refused(reason))
            | (End::Retry(said), Self::Outcome(Outcome::Retry { reason, .. }))
            | (End::Unknown(said), Self::Outcome(Outcome::Unknown { reason }))
            | (End::Reject(said), Self::Outcome(Outcome::Reject { reason })) => {
                reason.contains(said)
            }
            (End::GivenUp, Self::Outcome(Outcome::Retry { .. } | Outcome::Unknown { .. }))
            | (End::Harmless, Self::Outcome(Outcome::Done(_) | Outcome::Defer { .. })) => true,
            _ => false,
        }
    }
}

/// Loads it as the host does, with a rehearsal, and makes one attempt.
async fn play(trick: &Trick) -> Ended {
    let wasm = match &trick.how {
        How::Component(wasm) => wasm(),
        How::Deed(payload) => {
            let release = hostile(&trick.manifest).await;
            let fakes = Fakes::with_secret("KEY", "s3cret-value");
            return Ended::Outcome(attempt(&release, &fakes.services(), payload.clone()).await);
        }
        How::DeedAfterUnknown(payload) => {
            let mut event = event(payload);
            event.outcome_unknown = true;
            let release = hostile(&trick.manifest).await;
            return Ended::Outcome(release.attempt(&ENGINE, &event, &services()).await);
        }
    };
    let manifest = manifest(&trick.manifest);
    let compiled =
        tokio::task::spawn_blocking(move || Release::from_bytes(&ENGINE, manifest, &wasm, None));
    let release = match compiled.await.unwrap() {
        Ok(release) => release,
        Err(error) => return Ended::Refused(error.to_string()),
    };
    if let Err(error) = release.rehearse(&ENGINE).await {
        return Ended::Refused(error.to_string());
    }
    Ended::Outcome(attempt(&release, &services(), json!({})).await)
}

fn resident_mib() -> u64 {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

/// A plugin that does what it should, again and again; counts what it has done.
fn neighbour(done: Arc<AtomicU64>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let release = hostile("").await;
        loop {
            let outcome = attempt(&release, &services(), json!({"do": "ok"})).await;
            assert!(matches!(outcome, Outcome::Done(_)), "the neighbour suffers: {outcome:?}");
            done.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}

async fn goes_on(done: &AtomicU64, beside: &str) {
    let before = done.load(Ordering::Relaxed);
    let more = async {
        while done.load(Ordering::Relaxed) < before + 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(NEIGHBOUR_WITHIN, more).await;
    assert!(waited.is_ok(), "the neighbour stands still beside {beside:?}");
}

/// One test, for its table is one: `--nocapture` shows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_trick_harms_the_host_or_a_neighbour() {
    let server = Server::start(Answer::ok()).await;
    let slow = Server::start(Answer::Trickle).await;
    let mut tricks = texts::tricks();
    tricks.extend(compiled::tricks());
    tricks.extend(deeds::tricks(&server, &slow));
    assert!(tricks.len() >= 40, "{} tricks", tricks.len());

    let done = Arc::new(AtomicU64::new(0));
    let neighbour = neighbour(Arc::clone(&done));
    goes_on(&done, "nobody").await;
    let resident_before = resident_mib();
    println!("| trick | reason | ms to stop | MiB before | MiB after |\n|---|---|---|---|---|");
    let mut wrong = Vec::new();
    for trick in &tricks {
        let before = resident_mib();
        let started = Instant::now();
        let ended = play(trick).await;
        let stopped = started.elapsed().as_millis();
        let after = resident_mib();
        let reason: String = ended.reason().chars().take(160).collect();
        println!("| {} | {reason} | {stopped} | {before} | {after} |", trick.name);
        if !ended.is(trick.end) {
            wrong.push(format!("{}: {ended:?} is not {:?}", trick.name, trick.end));
        }
        goes_on(&done, &trick.name).await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    neighbour.abort();
    assert!(neighbour.await.is_err_and(|error| error.is_cancelled()), "the neighbour failed");
    // Other tests of this process have calls of their own.
    let idle = async {
        while !ENGINE.is_idle() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let freed = tokio::time::timeout(NEIGHBOUR_WITHIN, idle).await;
    assert!(freed.is_ok(), "some call still has its place in the pool");
    let resident = resident_mib();
    println!("{} tricks, {resident_before} MiB before, {resident} MiB after", tricks.len());
    assert!(
        resident <= resident_before + RESIDENT_MARGIN_MIB,
        "{resident_before} MiB before all of them, and {resident} MiB after"
    );
}

/// The epoch's ticks come from a thread that sleeps: it is let run whatever else computes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_thread_spinning_the_time_limit_still_ends_each_call() {
    let stop = Arc::new(AtomicBool::new(false));
    let burners: Vec<_> = (0..8)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let release = Arc::new(hostile("[limits]\ntimeout = \"200ms\"").await);
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let release = Arc::clone(&release);
            tokio::spawn(async move { attempt(&release, &services(), json!({"do": "loop"})).await })
        })
        .collect();
    for call in calls {
        let ended = tokio::time::timeout(NEIGHBOUR_WITHIN, call).await;
        let outcome = ended.expect("a call that spins was not ended").unwrap();
        assert!(Ended::Outcome(outcome).is(End::Retry("time limit 200ms reached")));
    }
    stop.store(true, Ordering::Relaxed);
    burners.into_iter().for_each(|burner| burner.join().unwrap());
}
