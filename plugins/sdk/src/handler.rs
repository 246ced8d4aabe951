//! What a plugin implements, and the macros that make a component of it.

use crate::{
    Event, Failure, Finding, Receipt,
    bindings::{
        chain_world::exports::tidegate::plugin::chain,
        handler_world::{exports::tidegate::plugin::handler, tidegate::plugin::types},
        reconciler_world::exports::tidegate::plugin::reconciler,
    },
    verdict::Transition,
};

/// Carries events to a target. Every plugin has one; [`export_handler!`](crate::export_handler!)
/// makes a component of it.
pub trait Handler: 'static {
    /// Carries one event to its target. Called at least once for each event, and again after a
    /// failure, a crash of the host or a lost lease, with the same
    /// [`idempotency_key`](Event::idempotency_key). Each call gets a fresh instance: what must
    /// outlive it goes into a [`checkpoint`](crate::checkpoint).
    ///
    /// # Errors
    /// [`retry`](crate::retry), [`unknown`](crate::unknown), [`defer`](crate::defer) or
    /// [`reject`](crate::reject), or any error of this crate through `?`.
    fn handle(event: &Event) -> Result<Receipt, Failure>;
}

/// Finds out what an earlier attempt did. [`export_reconciler!`](crate::export_reconciler!) makes a
/// component of a handler that can do this too.
pub trait Reconciler: Handler {
    /// Called instead of [`Handler::handle`] when the outcome of the last attempt is not known.
    /// Must not act, only look.
    ///
    /// # Errors
    /// As for [`Handler::handle`]; usually the target cannot be reached, and [`retry`](crate::retry)
    /// asks again later.
    fn reconcile(event: &Event) -> Result<Finding, Failure>;
}

/// A withdrawal that was asked for and is not written yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// As CAIP-2 has it: `eip155:1`.
    pub network: String,
    /// What is withdrawn.
    pub asset: String,
    /// An exact decimal.
    pub amount: String,
    /// Who would receive it.
    pub destination: String,
}

/// Serves a network. [`export_chain!`](crate::export_chain!) makes a component of a handler that
/// does this too.
pub trait Chain: Handler {
    /// Judges a withdrawal before anything is written. Called without any grant: no HTTP, no
    /// secrets, no signer.
    ///
    /// # Errors
    /// The text is shown to the caller of the API as the reason why the destination was refused,
    /// so it names what is wrong with it.
    fn validate(proposal: &Proposal) -> Result<(), String>;
}

impl<T: Handler> handler::Guest for T {
    fn handle(event: types::Event) -> Result<types::Receipt, types::Failure> {
        <T as Handler>::handle(&event.into()).map(Into::into).map_err(Into::into)
    }
}

impl<T: Reconciler> reconciler::Guest for T {
    fn reconcile(event: types::Event) -> Result<types::Finding, types::Failure> {
        match <T as Reconciler>::reconcile(&event.into()) {
            Ok(Finding::Happened(receipt)) => Ok(types::Finding::Happened(receipt.into())),
            Ok(Finding::DidNotHappen) => Ok(types::Finding::DidNotHappen),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl<T: Chain> chain::Guest for T {
    fn validate(
        network: String,
        asset: String,
        amount: String,
        destination: String,
    ) -> Result<(), String> {
        <T as Chain>::validate(&Proposal { network, asset, amount, destination })
    }
}

impl From<types::Event> for Event {
    fn from(event: types::Event) -> Self {
        let types::Event {
            id,
            aggregate_type,
            aggregate_id,
            event_type,
            payload,
            idempotency_key,
            attempt,
            created_at_ms,
            traceparent,
        } = event;
        Self {
            id,
            aggregate_type,
            aggregate_id,
            event_type,
            raw_payload: payload,
            idempotency_key,
            attempt,
            created_at_ms,
            traceparent,
        }
    }
}

impl From<Receipt> for types::Receipt {
    fn from(receipt: Receipt) -> Self {
        Self {
            detail: receipt.detail,
            transition: receipt.transition.map(|transition| match transition {
                Transition::Broadcasted => types::Transition::Broadcasted,
                Transition::Failed(reason) => types::Transition::Failed(reason),
            }),
            follow_ups: receipt
                .follow_ups
                .into_iter()
                .map(|it| types::FollowUp { event_type: it.event_type, payload: it.payload })
                .collect(),
        }
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        let ms =
            |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        match failure {
            Failure::Retry { reason, after } => {
                Self::Retry(types::Retry { reason, after_ms: after.map(ms) })
            }
            Failure::Unknown(reason) => Self::Unknown(reason),
            Failure::Defer(after) => Self::Defer(ms(after)),
            Failure::Reject(reason) => Self::Reject(reason),
        }
    }
}

/// Makes a component of a [`Handler`](crate::Handler). Once in a crate, whose type is `cdylib`.
#[macro_export]
macro_rules! export_handler {
    ($handler:ident) => {
        const _: fn() = $crate::__private::is_handler::<$handler>;
        #[cfg(target_arch = "wasm32")]
        $crate::__private::handler_world::export_handler_world!(
            $handler with_types_in $crate::__private::handler_world
        );
    };
}

/// Makes a component of a [`Reconciler`](crate::Reconciler), which is a handler too.
#[macro_export]
macro_rules! export_reconciler {
    ($handler:ident) => {
        const _: fn() = $crate::__private::is_reconciler::<$handler>;
        $crate::export_handler!($handler);
        #[cfg(target_arch = "wasm32")]
        $crate::__private::reconciler_world::export_reconciler_world!(
            $handler with_types_in $crate::__private::reconciler_world
        );
    };
}

/// Makes a component of a [`Chain`](crate::Chain), which is a handler too.
#[macro_export]
macro_rules! export_chain {
    ($handler:ident) => {
        const _: fn() = $crate::__private::is_chain::<$handler>;
        $crate::export_handler!($handler);
        #[cfg(target_arch = "wasm32")]
        $crate::__private::chain_world::export_chain_world!(
            $handler with_types_in $crate::__private::chain_world
        );
    };
}

/// What the export macros name. No part of the public interface.
#[doc(hidden)]
#[allow(missing_docs, reason = "no part of the public interface")]
pub mod __private {
    pub use crate::bindings::{chain_world, handler_world, reconciler_world};

    pub fn is_handler<T: crate::Handler>() {}
    pub fn is_reconciler<T: crate::Reconciler>() {}
    pub fn is_chain<T: crate::Chain>() {}
}
