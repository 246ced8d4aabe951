//! Builds a withdrawal as an EIP-1559 transaction, has the host sign it, and sends it to the nodes.
//!
//! Nothing here can pay twice: the host allots one nonce to a withdrawal, for ever, and stores what
//! it signed before this plugin sees it. So whatever is unclear is answered by sending the same
//! bytes again, and "nonce too low" proves nothing without a receipt.

mod address;
mod amount;
mod answers;
mod delivery;
mod fees;
mod payment;
mod replacement;
mod rpc;
mod settings;

use std::time::Duration;

use answers::Meaning;
use delivery::{Delivery, node_that_shows, node_with_receipt, send};
use fees::Fees;
use payment::Payment;
use replacement::{Job, Overdue};
use rpc::Nodes;
use settings::Settings;
use tidegate_plugin::{
    Chain, Event, Failure, Handler, Proposal, Receipt, Withdrawal, checkpoint, defer, done, error,
    info,
    log::notice,
    retry,
    signer::{self, SignError, SignedTransaction},
};

/// A block or so: what is waited for (funds, room in a pool) comes with blocks or with people.
pub(crate) const WAIT: Duration = Duration::from_secs(5);

struct EvmBroadcast;

tidegate_plugin::export_chain!(EvmBroadcast);

impl Handler for EvmBroadcast {
    fn handle(event: &Event) -> Result<Receipt, Failure> {
        let settings = Settings::load()?;
        let withdrawal: Withdrawal = event.payload()?;
        let nodes = settings.nodes(&withdrawal.network)?;
        let job = Job { settings: &settings, nodes: &nodes, withdrawal: &withdrawal };
        let (signed, is_first) = match signer::signed()? {
            // An earlier attempt may have sent it, or not: the same bytes settle that.
            Some(signed) => (signed, false),
            None => (sign(&job)?, true),
        };
        let delivery = send(&nodes, &signed);
        match delivery.meaning {
            Meaning::Accepted => match job.overdue(event, &signed) {
                Overdue::No => verdict(&nodes, &signed, delivery),
                Overdue::NotYet => Err(defer(WAIT)),
                Overdue::Yes => {
                    let replacement = job.raised(&signed, "it has waited for too many blocks")?;
                    let delivery = send(&nodes, &replacement);
                    verdict(&nodes, &replacement, delivery)
                }
            },
            Meaning::Bump if is_a_strangers(&signed, is_first, &delivery)? => {
                Err(needs_a_person(&format!(
                    "a transaction that was not signed here holds the nonce: {}",
                    delivery.reason
                )))
            }
            Meaning::Bump => {
                let replacement = job.raised(&signed, &delivery.reason)?;
                let delivery = send(&nodes, &replacement);
                verdict(&nodes, &replacement, delivery)
            }
            Meaning::Rebuild => match job.with_more_gas(&signed, &delivery.reason)? {
                Some(rebuilt) => {
                    let delivery = send(&nodes, &rebuilt);
                    verdict(&nodes, &rebuilt, delivery)
                }
                None => verdict(&nodes, &signed, delivery),
            },
            Meaning::Receipt
            | Meaning::Resend
            | Meaning::AfterLower
            | Meaning::Wait
            | Meaning::Freeze => verdict(&nodes, &signed, delivery),
        }
    }
}

impl Chain for EvmBroadcast {
    fn validate(proposal: &Proposal) -> Result<(), String> {
        let network = &proposal.network;
        if address::chain_id_of(network).is_none() {
            return Err(format!("{network} is not an EVM network: expected eip155: and a number"));
        }
        if !Settings::load().is_ok_and(|settings| settings.serves(network)) {
            return Err(format!("{network} is not served here"));
        }
        address::check(&proposal.destination)
    }
}

/// What is signed first for a withdrawal.
fn sign(job: &Job<'_>) -> Result<SignedTransaction, Failure> {
    let terms = signer::terms(&job.withdrawal.network, &job.withdrawal.asset)?;
    let payment = Payment::new(job.withdrawal, terms)?;
    let fees = Fees::suggested(job.nodes, job.settings.priority_fee_min_wei)?;
    let gas_limit = payment.gas_limit(job.nodes, job.settings.gas_margin_percent)?;
    let signed = signer::sign(&payment.transaction(gas_limit, fees));
    signed.map_err(|error| match error {
        SignError::Wait(reason) => job.not_now(&reason),
        SignError::Denied(_) | SignError::Refused(_) | SignError::Unavailable(_) => error.into(),
    })
}

/// A nonce for which nothing was signed before, and that a node's pool has already, was used by
/// someone else who has the key. The event remembers it, for an attempt later it looks like ours.
fn is_a_strangers(
    signed: &SignedTransaction,
    is_first: bool,
    delivery: &Delivery,
) -> Result<bool, Failure> {
    let words = delivery.reason.to_lowercase();
    let holds_nonce = words.contains("replace") || words.contains("ownnoncealreadyused");
    if is_first && holds_nonce {
        checkpoint::save(&signed.hash)?;
        return Ok(true);
    }
    Ok(holds_nonce && checkpoint::load::<String>()?.is_some_and(|first| first == signed.hash))
}

fn needs_a_person(what: &str) -> Failure {
    error!("the account or the configuration needs a person: {what}");
    notice("needs-person", what);
    retry(format!("the account or the configuration needs a person: {what}"))
}

fn verdict(
    nodes: &Nodes,
    signed: &SignedTransaction,
    delivery: Delivery,
) -> Result<Receipt, Failure> {
    let Delivery { meaning, node, reason, by_hash } = delivery;
    match meaning {
        Meaning::Accepted if by_hash => Ok(broadcasted(signed, &node)),
        // A node may know bytes that it has evicted since.
        Meaning::Accepted => match node_that_shows(nodes, &signed.hash) {
            Some(_) => Ok(broadcasted(signed, &node)),
            None => {
                info!("{} is known, but no node shows it: {reason}", signed.hash);
                Err(defer(WAIT))
            }
        },
        Meaning::Receipt => match node_with_receipt(nodes, &signed.hash) {
            Some(node) => Ok(broadcasted(signed, &node)),
            None => {
                Err(retry(format!("the nonce is used, and no node shows a receipt yet: {reason}")))
            }
        },
        Meaning::Resend => Err(retry(format!("no node has taken it yet: {reason}"))),
        Meaning::AfterLower | Meaning::Wait => {
            info!("waiting to send {}: {reason}", signed.hash);
            Err(defer(WAIT))
        }
        Meaning::Bump => Err(retry(format!("the fees are still too low: {reason}"))),
        Meaning::Rebuild => {
            notice("cannot-be-valid", &format!("no node can take {}: {reason}", signed.hash));
            Err(retry(format!("no node can take these bytes: {reason}")))
        }
        Meaning::Freeze => Err(needs_a_person(&reason)),
    }
}

fn broadcasted(signed: &SignedTransaction, node: &str) -> Receipt {
    done().broadcasted().detail(serde_json::json!({
        "tx_hash": signed.hash,
        "nonce": signed.nonce,
        "node": node,
    }))
}

#[cfg(test)]
mod tests;
