-- Why: what is finished is deleted after a time.
-- What the previous binary sees meanwhile: there is none, for a file has one host.

-- Retention: what has been finished for longest. Times only grow, so each entry goes to the end.
CREATE INDEX outbox_events_done_at ON outbox_events (updated_at) WHERE status = 'DONE';

-- Retention: the oldest answers.
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
