//! The outbox as a public contract: others write into it with what they have, and the README's
//! examples do what it says.

use std::io::Write;
use std::process::{Command, Stdio};

use super::on_both_stores;
use super::world::{Db, MINUTE, World, done};
use crate::domain::{EventState, FailureCode};
use crate::store::StoreUrl;

on_both_stores!(
    the_readmes_sql_is_delivered,
    the_readmes_sql_for_later_is_written_once_and_due_in_an_hour,
    the_readmes_sql_with_an_end_fails_as_expired,
    a_transaction_that_is_rolled_back_leaves_nothing,
    psql_copies_a_hundred_thousand_events_at_once,
    the_readmes_python_is_delivered,
);

/// The blocks of one language in the README's section on the contract.
fn examples(language: &str) -> Vec<&'static str> {
    let readme = include_str!("../../../../README.md");
    let section = readme.split("## The outbox as a public contract").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

/// The part of a block that is for this database.
fn for_this_database(world: &World, block: &'static str) -> &'static str {
    let (postgres, sqlite) = block.split_once("-- SQLite").unwrap();
    match &world.db {
        Db::Postgres(_) => postgres,
        Db::Sqlite(_) => sqlite,
    }
}

async fn the_readmes_sql_is_delivered(world: &World) {
    world.execute(examples("sql")[0]).await.unwrap();
    let event = world.claim_one("ORDER_PAID").await;
    assert_eq!((event.aggregate.kind(), event.aggregate.id()), ("ORDER", "4711"));
    assert_eq!(event.payload, r#"{"order": 4711, "email": "ada@example.org"}"#);
    world.settle_one(&event, done()).await;
}

async fn the_readmes_sql_for_later_is_written_once_and_due_in_an_hour(world: &World) {
    let sql = for_this_database(world, examples("sql")[1]);
    for _ in 0..2 {
        world.execute(sql).await.unwrap();
    }
    assert_eq!(world.count("outbox_events").await, 1);
    assert_eq!(world.claim("ORDER_REMINDED", 10).await, []);
    world.age(MINUTE * 61).await;
    world.claim_one("ORDER_REMINDED").await;
}

async fn the_readmes_sql_with_an_end_fails_as_expired(world: &World) {
    let sql = for_this_database(world, examples("sql")[2]);
    world.execute(sql).await.unwrap();
    assert_eq!(world.store.fail_hopeless(20, 10).await.unwrap(), []);
    world.age(MINUTE * 11).await;
    let failed = world.store.fail_hopeless(20, 10).await.unwrap();
    assert_eq!(failed.len(), 1);
    let expired = EventState::Failed { code: FailureCode::Expired, skipped_at: None };
    assert_eq!(world.row(failed[0].0).await.state, expired);
}

async fn a_transaction_that_is_rolled_back_leaves_nothing(world: &World) {
    let sql = examples("sql")[0].replace("COMMIT", "ROLLBACK");
    assert!(sql.contains("ROLLBACK"));
    world.execute(&sql).await.unwrap();
    assert_eq!(world.count("outbox_events").await, 0);
    assert_eq!(world.claim("ORDER_PAID", 10).await, []);
}

async fn psql_copies_a_hundred_thousand_events_at_once(world: &World) {
    let Some(url) = url(world, "psql", &["--version"]) else { return };
    let mut wakeups = world.store.wakeups();
    wakeups.mark_unchanged();
    let copy =
        "\\copy outbox_events (aggregate_type, aggregate_id, event_type, payload) FROM STDIN";
    let rows: String =
        (0..100_000).map(|n| format!("ORDER\t{n}\tORDER_PAID\t{{\"n\": {n}}}\n")).collect();
    run(Command::new("psql").args([&url, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", copy]), rows)
        .await;
    let wait = std::time::Duration::from_secs(5);
    tokio::time::timeout(wait, wakeups.changed()).await.unwrap().unwrap();
    assert_eq!(world.count("outbox_events").await, 100_000);
    assert_eq!(world.claim("ORDER_PAID", 1_000).await.len(), 1_000);
    // One bad row of many, and there is none.
    let rows = "ORDER\t1\tB\t{}\nORDER\t2\tb\t{}\n".to_owned();
    let mut command = Command::new("psql");
    let refused = output(command.args([&url, "-X", "-q", "-c", copy]), rows).await;
    assert!(!refused.status.success());
    assert_eq!(world.count("outbox_events").await, 100_000);
}

async fn the_readmes_python_is_delivered(world: &World) {
    let Some(url) = url(world, "python3", &["-c", "import psycopg"]) else { return };
    let python = examples("python")[0];
    run(Command::new("python3").args(["-c", python]).env("DATABASE_URL", url), String::new()).await;
    let event = world.claim_one("ORDER_PAID").await;
    assert_eq!(event.aggregate.id(), "4711");
    assert_eq!(event.payload, r#"{"order": 4711, "email": "ada@example.org"}"#);
}

/// The database's URL for a program that speaks to Postgres. None for SQLite, and, with a line that
/// says so, where the program is not there.
fn url(world: &World, program: &str, probe: &[&str]) -> Option<String> {
    let StoreUrl::Postgres(url) = &world.url else { return None };
    let mut probed = Command::new(program);
    probed.args(probe).stdout(Stdio::null()).stderr(Stdio::null());
    if probed.status().is_ok_and(|status| status.success()) {
        return Some(url.reveal().to_owned());
    }
    let line =
        format!("skipped: `{program} {}` does not work here: tests/install", probe.join(" "));
    assert!(std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none_or(|v| v != "1"), "{line}");
    println!("{line}");
    None
}

async fn run(command: &mut Command, input: String) {
    let output = output(command, input).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn output(command: &mut Command, input: String) -> std::process::Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    tokio::task::spawn_blocking(move || {
        // A program that has enough before the end closes its input.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}
