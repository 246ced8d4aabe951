//! What nodes answer to `eth_sendRawTransaction`, as data. Codes do not discriminate, texts do, and
//! they differ by client. Everything is compared in lower case.
//!
//! The order of the table is the order of matching: providers wrap one text into another and load
//! balancers join several, so the more telling one comes first. A text that no rule knows means
//! that the same bytes are sent again, for that can never pay twice, and a notice to the operator.

/// What an answer means for the transaction that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "snake_case"))]
pub(crate) enum Meaning {
    /// The node holds the bytes. Never "paid".
    Accepted,
    /// The nonce is used: only a receipt can say by whom.
    Receipt,
    /// The same bytes again, to another node or in the next attempt.
    Resend,
    /// The same bytes again, once the lower nonces of the account were taken.
    AfterLower,
    /// The same bytes later: funds, room in the pool or a node's sync must come first.
    Wait,
    /// Another transaction at the same nonce with higher fees.
    Bump,
    /// These bytes can never be valid.
    Rebuild,
    /// The account or the configuration is wrong: a person must look.
    Freeze,
}

/// How a text is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Anywhere, but not as the end of a longer word: `unknown transaction` holds no
    /// `known transaction`.
    Contains,
    /// The whole message, for words so short that they occur in others.
    Whole,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
struct Rule {
    #[cfg_attr(not(test), allow(dead_code, reason = "for readers, and for the tests"))]
    client: &'static str,
    text: &'static str,
    fit: Fit,
    meaning: Meaning,
}

const fn rule(client: &'static str, text: &'static str, meaning: Meaning) -> Rule {
    Rule { client, text, fit: Fit::Contains, meaning }
}

const fn whole(client: &'static str, text: &'static str, meaning: Meaning) -> Rule {
    Rule { client, text, fit: Fit::Whole, meaning }
}

const RULES: &[Rule] = &[
    // 2. A simulation may quote any other text. Retried, and counted: a token that reverts for ever
    //    must end as a visible failure.
    rule("all", "execution reverted", Meaning::Resend),
    rule("providers", "rate limit", Meaning::Resend),
    rule("providers", "too many requests", Meaning::Resend),
    rule("providers", "timed out", Meaning::Resend),
    rule("geth", "transaction indexing is in progress", Meaning::Resend),
    // 3. Already known.
    rule("geth, reth, Erigon, Nethermind", "already known", Meaning::Accepted),
    rule("Erigon", "existing txn with same hash", Meaning::Accepted),
    rule("Erigon, before 2025", "existing tx with same hash", Meaning::Accepted),
    rule("Nethermind, old", "alreadyknown", Meaning::Accepted),
    rule("Besu, hardhat", "known transaction", Meaning::Accepted),
    rule("anvil", "transaction already imported", Meaning::Accepted),
    rule("others", "already in the system", Meaning::Accepted),
    rule("others", "tx already exists in cache", Meaning::Accepted),
    // 4. Nonce.
    rule("geth, reth, Erigon, Nethermind, Besu, anvil, hardhat", "nonce too low", Meaning::Receipt),
    rule("Nethermind, old", "oldnonce", Meaning::Receipt),
    whole("Erigon", "mined", Meaning::Receipt),
    rule("others", "transaction already finalized", Meaning::Receipt),
    rule("geth, reth, Besu, anvil, Arbitrum", "nonce too high", Meaning::AfterLower),
    rule("Nethermind, old", "noncegap", Meaning::AfterLower),
    rule("Besu", "too distant from current sender nonce", Meaning::AfterLower),
    rule("Besu", "lower nonce exists", Meaning::AfterLower),
    rule("geth", "future transaction tries to replace pending", Meaning::AfterLower),
    rule("Nethermind", "nonce too far in future", Meaning::Wait),
    rule("Nethermind, old", "noncetoofarinfuture", Meaning::Wait),
    // Before "nonce": a gap of an account that delegated.
    rule("Nethermind", "delegation ", Meaning::Wait),
    rule("geth, reth", "nonce has max value", Meaning::Freeze),
    // 5. Replacement.
    rule(
        "geth, reth, Erigon, Nethermind, Besu, anvil",
        "replacement transaction underpriced",
        Meaning::Bump,
    ),
    rule("Erigon", "could not replace existing tx", Meaning::Bump),
    rule("Nethermind, old", "ownnoncealreadyused", Meaning::Bump),
    rule("Nethermind, old", "replacementnotallowed", Meaning::Bump),
    // 6. Funds.
    rule("geth, reth, anvil", "insufficient funds", Meaning::Wait),
    rule("Nethermind, old", "insufficientfunds", Meaning::Wait),
    rule("Besu", "upfront cost exceeds account balance", Meaning::Wait),
    rule("hardhat", "doesn't have enough funds", Meaning::Wait),
    // 7. Fee. A node's own cap on what a transaction may cost is no matter of raising it.
    rule("geth, reth", "exceeds the configured cap", Meaning::Wait),
    rule("Besu", "transaction fee cap exceeded", Meaning::Wait),
    rule("geth, reth", "max priority fee per gas higher than max fee", Meaning::Rebuild),
    rule("geth, reth", "tip above fee cap", Meaning::Rebuild),
    rule("Erigon", "tip higher than fee cap", Meaning::Rebuild),
    rule("Besu", "max priority fee per gas exceeds max fee", Meaning::Rebuild),
    rule("hardhat", "is bigger than maxfeepergas", Meaning::Rebuild),
    rule("geth, reth, Nethermind", "transaction underpriced", Meaning::Bump),
    whole("Erigon", "underpriced", Meaning::Bump),
    rule("Erigon", "fee too low", Meaning::Bump),
    rule("Nethermind, old", "feetoolow", Meaning::Bump),
    rule("geth, reth", "gas price below minimum", Meaning::Bump),
    rule("geth, reth", "max fee per gas less than block base fee", Meaning::Bump),
    rule("Besu", "gas price below configured minimum", Meaning::Bump),
    rule("Besu", "gas price below current base fee", Meaning::Bump),
    rule("reth", "priority fee below minimum required", Meaning::Bump),
    rule("hardhat", "is too low for the next block", Meaning::Bump),
    // 8. Pool.
    rule("geth, reth", "txpool is full", Meaning::Wait),
    rule("geth, reth", "account limit exceeded", Meaning::Wait),
    rule("geth, reth", "in-flight transaction limit", Meaning::Wait),
    rule("geth, reth", "gapped-nonce", Meaning::Wait),
    rule("geth, reth", "authority already reserved", Meaning::Wait),
    rule("geth, reth", "address already reserved", Meaning::Wait),
    rule("Erigon", "sub-pool is full", Meaning::Wait),
    rule("Erigon", "spammer", Meaning::Wait),
    rule("Nethermind", "pending transaction type conflict", Meaning::Wait),
    rule("Nethermind", "node is syncing", Meaning::Wait),
    rule("Besu", "initial sync is still in progress", Meaning::Wait),
    rule("Besu", "pool not enabled", Meaning::Wait),
    rule("Arbitrum and the like", "tx pool full", Meaning::Wait),
    rule("Arbitrum and the like", "queue full", Meaning::Wait),
    // 9. Permanent: first what a person must see, then what other bytes would repair.
    rule("geth, reth", "invalid sender", Meaning::Freeze),
    rule("geth, reth, anvil", "invalid chain id", Meaning::Freeze),
    rule("Nethermind", "invalidtxchainid", Meaning::Freeze),
    rule("hardhat", "invalid chainid", Meaning::Freeze),
    rule("geth, Nethermind", "sender not an eoa", Meaning::Freeze),
    rule("reth", "sender is not an eoa", Meaning::Freeze),
    rule("Nethermind, old", "senderiscontract", Meaning::Freeze),
    rule("reth", "invalid transaction signature", Meaning::Freeze),
    rule("Nethermind", "unsupported transaction type", Meaning::Freeze),
    rule("Nethermind, old", "notsupportedtxtype", Meaning::Freeze),
    rule("Besu", "invalid transaction type", Meaning::Freeze),
    rule("Nethermind, old", "failedtoresolvesender", Meaning::Freeze),
    rule("geth, reth", "transaction type not supported", Meaning::Freeze),
    rule("Nethermind", "failed to recover sender", Meaning::Freeze),
    rule("Besu", "invalid signature", Meaning::Freeze),
    rule("Besu", "wrong chainid", Meaning::Freeze),
    rule("Besu", "chainid not supported", Meaning::Freeze),
    rule("Besu", "not authorized to send", Meaning::Freeze),
    rule("Arbitrum and the like", "forbidden sender address", Meaning::Freeze),
    rule("geth, reth, anvil", "intrinsic gas too low", Meaning::Rebuild),
    rule("geth, reth", "insufficient gas for floor data gas cost", Meaning::Rebuild),
    rule("geth, reth, Besu", "exceeds block gas limit", Meaning::Rebuild),
    rule("geth, reth", "gas limit too high", Meaning::Rebuild),
    rule("Erigon", "gas limit is too high", Meaning::Rebuild),
    rule("Nethermind", "gas limit reached", Meaning::Rebuild),
    rule("anvil", "intrinsic gas too high", Meaning::Rebuild),
    rule("Erigon", "intrinsicgas", Meaning::Rebuild),
    rule("hardhat", "transaction requires at least", Meaning::Rebuild),
    rule("hardhat", "transaction requires gas floor", Meaning::Rebuild),
    rule("hardhat", "exceeds transaction gas cap", Meaning::Rebuild),
    rule("geth", "only replay-protected", Meaning::Rebuild),
    rule("Besu", "chainid is required", Meaning::Rebuild),
    rule("Erigon", "rlptoolong", Meaning::Rebuild),
    rule("Nethermind", "transaction too large", Meaning::Rebuild),
    rule("Nethermind", "transaction cost overflow", Meaning::Rebuild),
    rule("geth, reth", "oversized data", Meaning::Rebuild),
    rule("Besu", "intrinsic gas exceeds gas limit", Meaning::Rebuild),
    rule("Nethermind, old", "gaslimitexceeded", Meaning::Rebuild),
    rule("Nethermind, old", "int256overflow", Meaning::Rebuild),
    rule("Nethermind, old", "maxtxsizeexceeded", Meaning::Rebuild),
    whole("Nethermind, old", "invalid", Meaning::Rebuild),
];

/// What a node's error text means; none where no rule knows it.
pub(crate) fn meaning_of(text: &str) -> Option<Meaning> {
    rule_for(text).map(|rule| rule.meaning)
}

fn rule_for(text: &str) -> Option<&'static Rule> {
    let text = text.trim().to_lowercase();
    RULES.iter().find(|rule| match rule.fit {
        Fit::Contains => begins_a_word(&text, rule.text),
        Fit::Whole => text == rule.text,
    })
}

fn begins_a_word(text: &str, part: &str) -> bool {
    text.match_indices(part)
        .any(|(at, _)| !text[..at].chars().next_back().is_some_and(char::is_alphanumeric))
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
