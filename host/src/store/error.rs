//! What can go wrong in a store, by what the caller can do about it.

/// Answers such as "lease lost" or "already there" are no errors: they are in the return types.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or cannot write now. Nothing was written, or it is not
    /// known whether it was; the same call may be made again later.
    #[error("the store is unavailable while it should {doing}: {cause}")]
    Unavailable { doing: &'static str, cause: String },
    /// A row that no version of Tidegate writes. It is named, never guessed at.
    #[error("table {table} holds a row that cannot be: {row}: {what}")]
    CorruptRow { table: &'static str, row: String, what: String },
    /// The call breaks a constraint of the database.
    #[error("the store refused to {doing}: {cause}")]
    Conflict { doing: &'static str, cause: String },
}
