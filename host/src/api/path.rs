//! The `{id}` of a path.
//!
//! An id is opaque to callers: a text that is no UUID names nothing, just as an unknown UUID does,
//! and both are answered with 404.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use uuid::Uuid;

use crate::domain::{EventId, WithdrawalId};

use super::problem::Problem;

/// An id that a path can name.
pub(super) trait Named: Send {
    const WHAT: &'static str;
    fn from_uuid(uuid: Uuid) -> Self;
}

impl Named for WithdrawalId {
    const WHAT: &'static str = "withdrawal";
    fn from_uuid(uuid: Uuid) -> Self {
        Self::from_uuid(uuid)
    }
}

impl Named for EventId {
    const WHAT: &'static str = "event";
    fn from_uuid(uuid: Uuid) -> Self {
        Self::from_uuid(uuid)
    }
}

pub(super) struct PathId<T>(pub(super) T);

impl<T: Named, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let not_found = || Problem::not_found(T::WHAT);
        // Fails for an escape that is no UTF-8, and that names nothing either.
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|_| not_found())?;
        let id = parse_uuid(&text).map(T::from_uuid).ok_or_else(not_found)?;
        Ok(Self(id))
    }
}

/// Only the hyphenated form: a resource has one path.
pub(super) fn parse_uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    uuid.hyphenated().to_string().eq_ignore_ascii_case(text).then_some(uuid)
}
