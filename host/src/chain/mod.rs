//! Accounts, nonces, signing rules, keys and evidence: what money rests on.
