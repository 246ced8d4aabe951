//! The auditor: silent about a world that is whole, and it names what was planted by SQL.

use std::time::Duration;

use super::chain::{conclude, registered, signed};
use super::on_both_stores;
use super::releases::deploy;
use super::world::{BROADCAST, Db, MINUTE, SYNC, World, done, retry_after};
use crate::domain::{
    Decision, FailureCode, FailureReason, Flow, Receipt, Standing, Transition, Withdrawal,
};
use crate::store::{Audit, AuditError, AuditRequest, Deploy, OpenError, OrderedType, audit};

on_both_stores!(
    a_world_that_is_whole_has_no_violation,
    what_retention_deleted_is_not_reported_as_lost,
    every_planted_violation_is_named,
    a_key_that_is_used_twice_is_named,
    what_is_not_known_is_not_checked_and_says_so,
    an_audit_writes_nothing_and_sees_one_moment,
    examples_are_bounded_and_the_count_is_not,
    a_store_of_another_schema_is_not_judged,
);

fn request() -> AuditRequest {
    AuditRequest {
        flow: Some(Flow::default()),
        keep_finished: Some(Some(7 * 24 * 60 * MINUTE)),
        ordered: Some(vec![OrderedType {
            event_type: SYNC.parse().unwrap(),
            among: vec![SYNC.parse().unwrap()],
        }]),
        hosts_run: true,
        examples_max: 5,
    }
}

async fn audited(world: &World) -> Audit {
    audit(&world.url, &request(), &mut |_| {}).await.unwrap()
}

/// The checks that found something, with what they found.
async fn wrong(world: &World) -> Vec<(&'static str, String)> {
    let audit = audited(world).await;
    let wrong = audit.checks.into_iter().filter(|check| check.violations > 0);
    wrong.map(|check| (check.name, format!("{:?}", check.examples))).collect()
}

/// Lets everything be written that a store refuses.
async fn unguard(world: &World) {
    match &world.db {
        Db::Sqlite(_) => {
            let triggers = world
                .texts("SELECT name FROM sqlite_schema WHERE type = 'trigger' ORDER BY name")
                .await;
            for name in triggers {
                world.execute(&format!("DROP TRIGGER {name}")).await.unwrap();
            }
            let indexes = "DROP INDEX outbox_events_key; DROP INDEX plugin_releases_live";
            world.execute(indexes).await.unwrap();
        }
        Db::Postgres(_) => {
            world
                .execute(
                    "DO $$ DECLARE c record; BEGIN FOR c IN SELECT conname, conrelid::regclass AS t \
                     FROM pg_constraint WHERE contype IN ('c', 'f') AND conrelid <> 0 \
                     AND connamespace = 'public'::regnamespace LOOP EXECUTE \
                     format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname); END LOOP; END $$; \
                     DROP TRIGGER withdrawal_nonces_are_never_changed ON withdrawal_nonces; \
                     DROP TRIGGER signed_transactions_are_never_changed ON signed_transactions; \
                     DROP TRIGGER policy_decisions_are_never_changed ON policy_decisions; \
                     DROP INDEX outbox_events_key, plugin_releases_live",
                )
                .await
                .unwrap();
        }
    }
}

/// Writes as nobody may.
async fn plant(world: &World, sql: &str) {
    let sql = match &world.db {
        // The setting is a connection's, and the pool has several.
        Db::Sqlite(_) => format!(
            "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF; {sql}; \
             PRAGMA ignore_check_constraints = OFF; PRAGMA foreign_keys = ON"
        ),
        Db::Postgres(_) => sql.to_owned(),
    };
    assert!(world.execute(&sql).await.is_ok(), "{sql}");
}

/// Signs a withdrawal's payment, and has it broadcast; answers the hash.
async fn sign(world: &World, withdrawal: &Withdrawal) -> String {
    registered(world).await;
    let mut events = world.claim(BROADCAST, 10).await.into_iter();
    let event = events.find(|e| e.aggregate.as_withdrawal() == Some(withdrawal.id)).unwrap();
    let hash = signed(world, &event).await.signed.hash;
    let standing = Some(Standing::Broadcasted);
    world.settle_one(&event, Decision::Done(Receipt { standing, ..Receipt::default() })).await;
    hash
}

/// Withdrawals in every status, events in every status, a replay, a skip and a lost lease.
pub(super) async fn a_full_world(world: &World) -> Vec<Withdrawal> {
    let mut all = Vec::new();
    let confirmed = world.accept().await;
    for event in world.claim(SYNC, 10).await {
        world.settle_one(&event, done()).await;
    }
    let tx_hash = sign(world, &confirmed).await;
    conclude(world, &confirmed, vec![Transition::Confirm { tx_hash }]).await;
    let allowed = format!(
        "INSERT INTO policy_decisions (withdrawal_id, policy_version, account, outcome, rule, reason, \
         figures, decided_at) SELECT id, 'v1', '0xaa', 'ALLOW', 'none', '', '{{}}', requested_at \
         FROM withdrawals WHERE id = '{}'",
        confirmed.id
    );
    world.execute(&allowed).await.unwrap();
    all.push(confirmed);
    let failed = world.accept().await;
    for event in world.claim(BROADCAST, 10).await {
        let reason = FailureReason { code: FailureCode::Rejected, text: "no".into() };
        world.settle_one(&event, Decision::Fail(reason)).await;
    }
    all.push(failed);
    let broadcasted = world.accept().await;
    sign(world, &broadcasted).await;
    all.push(broadcasted);
    for n in 0..4 {
        world.insert("ORDER_PAID", &n.to_string()).await;
    }
    let events = world.claim("ORDER_PAID", 3).await;
    world.settle_one(&events[0], retry_after(Duration::ZERO)).await;
    let reason = FailureReason { code: FailureCode::Rejected, text: "no".into() };
    world.settle_one(&events[1], Decision::Fail(reason.clone())).await;
    world.store.replay(events[1].id, "me").await.unwrap();
    let again = world.claim("ORDER_PAID", 10).await;
    for event in again.iter().filter(|event| event.id == events[1].id) {
        world.settle_one(event, Decision::Fail(reason.clone())).await;
    }
    world.store.skip(events[1].id, "nobody waits").await.unwrap();
    // What is still in hand is lost with its host, taken over, and done at last.
    world.age(2 * MINUTE).await;
    world.store.take_over_lost_leases(10).await.unwrap();
    world.store.promote_due(10).await.unwrap();
    for event in world.claim("ORDER_PAID", 10).await {
        world.settle_one(&event, done()).await;
    }
    world.live(deploy("full", "one")).await;
    all.push(world.accept().await);
    world.claim("WITHDRAWAL_REQUESTED", 2).await;
    all
}

async fn a_world_that_is_whole_has_no_violation(world: &World) {
    assert_eq!(wrong(world).await, [], "an empty one");
    a_full_world(world).await;
    let audit = audited(world).await;
    let wrong: Vec<_> = audit.checks.iter().filter(|check| check.violations > 0).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for check in &audit.checks {
        assert_eq!(check.skipped, None, "{}", check.name);
        if check.name != "checkpoint-has-its-event" {
            assert!(check.checked > 0, "{} looked at nothing", check.name);
        }
    }
}

async fn what_retention_deleted_is_not_reported_as_lost(world: &World) {
    a_full_world(world).await;
    world.age(8 * 24 * 60 * MINUTE).await;
    let gone = world.store.delete_finished(7 * 24 * 60 * MINUTE, 100).await.unwrap();
    assert!(gone > 0);
    // Of the leases, which are as old, another check speaks.
    let wrong = wrong(world).await;
    let names: Vec<_> = wrong.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["event-lease-is-alive"], "{wrong:?}");
}

async fn every_planted_violation_is_named(world: &World) {
    let all = a_full_world(world).await;
    let [confirmed, failed, broadcasted, requested] = [0, 1, 2, 3].map(|n| all[n].id.to_string());
    unguard(world).await;
    assert_eq!(wrong(world).await, [], "without the guards all still holds");
    let of = |kind: &str, id: &str| format!("aggregate_id = '{id}' AND event_type = '{kind}'");
    let far = match &world.db {
        Db::Sqlite(_) => "9000000000000000",
        Db::Postgres(_) => "'2200-01-01'",
    };
    // What is planted, what undoes it, and the check that sees it.
    let swap = |table: &str, column: &str, value: &str, on: &str| {
        let keep = format!("UPDATE {table} SET {column} = {value} WHERE {on}");
        (keep, table.to_owned(), column.to_owned(), on.to_owned())
    };
    let events = "outbox_events";
    let done_sync = format!("{} AND status = 'DONE'", of(SYNC, &confirmed));
    let planted = [
        (
            "withdrawal-columns",
            swap("withdrawals", "confirmed_at", far, &format!("id = '{requested}'")),
        ),
        (
            "withdrawal-hash-is-signed",
            swap("withdrawals", "tx_hash", "'0xbad'", &format!("id = '{broadcasted}'")),
        ),
        (
            "withdrawal-confirmed-has-evidence",
            swap(
                "withdrawal_transitions",
                "evidence",
                "NULL",
                &format!("withdrawal_id = '{confirmed}'"),
            ),
        ),
        (
            "withdrawal-failed-has-reason",
            swap("withdrawals", "failure_reason", "NULL", &format!("id = '{failed}'")),
        ),
        (
            "withdrawal-steps-are-legal",
            swap(
                "withdrawal_transitions",
                "from_status",
                "'CONFIRMED'",
                &format!("withdrawal_id = '{failed}'"),
            ),
        ),
        (
            "withdrawal-open-has-broadcast",
            swap(events, "event_type", "'OTHER'", &of(BROADCAST, &requested)),
        ),
        ("withdrawal-steps-wrote-events", swap(events, "aggregate_id", "'x'", &done_sync)),
        (
            "payment-one-nonce",
            swap("signed_transactions", "nonce", "77", &format!("withdrawal_id = '{confirmed}'")),
        ),
        ("payment-nonce-was-allotted", swap("chain_accounts", "next_nonce", "0", "1 = 1")),
        ("payment-was-not-denied", swap("policy_decisions", "outcome", "'DENY'", "rule = 'none'")),
        (
            "closing-was-asked-for",
            swap(
                "signed_transactions",
                "kind",
                "'CLOSING'",
                &format!("withdrawal_id = '{confirmed}'"),
            ),
        ),
        (
            "payment-is-whole",
            swap(
                "signed_transactions",
                "kind",
                "'GIFT'",
                &format!("withdrawal_id = '{confirmed}'"),
            ),
        ),
        ("event-columns", swap(events, "interruption_count", "-1", &of(SYNC, &requested))),
        ("event-failed-has-reason", swap(events, "last_error", "NULL", &of(BROADCAST, &failed))),
        ("event-settled-once-a-lease", swap(events, "lease_token", "0", &done_sync)),
        ("event-counters-agree", swap(events, "attempt_count", "9", &of(SYNC, &requested))),
        ("event-lease-is-alive", swap(events, "locked_until", far, "status = 'PROCESSING'")),
        (
            "event-broadcast-has-withdrawal",
            swap(events, "aggregate_id", "'nobody'", &of(BROADCAST, &failed)),
        ),
        (
            "history-has-its-event",
            swap(
                "outbox_attempts",
                "event_id",
                "'0197f3a2-7c1e-7d4e-9a51-5b6d3f0c2a11'",
                "kind = 'replayed'",
            ),
        ),
        (
            "key-answer-is-kept",
            swap(
                "idempotency_keys",
                "answer_location",
                "'/v1/withdrawals/0197f3a2-7c1e-7d4e-9a51-5b6d3f0c2a11'",
                &format!("answer_location LIKE '%{failed}'"),
            ),
        ),
        ("release-has-its-component", swap("plugin_releases", "digest", "'gone'", "number = 1")),
        ("nonce-used-once", swap("withdrawal_nonces", "nonce", "7", "nonce = 8")),
    ];
    let unique = match &world.db {
        Db::Sqlite(_) => "",
        Db::Postgres(_) => {
            "ALTER TABLE withdrawal_nonces DROP CONSTRAINT \
             withdrawal_nonces_chain_id_account_nonce_key"
        }
    };
    for (check, (sql, table, column, on)) in planted {
        if check == "nonce-used-once" {
            // SQLite keeps this one in the table itself, where no test can take it away.
            if unique.is_empty() {
                continue;
            }
            world.execute(unique).await.unwrap();
        }
        world
            .execute(&format!("CREATE TABLE kept AS SELECT * FROM {table} WHERE {on}"))
            .await
            .unwrap();
        assert!(world.count("kept").await > 0, "{check}: nothing to plant on");
        plant(world, &sql).await;
        let wrong = wrong(world).await;
        assert!(wrong.iter().any(|(name, _)| *name == check), "{check}: {wrong:?}");
        let key = match table.as_str() {
            "idempotency_keys" => "key",
            "withdrawal_nonces" => "withdrawal_id",
            "chain_accounts" => "address",
            "plugin_releases" => "number",
            _ => "id",
        };
        let back = format!(
            "UPDATE {table} SET {column} = (SELECT k.{column} FROM kept AS k \
             WHERE k.{key} = {table}.{key}) WHERE {key} IN (SELECT {key} FROM kept)"
        );
        plant(world, &back).await;
        world.execute("DROP TABLE kept").await.unwrap();
        assert_eq!(self::wrong(world).await, [], "{check} was taken back");
    }
}

async fn a_key_that_is_used_twice_is_named(world: &World) {
    for _ in 0..2 {
        let withdrawal = world.accept().await;
        sign(world, &withdrawal).await;
    }
    let first = world.live(deploy("p", "one")).await;
    let second = Deploy { compared_with: Some(first.number), ..deploy("p", "two") };
    world.live(second).await;
    unguard(world).await;
    let cases = [
        (
            "event-key-used-once",
            "UPDATE outbox_events SET idempotency_key = (SELECT idempotency_key FROM outbox_events \
             ORDER BY position LIMIT 1)",
        ),
        (
            "key-used-once",
            "UPDATE idempotency_keys SET answer_location = (SELECT answer_location \
             FROM idempotency_keys ORDER BY key LIMIT 1)",
        ),
        ("release-live-once", "UPDATE plugin_releases SET state = 'LIVE', live_at = state_at"),
        ("transaction-nonce-of-one-withdrawal", "UPDATE signed_transactions SET nonce = 7"),
    ];
    for (check, sql) in cases {
        plant(world, sql).await;
        let wrong = wrong(world).await;
        assert!(wrong.iter().any(|(name, _)| *name == check), "{check}: {wrong:?}");
    }
    // A checkpoint of nobody's.
    let id = "0197f3a2-7c1e-7d4e-9a51-5b6d3f0c2a11";
    let bytes = match &world.db {
        Db::Sqlite(_) => "x'01', 0",
        Db::Postgres(_) => "'\\x01', now()",
    };
    plant(world, &format!("INSERT INTO checkpoints VALUES ('{id}', {bytes})")).await;
    assert!(wrong(world).await.iter().any(|(name, _)| *name == "checkpoint-has-its-event"));
}

async fn what_is_not_known_is_not_checked_and_says_so(world: &World) {
    world.accept().await;
    let request = AuditRequest {
        flow: None,
        keep_finished: None,
        ordered: None,
        hosts_run: false,
        examples_max: 1,
    };
    let audit = audit(&world.url, &request, &mut |_| {}).await.unwrap();
    let skipped: Vec<_> =
        audit.checks.iter().filter(|c| c.skipped.is_some()).map(|c| c.name).collect();
    assert_eq!(
        skipped,
        ["withdrawal-steps-wrote-events", "event-lease-is-alive", "event-order-was-held"]
    );
}

async fn an_audit_writes_nothing_and_sees_one_moment(world: &World) {
    a_full_world(world).await;
    let mut during = 0;
    let before = world.count("outbox_events").await;
    // Rows that come while it reads are not of its moment.
    let (url, request) = (world.url.clone(), request());
    let auditing = tokio::spawn(async move {
        audit(&url, &request, &mut |_| during += 1).await.map(|audit| (audit, during))
    });
    for n in 0..20 {
        world.insert("LATER", &n.to_string()).await;
    }
    let (audit, steps) = auditing.await.unwrap().unwrap();
    assert!(steps > 3, "{steps}");
    let of_events: Vec<_> = audit
        .checks
        .iter()
        .filter(|check| check.name.starts_with("event-"))
        .map(|check| check.checked)
        .collect();
    let first = of_events[0];
    assert!((before..=before + 20).contains(&first), "{first}");
    assert!(of_events.iter().all(|checked| *checked == first), "{of_events:?}");
    assert_eq!(world.count("outbox_events").await, before + 20);
}

async fn examples_are_bounded_and_the_count_is_not(world: &World) {
    for n in 0..12 {
        world.insert_with("A", &n.to_string(), ", attempt_count", ", 3").await;
    }
    let audit = audited(world).await;
    let check = audit.checks.iter().find(|c| c.name == "event-counters-agree").unwrap();
    assert_eq!((check.violations, check.examples.len()), (12, 5));
}

async fn a_store_of_another_schema_is_not_judged(world: &World) {
    world.execute("DELETE FROM _sqlx_migrations WHERE version = 5").await.unwrap();
    let refused = audit(&world.url, &request(), &mut |_| {}).await.err().unwrap();
    let older = |error: &AuditError| {
        matches!(error, AuditError::Open(OpenError::OlderSchema { version: 5 }))
    };
    assert!(older(&refused), "{refused}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.db");
    let url = crate::store::StoreUrl::Sqlite(path.clone());
    assert!(audit(&url, &request(), &mut |_| {}).await.is_err());
    assert!(!path.exists());
}

/// An earlier event of an ordered route that is taken late, in each of the ways that can be seen.
mod order {
    use super::*;

    on_both_stores!(order_that_was_not_held_is_named, what_was_given_up_holds_no_order);

    async fn three(world: &World) -> Vec<crate::domain::EventId> {
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(world.insert(SYNC, "7").await);
        }
        for _ in 0..3 {
            let among = [SYNC.parse().unwrap()];
            let event = world.claim_ordered(SYNC, 1, &among).await.remove(0);
            world.settle_one(&event, done()).await;
        }
        ids
    }

    async fn order_that_was_not_held_is_named(world: &World) {
        let ids = three(world).await;
        assert_eq!(wrong(world).await, []);
        let later = match &world.db {
            Db::Sqlite(_) => "updated_at + 1000000",
            Db::Postgres(_) => "updated_at + interval '1 second'",
        };
        let id = ids[1];
        let sql = format!("UPDATE outbox_events SET updated_at = {later} WHERE id = '{id}'");
        world.execute(&sql).await.unwrap();
        let found = wrong(world).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "event-order-was-held");
        assert!(found[0].1.contains(&ids[2].to_string()) && found[0].1.contains(&id.to_string()));
        let sql = format!(
            "UPDATE outbox_events SET status = 'PENDING', attempt_count = 0 WHERE id = '{id}'"
        );
        world.execute(&sql).await.unwrap();
        let found = wrong(world).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.contains(&format!("before {id}")), "{found:?}");
    }

    async fn what_was_given_up_holds_no_order(world: &World) {
        let first = world.insert(SYNC, "7").await;
        let second = world.insert(SYNC, "7").await;
        let among = [SYNC.parse().unwrap()];
        let event = world.claim_ordered(SYNC, 1, &among).await.remove(0);
        let reason = FailureReason { code: FailureCode::Rejected, text: "no".into() };
        world.settle_one(&event, Decision::Fail(reason)).await;
        world.store.skip(first, "gone").await.unwrap();
        let event = world.claim_ordered(SYNC, 1, &among).await.remove(0);
        assert_eq!(event.id, second);
        world.settle_one(&event, done()).await;
        assert_eq!(wrong(world).await, []);
        world.store.replay(first, "me").await.unwrap();
        assert_eq!(wrong(world).await, [], "replayed, it comes out of order");
    }
}
