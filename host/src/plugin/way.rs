//! Where the requests of a call go.

use std::sync::Arc;

use super::egress::Egress;
use super::shadow::{Recorder, Replay};

/// Given to each call, for a release by itself has no way out.
#[derive(Clone)]
pub(super) enum Way {
    /// Out, over the connections of its release; and a copy onto the tape, if there is a shadow.
    Out { connections: Arc<Egress>, recorder: Option<Arc<Recorder>> },
    /// Nowhere: a shadow's call has no connections that a mistake could use. It is answered as the
    /// live release was.
    Nowhere(Arc<Replay>),
}

impl Way {
    pub(super) const fn is_shadow(&self) -> bool {
        match self {
            Self::Out { .. } => false,
            Self::Nowhere(_) => true,
        }
    }
}
