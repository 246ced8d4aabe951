//! The floor: pgbench with the bare statements of the same work, on the same schema.

use std::path::Path;
use std::process::Stdio;

use crate::cluster::Cluster;
use crate::fallible::Fallible;

/// Claim and settle as one lane does them: the payload comes to the client, the leases go back.
pub(crate) const DISPATCH: &str = "\
WITH claimed AS (UPDATE outbox_events SET status = 'PROCESSING', locked_by = 'floor', \
locked_until = now() + interval '30 s', lease_token = lease_token + 1, updated_at = now() \
WHERE id = ANY (ARRAY (SELECT id FROM outbox_events WHERE status = 'PENDING' \
AND done_at IS NULL AND next_retry_at IS NULL AND failure_code IS NULL \
AND event_type = 'NOOP' AND available_at <= now() ORDER BY available_at, id LIMIT :batch \
FOR UPDATE SKIP LOCKED)) RETURNING id, lease_token, payload) \
SELECT array_agg(id) AS ids, array_agg(lease_token) AS tokens, \
string_agg(payload::text, ',') AS payloads FROM claimed \\gset
UPDATE outbox_events AS e SET status = 'DONE', locked_by = NULL, locked_until = NULL, \
done_at = now(), updated_at = now() FROM unnest(:ids::uuid[], :tokens::bigint[]) AS s (id, token) \
WHERE e.id = s.id AND e.lease_token = s.token AND e.status = 'PROCESSING';
";

/// A withdrawal with its key and three events, in one statement.
pub(crate) const INGEST: &str = "\
WITH claimed AS (INSERT INTO idempotency_keys (scope, key, fingerprint, answer_status, \
answer_location, answer_body) VALUES ('floor', gen_random_uuid()::text, repeat('0', 64), 201, \
'/v1/withdrawals/01890000-0000-7000-8000-000000000001', repeat('0', 400)) \
ON CONFLICT DO NOTHING RETURNING 1), \
withdrawal AS (INSERT INTO withdrawals (id, user_id, asset, network, amount, \
destination_address, status, requested_at, created_at, updated_at) \
SELECT gen_random_uuid(), 'user-4711', 'USDC', 'eip155:1', 125.5, \
'0x52908400098527886E0F7030069857D2E4169EE7', 'REQUESTED', now(), now(), now() FROM claimed), \
events AS (INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
SELECT 'WITHDRAWAL', gen_random_uuid()::text, t, '@PAYLOAD@' FROM claimed, \
unnest(ARRAY['WITHDRAWAL_REQUESTED', 'PARTNER_SYNC_REQUESTED', 'BLOCKCHAIN_BROADCAST_REQUESTED']) AS t) \
SELECT count(*) FROM claimed;
";

/// How long pgbench goes on.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    TransactionsPerClient(u64),
    Seconds(u64),
}

/// Runs a script; answers transactions a second without the time to connect.
pub(crate) async fn pgbench(
    cluster: &Cluster,
    database: &str,
    script: &Path,
    clients: u64,
    until: Until,
    variables: &[(&str, u64)],
) -> Fallible<f64> {
    let (program, port) = cluster.pgbench();
    let mut command = tokio::process::Command::new(program);
    command
        .args(["-n", "-M", "prepared", "-h", "127.0.0.1", "-U", "postgres"])
        .args(["-p", &port.to_string(), "-c", &clients.to_string(), "-f"])
        .arg(script);
    match until {
        Until::TransactionsPerClient(count) => command.args(["-t", &count.to_string()]),
        Until::Seconds(seconds) => command.args(["-T", &seconds.to_string()]),
    };
    for (name, value) in variables {
        command.args(["-D", &format!("{name}={value}")]);
    }
    let output = command.arg(database).stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let tps = tps.and_then(|rest| rest.split_whitespace().next()).and_then(|t| t.parse().ok());
    match tps {
        Some(tps) if output.status.success() => Ok(tps),
        Some(_) | None => {
            Err(format!("pgbench: {}", String::from_utf8_lossy(&output.stderr)).into())
        }
    }
}
