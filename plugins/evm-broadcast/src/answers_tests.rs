use super::{Meaning::*, RULES, meaning_of};

/// Texts as the clients write them, with what surrounds them there.
const FIXTURES: &[(&str, super::Meaning)] = &[
    // geth, reth
    ("already known", Accepted),
    ("nonce too low: next nonce 8, tx nonce 7", Receipt),
    ("nonce too high", Resend),
    ("replacement transaction underpriced", Bump),
    ("replacement transaction underpriced: new tx gas fee cap 10 <= 10 queued", Bump),
    ("transaction underpriced", Bump),
    ("transaction underpriced: tip needed 1000000, tip permitted 1", Bump),
    ("transaction gas price below minimum: gas tip cap 0, minimum needed 1000000", Bump),
    ("max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1, baseFee: 7", Bump),
    ("txpool is full", Wait),
    ("account limit exceeded", Wait),
    ("in-flight transaction limit reached for delegated accounts", Wait),
    ("gapped-nonce tx from delegated accounts", Wait),
    ("authority already reserved", Wait),
    ("address already reserved", Wait),
    ("insufficient funds for gas * price + value: balance 1, tx cost 2, overshot 1", Wait),
    (
        "insufficient funds for gas * price + value: balance 5, queued cost 4, tx cost 3, overshot 2",
        Wait,
    ),
    ("intrinsic gas too low: gas 20000, minimum needed 21000", Rebuild),
    ("insufficient gas for floor data gas cost: gas 1, minimum needed 2", Rebuild),
    ("exceeds block gas limit", Rebuild),
    ("transaction gas limit too high (cap: 16777216, tx: 20000000)", Rebuild),
    ("oversized data: transaction size 200000, limit 131072", Rebuild),
    ("max priority fee per gas higher than max fee per gas", Rebuild),
    ("tip above fee cap", Rebuild),
    ("invalid sender", Freeze),
    ("invalid chain id for signer: have 1 want 5", Freeze),
    ("sender not an eoa: address 0x1, len(code): 23", Freeze),
    ("transaction type not supported", Freeze),
    ("nonce has max value: address 0x1, nonce: 18446744073709551615", Freeze),
    ("tx fee (1.20 ether) exceeds the configured cap (1.00 ether)", Wait),
    ("transaction indexing is in progress", Resend),
    // Erigon
    ("existing txn with same hash", Accepted),
    ("mined", Receipt),
    ("could not replace existing tx", Bump),
    ("underpriced", Bump),
    ("fee too low", Bump),
    ("pending sub-pool is full", Wait),
    ("baseFee sub-pool is full", Wait),
    ("queued sub-pool is full", Wait),
    ("spammer", Wait),
    // Nethermind
    ("nonce too far in future", Wait),
    ("pending transaction type conflict", Wait),
    ("delegation is pending for the sender", Wait),
    ("node is syncing", Wait),
    ("failed to recover sender", Freeze),
    ("AlreadyKnown", Accepted),
    ("OwnNonceAlreadyUsed", Bump),
    ("OldNonce, Current nonce: 8, nonce of rejected tx: 7", Receipt),
    ("NonceGap, Future nonce. Expected nonce: 7", Resend),
    ("FeeTooLow, MaxFeePerGas too low", Bump),
    ("FeeTooLowToCompete", Bump),
    ("ReplacementNotAllowed", Bump),
    ("InsufficientFunds, Account balance: 1", Wait),
    ("GasLimitExceeded, Gas limit: 1", Rebuild),
    ("Int256Overflow", Rebuild),
    ("MaxTxSizeExceeded", Rebuild),
    ("Invalid", Rebuild),
    // Besu
    ("Known transaction", Accepted),
    ("Nonce too low", Receipt),
    ("Nonce too high", Resend),
    ("Transaction nonce is too distant from current sender nonce", Resend),
    ("There is a transaction with a lower nonce exists", Resend),
    ("Replacement transaction underpriced", Bump),
    ("Gas price below configured minimum gas price", Bump),
    ("Gas price below current base fee", Bump),
    ("Upfront cost exceeds account balance", Wait),
    ("Intrinsic gas exceeds gas limit", Rebuild),
    ("Transaction gas limit exceeds block gas limit", Rebuild),
    ("Invalid signature", Freeze),
    ("Wrong chainId", Freeze),
    ("ChainId not supported", Freeze),
    ("Sender account not authorized to send transactions", Freeze),
    ("Transaction fee cap exceeded", Wait),
    ("Initial sync is still in progress", Wait),
    ("Transaction pool not enabled", Wait),
    // anvil
    ("transaction already imported", Accepted),
    ("Insufficient funds for gas * price + value", Wait),
    ("invalid chain id for signer", Freeze),
    ("intrinsic gas too low", Rebuild),
    // L2 and others
    ("sequencer pending tx pool full, please try again", Wait),
    ("queue full", Wait),
    ("forbidden sender address", Freeze),
    ("the transaction is already in the system", Accepted),
    ("tx already exists in cache", Accepted),
    ("transaction already finalized", Receipt),
];

/// Texts that a hasty comparison gets wrong.
const TRAPS: &[(&str, super::Meaning)] = &[
    // One inside the other.
    ("unknown transaction", Resend),
    ("unknown transaction type", Resend),
    ("REPLACEMENT TRANSACTION UNDERPRICED", Bump),
    // A revert may quote anything.
    ("execution reverted: already known", Resend),
    ("execution reverted: nonce too low", Resend),
    // Wrapped by a provider, joined by a load balancer: the more telling text decides.
    ("Internal error: rpc error: {\"message\":\"nonce too low\"}", Receipt),
    ("node-1: insufficient funds for gas * price + value; node-2: already known", Accepted),
    ("node-1: txpool is full; node-2: nonce too low", Receipt),
    // Short words inside longer texts.
    ("not yet mined", Resend),
    ("invalid json request", Resend),
    ("invalid params", Resend),
    // About the provider, not about the transaction.
    ("rate limit exceeded", Resend),
    ("daily request count exceeded, request rate limited", Resend),
    ("header not found", Resend),
    ("", Resend),
    ("ein Fehler ist aufgetreten: größer", Resend),
];

#[test]
fn every_clients_texts_mean_what_they_should() {
    for (text, meaning) in FIXTURES {
        assert_eq!(meaning_of(text), *meaning, "{text}");
    }
}

#[test]
fn the_traps_are_avoided() {
    for (text, meaning) in TRAPS {
        assert_eq!(meaning_of(text), *meaning, "{text}");
    }
}

#[test]
fn every_rule_has_a_fixture() {
    for rule in RULES.iter().filter(|rule| rule.text != "execution reverted") {
        let found = FIXTURES.iter().any(|(text, _)| text.to_lowercase().contains(rule.text));
        assert!(found, "{}: {}", rule.client, rule.text);
    }
}

#[test]
fn the_table_is_in_lower_case() {
    for rule in RULES {
        assert_eq!(rule.text, rule.text.to_lowercase());
    }
}
