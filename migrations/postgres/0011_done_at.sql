-- Why: no index, and no predicate of one, may name a column that a claim changes. Then a claim writes
-- the row and nothing else (a HOT update): a third less of the database's time and of WAL for each
-- event, and half as many dead rows. This adds the column that the predicates name instead of the
-- status; 0014 builds them.
-- What the previous binary sees meanwhile: a column and a table more. The trigger sets the column for
-- it.

-- When the event was DONE, and null before. The rows that are there all count as done now, which
-- rewrites none of them; 0014 corrects those that are not, before anybody looks. What was finished
-- before is therefore deleted `retention.finished_events` after this migration at the earliest.
ALTER TABLE outbox_events ADD COLUMN done_at timestamptz DEFAULT now();
ALTER TABLE outbox_events ALTER COLUMN done_at DROP DEFAULT;

-- Room on the page for the version that a claim writes.
ALTER TABLE outbox_events SET (fillfactor = 50);

-- Whoever makes an event DONE without saying when (a previous binary, or a hand), or takes it back:
-- an event that is open and has `done_at` would never be found.
CREATE FUNCTION outbox_events_done() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('UPDATE %s SET done_at = CASE WHEN status = ''DONE'' THEN updated_at END '
        'WHERE id = $1', TG_RELID::regclass) USING NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER outbox_events_done AFTER INSERT OR UPDATE ON outbox_events FOR EACH ROW
    WHEN ((NEW.status = 'DONE') <> (NEW.done_at IS NOT NULL))
    EXECUTE FUNCTION outbox_events_done();

-- What is in hand, a row for each claim: no index holds what is PROCESSING, for it would change with
-- each claim. Written with the claim. A host writes its next claim over one whose events are all
-- settled, so there are few rows, and nothing to delete; what is left of a host goes when its leases
-- have run out.
CREATE TABLE outbox_claims (
    id           uuid        NOT NULL PRIMARY KEY,
    event_type   outbox_name NOT NULL,
    events       uuid[]      NOT NULL,
    claimed_at   timestamptz NOT NULL,
    -- None of its leases runs out before: it is looked at again then.
    leased_until timestamptz NOT NULL,
    -- The last event in the order of the queue; null where it was taken out of turn.
    last_at      timestamptz,
    last_id      uuid
) WITH (
    -- Each claim writes a row again.
    fillfactor = 25,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0.0,
    toast.autovacuum_vacuum_threshold = 4000,
    toast.autovacuum_vacuum_cost_delay = 0
);
-- Ids do not get smaller by compression.
ALTER TABLE outbox_claims ALTER COLUMN events SET STORAGE EXTERNAL;
