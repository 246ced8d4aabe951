//! How soon a lane answers a wake-up, when the last ones brought it nothing.

use std::time::Duration;

/// So many wake-ups in a row may bring nothing before this lane answers the next ones later.
const TIMES_MIN: u32 = 3;
/// How much later, at most. Then hints that come meanwhile are answered together.
const PAUSE_MAX: Duration = Duration::from_millis(4);

/// All lanes of all hosts hear of each event and one of them gets it: the claims of the others find
/// nothing, and would cost the database more than the work itself.
#[derive(Debug, Default)]
pub(super) struct Outrun {
    /// Wake-ups since something was found, or since none came for a while.
    times: u32,
}

impl Outrun {
    pub(super) fn forget(&mut self) {
        self.times = 0;
    }

    /// After a wake-up, before the claim.
    pub(super) async fn wait(&mut self) {
        self.times = self.times.saturating_add(1);
        tokio::time::sleep(self.pause()).await;
    }

    fn pause(&self) -> Duration {
        match self.times.checked_sub(TIMES_MIN) {
            None | Some(0) => Duration::ZERO,
            Some(more) => Duration::from_millis(1 << more.min(8)).min(PAUSE_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_outrun_again_and_again_answers_later_and_never_much_later() {
        let pauses = [0, 1, 2, 3, 4, 5, 6, 7, u32::MAX].map(|times| Outrun { times }.pause());
        assert_eq!(pauses.map(|pause| pause.as_millis()), [0, 0, 0, 0, 2, 4, 4, 4, 4]);
    }
}
