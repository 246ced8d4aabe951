//! The `[settings]` of the operator's manifest.

use serde::de::DeserializeOwned;

use crate::{backend, json, json::JsonError};

/// The manifest's `[settings]` do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the manifest's [settings] do not fit: {0}")]
pub struct SettingsError(pub JsonError);

/// The whole table as a type of yours.
///
/// ```
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Settings {
///     base_url: String,
/// }
///
/// # tidegate_plugin::testing::FakeHost::new()
/// #     .settings(serde_json::json!({ "base_url": "https://api.partner.example" }));
/// let settings: Settings = tidegate_plugin::settings::get()?;
/// assert_eq!(settings.base_url, "https://api.partner.example");
/// # Ok::<(), tidegate_plugin::Failure>(())
/// ```
///
/// # Errors
/// Names the key that is missing or does not fit. With `?` in a handler it becomes a
/// [`retry`](crate::retry), so that events wait while the operator repairs the manifest.
pub fn get<T: DeserializeOwned>() -> Result<T, SettingsError> {
    json::parse(backend::settings().as_bytes()).map_err(SettingsError)
}
