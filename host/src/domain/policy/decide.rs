//! What the rules say about one withdrawal: facts in, ruling out.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    AmountRule, ApprovalRule, DestinationRule, FreezeSubject, Policies, WindowRule, policy_rule,
    same_address,
};
use crate::domain::{Amount, Timestamp, Withdrawal, WithdrawalRequest};

/// What a ruling depends on, read in the transaction that will reserve the money.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyFacts {
    /// A freeze that holds it.
    pub frozen: Option<Freeze>,
    /// What each window of [`Policies::windows_for`] holds of other withdrawals; none: nothing.
    pub spent: Vec<Option<Amount>>,
    /// Whether a withdrawal to its destination, on its network, was ever confirmed.
    pub paid_before: bool,
    /// Since it was requested.
    pub age: Duration,
    /// Whose approvals of exactly this withdrawal and this version hold, but for the requester's.
    pub approvers: BTreeSet<String>,
    /// What the external service said about exactly this, if that may be used.
    pub external: Option<ExternalAnswer>,
}

/// A freeze, as it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Counts up.
    pub id: i64,
    pub subject: FreezeSubject,
    pub reason: String,
    pub frozen_by: String,
    pub frozen_at: Timestamp,
}

/// What an external service said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExternalAnswer {
    Allow,
    /// A clear no, for ever.
    Deny {
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyOutcome {
    Allow,
    /// Something must change first: time, people, an operator.
    Wait,
    /// It will never be paid.
    Deny,
}

impl PolicyOutcome {
    pub const ALL: [Self; 3] = [Self::Allow, Self::Wait, Self::Deny];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Wait => "WAIT",
            Self::Deny => "DENY",
        }
    }
}

/// A decision, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRuling {
    pub outcome: PolicyOutcome,
    /// One of [`policy_rule`].
    pub rule: &'static str,
    pub reason: String,
    /// The numbers that decided, by name.
    pub figures: Vec<(&'static str, String)>,
}

type Figures = Vec<(&'static str, String)>;

fn ruling(outcome: PolicyOutcome, rule: &'static str, reason: String) -> PolicyRuling {
    PolicyRuling { outcome, rule, reason, figures: Vec::new() }
}

fn deny(rule: &'static str, reason: String) -> Option<PolicyRuling> {
    Some(ruling(PolicyOutcome::Deny, rule, reason))
}

fn wait(rule: &'static str, reason: String) -> Option<PolicyRuling> {
    Some(ruling(PolicyOutcome::Wait, rule, reason))
}

/// Whether the first signature may be made. A freeze comes first: what is frozen is not even
/// refused. Then what is refused for ever, then what waits: for people, for time, for money that
/// comes back; and last, because it asks somebody else, for the external service.
#[must_use]
pub fn decide_policy(
    policies: &Policies,
    withdrawal: &Withdrawal,
    facts: &PolicyFacts,
) -> PolicyRuling {
    let asked = &withdrawal.request;
    let mut figures = vec![("amount", asked.amount.to_string())];
    let stopped = frozen(facts)
        .or_else(|| amounts(policies, asked))
        .or_else(|| listed(policies, asked))
        .or_else(|| too_large_for_a_window(policies, asked))
        .or_else(|| external(policies, facts).filter(|it| it.outcome == PolicyOutcome::Deny))
        .or_else(|| approvals(policies, asked, facts, &mut figures))
        .or_else(|| cooling_off(policies, asked, facts))
        .or_else(|| windows(policies, asked, facts, &mut figures))
        .or_else(|| external(policies, facts));
    let reason = "nothing stands against it".to_owned();
    let decided =
        stopped.unwrap_or_else(|| ruling(PolicyOutcome::Allow, policy_rule::NONE, reason));
    PolicyRuling { figures, ..decided }
}

/// Whether a signature may be made for a withdrawal that has one. Its money is reserved, so only a
/// freeze holds it.
#[must_use]
pub fn replacement_ruling(facts: &PolicyFacts) -> Option<PolicyRuling> {
    frozen(facts)
}

fn frozen(facts: &PolicyFacts) -> Option<PolicyRuling> {
    let Freeze { id, subject, reason, frozen_by, .. } = facts.frozen.as_ref()?;
    let reason = format!("{subject} is frozen by {frozen_by} (freeze {id}): {reason}");
    wait(policy_rule::FREEZE, reason)
}

fn amounts(policies: &Policies, asked: &WithdrawalRequest) -> Option<PolicyRuling> {
    let exceeded = |rule: &&AmountRule| rule.scope.covers(asked) && asked.amount > rule.amount_max;
    let AmountRule { amount_max, .. } = policies.rules().amounts.iter().find(exceeded)?;
    let WithdrawalRequest { amount, asset, .. } = asked;
    deny(policy_rule::AMOUNT, format!("{amount} {asset} is more than {amount_max}, the most"))
}

fn listed(policies: &Policies, asked: &WithdrawalRequest) -> Option<PolicyRuling> {
    let WithdrawalRequest { network, destination_address: to, .. } = asked;
    let DestinationRule { allow, deny: denied, .. } = policies.destinations_of(network)?;
    let holds =
        |list: &BTreeSet<String>| list.iter().any(|listed| same_address(network, listed, to));
    if holds(denied) {
        return deny(policy_rule::DESTINATION, format!("{to} is on the deny list of {network}"));
    }
    if allow.as_ref().is_some_and(|allow| !holds(allow)) {
        let reason = format!("{to} is not on the allow list of {network}");
        return deny(policy_rule::DESTINATION, reason);
    }
    None
}

/// What exceeds a window by itself would wait for ever.
fn too_large_for_a_window(policies: &Policies, asked: &WithdrawalRequest) -> Option<PolicyRuling> {
    let WithdrawalRequest { amount, asset, .. } = asked;
    let rule = policies.windows_for(asked).find(|rule| *amount > rule.sum_max)?;
    let reason = format!("{amount} {asset} alone is more than {}", of_window(rule));
    deny(policy_rule::WINDOW, reason)
}

fn of_window(rule: &WindowRule) -> String {
    let WindowRule { per, scope, window, sum_max } = rule;
    format!("{sum_max} {} a {} in {} s", scope.asset, per.as_str(), window.as_secs())
}

fn windows(
    policies: &Policies,
    asked: &WithdrawalRequest,
    facts: &PolicyFacts,
    figures: &mut Figures,
) -> Option<PolicyRuling> {
    let mut spent = facts.spent.iter();
    let mut stopped = None;
    for rule in policies.windows_for(asked) {
        // A window that was not read is a full one.
        let Some(spent) = spent.next() else {
            return wait(policy_rule::WINDOW, "a window was not read".to_owned());
        };
        let of_others = spent.as_ref().map_or_else(|| "0".to_owned(), Amount::to_string);
        figures.push(match rule.per {
            super::WindowScope::User => ("spent_by_user", of_others.clone()),
            super::WindowScope::Account => ("spent_by_account", of_others.clone()),
            super::WindowScope::Network => ("spent_on_network", of_others.clone()),
        });
        let sum = spent.as_ref().map_or_else(|| asked.amount.clone(), |s| s.plus(&asked.amount));
        if sum > rule.sum_max && stopped.is_none() {
            let reason = format!(
                "{of_others} are paid or in flight, and {} more exceed {}",
                asked.amount,
                of_window(rule)
            );
            stopped = wait(policy_rule::WINDOW, reason);
        }
    }
    stopped
}

fn cooling_off(
    policies: &Policies,
    asked: &WithdrawalRequest,
    facts: &PolicyFacts,
) -> Option<PolicyRuling> {
    let rule = policies.destinations_of(&asked.network)?;
    if rule.allow.is_some() || facts.paid_before || facts.age >= rule.cooling_off {
        return None;
    }
    let (to, wait_s) = (&asked.destination_address, rule.cooling_off.as_secs());
    let reason = format!("{to} was never paid before: it waits until {wait_s} s after its request");
    wait(policy_rule::COOLING_OFF, reason)
}

fn approvals(
    policies: &Policies,
    asked: &WithdrawalRequest,
    facts: &PolicyFacts,
    figures: &mut Figures,
) -> Option<PolicyRuling> {
    let mut stopped = None;
    for rule in policies.approvals_for(asked) {
        let ApprovalRule { above, approvals, .. } = rule;
        let found = rule.counted(&facts.approvers);
        figures.push(("approvals", format!("{found} of {approvals}")));
        if found < *approvals && stopped.is_none() {
            let reason = format!(
                "{} {} is above {above}: it has {found} of {approvals} approvals",
                asked.amount, asked.asset
            );
            stopped = wait(policy_rule::APPROVALS, reason);
        }
    }
    stopped
}

impl ApprovalRule {
    /// How many of these count.
    #[must_use]
    pub fn counted(&self, approvers: &BTreeSet<String>) -> u32 {
        let counts = |name: &&String| self.approvers.is_empty() || self.approvers.contains(*name);
        u32::try_from(approvers.iter().filter(counts).count()).unwrap_or(u32::MAX)
    }
}

fn external(policies: &Policies, facts: &PolicyFacts) -> Option<PolicyRuling> {
    policies.rules().external.as_ref()?;
    match &facts.external {
        Some(ExternalAnswer::Allow) => None,
        Some(ExternalAnswer::Deny { reason }) => {
            deny(policy_rule::EXTERNAL, format!("the external service says no: {reason}"))
        }
        None => {
            wait(policy_rule::EXTERNAL, "the external service has not said yes to it".to_owned())
        }
    }
}
