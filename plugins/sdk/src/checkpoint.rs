//! What a handler knows about an event and finds again in the next attempt.

use serde::{Serialize, de::DeserializeOwned};

use crate::{backend, json};

/// Why a checkpoint could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Larger than the manifest's `limits.checkpoint`.
    #[error("the checkpoint is too large: {0}")]
    TooLarge(String),
    /// The store cannot be reached, or this host lost its lease: stop and return
    /// [`retry`](crate::retry), which `?` does.
    #[error("the checkpoint cannot be reached: {0}")]
    Unavailable(String),
    /// It was written in another shape, for example by an earlier release of the plugin.
    #[error("the checkpoint does not fit: {0}")]
    Unreadable(String),
}

/// What was saved last for this event, by this or an earlier attempt.
///
/// ```
/// use tidegate_plugin::checkpoint;
///
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Progress {
///     upload_id: String,
/// }
///
/// # tidegate_plugin::testing::FakeHost::new();
/// assert_eq!(checkpoint::load::<Progress>()?, None);
/// checkpoint::save(&Progress { upload_id: "U-1".into() })?;
/// assert_eq!(checkpoint::load::<Progress>()?.map(|it| it.upload_id).as_deref(), Some("U-1"));
/// # Ok::<(), tidegate_plugin::Failure>(())
/// ```
///
/// # Errors
/// See [`CheckpointError`].
pub fn load<T: DeserializeOwned>() -> Result<Option<T>, CheckpointError> {
    backend::checkpoint_load()?
        .map(|bytes| json::parse(&bytes))
        .transpose()
        .map_err(|error| CheckpointError::Unreadable(error.to_string()))
}

/// Saves a value in place of what was saved before. It is on disk when this returns.
///
/// # Errors
/// See [`CheckpointError`].
pub fn save<T: Serialize>(value: &T) -> Result<(), CheckpointError> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| CheckpointError::Unreadable(error.to_string()))?;
    backend::checkpoint_save(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeHost;

    #[test]
    fn what_another_release_saved_is_an_error_and_not_a_panic() {
        let _host = FakeHost::new();
        assert_eq!(save(&"text"), Ok(()));
        assert!(matches!(load::<u8>(), Err(CheckpointError::Unreadable(_))));
    }

    #[test]
    fn the_host_can_fail() {
        let host = FakeHost::new();
        host.fail_checkpoint(CheckpointError::Unavailable("the lease is lost".into()));
        assert!(matches!(save(&1), Err(CheckpointError::Unavailable(_))));
        assert_eq!(load::<u8>(), Ok(None), "nothing was saved");
        assert_eq!(host.checkpoint::<u8>(), None);
    }
}
