//! Secrets stay with the host: a handler gets a placeholder to put into a request.

use std::fmt;

use crate::backend;

/// Why there is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The manifest does not grant a secret of this name.
    #[error("the secret is not granted: {0}")]
    Denied(String),
    /// The host has no value for it, or could not read it.
    #[error("the secret is not available: {0}")]
    Unavailable(String),
}

/// What stands for a secret in a header, a query value or a text body of a request. The host puts
/// the value in its place, written as that place needs it.
/// Its `Debug` form shows nothing, for the operator may have granted the value itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The placeholder, or the value where the manifest says `expose = true`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Secret {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// The secret of this name, for use in a request.
///
/// ```
/// # tidegate_plugin::testing::FakeHost::new().secret("PARTNER_API_KEY", "placeholder");
/// use tidegate_plugin::{http, secrets};
///
/// let key = secrets::get("PARTNER_API_KEY")?;
/// let request = http::get("https://api.partner.example/withdrawals").bearer(key);
/// # Ok::<(), tidegate_plugin::Failure>(())
/// ```
///
/// # Errors
/// Needs `grants.secrets`.
pub fn get(name: &str) -> Result<Secret, SecretError> {
    backend::secret(name).map(Secret)
}

/// HMAC-SHA-256 of the message with the named secret as the key, computed by the host: for targets
/// that want requests signed. The key stays there.
///
/// ```
/// # let host = tidegate_plugin::testing::FakeHost::new();
/// # host.secret("WEBHOOK_KEY", "placeholder").hmac_sha256(|_, message| message.to_vec());
/// use tidegate_plugin::secrets;
///
/// let signature = secrets::hmac_sha256("WEBHOOK_KEY", br#"{"order":4711}"#)?;
/// # Ok::<(), tidegate_plugin::Failure>(())
/// ```
///
/// # Errors
/// Needs `grants.secrets`, and a message of up to the manifest's `limits.request_body`.
pub fn hmac_sha256(name: &str, message: &[u8]) -> Result<Vec<u8>, SecretError> {
    backend::hmac_sha256(name, message)
}
