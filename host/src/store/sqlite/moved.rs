//! Whether the file was moved into another store. A host on it would do everything a second time.

use sqlx::SqliteConnection;

use crate::store::open::OpenError;

/// # Errors
/// [`OpenError::Moved`], also while the move is not finished.
pub(super) async fn refuse(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let other: Option<String> =
        sqlx::query_scalar("SELECT other FROM store_moves WHERE direction = 'out' LIMIT 1")
            .fetch_optional(connection)
            .await
            .map_err(|error| OpenError::from_sqlx(&error))?;
    other.map_or(Ok(()), |to| Err(OpenError::Moved { to }))
}
