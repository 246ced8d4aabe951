//! Callers that hand in withdrawals and events, over HTTP and by SQL, and go on asking until they
//! know that it was taken.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tidegate_tests::api::{Api, Reply, send};
use tidegate_tests::fleet::Fleet;
use tidegate_tests::order::Order;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::scene::{ORDER_PAID, Scene};

const WITHDRAWERS: usize = 6;
const SENDERS: usize = 2;
const WRITERS: usize = 2;
const PAUSE_MS: std::ops::Range<u64> = 100..900;
const ASK_AGAIN: Duration = Duration::from_millis(50);
const EVENTS_MAX: usize = 20;
/// Whatever goes wrong meanwhile.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(120);

/// What callers know.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Answered with 201, and the id that was answered.
    pub(super) withdrawals: Vec<(Order, String)>,
    /// Keys of events that were answered with 201 or committed.
    pub(super) events: BTreeSet<String>,
    /// Keys of events whose transaction was rolled back.
    pub(super) undone: BTreeSet<String>,
}

/// Callers at work.
pub(super) struct Load {
    known: Arc<Mutex<Known>>,
    callers: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// One caller.
struct Caller {
    fleet: Arc<Fleet>,
    database: String,
    known: Arc<Mutex<Known>>,
    next: Arc<AtomicU32>,
    random: fastrand::Rng,
    stop: watch::Receiver<bool>,
}

impl Load {
    pub(super) fn start(scene: &Scene, random: &mut fastrand::Rng) -> Self {
        let known = Arc::<Mutex<Known>>::default();
        let next = Arc::<AtomicU32>::default();
        let stop = watch::Sender::new(false);
        let mut callers = JoinSet::new();
        let mut caller = || Caller {
            fleet: Arc::clone(&scene.fleet),
            database: format!("{}?application_name=caller", scene.postgres.url),
            known: Arc::clone(&known),
            next: Arc::clone(&next),
            random: random.fork(),
            stop: stop.subscribe(),
        };
        for _ in 0..WITHDRAWERS {
            callers.spawn(caller().hand_in_withdrawals());
        }
        for _ in 0..SENDERS {
            callers.spawn(caller().send_events());
        }
        for _ in 0..WRITERS {
            callers.spawn(caller().write_events());
        }
        Self { known, callers, stop }
    }

    /// Waits until every caller knows what became of its last request, and gives what they know.
    pub(super) async fn finish(mut self) -> Known {
        self.stop.send_replace(true);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("no caller was refused");
        }
        std::mem::take(&mut self.known.lock().unwrap())
    }
}

/// Asks one host after another, with the same key, until one says that it was taken: what a caller
/// does who may not lose a request and not make it twice.
pub(super) async fn until_accepted(
    mut pick: impl FnMut() -> Api,
    ask: impl Fn(&Api) -> RequestBuilder,
) -> Reply {
    let begun = Instant::now();
    loop {
        let why = match send(ask(&pick())).await {
            Ok(reply) if reply.status == 201 => return reply,
            Ok(reply) if matches!(reply.status, 409 | 503) => reply.text,
            Ok(reply) => panic!("{}: {}", reply.status, reply.text),
            Err(error) => error,
        };
        assert!(begun.elapsed() < ACCEPTED_WITHIN, "not within {ACCEPTED_WITHIN:?}: {why}");
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

impl Caller {
    fn is_done(&self) -> bool {
        *self.stop.borrow()
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.random.u64(PAUSE_MS))).await;
    }

    fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    async fn accepted(&mut self, ask: impl Fn(&Api) -> RequestBuilder) -> Reply {
        let Self { fleet, random, .. } = self;
        until_accepted(|| fleet.any_api(random), ask).await
    }

    async fn hand_in_withdrawals(mut self) {
        while !self.is_done() {
            let order = Order::number(self.number());
            let reply = self.accepted(|api| api.asking(&order)).await;
            let id = reply.json()["id"].as_str().unwrap().to_owned();
            self.known.lock().unwrap().withdrawals.push((order, id));
            self.pause().await;
        }
    }

    fn keys(&mut self) -> Vec<String> {
        let count = self.random.usize(1..=EVENTS_MAX);
        (0..count).map(|_| uuid(self.random.u128(..))).collect()
    }

    async fn send_events(mut self) {
        while !self.is_done() {
            let (number, keys) = (self.number(), self.keys());
            let events: Vec<Value> = keys
                .iter()
                .map(|key| {
                    json!({
                        "aggregate_type": "ORDER",
                        "aggregate_id": number.to_string(),
                        "event_type": ORDER_PAID,
                        "payload": { "key": key },
                        "idempotency_key": key,
                    })
                })
                .collect();
            let body = json!({ "events": events });
            self.accepted(|api| {
                let request = api.request(Method::POST, "/v1/events").json(&body);
                request.header("Idempotency-Key", format!("\"orders-{number}\""))
            })
            .await;
            self.known.lock().unwrap().events.extend(keys);
            self.pause().await;
        }
    }

    /// A service that shares the database, and changes its mind now and then.
    async fn write_events(mut self) {
        while !self.is_done() {
            let (number, keys) = (self.number(), self.keys());
            if self.random.u8(0..4) == 0 {
                // Whether the database is there or not, nothing is committed.
                let _ = self.try_write(number, &keys, false).await;
                self.known.lock().unwrap().undone.extend(keys);
            } else {
                let begun = Instant::now();
                while let Err(error) = self.try_write(number, &keys, true).await {
                    assert!(begun.elapsed() < ACCEPTED_WITHIN, "never committed: {error}");
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                self.known.lock().unwrap().events.extend(keys);
            }
            self.pause().await;
        }
    }

    async fn try_write(
        &self,
        number: u32,
        keys: &[String],
        commit: bool,
    ) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect(&self.database).await?;
        let mut tx = connection.begin().await?;
        // A commit whose answer was lost is repeated, so it must be harmless to repeat it.
        sqlx::query(
            "INSERT INTO outbox_events \
             (aggregate_type, aggregate_id, event_type, payload, idempotency_key) \
             SELECT 'ORDER', $1, $2, json_build_object('key', key), key::uuid \
             FROM unnest($3::text[]) AS key ON CONFLICT (idempotency_key) DO NOTHING",
        )
        .bind(number.to_string())
        .bind(ORDER_PAID)
        .bind(keys)
        .execute(&mut *tx)
        .await?;
        if commit { tx.commit().await } else { tx.rollback().await }
    }
}

/// A random UUID, as Postgres prints it.
fn uuid(random: u128) -> String {
    let digits = format!("{random:032x}");
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}
