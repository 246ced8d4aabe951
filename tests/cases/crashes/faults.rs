//! What goes wrong, and when: faults drawn from a shuffled deck, so that each kind comes up as often.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Connection, PgConnection};
use tidegate_tests::fleet::{Fleet, LEASE, Member};
use tidegate_tests::partner::Partner;
use tidegate_tests::postgres::{Postgres, Shutdown};
use tidegate_tests::process::Signal;
use tidegate_tests::proxy::Hold;
use tokio::sync::watch;

use super::scene::Scene;

/// Two at a time, so that faults meet in ways that nobody thought of.
const HANDS: u64 = 2;
const PAUSE_MS: std::ops::Range<u64> = 100..1_200;
/// More than a lease and the time until another host took the work over.
const STANDSTILL_MS: std::ops::Range<u64> = 2_500..4_500;
/// So that the other host is still at it when the first one goes on; shorter than what the plugin
/// allows the partner.
const SLOW_MS: std::ops::Range<u64> = 2_000..5_000;
/// Some longer than a lease.
const DOWN_MS: std::ops::Range<u64> = 0..3_500;
const HELD_MS: std::ops::Range<u64> = 200..6_000;
const SERVER_AWAY_MS: std::ops::Range<u64> = 0..1_500;
const TERMINATED_MAX: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// `kill -9`, and a start after a while.
    Kill,
    /// SIGSTOP for longer than a lease.
    Standstill,
    /// SIGTERM, and a start: a rolling restart.
    Stop,
    /// `pg_terminate_backend` of some connections of hosts.
    Terminate,
    RestartFast,
    RestartImmediate,
    /// The connections of one host carry nothing for a while, and then go on.
    Held,
    /// …and then are cut.
    Cut,
    /// What one host asks is carried out, but the answers never come: the connections are cut.
    AnswersCut,
}

const DECK: [Kind; 15] = [
    Kind::Kill,
    Kind::Kill,
    // What fencing is for.
    Kind::Standstill,
    Kind::Standstill,
    Kind::Standstill,
    Kind::Standstill,
    Kind::Standstill,
    Kind::Stop,
    Kind::Terminate,
    Kind::Terminate,
    Kind::RestartFast,
    Kind::RestartImmediate,
    Kind::Held,
    Kind::Cut,
    Kind::AnswersCut,
];

/// What happened, with the moment of each.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    begun: Instant,
    counts: Arc<Mutex<BTreeMap<Kind, u32>>>,
    terminated: Arc<Mutex<usize>>,
}

impl Timeline {
    fn new() -> Self {
        Self { begun: Instant::now(), counts: Arc::default(), terminated: Arc::default() }
    }

    fn count(&self, kind: Kind) {
        *self.counts.lock().unwrap().entry(kind).or_default() += 1;
    }

    fn tell(&self, what: impl fmt::Display) {
        println!("[{:6.1} s] {what}", self.begun.elapsed().as_secs_f64());
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts.lock().unwrap();
        let of = |kind| counts.get(&kind).copied().unwrap_or_default();
        write!(
            f,
            "{} kills, {} standstills, {} stops in order, {} terminated connections, \
             {} fast and {} immediate restarts of Postgres; all connections of a host held {} \
             times, cut off {} times, and without their answers {} times",
            of(Kind::Kill),
            of(Kind::Standstill),
            of(Kind::Stop),
            self.terminated.lock().unwrap(),
            of(Kind::RestartFast),
            of(Kind::RestartImmediate),
            of(Kind::Held),
            of(Kind::Cut),
            of(Kind::AnswersCut),
        )
    }
}

/// One who draws faults and makes them.
struct Hand {
    fleet: Arc<Fleet>,
    postgres: Arc<Postgres>,
    timeline: Timeline,
    random: fastrand::Rng,
}

/// Makes faults until `enough`. In the end nothing is wrong any more: all hosts run, and nothing is
/// held.
pub(super) async fn make_faults(
    scene: &Scene,
    random: &mut fastrand::Rng,
    enough: watch::Receiver<bool>,
) -> Timeline {
    let timeline = Timeline::new();
    let moods = change_moods(scene.partner.clone(), random.fork(), enough.clone());
    let hands = (0..HANDS).map(|_| {
        let hand = Hand {
            fleet: Arc::clone(&scene.fleet),
            postgres: Arc::clone(&scene.postgres),
            timeline: timeline.clone(),
            random: random.fork(),
        };
        hand.make_faults(enough.clone())
    });
    futures_util::future::join(futures_util::future::join_all(hands), moods).await;
    timeline
}

/// The partner is slow in changing ways, so that calls are in flight whenever something happens, and
/// those that were taken over still are when their first host comes back.
async fn change_moods(partner: Partner, mut random: fastrand::Rng, enough: watch::Receiver<bool>) {
    while !*enough.borrow() {
        let mood = match random.u8(0..6) {
            0 => json!({ "mode": "drop_after_effect", "count": 3 }),
            1 => json!({ "mode": "slow_ms", "ms": random.u64(0..1_000) }),
            _ => json!({ "mode": "slow_ms", "ms": random.u64(SLOW_MS) }),
        };
        partner.misbehave(&mood).await;
        tokio::time::sleep(Duration::from_millis(random.u64(500..2_000))).await;
    }
    partner.behave().await;
}

impl Hand {
    async fn make_faults(mut self, enough: watch::Receiver<bool>) {
        let mut deck = Vec::new();
        loop {
            self.wait(PAUSE_MS).await;
            if *enough.borrow() {
                return;
            }
            if deck.is_empty() {
                deck.extend(DECK);
                self.random.shuffle(&mut deck);
            }
            let kind = deck.pop().expect("it was filled");
            self.make(kind).await;
            self.timeline.count(kind);
        }
    }

    async fn wait(&mut self, ms: std::ops::Range<u64>) -> Duration {
        let time = Duration::from_millis(self.random.u64(ms));
        tokio::time::sleep(time).await;
        time
    }

    async fn make(&mut self, kind: Kind) {
        let fleet = Arc::clone(&self.fleet);
        let host = &fleet.members()[self.random.usize(..fleet.members().len())];
        match kind {
            Kind::Kill => self.end(host, Signal::Kill, 128 + 9).await,
            Kind::Stop => self.end(host, Signal::Term, 0).await,
            Kind::Standstill => self.stand_still(host).await,
            Kind::Terminate => self.terminate().await,
            Kind::RestartFast => self.restart(Shutdown::Fast).await,
            Kind::RestartImmediate => self.restart(Shutdown::Immediate).await,
            Kind::Held => self.hold(host, Hold::Everything, false).await,
            Kind::Cut => self.hold(host, Hold::Everything, true).await,
            Kind::AnswersCut => self.hold(host, Hold::Answers, true).await,
        }
    }

    async fn end(&mut self, host: &Member, signal: Signal, code: i32) {
        let mut process = host.hold_process().await;
        self.timeline.tell(format_args!("{}: {signal:?}", host.name));
        assert_eq!(process.end(signal).await, code, "{}: how it ends", host.name);
        self.wait(DOWN_MS).await;
        let starts = process.start().await;
        self.timeline.tell(format_args!("{}: runs again after {starts} starts", host.name));
    }

    async fn stand_still(&mut self, host: &Member) {
        let mut process = host.hold_process().await;
        self.timeline.tell(format_args!("{}: stands still", host.name));
        process.signal(Signal::Stop);
        let time = self.wait(STANDSTILL_MS).await;
        assert!(time > LEASE, "longer than a lease");
        process.signal(Signal::Continue);
        self.timeline.tell(format_args!("{}: goes on after {time:?}", host.name));
    }

    async fn restart(&mut self, shutdown: Shutdown) {
        let away_for = Duration::from_millis(self.random.u64(SERVER_AWAY_MS));
        self.timeline.tell(format_args!("Postgres: {shutdown:?} restart, away for {away_for:?}"));
        self.postgres.restart(shutdown, away_for).await;
        self.timeline.tell("Postgres: back");
    }

    async fn hold(&mut self, host: &Member, hold: Hold, cut: bool) {
        self.timeline.tell(format_args!("{}: its connections hold {hold:?}", host.name));
        host.proxy.hold(hold);
        let time = self.wait(HELD_MS).await;
        if cut {
            host.proxy.cut();
        } else {
            host.proxy.hold(Hold::Nothing);
        }
        let end = if cut { "are cut" } else { "go on" };
        self.timeline.tell(format_args!("{}: its connections {end} after {time:?}", host.name));
    }

    /// What cannot be done because the server is away is not counted.
    async fn terminate(&mut self) {
        let wanted = self.random.usize(1..=TERMINATED_MAX);
        let terminated = self.try_terminate(wanted).await.unwrap_or_default();
        *self.timeline.terminated.lock().unwrap() += terminated;
        self.timeline.tell(format_args!("Postgres: terminated {terminated} connections"));
    }

    async fn try_terminate(&mut self, wanted: usize) -> Result<usize, sqlx::Error> {
        let mut connection = PgConnection::connect(&self.postgres.url).await?;
        let mut backends: Vec<i32> = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'host-%' ORDER BY pid",
        )
        .fetch_all(&mut connection)
        .await?;
        self.random.shuffle(&mut backends);
        backends.truncate(wanted);
        let terminated: Vec<bool> =
            sqlx::query_scalar("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid")
                .bind(&backends)
                .fetch_all(&mut connection)
                .await?;
        Ok(terminated.into_iter().filter(|done| *done).count())
    }
}
