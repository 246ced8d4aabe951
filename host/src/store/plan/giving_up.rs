//! Withdrawals that people give up, or rules that say they can never be paid.

use super::{Cause, Plan};
use crate::domain::{Transition, WithdrawalId, WithdrawalStatus};
use crate::store::writes::{ClosingWrite, storable};
use crate::store::{CancelledWithdrawal, WithdrawalRejected};

impl Plan<'_> {
    /// Fails a withdrawal for which nothing was signed, because a person says so.
    pub(in crate::store) fn reject(
        &mut self,
        id: WithdrawalId,
        reason: String,
        traceparent: Option<&str>,
    ) -> WithdrawalRejected {
        if self.withdrawal(id).is_none() {
            return WithdrawalRejected::NotFound;
        }
        let transition = Transition::Fail { reason };
        match self.step(id, &transition, Cause { evidence: None, traceparent }) {
            Ok(true) => WithdrawalRejected::Now,
            Ok(false) => WithdrawalRejected::Already,
            Err(_) => WithdrawalRejected::Signed,
        }
    }

    /// Gives a withdrawal up.
    pub(in crate::store) fn cancel(
        &mut self,
        id: WithdrawalId,
        reason: &str,
        by: &str,
        traceparent: Option<&str>,
    ) -> CancelledWithdrawal {
        let text = storable(&format!("cancelled by {by}: {reason}"));
        let cause = Cause { evidence: None, traceparent };
        if self.withdrawal(id).is_none() {
            return CancelledWithdrawal::NotFound;
        }
        if self.step(id, &Transition::Fail { reason: text }, cause).is_ok() {
            return CancelledWithdrawal::Failed;
        }
        if self.close(id, storable(reason), storable(by)) {
            CancelledWithdrawal::Closing
        } else {
            CancelledWithdrawal::Paid
        }
    }

    /// Has the payment of an open withdrawal closed. Answers whether it is open.
    pub(super) fn close(
        &mut self,
        withdrawal: WithdrawalId,
        reason: String,
        asked_by: String,
    ) -> bool {
        let status = self.withdrawal(withdrawal).map(|it| it.state.status());
        let open =
            matches!(status, Some(WithdrawalStatus::Requested | WithdrawalStatus::Broadcasted));
        if open {
            self.closings.push(ClosingWrite { withdrawal, reason, asked_by });
        }
        open
    }
}
