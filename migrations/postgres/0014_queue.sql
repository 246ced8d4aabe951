-- no-transaction
-- Why: the indexes whose predicates name no column that a claim changes; see 0011. RETRYING is what has
-- `next_retry_at`, FAILED is what has `failure_code`, and the table's CHECKs say so.
-- What the previous binary sees meanwhile: its indexes are gone. It finds and loses nothing less, but
-- it reads the whole table for it: with millions of finished rows, replace the last one soon.

-- The open events that 0011 took for done. Few at a time, so that nobody waits for their rows.
DO $$
DECLARE
    open record;
    corrected bigint := 0;
BEGIN
    FOR open IN SELECT id FROM outbox_events WHERE status <> 'DONE' AND done_at IS NOT NULL LOOP
        UPDATE outbox_events SET done_at = NULL WHERE id = open.id AND status <> 'DONE';
        corrected := corrected + 1;
        IF corrected % 1000 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END
$$;

-- Claim: the oldest due events of one type. Those in hand stay where they are until they are settled,
-- and claims pass over them.
CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_events_queue ON outbox_events (event_type, available_at, id)
    WHERE done_at IS NULL AND next_retry_at IS NULL AND failure_code IS NULL;

-- Promote: what is due again.
CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_events_due_again ON outbox_events (next_retry_at)
    WHERE next_retry_at IS NOT NULL;

-- Poison, and events that may expire: both are rare.
CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_events_lost_before ON outbox_events (id)
    WHERE interruption_count > 0 AND done_at IS NULL AND failure_code IS NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_events_may_expire ON outbox_events (valid_until)
    WHERE valid_until IS NOT NULL AND done_at IS NULL AND failure_code IS NULL;

-- The list of failures, newest first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_events_failures ON outbox_events (id)
    WHERE failure_code IS NOT NULL;

-- Ordered routes: whether an earlier event of an aggregate is not done. The timeline: its others.
CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_events_not_done_of ON outbox_events (aggregate_id, position)
    WHERE done_at IS NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_events_finished_of ON outbox_events (aggregate_id, position)
    WHERE done_at IS NOT NULL;

-- Retention: what has been finished for longest.
CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_events_finished ON outbox_events (done_at)
    WHERE done_at IS NOT NULL;

DROP INDEX CONCURRENTLY IF EXISTS outbox_events_pending;
DROP INDEX CONCURRENTLY IF EXISTS outbox_events_processing;
DROP INDEX CONCURRENTLY IF EXISTS outbox_events_retrying;
DROP INDEX CONCURRENTLY IF EXISTS outbox_events_interrupted;
DROP INDEX CONCURRENTLY IF EXISTS outbox_events_expiring;
DROP INDEX CONCURRENTLY IF EXISTS outbox_events_failed;
DROP INDEX CONCURRENTLY IF EXISTS outbox_events_open_of;
DROP INDEX CONCURRENTLY IF EXISTS outbox_events_done_of;
DROP INDEX CONCURRENTLY IF EXISTS outbox_events_done_at;
