//! The commands that work on a store itself: verify, migrate, backup, import.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tidegate_tests::bench::{Bench, partner_beside};
use tidegate_tests::command_line::tidegate;
use tidegate_tests::eventually::eventually;
use tidegate_tests::host::{Host, binary};
use tidegate_tests::installation::{Installation, QUIET_FLOW};
use tidegate_tests::machine;
use tidegate_tests::manifest::{evm_broadcast, partner_sync};
use tidegate_tests::node::Node;
use tidegate_tests::oracle::{assert_holds, assert_paid_once};
use tidegate_tests::order::{NETWORK, Order};
use tidegate_tests::postgres::Postgres;
use tidegate_tests::process::{Process, Signal};

const DONE_WITHIN: Duration = Duration::from_secs(60);

/// A store that a host made, worked on, and left.
async fn left_by_a_host(orders: u32) -> Bench {
    let bench = Bench::start().await;
    bench.add_plugins(|partner| partner).await;
    let (mut host, api) = bench.installation.serve().await;
    for n in 0..orders {
        api.submit(&Order::number(n)).await;
    }
    api.all_done(orders as usize, DONE_WITHIN).await;
    assert_eq!(host.stop(Signal::Term).await, 0);
    bench
}

fn config_of(bench: &Bench) -> String {
    bench.installation.path().join("tidegate.toml").display().to_string()
}

async fn write(bench: &Bench, sql: &str) {
    let url = format!("sqlite:{}", bench.installation.database().display());
    let mut file = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut file).await.unwrap();
    file.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_says_what_does_not_hold_by_its_exit_code_too() {
    let _shared = machine::shared().await;
    let bench = left_by_a_host(3).await;
    let config = config_of(&bench);
    let good = tidegate(&["verify", "--config", &config, "--json"]);
    assert_eq!((good.code, &good.json()["ok"]), (0, &json!(true)), "{good:?}");
    let checks = good.json()["checks"].as_array().unwrap().clone();
    assert!(checks.iter().all(|check| check["skipped"].is_null()), "{checks:#?}");
    let good = tidegate(&["verify", "--config", &config]);
    assert!(good.out.trim_end().ends_with("all holds"), "{}", good.out);

    write(&bench, "UPDATE outbox_events SET lease_token = 0 WHERE status = 'DONE'").await;
    let bad = tidegate(&["verify", "--config", &config, "--json", "--examples", "2"]);
    assert_eq!((bad.code, &bad.json()["ok"]), (1, &json!(false)), "{bad:?}");
    let checks = bad.json()["checks"].as_array().unwrap().clone();
    let check = checks.iter().find(|check| check["name"] == "event-settled-once-a-lease").unwrap();
    assert_eq!(check["examples"].as_array().map(Vec::len), Some(2), "{check:#}");
    let bad = tidegate(&["verify", "--config", &config]);
    assert!(bad.code == 1 && bad.out.contains("event-settled-once-a-lease:"), "{bad:?}");

    let none = bench.installation.path().join("none.db");
    let unknown = tidegate(&["verify", "--store", &format!("sqlite:{}", none.display())]);
    assert_eq!((unknown.code, unknown.out.as_str()), (2, ""), "{unknown:?}");
    assert!(!none.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_made_while_a_host_works_and_postgres_has_its_own() {
    let _shared = machine::shared().await;
    let bench = Bench::start().await;
    let (_host, _api) = bench.installation.serve().await;
    let config = config_of(&bench);
    let to = bench.installation.path().join("copy.db").display().to_string();
    let done = tidegate(&["backup", "--config", &config, "--to", &to]);
    assert!(done.code == 0 && done.out.contains("checked"), "{done:?}");
    let again = tidegate(&["backup", "--config", &config, "--to", &to]);
    assert!(again.code == 1 && again.err.contains("is there already"), "{again:?}");
    let url = "postgres://me:s3cret@db.example/tide";
    let postgres = tidegate(&["backup", "--store", url, "--to", "x.dump"]);
    let command = "pg_dump --format=custom --file=x.dump 'postgres://me@db.example/tide'";
    assert!(postgres.code == 1 && postgres.err.contains(command), "{postgres:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_are_told_and_run_and_a_host_refuses_a_schema_that_is_not_its_own() {
    let _shared = machine::shared().await;
    let bench = left_by_a_host(0).await;
    let config = config_of(&bench);
    let told = tidegate(&["migrate", "status", "--config", &config, "--json"]).json();
    let all = told["migrations"].as_array().unwrap();
    assert!(all.iter().all(|one| one["state"] == "applied"), "{told:#}");
    write(&bench, "DROP TABLE store_moves; DELETE FROM _sqlx_migrations WHERE version = 5").await;
    let dry = tidegate(&["migrate", "dry-run", "--config", &config]);
    assert!(dry.code == 0 && dry.out.contains("CREATE TABLE store_moves"), "{dry:?}");
    let text = std::fs::read_to_string(&config).unwrap();
    let careful = text.replace("[store]\n", "[store]\nmigrate = \"refuse\"\n");
    std::fs::write(&config, careful).unwrap();
    let older = tidegate(&["serve", "--config", &config]);
    assert!(older.code == 1 && older.err.contains("migrate run"), "{older:?}");
    let run = tidegate(&["migrate", "run", "--config", &config, "--json"]);
    assert_eq!((run.code, &run.json()["applied"]), (0, &json!([5])), "{run:?}");
    let run = tidegate(&["migrate", "run", "--config", &config]);
    assert!(run.out.contains("up to date"), "{run:?}");
    write(
        &bench,
        "INSERT INTO _sqlx_migrations SELECT 9999, 'later', installed_on, success, checksum, 0 \
         FROM _sqlx_migrations WHERE version = 1",
    )
    .await;
    for command in [&["serve"][..], &["migrate", "run"], &["migrate", "status"]] {
        let newer = tidegate(&[command, &["--config", &config]].concat());
        assert!(newer.code == 1 && newer.err.contains("newer than this binary"), "{newer:?}");
    }
    let newer = tidegate(&["verify", "--config", &config]);
    assert!(newer.code == 2 && newer.err.contains("newer than this binary"), "{newer:?}");
}

/// So many that copying them takes longer than finding the moment for a kill.
const EVENTS: u32 = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_moved_to_postgres_also_after_the_move_was_killed_half_way() {
    let _shared = machine::shared().await;
    let bench = left_by_a_host(2).await;
    let Some(postgres) = Postgres::start(bench.installation.path()).await else { return };
    write(
        &bench,
        &format!(
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, status, \
             attempt_count, lease_token) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL \
             SELECT i + 1 FROM n WHERE i < {EVENTS}) SELECT 'ORDER', i, 'OLD', '{{\"i\": ' || i || \
             '}}', 'DONE', 1, 1 FROM n"
        ),
    )
    .await;
    let from = format!("sqlite:{}", bench.installation.database().display());
    let arguments = ["import", "--from", &from, "--to", &postgres.url];
    let mut import = Process::start(bench.installation.path(), "import", Signal::Kill, |command| {
        command.arg(binary()).args(arguments);
    });
    eventually("it copies events", DONE_WITHIN, async || {
        if import.logged().contains("copying outbox_events") { Ok(()) } else { Err(import.tail()) }
    })
    .await;
    import.signal(Signal::Kill);
    assert_eq!(import.wait(DONE_WITHIN).await, 128 + 9, "{}", import.tail());
    let mut target = PgConnection::connect(&postgres.url).await.unwrap();
    for table in ["withdrawals", "outbox_events", "store_moves"] {
        assert_eq!(count(&mut target, table).await, 0, "nothing is half-done: {table}");
    }
    let config = config_of(&bench);
    let refused = tidegate(&["serve", "--config", &config]);
    assert!(refused.code == 1 && refused.err.contains("was moved to"), "{refused:?}");

    let moved = tidegate(&[&arguments[..], &["--json"]].concat());
    assert_eq!(moved.code, 0, "{moved:?}");
    let tables = moved.json()["tables"].as_array().unwrap().clone();
    let rows = |name: &str| {
        tables.iter().find(|table| table["table"] == name).unwrap()["rows"].as_i64().unwrap()
    };
    assert_eq!(rows("withdrawals"), 2);
    for name in ["withdrawals", "outbox_events", "signed_transactions", "idempotency_keys"] {
        assert_eq!(count(&mut target, name).await, rows(name), "{name}");
    }
    let again = tidegate(&arguments);
    assert!(again.code == 0 && again.out.contains("was moved to"), "{again:?}");
    let refused = tidegate(&["serve", "--config", &config]);
    assert!(refused.code == 1 && refused.err.contains("--undo"), "{refused:?}");
    let undo = tidegate(&[&arguments[..], &["--undo"]].concat());
    assert!(undo.code == 1 && undo.err.contains("may have paid"), "{undo:?}");

    // The same installation goes on there, with the same payments.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("sqlite:tidegate.db", &postgres.url)).unwrap();
    let host = Host::serve(bench.installation.path()).await;
    let api = bench.installation.api(&host);
    let orders: Vec<Order> = (0..3).map(Order::number).collect();
    let mut ids = Vec::new();
    for order in &orders {
        // The first two were handed in before, under the same keys.
        ids.push(api.submit(order).await);
    }
    api.all_done(orders.len(), DONE_WITHIN).await;
    assert_paid_once(&api, &orders, &ids, &bench.node.transfers().await).await;
    assert_holds(&["--config", &config]);
}

async fn count(connection: &mut PgConnection, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await.unwrap()
}

/// The host that runs is the older one: what the last migrations make is taken away under it, and a
/// second host makes it again. Then one migrates that neither knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_host_by_host_loses_nothing() {
    let _shared = machine::shared().await;
    let installation = Installation::new().with(QUIET_FLOW);
    let Some(postgres) = Postgres::start(installation.path()).await else { return };
    let stand_ins = partner_beside(&installation).await;
    stand_ins.fund(installation.account().parse().unwrap()).unwrap();
    let token = tidegate::sandbox::TOKEN_CONTRACT.to_string();
    let installation = installation
        .with(&format!("[store]\nurl = \"{}\"", postgres.url))
        .with_network(NETWORK, &stand_ins.node_url, &token);
    installation.add(&evm_broadcast(NETWORK, &stand_ins.node_url)).await;
    installation.add(&partner_sync(&stand_ins.partner_url)).await;
    let (mut old, api) = installation.serve().await;
    let orders: Vec<Order> = (0..30).map(Order::number).collect();
    let submitting = {
        let (api, orders) = (api.clone(), orders.clone());
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for order in &orders {
                ids.push(api.submit(order).await);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            ids
        })
    };
    let mut database = PgConnection::connect(&postgres.url).await.unwrap();
    for sql in [
        "DROP INDEX CONCURRENTLY outbox_events_finished",
        "DROP INDEX CONCURRENTLY idempotency_keys_created_at",
        "DROP TABLE store_moves",
        "DELETE FROM _sqlx_migrations WHERE version IN (4, 5, 14)",
    ] {
        sqlx::query(sql).execute(&mut database).await.unwrap();
    }
    // An installation of its own, with the same keys: a second machine.
    let second = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(format!("{}/.", installation.path().display()))
        .arg(second.path())
        .status();
    assert!(copied.unwrap().success());
    let mut new = Host::serve(second.path()).await;
    assert_eq!(count(&mut database, "store_moves").await, 0, "the table is there again");

    for table in ["withdrawals", "outbox_events", "outbox_attempts", "idempotency_keys"] {
        let add = format!("ALTER TABLE {table} ADD COLUMN added_later text");
        sqlx::query(AssertSqlSafe(add)).execute(&mut database).await.unwrap();
    }
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
                 execution_time) SELECT 9999, 'later', success, checksum, 0 FROM _sqlx_migrations \
                 WHERE version = 1";
    sqlx::query(later).execute(&mut database).await.unwrap();
    let config = installation.path().join("tidegate.toml").display().to_string();
    let refused = tidegate(&["serve", "--config", &config]);
    assert!(refused.code == 1 && refused.err.contains("newer than this binary"), "{refused:?}");

    let ids = submitting.await.unwrap();
    api.all_done(orders.len(), DONE_WITHIN).await;
    assert_paid_once(&api, &orders, &ids, &Node::new(&stand_ins.node_url).transfers().await).await;
    assert!(old.is_running() && new.is_running());
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 9999")
        .execute(&mut database)
        .await
        .unwrap();
    assert_holds(&["--config", &config]);
}
