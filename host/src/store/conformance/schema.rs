use super::on_both_stores;
use super::world::{Db, World};
use crate::domain::{
    EventStatus, FailureCode, FreezeScope, PolicyOutcome, ReleaseState, TransactionKind,
    WithdrawalStatus,
};
use crate::store::{DecisionKind, HistoryKind, postgres as pg, sqlite as lite};

on_both_stores!(
    checks_say_what_the_enums_say,
    a_stranger_inserts_with_four_columns,
    a_row_that_breaks_the_contract_cannot_be_written,
    a_claim_reads_its_own_index_and_no_other,
    a_claim_changes_no_index,
    a_settle_looks_each_row_up_by_its_key_however_large_the_table,
    retention_reads_its_own_index_and_no_other,
    a_strangers_insert_wakes_the_dispatcher_on_postgres,
);

/// The texts that the CHECK of a column allows.
async fn allowed(world: &World, table: &str, column: &str) -> Vec<String> {
    let text = match &world.db {
        Db::Sqlite(_) => {
            let sql = format!("SELECT sql FROM sqlite_schema WHERE name = '{table}'");
            let table = world.texts(&sql).await.remove(0);
            let start = table.find(&format!("{column} IN")).unwrap();
            table[start..].split_once(')').unwrap().0.to_owned()
        }
        Db::Postgres(_) => {
            let sql = format!(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint \
                 WHERE conrelid = '{table}'::regclass AND conname = '{table}_{column}_check'"
            );
            world.texts(&sql).await.remove(0)
        }
    };
    let mut texts: Vec<_> = text.split('\'').skip(1).step_by(2).map(str::to_owned).collect();
    texts.sort();
    texts
}

async fn checks_say_what_the_enums_say(world: &World) {
    let withdrawals = || WithdrawalStatus::ALL.map(WithdrawalStatus::as_str).to_vec();
    let tables = [
        ("outbox_events", "status", EventStatus::ALL.map(EventStatus::as_str).to_vec()),
        ("outbox_events", "failure_code", FailureCode::ALL.map(FailureCode::as_str).to_vec()),
        ("outbox_attempts", "kind", HistoryKind::ALL.map(HistoryKind::as_str).to_vec()),
        ("plugin_releases", "state", ReleaseState::ALL.map(ReleaseState::as_str).to_vec()),
        ("release_decisions", "kind", DecisionKind::ALL.map(DecisionKind::as_str).to_vec()),
        ("withdrawals", "status", withdrawals()),
        ("withdrawal_transitions", "from_status", withdrawals()),
        ("withdrawal_transitions", "to_status", withdrawals()),
        ("policy_decisions", "outcome", PolicyOutcome::ALL.map(PolicyOutcome::as_str).to_vec()),
        ("freezes", "scope", FreezeScope::ALL.map(FreezeScope::as_str).to_vec()),
        ("signed_transactions", "kind", TransactionKind::ALL.map(TransactionKind::as_str).to_vec()),
    ];
    for (table, column, mut expected) in tables {
        expected.sort_unstable();
        assert_eq!(allowed(world, table, column).await, expected, "{table}.{column}");
    }
}

async fn a_stranger_inserts_with_four_columns(world: &World) {
    world
        .execute(
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
             VALUES ('ORDER', '1', 'ORDER_PAID', '{\"a\": 1}'), ('ORDER', '1', 'ORDER_PAID', '2')",
        )
        .await
        .unwrap();
    let events = world.claim("ORDER_PAID", 10).await;
    assert_eq!(events.len(), 2);
    assert_ne!(events[0].idempotency_key, events[1].idempotency_key);
    let age = chrono::Utc::now() - events[0].created_at;
    assert!(age.num_seconds().abs() < 60, "{age}");
}

async fn a_row_that_breaks_the_contract_cannot_be_written(world: &World) {
    let long_id = "x".repeat(129);
    let long_type = "A".repeat(65);
    let rows = [
        ("order", "1", "A", "{}"),
        ("ORDER", "", "A", "{}"),
        ("ORDER", long_id.as_str(), "A", "{}"),
        ("ORDER", "a\nb", "A", "{}"),
        ("ORDER", "a\u{85}b", "A", "{}"),
        ("ORDER", "1", "a", "{}"),
        ("ORDER", "1", "", "{}"),
        ("ORDER", "1", "A-B", "{}"),
        ("ORDER", "1", "1A", "{}"),
        ("ORDER", "1", long_type.as_str(), "{}"),
        ("ORDER", "1", "A", "{"),
        ("ORDER", "1", "A", ""),
    ];
    for (kind, id, event_type, payload) in rows {
        let written = world
            .execute(&format!(
                "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
                 VALUES ('{kind}', '{id}', '{event_type}', '{payload}')"
            ))
            .await;
        assert!(written.is_err(), "{kind} {id} {event_type} {payload}");
    }
    for (column, value) in [
        ("status", "'SLEEPING'"),
        ("status", "'PROCESSING'"),
        ("status", "'RETRYING'"),
        ("status", "'FAILED'"),
        ("attempt_count", "-1"),
        ("idempotency_key", "'no'"),
        ("id", "'no'"),
        ("traceparent", "'a b'"),
    ] {
        let written = world
            .execute(&format!(
                "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, \
                 {column}) VALUES ('ORDER', '1', 'A', '{{}}', {value})"
            ))
            .await;
        assert!(written.is_err(), "{column} {value}");
    }
    assert_eq!(world.count("outbox_events").await, 0);
}

/// With many rows, statistics that are fresh, and everything pending: what misled a planner before.
async fn a_claim_reads_its_own_index_and_no_other(world: &World) {
    let fill = match &world.db {
        Db::Sqlite(_) => {
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
             SELECT 'ORDER', i, 'A', '{}' FROM n"
        }
        Db::Postgres(_) => {
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
             SELECT 'ORDER', i, 'A', '{}' FROM generate_series(1, 20000) AS i"
        }
    };
    world.execute(fill).await.unwrap();
    world.execute("ANALYZE").await.unwrap();
    match &world.db {
        Db::Sqlite(_) => {
            for sql in [lite::CLAIM, lite::CLAIM_IN_ORDER] {
                let plan = sqlite_plan(world, sql).await;
                assert!(plan.contains("USING INDEX outbox_events_pending"), "{plan}");
                assert!(!plan.contains("SCAN outbox_events"), "{plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{plan}");
            }
            let plan = sqlite_plan(world, lite::DUE).await;
            assert!(plan.contains("USING INDEX outbox_events_pending"), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
            let plan = sqlite_plan(world, lite::KEYS).await;
            assert!(plan.contains("INDEX rate_buckets_waiting"), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
            let plan = sqlite_plan(world, lite::CLAIM_IN_ORDER).await;
            assert!(plan.contains("USING INDEX outbox_events_open_of"), "{plan}");
            let plan = sqlite_plan(world, lite::SETTLE).await;
            assert!(plan.contains("SCAN s"), "{plan}");
            let search = "SEARCH outbox_events USING INDEX outbox_events_id (id=?)";
            assert!(plan.contains(search), "{plan}");
            let plan = sqlite_plan(world, lite::SETTLE_DONE).await;
            assert!(plan.contains(search), "{plan}");
        }
        Db::Postgres(_) => {
            let claim = "'A', 100, 'h', 1000, gen_random_uuid()";
            for sql in [pg::CLAIM, pg::CLAIM_BEHIND_MARK] {
                let plan = postgres_plan(world, sql, claim).await;
                assert!(plan.contains("Index Scan using outbox_events_queue"), "{plan}");
                let is_sorted = plan.contains("Sort Key: e.");
                assert!(!plan.contains("Seq Scan on outbox_events") && !is_sorted, "{plan}");
                let from_mark = plan.contains("(ROW(available_at, id) > ROW(");
                assert_eq!(from_mark, sql == pg::CLAIM_BEHIND_MARK, "{plan}");
            }
            let plan = postgres_plan(world, pg::DUE, "'A', now(), ARRAY[]::text[], 100").await;
            assert!(plan.contains("Index Scan using outbox_events_queue"), "{plan}");
            assert!(!plan.contains("Sort"), "{plan}");
            let arguments = format!("{claim}, ARRAY['A']");
            let plan = postgres_plan(world, pg::CLAIM_IN_ORDER, &arguments).await;
            assert!(plan.contains("Index Scan using outbox_events_queue"), "{plan}");
        }
    }
}

/// A claim, and a lease that is prolonged, write the row and nothing else: what that saves is a third
/// of the database's work. An index depends on its columns, and on those of its predicate.
async fn a_claim_changes_no_index(world: &World) {
    let Db::Postgres(_) = &world.db else { return };
    let changed = world
        .texts(
            "SELECT format('%s of %s', a.attname, d.objid::regclass) FROM pg_index AS i \
             JOIN pg_depend AS d ON d.objid = i.indexrelid AND d.refobjid = i.indrelid \
             JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid \
             WHERE i.indrelid = 'outbox_events'::regclass AND a.attname IN \
             ('status', 'locked_by', 'locked_until', 'lease_token', 'updated_at')",
        )
        .await;
    assert_eq!(changed, [""; 0]);
}

/// With a plan that is kept, made while the table was empty and while it was not: what else it may
/// be is best for few rows, and a hundred times slower for many.
async fn a_settle_looks_each_row_up_by_its_key_however_large_the_table(world: &World) {
    let Db::Postgres(db) = &world.db else { return };
    for rows in [0, 300, 20_000] {
        world
            .execute(&format!(
                "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
                 SELECT 'ORDER', i, 'A', '{{}}' FROM generate_series(1, {rows}) AS i"
            ))
            .await
            .unwrap();
        if rows > 0 {
            world.execute("ANALYZE").await.unwrap();
        }
        for (statement, parameters) in [(pg::SETTLE, 11), (pg::SETTLE_DONE, 3)] {
            let mut connection = db.acquire().await.unwrap();
            let prepare = format!(
                "{}; SET LOCAL plan_cache_mode = force_generic_plan; PREPARE p AS {statement}",
                pg::BY_KEY,
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
            let explain = format!("EXPLAIN EXECUTE p ({})", vec!["'{}'"; parameters].join(", "));
            let lines =
                sqlx::raw_sql(sqlx::AssertSqlSafe(explain)).fetch_all(&mut *connection).await;
            let lines = lines.unwrap();
            let plan: String =
                lines.iter().map(|r| sqlx::Row::get::<String, _>(r, 0) + "\n").collect();
            sqlx::raw_sql("ROLLBACK; DEALLOCATE p").execute(&mut *connection).await.unwrap();
            assert!(plan.contains("Index Scan using outbox_events_pkey"), "{rows} rows: {plan}");
            assert!(plan.contains("Index Cond: (id = s.id)"), "{rows} rows: {plan}");
        }
    }
}

/// Everything is finished and nothing is old: what a pass finds most of the time.
async fn retention_reads_its_own_index_and_no_other(world: &World) {
    let fill = match &world.db {
        Db::Sqlite(_) => {
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, status) \
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
             SELECT 'ORDER', i, 'A', '{}', 'DONE' FROM n"
        }
        Db::Postgres(_) => {
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, status) \
             SELECT 'ORDER', i, 'A', '{}', 'DONE' FROM generate_series(1, 20000) AS i"
        }
    };
    world.execute(fill).await.unwrap();
    world.execute("ANALYZE").await.unwrap();
    match &world.db {
        Db::Sqlite(_) => {
            let plan = sqlite_plan(world, lite::FINISHED).await;
            let search = "SEARCH e USING INDEX outbox_events_done_at (updated_at<?)";
            assert!(plan.contains(search), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
        Db::Postgres(_) => {
            let week = "604800000000";
            let plan = postgres_plan(world, pg::DELETE_FINISHED, &format!("{week}, 500")).await;
            assert!(plan.contains("outbox_events_finished"), "{plan}");
            assert!(!plan.contains("Seq Scan on outbox_events"), "{plan}");
        }
    }
}

async fn sqlite_plan(world: &World, sql: &str) -> String {
    let Db::Sqlite(db) = &world.db else { panic!() };
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = sqlx::query(explain).fetch_all(db).await.unwrap();
    rows.iter().map(|r| sqlx::Row::get::<String, _>(r, "detail") + "\n").collect()
}

async fn postgres_plan(world: &World, sql: &str, arguments: &str) -> String {
    let Db::Postgres(db) = &world.db else { panic!() };
    let mut tx = db.begin().await.unwrap();
    let prepare = format!("PREPARE p AS {sql}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&mut *tx).await.unwrap();
    // A simple query: EXPLAIN of a prepared statement takes no parameters.
    let explain = format!("EXPLAIN EXECUTE p ({arguments})");
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(explain)).fetch_all(&mut *tx).await.unwrap();
    sqlx::raw_sql("DEALLOCATE p").execute(&mut *tx).await.unwrap();
    rows.iter().map(|r| sqlx::Row::get::<String, _>(r, 0) + "\n").collect()
}

async fn a_strangers_insert_wakes_the_dispatcher_on_postgres(world: &World) {
    if let Db::Sqlite(_) = &world.db {
        return;
    }
    let mut wakeups = world.store.wakeups();
    // The listener sends its first hint when it is there.
    let wait = std::time::Duration::from_secs(5);
    if *wakeups.borrow() == 0 {
        tokio::time::timeout(wait, wakeups.changed()).await.unwrap().unwrap();
    }
    wakeups.mark_unchanged();
    world.insert("A", "1").await;
    tokio::time::timeout(wait, wakeups.changed()).await.unwrap().unwrap();
    // And again on another connection, if the listener's is lost.
    wakeups.mark_unchanged();
    world
        .texts(
            "SELECT CAST(pg_terminate_backend(pid) AS text) FROM pg_stat_activity \
             WHERE datname = current_database() AND query LIKE 'LISTEN%'",
        )
        .await;
    tokio::time::timeout(wait, wakeups.changed()).await.unwrap().unwrap();
    wakeups.mark_unchanged();
    world.insert("A", "2").await;
    tokio::time::timeout(wait, wakeups.changed()).await.unwrap().unwrap();
}
