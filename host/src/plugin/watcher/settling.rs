//! When a plugin's folder has settled. Pure: looks and the time are arguments.
//!
//! Nobody says when a copy is complete. So a folder is read only when it has been quiet for a
//! moment and no file of it is open for writing; what is read must then validate; and who writes
//! in pieces is waited for longer, by the rhythm of the pieces. A component of which the end is
//! missing may be valid all the same, which is why validating alone is not enough.

use std::time::Duration;

use tokio::time::Instant;

use super::look::Look;

/// How long nothing may change before the files are read. A copy of manifest and component takes
/// less between the two.
pub(super) const QUIET: Duration = Duration::from_millis(25);
/// The same where the system announced nothing, so that whether a file is still written on is not
/// known: at network mounts.
pub(super) const QUIET_UNANNOUNCED: Duration = Duration::from_secs(1);
/// The longest wait for the next piece.
const QUIET_MAX: Duration = Duration::from_secs(5);
/// How long a file must be missing before its plugin retires: some tools remove before they write.
const MISSING: Duration = Duration::from_millis(200);
/// How long a candidate that does not validate may still change before it is called rejected.
const REJECT_AFTER: Duration = Duration::from_millis(500);
/// What the system announced as open for writing counts no more after so long without a change:
/// that it was closed may have been lost.
const WRITER_MAX: Duration = Duration::from_secs(30);

/// What is to be done about a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing, until something changes.
    Rest,
    /// Nothing before this moment.
    Wait(Instant),
    /// The files are settled: read them.
    Read,
    /// A file is missing, and stays so.
    Incomplete,
    /// What was read does not validate, and stays so.
    Reject,
}

/// How far a folder is.
#[derive(Debug)]
pub(super) struct Settling {
    look: Look,
    changed_at: Instant,
    quiet: Duration,
    /// Whether the system announced the last change, before it was seen or since.
    announced: bool,
    writing: bool,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It changed, and is not read yet.
    Changed,
    /// It is being read and compiled.
    Trying,
    /// It was read and does not validate.
    Failed,
    /// What was read is what is live, or is rejected.
    Done { rejected: bool },
}

impl Settling {
    pub(super) fn new(look: Look, now: Instant, announced: bool) -> Self {
        let (quiet, step) = (QUIET, Step::Changed);
        Self { look, changed_at: now, quiet, announced, writing: false, step }
    }

    /// A folder whose files of this look were read at the start.
    pub(super) fn tried(look: Look, now: Instant) -> Self {
        Self { step: Step::Trying, ..Self::new(look, now, true) }
    }

    pub(super) fn look(&self) -> &Look {
        &self.look
    }

    /// Takes in another look, and whether a file is open for writing.
    pub(super) fn see(&mut self, look: Look, now: Instant, announced: bool, writing: bool) {
        self.writing = writing;
        if look == self.look {
            self.announced |= announced;
            return;
        }
        let pause = now.saturating_duration_since(self.changed_at);
        let fresh = match self.step {
            Step::Done { rejected } => !rejected,
            Step::Changed | Step::Trying | Step::Failed => false,
        };
        if fresh || pause > QUIET_MAX {
            self.quiet = QUIET;
        } else if look.continues(&self.look) {
            // Somebody writes in pieces: two of their pauses are waited for.
            self.quiet = self.quiet.max(2 * pause).min(QUIET_MAX);
        }
        self.announced = announced;
        self.look = look;
        self.changed_at = now;
        self.step = Step::Changed;
    }

    pub(super) fn next(&self, now: Instant) -> Next {
        let after = |wait: Duration, then: Next| {
            let at = self.changed_at + wait;
            if now >= at { then } else { Next::Wait(at) }
        };
        let missing = !self.look.missing().is_empty();
        let unannounced = if self.announced { Duration::ZERO } else { QUIET_UNANNOUNCED };
        let quiet = self.quiet.max(unannounced);
        match self.step {
            Step::Done { .. } | Step::Trying => Next::Rest,
            Step::Changed if missing => after(MISSING.max(quiet), Next::Incomplete),
            Step::Changed if self.writing => after(WRITER_MAX, Next::Read),
            Step::Changed => after(quiet, Next::Read),
            Step::Failed => after(REJECT_AFTER.max(quiet), Next::Reject),
        }
    }

    /// The files of this look are being read. What changes from now on is another candidate.
    pub(super) fn reading(&mut self) {
        self.step = Step::Trying;
    }

    /// What was read of this look is live, or was so before.
    pub(super) fn succeeded(&mut self, look: &Look) {
        self.ended(look, Step::Done { rejected: false });
    }

    /// What was read of this look does not validate.
    pub(super) fn failed(&mut self, look: &Look) {
        self.ended(look, Step::Failed);
    }

    /// It changed while it was read.
    pub(super) fn unsettled(&mut self) {
        if self.step == Step::Trying {
            self.step = Step::Changed;
        }
    }

    /// Operators were told.
    pub(super) fn rejected(&mut self) {
        self.step = Step::Done { rejected: true };
    }

    fn ended(&mut self, look: &Look, step: Step) {
        if self.step == Step::Trying && self.look == *look {
            self.step = step;
        }
    }
}
