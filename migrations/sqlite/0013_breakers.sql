-- Why: circuit breakers between plugins and their targets, which all hosts share and which survive
-- restarts.
-- What the previous binary sees meanwhile: the same tables and columns. It does not look at breakers,
-- so it goes on trying a target whose breaker is open.

-- A row for each target that failed a plugin often enough once. A few, and written only when a breaker
-- changes.
CREATE TABLE breakers (
    plugin      TEXT    NOT NULL,
    -- Host and port; or `messaging`, the broker.
    target      TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('CLOSED', 'OPEN', 'HELD')),
    -- How often in a row it opened.
    trips       INTEGER NOT NULL CHECK (trips >= 0),
    -- Until when nobody tries; then one host at a time may.
    open_until  INTEGER,
    -- Until when a host has the probe.
    probe_until INTEGER,
    -- Why it changed last, by whom (a host, or an operator), and when.
    reason      TEXT    NOT NULL,
    changed_by  TEXT    NOT NULL,
    changed_at  INTEGER NOT NULL,
    PRIMARY KEY (plugin, target),
    CHECK ((state = 'OPEN') = (open_until IS NOT NULL))
) STRICT, WITHOUT ROWID;
