//! Limits that hold over all hosts.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use tidegate_tests::api::{Api, send};
use tidegate_tests::eventually::eventually;
use tidegate_tests::host::Host;
use tidegate_tests::installation::Installation;
use tidegate_tests::machine;
use tidegate_tests::manifest::Manifest;
use tidegate_tests::postgres::Postgres;

/// Of the saturated key; at its rate they take at least 49 s.
const SATURATED: usize = 100;
const RATE_PER_S: f64 = 2.0;
const BURST: f64 = 2.0;
const OTHERS_WITHIN: Duration = Duration::from_secs(40);

async fn start(installation: &Installation) -> (Host, Api) {
    let manifest = Manifest::shipped("noop")
        .with("limits", "rate", "2/s")
        .with("limits", "burst", 2)
        .with("limits", "rate_key", "partner.id");
    installation.add(&manifest).await;
    installation.serve().await
}

fn event(partner: &str) -> Value {
    json!({
        "aggregate_type": "ORDER", "aggregate_id": "1", "event_type": "NOOP",
        "payload": { "partner": { "id": partner } },
    })
}

/// How many of a partner's events were ever taken, and since how many seconds they could be: of one
/// moment, by the database's clock.
async fn taken(database: &mut PgConnection, partner: &str) -> (i64, f64) {
    let sql = "SELECT count(*) FILTER (WHERE lease_token > 0) AS taken, \
               extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS elapsed \
               FROM outbox_events WHERE payload #>> '{partner,id}' = $1";
    let row = sqlx::query(sql).bind(partner).fetch_one(database).await.unwrap();
    (row.get("taken"), row.get("elapsed"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_holds_over_two_hosts_and_one_saturated_key_blocks_no_other() {
    let _shared = machine::shared().await;
    let installations = [Installation::new(), Installation::new()];
    let Some(postgres) = Postgres::start(installations[0].path()).await else { return };
    let store = format!("[store]\nurl = \"{}\"", postgres.url);
    let [one, two] = installations.map(|installation| installation.with(&store));
    let (_one, api) = start(&one).await;
    let (_two, other_api) = start(&two).await;

    let mut events = vec![event("p7"); SATURATED];
    events.extend(["p8", "p9", "p8", "p9"].map(event));
    let request = api.request(Method::POST, "/v1/events").header("Idempotency-Key", "\"k\"");
    let reply = send(request.json(&json!({ "events": events }))).await.unwrap();
    assert_eq!(reply.status, 201, "{}", reply.text);
    let ids: Vec<String> = reply.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();

    let mut database = PgConnection::connect(&postgres.url).await.unwrap();
    let mut most = 0;
    eventually("the other keys are done, and p7 moves", OTHERS_WITHIN, async || {
        let (count, elapsed) = taken(&mut database, "p7").await;
        assert!(count as f64 <= BURST + elapsed * RATE_PER_S, "{count} within {elapsed} s");
        most = count;
        let done = api.get("/v1/events?status=DONE&limit=200").await;
        let done: Vec<_> = done["items"].as_array().unwrap().iter().collect();
        let others = done.iter().filter(|event| event["payload"]["partner"]["id"] != "p7");
        match others.count() {
            4 if count > 8 => Ok(()),
            others => Err(format!("{others} of the others, {count} of p7")),
        }
    })
    .await;
    assert!(usize::try_from(most).unwrap() < SATURATED, "p7 still waits");

    let last = api.get(&format!("/v1/events/{}", ids[SATURATED - 1])).await;
    assert_eq!(last["event"]["waits_for"], "rate limit 2/s of partner.id=p7");
    assert_eq!(
        (&last["event"]["status"], &last["event"]["attempt_count"]),
        (&json!("PENDING"), &json!(0))
    );
    assert_eq!(last["attempts"], json!([]), "waiting is no attempt");
    let routes = api.get("/v1/routes").await;
    let route = routes["items"].as_array().unwrap().iter().find(|it| it["event_type"] == "NOOP");
    let route = route.unwrap();
    assert!(route["rate_limited"]["number"].as_u64().unwrap() > 0, "{route}");
    assert_eq!((&route["untaken"], &route["handlers"][0]["rate"]), (&json!(false), &json!("2/s")));
    let mut limited = 0;
    for api in [&api, &other_api] {
        let metrics = send(api.request(Method::GET, "/metrics")).await.unwrap().text;
        let counted = metrics.lines().find_map(|line| {
            line.strip_prefix("tidegate_rate_limited_total{event_type=\"NOOP\"} ")
        });
        limited += counted.unwrap().parse::<usize>().unwrap();
    }
    assert!(limited >= SATURATED - 10, "{limited} were put aside, each once");
    assert!(limited <= SATURATED, "{limited} were put aside, each once");
}
