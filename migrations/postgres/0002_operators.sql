-- Why: an operator gives a FAILED event up, so that an ordered route goes on behind it, and cancels
-- one that has not begun.
-- What the previous binary sees meanwhile: an event that was given up still holds the later ones
-- there, and of an event with one of the new lines it cannot show the history.

-- Since when nobody waits for this FAILED event any more: it was skipped or cancelled. A replay
-- clears it. Without a default, so no row is rewritten.
ALTER TABLE outbox_events ADD COLUMN skipped_at timestamptz;

-- NOT VALID: the old rows kept a narrower rule, so there is nothing to look for, and reading a big
-- table would lock it meanwhile.
ALTER TABLE outbox_events
    ADD CONSTRAINT outbox_events_skipped_at_check
        CHECK (skipped_at IS NULL OR status = 'FAILED') NOT VALID,
    DROP CONSTRAINT outbox_events_failure_code_check,
    ADD CONSTRAINT outbox_events_failure_code_check CHECK (failure_code IN
        ('rejected', 'attempts exhausted', 'deferrals exhausted', 'poison', 'expired', 'malformed',
         'cancelled')) NOT VALID;

ALTER TABLE outbox_attempts
    DROP CONSTRAINT outbox_attempts_kind_check,
    ADD CONSTRAINT outbox_attempts_kind_check CHECK (kind IN
        ('retry', 'unknown', 'defer', 'interrupted', 'lease lost', 'failed', 'replayed', 'skipped',
         'cancelled')) NOT VALID;
