//! The circuit breaker between a plugin and one of its targets. Pure: what it lets through, and what
//! becomes of it.
//!
//! Closed, it lets all through. A run of failures opens it: then nothing goes, and nothing pays for
//! it. When its time is over it asks for a probe, one event of the backlog. If that fails it stays
//! open for twice as long; if it succeeds it closes, and lets more and more through, so that what
//! has gathered does not knock the target down again. An operator may hold it open.

use std::time::Duration;

/// The manifest's `[breaker]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failed attempts in a row that open it; 0: it never opens by itself.
    pub failures: u32,
    /// How long it is open the first time.
    pub open_for: Duration,
    /// It is never open for longer without a probe.
    pub open_for_max: Duration,
    /// How long after it closed until all goes again.
    pub ramp: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures: 20,
            open_for: Duration::from_secs(1),
            open_for_max: Duration::from_secs(60),
            ramp: Duration::from_secs(10),
        }
    }
}

impl BreakerPolicy {
    /// How long it is open after it opened for the `trips`th time in a row.
    #[must_use]
    pub fn wait(&self, trips: u32) -> Duration {
        let doubled = 1_u32.checked_shl(trips.saturating_sub(1)).unwrap_or(u32::MAX);
        self.open_for.saturating_mul(doubled).min(self.open_for_max).max(self.open_for)
    }
}

/// Its state, as one saw it at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// `ago`: since it closed after it was open.
    Closed { ago: Option<Duration> },
    /// `left`: until it may be probed. `trips`: how often in a row it opened.
    Open { left: Duration, trips: u32 },
    /// Open until an operator closes it.
    Held,
}

/// What may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    All,
    /// Of what may go at the same time, so many thousandths; at least one attempt.
    Share(u32),
    /// One, by whoever takes the probe.
    Probe,
    /// Nothing, for so long.
    Nothing(Duration),
}

/// What an attempt showed of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetAnswer {
    /// It answered, whatever it said.
    Alive,
    /// The attempt failed for it, as the `in_a_row`th one.
    Failed { in_a_row: u32 },
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerStep {
    /// It opens (again) for so long.
    Open(Duration),
    Close,
}

impl BreakerState {
    /// The same, so much later.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        match self {
            Self::Closed { ago } => Self::Closed { ago: ago.map(|ago| ago.saturating_add(by)) },
            Self::Open { left, trips } => Self::Open { left: left.saturating_sub(by), trips },
            Self::Held => Self::Held,
        }
    }

    #[must_use]
    pub fn permit(self, policy: &BreakerPolicy) -> Permit {
        match self {
            Self::Closed { ago: None } => Permit::All,
            Self::Closed { ago: Some(ago) } if ago >= policy.ramp => Permit::All,
            Self::Closed { ago: Some(ago) } => {
                let share = ago.as_micros().saturating_mul(1_000) / policy.ramp.as_micros().max(1);
                Permit::Share(u32::try_from(share).unwrap_or(1_000).min(1_000))
            }
            Self::Open { left, .. } if left.is_zero() => Permit::Probe,
            Self::Open { left, .. } => Permit::Nothing(left),
            Self::Held => Permit::Nothing(Duration::MAX),
        }
    }

    /// What the end of an attempt changes. What was in hand when it opened changes nothing more.
    #[must_use]
    pub fn step(self, answer: TargetAnswer, policy: &BreakerPolicy) -> Option<BreakerStep> {
        match (self, answer) {
            (Self::Closed { .. }, TargetAnswer::Failed { in_a_row }) => {
                let opens = policy.failures > 0 && in_a_row >= policy.failures;
                opens.then(|| BreakerStep::Open(policy.wait(1)))
            }
            (Self::Open { left, trips }, TargetAnswer::Failed { .. }) => {
                let again = trips.saturating_add(1);
                left.is_zero().then(|| BreakerStep::Open(policy.wait(again)))
            }
            (Self::Open { left, .. }, TargetAnswer::Alive) => {
                left.is_zero().then_some(BreakerStep::Close)
            }
            (Self::Closed { .. }, TargetAnswer::Alive) | (Self::Held, _) => None,
        }
    }

    /// Whether a failure is the target's and not the event's: then no attempt is counted.
    #[must_use]
    pub const fn spares(self) -> bool {
        match self {
            Self::Closed { .. } => false,
            Self::Open { .. } | Self::Held => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: BreakerPolicy = BreakerPolicy {
        failures: 3,
        open_for: Duration::from_secs(1),
        open_for_max: Duration::from_secs(10),
        ramp: Duration::from_secs(10),
    };
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn every_state_lets_through_what_it_should() {
        let closed = |ago| BreakerState::Closed { ago };
        for (state, permit) in [
            (closed(None), Permit::All),
            (closed(Some(Duration::ZERO)), Permit::Share(0)),
            (closed(Some(SECOND)), Permit::Share(100)),
            (closed(Some(SECOND * 10)), Permit::All),
            (BreakerState::Open { left: SECOND, trips: 1 }, Permit::Nothing(SECOND)),
            (BreakerState::Open { left: Duration::ZERO, trips: 1 }, Permit::Probe),
            (BreakerState::Held, Permit::Nothing(Duration::MAX)),
        ] {
            assert_eq!(state.permit(&POLICY), permit, "{state:?}");
        }
    }

    #[test]
    fn every_answer_in_every_state_has_its_step() {
        let closed = BreakerState::Closed { ago: None };
        let waits = BreakerState::Open { left: SECOND, trips: 2 };
        let probed = BreakerState::Open { left: Duration::ZERO, trips: 2 };
        let failed = |in_a_row| TargetAnswer::Failed { in_a_row };
        for (state, answer, step) in [
            (closed, TargetAnswer::Alive, None),
            (closed, failed(2), None),
            (closed, failed(3), Some(BreakerStep::Open(SECOND))),
            (closed, failed(4), Some(BreakerStep::Open(SECOND))),
            (waits, TargetAnswer::Alive, None),
            (waits, failed(9), None),
            (probed, TargetAnswer::Alive, Some(BreakerStep::Close)),
            (probed, failed(1), Some(BreakerStep::Open(SECOND * 4))),
            (BreakerState::Held, TargetAnswer::Alive, None),
            (BreakerState::Held, failed(9), None),
        ] {
            assert_eq!(state.step(answer, &POLICY), step, "{state:?} {answer:?}");
        }
        let off = BreakerPolicy { failures: 0, ..POLICY };
        assert_eq!(closed.step(failed(u32::MAX), &off), None);
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let waits: Vec<_> = [1, 2, 3, 4, 5, 40, u32::MAX].map(|n| POLICY.wait(n).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10, 10]);
    }

    proptest! {
        /// However it is used, it lets something through again once its longest wait is over.
        #[test]
        fn it_never_stays_shut(answers in proptest::collection::vec((0_u32..6, 0_u64..20), 0..50)) {
            let mut state = BreakerState::Closed { ago: None };
            let (mut in_a_row, mut trips) = (0, 0);
            for (kind, seconds) in answers {
                state = state.later(Duration::from_secs(seconds));
                let answer = if kind == 0 {
                    in_a_row = 0;
                    TargetAnswer::Alive
                } else {
                    in_a_row += 1;
                    TargetAnswer::Failed { in_a_row }
                };
                match state.step(answer, &POLICY) {
                    Some(BreakerStep::Open(left)) => {
                        prop_assert!(left <= POLICY.open_for_max);
                        trips += 1;
                        state = BreakerState::Open { left, trips };
                    }
                    Some(BreakerStep::Close) => {
                        trips = 0;
                        state = BreakerState::Closed { ago: Some(Duration::ZERO) };
                    }
                    None => {}
                }
            }
            let later = state.later(POLICY.open_for_max);
            prop_assert!(!matches!(later.permit(&POLICY), Permit::Nothing(_)));
        }
    }
}
