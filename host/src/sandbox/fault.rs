//! Switches that make a stand-in misbehave, for a number of requests or until switched off.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// How long a slow answer may take: longer than any client waits.
pub(super) const SLOW_MS_MAX: u64 = 600_000;

/// A fault of kind `F` that applies to the next requests.
#[derive(Debug)]
pub(super) struct Switch<F> {
    armed: Mutex<Option<Armed<F>>>,
}

#[derive(Debug)]
struct Armed<F> {
    fault: F,
    /// How many requests it still applies to; none means all.
    remaining: Option<u32>,
}

impl<F> Default for Switch<F> {
    fn default() -> Self {
        Self { armed: Mutex::new(None) }
    }
}

impl<F: Clone> Switch<F> {
    /// Replaces the fault that was set before.
    pub(super) fn set(&self, fault: F, count: Option<u32>) {
        let armed = (count != Some(0)).then_some(Armed { fault, remaining: count });
        *self.lock() = armed;
    }

    pub(super) fn clear(&self) {
        *self.lock() = None;
    }

    /// The fault that this request suffers, if any; counts it.
    pub(super) fn strike(&self) -> Option<F> {
        self.strike_if(|_| true)
    }

    /// The same for a request that only some faults concern.
    pub(super) fn strike_if(&self, concerns: impl Fn(&F) -> bool) -> Option<F> {
        let mut armed = self.lock();
        let current = armed.as_mut().filter(|current| concerns(&current.fault))?;
        let fault = current.fault.clone();
        if let Some(remaining) = current.remaining.as_mut() {
            *remaining -= 1;
            if *remaining == 0 {
                *armed = None;
            }
        }
        Some(fault)
    }

    /// The fault that is set and for how many more requests.
    pub(super) fn current(&self) -> Option<(F, Option<u32>)> {
        self.lock().as_ref().map(|armed| (armed.fault.clone(), armed.remaining))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Armed<F>>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits as a slow server does, but not longer than the stand-in lives.
pub(super) async fn slow(ms: u64, stop: &tokio_util::sync::CancellationToken) {
    let wait = Duration::from_millis(ms.min(SLOW_MS_MAX));
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = stop.cancelled() => {}
    }
}

/// An error in the form that all stand-ins share.
pub(super) fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let body: Value = json!({ "error": { "code": code, "message": message } });
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_applies_to_as_many_requests_as_asked() {
        let switch = Switch::default();
        assert_eq!(switch.strike(), None);
        switch.set("a", Some(2));
        assert_eq!(switch.current(), Some(("a", Some(2))));
        assert_eq!(
            [switch.strike(), switch.strike(), switch.strike()],
            [Some("a"), Some("a"), None]
        );
        switch.set("b", None);
        assert_eq!([switch.strike(), switch.strike()], [Some("b"), Some("b")]);
        switch.clear();
        assert_eq!(switch.strike(), None);
        switch.set("c", Some(0));
        assert_eq!(switch.strike(), None);
    }
}
