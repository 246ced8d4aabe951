-- no-transaction
-- Why: what is finished is deleted after a time.
-- What the previous binary sees meanwhile: nothing. The indexes are built beside those who write.

-- Retention: what has been finished for longest. Times only grow, so each entry goes to the end:
-- it costs 70 bytes of WAL an event, and no speed that could be told from noise.
CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_events_done_at ON outbox_events (updated_at) WHERE status = 'DONE';

-- Retention: the oldest answers. Rows are never changed and stand in the order of their time, so
-- a summary of each stretch of the table is enough, and accepting pays nothing for it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idempotency_keys_created_at ON idempotency_keys USING brin (created_at)
    WITH (pages_per_range = 32, autosummarize = on);
