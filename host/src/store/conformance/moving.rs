//! A move from SQLite to Postgres: everything arrives, once, and only one of the two works.

use super::audit::a_full_world;
use super::world::{Db, World};
use crate::store::{
    MoveError, MoveProgress, Moved, OpenError, StoreOptions, StoreUrl, move_store, open, undo_move,
};

/// A file in which everything occurs, which nobody uses any more, and an empty database.
struct Scene {
    from: World,
    to: StoreUrl,
    text: String,
}

impl Scene {
    async fn new() -> Option<Self> {
        let text = super::cluster::new_database().await?;
        let from = World::sqlite().await;
        a_full_world(&from).await;
        // What text and bytes can be, the last numbers of tables whose rows are gone, and a pause.
        let odd = "{\"a\\u0000\": \"tab\\there \\\\N ü 🦀\", \"n\": 1.50}";
        let (digest, gone) = ("0".repeat(64), "1".repeat(64));
        from.execute(&format!(
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, \
             last_error, detail) VALUES ('ORDER', 'back\\slash', 'ODD', '{odd}', \
             'a' || char(9) || 'b' || char(10) || 'c' || char(13) || '\\N', ''); \
             INSERT INTO checkpoints (event_id, bytes, updated_at) \
             SELECT id, x'00ff5c0a', 1700000000000001 FROM outbox_events LIMIT 1; \
             INSERT INTO withdrawal_closings SELECT id, 'why', 'who', 1700000000000001 \
             FROM withdrawals LIMIT 1; \
             INSERT INTO payment_watches SELECT id, 1, '0xa', 5, '0xb', 69, 1700000000000001 \
             FROM withdrawals LIMIT 1; \
             INSERT INTO account_changes (chain_id, address, kind, reason, changed_by, changed_at) \
             SELECT chain_id, address, 'frozen', 'why', 'who', 1700000000000001 \
             FROM chain_accounts LIMIT 1; \
             INSERT INTO route_controls VALUES ('ODD', 1, 'why', 'who', 1700000000123456); \
             INSERT INTO rate_buckets VALUES ('ODD', 'a', 'p7', 1700000000123456, 1); \
             INSERT INTO breakers VALUES ('a', 'api.example:443', 'OPEN', 1, 1700000000000001, NULL, \
             'why', 'who', 1700000000000002); \
             INSERT INTO component_artifacts VALUES ('{digest}', x'0061736d', 1700000000000001); \
             INSERT INTO plugins VALUES ('p', 1, 'why', 'who', 1700000000000001); \
             INSERT INTO plugin_releases VALUES ('p', 1, '{digest}', 'name: p', 'm', NULL, \
             'LIVE', NULL, 500, 1000, 'k', 'who', 1700000000000001, 1700000000000002, 1700000000000003, \
             NULL, NULL); \
             INSERT INTO component_artifacts VALUES ('{gone}', NULL, 1700000000000001); \
             INSERT INTO approved_manifests VALUES ('p', '{digest}', 'name: p', 1700000000000001, \
             'why', 'who', 1700000000000002); \
             INSERT INTO hosts VALUES ('h', 1700000000000001, 1700000000000002); \
             INSERT INTO host_releases VALUES ('h', 'p', 1, 'live', NULL, 1700000000000001); \
             INSERT INTO canary_tallies VALUES ('h', 'p', 1, 'canary', 2, 1, '1,1', 1700000000000001); \
             INSERT INTO shadow_tallies VALUES ('h', 'p', 1, 2, 1, '{{}}', '{{}}', '[]', 1700000000000001); \
             INSERT INTO release_decisions (plugin, number, kind, reason, decided_by, decided_at) \
             VALUES ('p', 1, 'live', '', 'who', 1700000000000001); \
             INSERT INTO freezes VALUES (7, 'user', 'user-1', '', 'why', 'who', 1700000000000001, \
             NULL, NULL, NULL); \
             INSERT INTO withdrawal_waits SELECT id, 'balance', 'why', 1700000000000001 \
             FROM withdrawals LIMIT 1; \
             INSERT INTO policy_decisions (withdrawal_id, policy_version, account, outcome, rule, \
             reason, figures, decided_at) SELECT id, 'v1', '0xaa', 'WAIT', 'balance', 'why', \
             '{{\"a\": \"1.50\"}}', 1700000000000001 FROM withdrawals LIMIT 1; \
             INSERT INTO withdrawal_approvals (withdrawal_id, approver, policy_version, asset, network, \
             amount, destination_address, reason, approved_at, expires_at) SELECT id, 'who', 'v1', asset, \
             network, '1.5', destination_address, 'why', 1700000000000001, 1700000000000002 \
             FROM withdrawals LIMIT 1; \
             INSERT INTO policy_answers (withdrawal_id, policy_version, facts, verdict, reason, \
             answered_at) SELECT id, 'v1', 'facts', 'ALLOW', '', 1700000000000001 \
             FROM withdrawals LIMIT 1; \
             INSERT INTO rate_waiting SELECT id, 'ODD', 'a', 'p7', 1700000000000001 \
             FROM outbox_events LIMIT 1; \
             INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
             VALUES ('ORDER', 'gone', 'ODD', '{{}}'); \
             DELETE FROM outbox_events WHERE aggregate_id = 'gone'"
        ))
        .await
        .unwrap();
        let to = text.parse().unwrap();
        Some(Self { from, to, text })
    }

    async fn stop(&self) {
        self.from.close().await;
    }

    async fn import(&self) -> Result<Moved, MoveError> {
        move_store(&self.from.url, &self.to, &mut |_: MoveProgress<'_>| {}).await
    }

    /// The two databases as they are.
    async fn both(&self) -> (Db, Db) {
        let StoreUrl::Sqlite(path) = &self.from.url else { panic!() };
        let url = format!("sqlite:{}", path.display());
        let from = Db::Sqlite(sqlx::SqlitePool::connect(&url).await.unwrap());
        (from, Db::Postgres(sqlx::PgPool::connect(&self.text).await.unwrap()))
    }
}

async fn texts(db: &Db, sql: String) -> Vec<String> {
    let sql = sqlx::AssertSqlSafe(sql);
    match db {
        Db::Sqlite(db) => sqlx::query_scalar(sql).fetch_all(db).await.unwrap(),
        Db::Postgres(db) => sqlx::query_scalar(sql).fetch_all(db).await.unwrap(),
    }
}

async fn closed(db: &Db) {
    match db {
        Db::Sqlite(db) => db.close().await,
        Db::Postgres(db) => db.close().await,
    }
}

/// Every row of a table as one text, by conversions of this test's own.
async fn rows(from: &Db, to: &Db, table: &str) -> (Vec<String>, Vec<String>) {
    let columns = texts(
        to,
        format!(
            "SELECT column_name || ' ' || data_type FROM information_schema.columns \
             WHERE table_name = '{table}' ORDER BY column_name"
        ),
    )
    .await;
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for column in &columns {
        let (name, kind) = column.split_once(' ').unwrap();
        let (sqlite, postgres) = match kind {
            "bytea" => (
                format!("iif({name} IS NULL, NULL, lower(hex({name})))"),
                format!("encode({name}, 'hex')"),
            ),
            "numeric" => (name.to_owned(), format!("trim_scale({name})::text")),
            "boolean" => (format!("CAST({name} AS text)"), format!("{name}::int::text")),
            "timestamp with time zone" => (
                format!("CAST({name} AS text)"),
                format!("(extract(epoch FROM {name}) * 1000000)::bigint::text"),
            ),
            _ => (format!("CAST({name} AS text)"), format!("{name}::text")),
        };
        here.push(format!("coalesce({sqlite}, '<null>')"));
        there.push(format!("coalesce({postgres}, '<null>')"));
    }
    let all = |of: &[String]| format!("SELECT {} FROM {table}", of.join(" || '|' || "));
    let (mut one, mut two) = (texts(from, all(&here)).await, texts(to, all(&there)).await);
    one.sort();
    two.sort();
    (one, two)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_arrives_and_numbers_go_on() {
    let Some(scene) = Scene::new().await else { return };
    scene.stop().await;
    let Moved::Now(tables) = scene.import().await.unwrap() else { panic!("nothing was moved") };
    let (from, to) = scene.both().await;
    for moved in &tables {
        let (one, two) = rows(&from, &to, &moved.table).await;
        assert_eq!(one, two, "{}", moved.table);
        assert_eq!(moved.rows, one.len() as u64, "{}", moved.table);
        assert!(!one.is_empty(), "{}: nothing to move", moved.table);
    }
    // Nothing that SQLite has was forgotten.
    let mut all = texts(
        &from,
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' \
         AND name NOT IN ('_sqlx_migrations', 'store_moves') ORDER BY name"
            .to_owned(),
    )
    .await;
    let mut names: Vec<_> = tables.into_iter().map(|moved| moved.table).collect();
    names.sort();
    all.sort();
    assert_eq!(names, all);
    let last = "SELECT CAST(seq AS text) FROM sqlite_sequence WHERE name = 'outbox_events'";
    let last: i64 = texts(&from, last.to_owned()).await[0].parse().unwrap();
    closed(&from).await;
    closed(&to).await;
    // A host works there, and what it writes comes behind what was there.
    let store = open(&scene.to, StoreOptions::default()).await.unwrap();
    store.accept_withdrawal(super::world::acceptance("new")).await.unwrap();
    let (from, to) = scene.both().await;
    let next = "SELECT CAST(max(position) AS text) FROM outbox_events";
    let next: i64 = texts(&to, next.to_owned()).await[0].parse().unwrap();
    assert_eq!(next, last + 3);
    closed(&from).await;
    closed(&to).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_move_only_the_new_store_works_and_a_repeat_copies_nothing() {
    let Some(scene) = Scene::new().await else { return };
    scene.stop().await;
    scene.import().await.unwrap();
    let refused = open(&scene.from.url, StoreOptions::default()).await.err().unwrap();
    assert_eq!(refused, OpenError::Moved { to: scene.to.to_string() });
    assert_eq!(scene.import().await.unwrap(), Moved::Before);
    let refused = undo_move(&scene.from.url, &scene.to).await.unwrap_err();
    assert!(matches!(refused, MoveError::Completed), "{refused}");
    let another: StoreUrl = super::cluster::new_database().await.unwrap().parse().unwrap();
    let refused = move_store(&scene.from.url, &another, &mut |_| {}).await.unwrap_err();
    assert!(matches!(refused, MoveError::MovedElsewhere { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_in_use_or_not_empty_takes_part_in_no_move() {
    let Some(scene) = Scene::new().await else { return };
    let refused = scene.import().await.unwrap_err();
    assert!(matches!(refused, MoveError::SourceInUse { .. }), "{refused}");
    scene.stop().await;
    let host = open(&scene.to, StoreOptions::default()).await.unwrap();
    host.register_account(1, "0xaa", 0).await.unwrap();
    let refused = scene.import().await.unwrap_err();
    assert!(
        matches!(&refused, MoveError::TargetNotEmpty { table } if table == "chain_accounts"),
        "{refused}"
    );
    host.close().await;
    let backwards = move_store(&scene.to, &scene.from.url, &mut |_| {}).await.unwrap_err();
    assert!(matches!(backwards, MoveError::Direction));
    // And nothing was done to the source.
    open(&scene.from.url, StoreOptions::default()).await.unwrap().close().await;
    let refused = undo_move(&scene.from.url, &scene.to).await.unwrap_err();
    assert!(matches!(refused, MoveError::NotMoved), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_fails_leaves_both_as_they_were() {
    let Some(scene) = Scene::new().await else { return };
    // A text that SQLite keeps, and Postgres does not.
    scene
        .from
        .execute("UPDATE outbox_events SET detail = 'a' || char(0) WHERE event_type = 'ODD'")
        .await
        .unwrap();
    scene.stop().await;
    let failed = scene.import().await.unwrap_err();
    assert!(
        matches!(&failed, MoveError::Copy { table, .. } if table == "outbox_events"),
        "{failed}"
    );
    let (from, to) = scene.both().await;
    for table in crate::store::migrate::tables() {
        let count = format!("SELECT CAST(count(*) AS text) FROM {table}");
        assert_eq!(texts(&to, count).await, ["0"], "{table}");
    }
    closed(&from).await;
    closed(&to).await;
    open(&scene.from.url, StoreOptions::default()).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_was_cut_off_can_go_on_or_be_taken_back() {
    let Some(scene) = Scene::new().await else { return };
    scene
        .from
        .execute(&format!(
            "INSERT INTO store_moves VALUES ('0197f3a2-7c1e-7d4e-9a51-5b6d3f0c2a11', 'out', \
             '{}', 0, NULL)",
            scene.to
        ))
        .await
        .unwrap();
    scene.stop().await;
    let refused = open(&scene.from.url, StoreOptions::default()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Moved { .. }), "{refused}");
    undo_move(&scene.from.url, &scene.to).await.unwrap();
    open(&scene.from.url, StoreOptions::default()).await.unwrap().close().await;
    assert!(matches!(scene.import().await.unwrap(), Moved::Now(_)));
}
