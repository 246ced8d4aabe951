//! Swaps while events flow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tidegate_tests::eventually::eventually;
use tidegate_tests::machine;

use super::scene::{LIVE_WITHIN, Scene, submit};

const SWAPS: u32 = 200;
const MINUTE: Duration = Duration::from_secs(60);
/// Events every tenth of a second: 500 a second.
const BATCH: usize = 50;
const TICK: Duration = Duration::from_millis(100);
/// Of a batch, those that are in hand for longer than a swap takes.
const LONG: usize = 5;
const DONE_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_swaps_in_a_minute_lose_no_event_fail_none_and_cost_no_attempt() {
    let _alone = machine::alone().await;
    let scene = Scene::start_mounted(2).await;
    let api = scene.api.clone();
    let began = Instant::now();
    let load = tokio::spawn(async move {
        let mut ids = Vec::new();
        let mut ticks = tokio::time::interval(TICK);
        while began.elapsed() < MINUTE {
            ticks.tick().await;
            let deed = |at: usize| match at < LONG {
                true => json!({ "do": "wait", "ms": 450, "then": "settings" }),
                false => json!({ "do": "settings" }),
            };
            let deeds: Vec<Value> = (0..BATCH).map(deed).collect();
            ids.extend(submit(&api, &format!("load-{}", ids.len()), &deeds).await);
        }
        ids
    });

    let mut swaps = 0;
    let mut live = BTreeSet::from([scene.live().await.unwrap()]);
    let mut last = scene.live().await;
    while began.elapsed() < MINUTE {
        swaps += 1;
        let next_at = began + MINUTE * swaps / SWAPS;
        scene.switch_to(u8::from(swaps % 2 == 1));
        last = eventually("another release is live", LIVE_WITHIN, async || {
            let now = scene.live().await;
            if now.is_some() && now != last { Ok(now) } else { Err(format!("{now:?}")) }
        })
        .await;
        live.extend(last.clone());
        tokio::time::sleep_until(next_at.into()).await;
    }
    let ids = load.await.unwrap();
    assert!(swaps >= SWAPS, "only {swaps} swaps");
    assert_eq!(live.len(), 2, "{live:?}");
    assert_each_is_done_once_by_one_release(&scene, &ids).await;
}

/// From the table itself, for no page of the API shows 30,000 events.
async fn assert_each_is_done_once_by_one_release(scene: &Scene, ids: &[String]) {
    let options = SqliteConnectOptions::new().filename(scene.installation.database());
    let pool = SqlitePoolOptions::new().connect_with(options.read_only(true)).await.unwrap();
    eventually("every event is DONE", DONE_WITHIN, async || {
        let left = "SELECT count(*) FROM outbox_events WHERE status <> 'DONE'";
        match sqlx::query_scalar::<_, i64>(left).fetch_one(&pool).await.unwrap() {
            0 => Ok(()),
            left => Err(format!("{left} are not")),
        }
    })
    .await;
    let rows = "SELECT id, release_digest, detail, interruption_count, deferral_count, \
                attempt_count FROM outbox_events";
    let rows = sqlx::query(rows).fetch_all(&pool).await.unwrap();
    let found: BTreeSet<String> = rows.iter().map(|row| row.get("id")).collect();
    assert_eq!(found.len(), ids.len());
    assert!(ids.iter().all(|id| found.contains(id)));
    let mut by_release: BTreeMap<String, (BTreeSet<i64>, usize)> = BTreeMap::new();
    let mut attempts = BTreeSet::new();
    for row in &rows {
        let detail: String = row.get("detail");
        let detail: Value = serde_json::from_str(&detail).unwrap();
        let (marks, count) = by_release.entry(row.get("release_digest")).or_default();
        marks.insert(detail["mark"].as_i64().unwrap());
        *count += 1;
        assert_eq!(row.get::<i64, _>("interruption_count"), 0);
        assert_eq!(row.get::<i64, _>("deferral_count"), 0);
        attempts.insert(row.get::<i64, _>("attempt_count"));
    }
    assert_eq!(attempts.len(), 1, "as many attempts for each: {attempts:?}");
    // A component never ran with the other's manifest, and both did their share.
    assert_eq!(by_release.len(), 2, "{by_release:?}");
    for (marks, count) in by_release.values() {
        assert_eq!(marks.len(), 1, "{by_release:?}");
        assert!(*count > ids.len() / 10, "{by_release:?}");
    }
    let history = "SELECT count(*) FROM outbox_attempts";
    assert_eq!(sqlx::query_scalar::<_, i64>(history).fetch_one(&pool).await.unwrap(), 0);
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_in_hand_ends_on_the_release_it_began_with() {
    let _shared = machine::shared().await;
    let scene = Scene::start_mounted(2).await;
    let before = scene.live().await.unwrap();
    let slow = json!({ "do": "wait", "ms": 3_000, "then": "settings" });
    let slow = scene.submit("slow", &[slow]).await;
    scene.api.event_reaches(&slow[0], "PROCESSING", LIVE_WITHIN).await;
    scene.shows("it is in hand", |it| it["calls_in_hand"] == 1).await;
    scene.switch_to(1);
    let old = scene.shows("the old one retires", |it| it["state"] == "retiring").await;
    assert_eq!((&old["release_digest"], &old["calls_in_hand"]), (&json!(before.0), &json!(1)));
    let quick = scene.submit("quick", &[json!({ "do": "settings" })]).await;
    let quick = scene.api.event_reaches(&quick[0], "DONE", LIVE_WITHIN).await;
    let slow = scene.api.event_reaches(&slow[0], "DONE", LIVE_WITHIN).await;
    let mark = |event: &Value| event["event"]["detail"]["mark"].clone();
    assert_eq!((mark(&slow), mark(&quick)), (json!(0), json!(1)), "{slow:#} {quick:#}");
    eventually("the old one is gone", LIVE_WITHIN, async || {
        let plugins = scene.plugins().await;
        if plugins.len() == 1 { Ok(()) } else { Err(format!("{plugins:?}")) }
    })
    .await;
}
