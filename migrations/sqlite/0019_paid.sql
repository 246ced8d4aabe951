-- Why: what policies look up before the first signature of a withdrawal.
-- What the previous binary sees meanwhile: the same tables.

-- What was paid within a window.
CREATE INDEX withdrawals_paid ON withdrawals (confirmed_at) WHERE confirmed_at IS NOT NULL;

-- Whether a destination was ever paid, however its address was written.
CREATE INDEX withdrawals_paid_to ON withdrawals (network, lower(destination_address))
    WHERE confirmed_at IS NOT NULL;
