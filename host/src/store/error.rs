//! What can go wrong in a store, by what the caller can do about it.

use sqlx::error::DatabaseError;

use super::fault::StoreFault;

/// Answers such as "lease lost" or "already there" are no errors: they are in the return types.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or cannot write now. Nothing was written, or it is not
    /// known whether it was; the same call may be made again later.
    #[error("the store is unavailable while it should {doing}: {cause}")]
    Unavailable { doing: &'static str, fault: StoreFault, cause: String },
    /// A row that no version of Tidegate writes. It is named, never guessed at.
    #[error("table {table} holds a row that cannot be: {row}: {what}")]
    CorruptRow { table: &'static str, row: String, what: String },
    /// The call breaks a constraint of the database.
    #[error("the store refused to {doing}: {cause}")]
    Conflict { doing: &'static str, cause: String },
}

impl StoreError {
    /// Sorts what sqlx reports while the store should do something.
    pub(super) fn from_sqlx(doing: &'static str, error: &sqlx::Error) -> Self {
        let cause = error.to_string();
        match error {
            sqlx::Error::Database(database) if is_refusal(&**database) => {
                Self::Conflict { doing, cause }
            }
            sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => {
                Self::Conflict { doing, cause }
            }
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::RowNotFound => {
                Self::CorruptRow { table: "of a query", row: doing.to_owned(), what: cause }
            }
            // Lost connections, full pools, time-outs, serialization failures, a full or read-only
            // disk, and whatever is not known: the caller may try again, and nothing was half-done.
            _ => Self::Unavailable { doing, fault: StoreFault::of(error), cause },
        }
    }

    pub(super) fn conflict(doing: &'static str, cause: impl Into<String>) -> Self {
        Self::Conflict { doing, cause: cause.into() }
    }

    pub(super) fn unavailable(doing: &'static str, cause: impl Into<String>) -> Self {
        Self::away(doing, StoreFault::Other, cause)
    }

    pub(super) fn away(doing: &'static str, fault: StoreFault, cause: impl Into<String>) -> Self {
        Self::Unavailable { doing, fault, cause: cause.into() }
    }

    /// What is the matter with the store, if that is why.
    #[must_use]
    pub const fn fault(&self) -> Option<StoreFault> {
        match self {
            Self::Unavailable { fault, .. } => Some(*fault),
            Self::CorruptRow { .. } | Self::Conflict { .. } => None,
        }
    }
}

/// Whether the database refused what was asked, so that asking again is of no use.
fn is_refusal(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        // The low byte is the primary code: TOOBIG, CONSTRAINT, MISMATCH.
        return code.parse::<i32>().is_ok_and(|code| matches!(code & 0xff, 18..=20));
    }
    // Classes of SQLSTATE: data exception, integrity constraint violation.
    code.starts_with("22") || code.starts_with("23")
}

/// Says what the store was doing when sqlx failed.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::from_sqlx(doing, &error))
    }
}
