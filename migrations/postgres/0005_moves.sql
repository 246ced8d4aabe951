-- Why: a store can be moved into another, and must then never be used again by mistake.
-- What the previous binary sees meanwhile: nothing. It does not look at the table.

-- Moves from this store, or into it. The two stores have one row of the same id.
CREATE TABLE store_moves (
    id         uuid        NOT NULL PRIMARY KEY,
    -- 'out': this store was moved, and no host may use it. 'in': it was filled.
    direction  text        NOT NULL CHECK (direction IN ('in', 'out')),
    -- The other store.
    other      text        NOT NULL,
    begun_at   timestamptz NOT NULL,
    -- Null while it goes on, or after it was interrupted: then the same command goes on with it.
    ended_at   timestamptz
);
