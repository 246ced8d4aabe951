//! How the partner can misbehave.

/// What goes wrong, and with which requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerFault {
    pub mode: PartnerFaultMode,
    /// Only requests of this method; none means all that the mode concerns.
    pub method: Option<http::Method>,
    /// For the answers 429 and 503.
    pub retry_after_s: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartnerFaultMode {
    /// 503, without effect.
    Down,
    /// 500, without effect.
    Http500,
    /// 429, without effect.
    Http429,
    /// The record is written; the connection is cut instead of the answer. Concerns PUT.
    DropAfterEffect,
    /// The connection is cut and nothing is written. Concerns PUT, unless a method is given.
    DropBeforeEffect,
    /// The answer comes so much later.
    SlowMs(u64),
}

impl PartnerFault {
    #[must_use]
    pub const fn new(mode: PartnerFaultMode) -> Self {
        Self { mode, method: None, retry_after_s: None }
    }

    pub(super) fn concerns(&self, method: &http::Method) -> bool {
        match (&self.method, self.mode) {
            // A read has no effect that could come before or after the cut.
            (None, PartnerFaultMode::DropAfterEffect | PartnerFaultMode::DropBeforeEffect) => {
                method == http::Method::PUT
            }
            (
                None,
                PartnerFaultMode::Down
                | PartnerFaultMode::Http500
                | PartnerFaultMode::Http429
                | PartnerFaultMode::SlowMs(_),
            ) => true,
            (Some(only), _) => only == method,
        }
    }
}
