//! What all releases of a process share on their way out.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;

use super::super::secrecy::{Placeholders, Redactor};
use super::super::services::{SecretSource, ServiceError};
use super::audit::AuditLog;
use super::counts::Counts;
use super::resolve::{Resolver, SystemResolver};
use crate::plugin::notices::Notices;

/// Who resolves names, where certificates' keys come from, and where requests are recorded.
pub struct Outbound {
    pub(in crate::plugin) resolver: Arc<dyn Resolver>,
    pub(in crate::plugin) secrets: Arc<dyn SecretSource>,
    pub(in crate::plugin) audit: AuditLog,
    pub(in crate::plugin) redactor: Redactor,
    pub(in crate::plugin) placeholders: Placeholders,
    pub(super) counts: Counts,
    pub(in crate::plugin) notices: Notices,
}

impl Outbound {
    /// With the system's resolver, no secrets, and the audit record in the log.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub fn new() -> Result<Self, String> {
        Ok(Self {
            resolver: Arc::new(SystemResolver),
            secrets: Arc::new(NoSecrets),
            audit: AuditLog::Log,
            redactor: Redactor::default(),
            placeholders: Placeholders::random()?,
            counts: Counts::default(),
            notices: Notices::default(),
        })
    }

    #[must_use]
    pub fn with_resolver(self, resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, ..self }
    }

    #[must_use]
    pub fn with_secrets(self, secrets: Arc<dyn SecretSource>) -> Self {
        Self { secrets, ..self }
    }

    #[must_use]
    pub fn with_audit(self, audit: AuditLog) -> Self {
        Self { audit, ..self }
    }

    /// A guest's or a target's text without the values of secrets that left this host's hands.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        self.redactor.text(text).into_owned()
    }

    /// What was counted, in the text that Prometheus reads.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut text = self.counts.text() + &self.notices.text();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# TYPE tidegate_audit_lost_total counter");
        let _ = writeln!(text, "tidegate_audit_lost_total {}", self.audit.lost());
        text
    }
}

struct NoSecrets;

#[async_trait]
impl SecretSource for NoSecrets {
    async fn value(&self, name: &str) -> Result<String, ServiceError> {
        Err(ServiceError(format!("this host has no secret {name:?}")))
    }
}
