-- Why: when an event was DONE, as on Postgres, where indexes hang on it. Here it is computed: a claim
-- writes few pages anyway, and statements that both databases share may name it.
-- What the previous binary sees meanwhile: there is none; a file has one host.

ALTER TABLE outbox_events ADD COLUMN done_at INTEGER
    GENERATED ALWAYS AS (CASE status WHEN 'DONE' THEN updated_at END) VIRTUAL;
