//! Whether a node is asked: a state machine that is told the time. Pure.
//!
//! Only what went wrong on the way counts against a node: connections, time-outs, HTTP statuses,
//! unreadable answers. What a node refuses says nothing about its health. A rate limit is a wait,
//! not a failure.

use std::time::{Duration, Instant};

/// The pause after the first failure. It doubles with each that follows.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause, so that a node that is back serves again within some seconds.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A node of another chain is a mistake of a person, and costs a look now and then.
const PAUSE_WRONG_CHAIN: Duration = Duration::from_secs(5);

/// What is wrong with a node that is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Transport { cause: String },
    WrongChain { found: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Up,
    /// Nobody asks it before `until`.
    Away {
        until: Instant,
        fault: Fault,
    },
    /// One call is on its way to see whether it is back; nobody else asks it meanwhile.
    Probed {
        fault: Fault,
    },
}

/// Whether a call may go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Permit {
    Go,
    /// This call finds out whether the node is back. Its result must be told.
    Probe,
    Away(Fault),
    Limited(Duration),
}

/// A change that a person wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    WentAway,
    CameBack,
    IsOnWrongChain,
}

/// How a node stands, for those who choose among nodes and those who watch them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Up,
    RateLimited,
    Away,
    WrongChain,
}

#[derive(Debug)]
pub(super) struct Health {
    state: State,
    /// In a row.
    failures: u32,
    limited_until: Option<Instant>,
}

impl Health {
    pub(super) const fn new() -> Self {
        Self { state: State::Up, failures: 0, limited_until: None }
    }

    pub(super) fn permit(&mut self, now: Instant) -> Permit {
        if let Some(until) = self.limited_until.filter(|until| *until > now) {
            return Permit::Limited(until - now);
        }
        match &self.state {
            State::Up => Permit::Go,
            State::Away { until, fault } if *until <= now => {
                self.state = State::Probed { fault: fault.clone() };
                Permit::Probe
            }
            State::Away { fault, .. } | State::Probed { fault } => Permit::Away(fault.clone()),
        }
    }

    pub(super) fn answered(&mut self) -> Change {
        self.failures = 0;
        match std::mem::replace(&mut self.state, State::Up) {
            State::Up => Change::None,
            State::Away { .. } | State::Probed { .. } => Change::CameBack,
        }
    }

    /// `jitter` is between 0 and 1: hosts that lost a node together do not come back together.
    pub(super) fn failed(&mut self, cause: String, now: Instant, jitter: f64) -> Change {
        // Calls that were on their way together fail together: that is one failure.
        if matches!(self.state, State::Away { .. }) {
            return Change::None;
        }
        self.failures = self.failures.saturating_add(1);
        let full = PAUSE_MIN.saturating_mul(1 << (self.failures - 1).min(10)).min(PAUSE_MAX);
        let fault = Fault::Transport { cause };
        self.go_away(fault, now + full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0))
    }

    pub(super) fn is_on_chain(&mut self, found: u64, now: Instant) -> Change {
        let known = match &self.state {
            State::Away { fault, .. } | State::Probed { fault } => {
                *fault == Fault::WrongChain { found }
            }
            State::Up => false,
        };
        self.go_away(Fault::WrongChain { found }, now + PAUSE_WRONG_CHAIN);
        if known { Change::None } else { Change::IsOnWrongChain }
    }

    /// It takes no calls for this long. If it was probed, that probe said only that it is there.
    pub(super) fn limited(&mut self, wait: Duration, now: Instant) -> Change {
        let until = now + wait;
        self.limited_until = Some(self.limited_until.map_or(until, |known| known.max(until)));
        self.answered()
    }

    /// The call that probed it was given up before it ended: the next one may probe.
    pub(super) fn probe_abandoned(&mut self, now: Instant) {
        if let State::Probed { fault } = &self.state {
            self.state = State::Away { until: now, fault: fault.clone() };
        }
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        match &self.state {
            State::Away { fault: Fault::WrongChain { .. }, .. }
            | State::Probed { fault: Fault::WrongChain { .. } } => Standing::WrongChain,
            State::Away { .. } | State::Probed { .. } => Standing::Away,
            State::Up if self.limited_until.is_some_and(|until| until > now) => {
                Standing::RateLimited
            }
            State::Up => Standing::Up,
        }
    }

    fn go_away(&mut self, fault: Fault, until: Instant) -> Change {
        match std::mem::replace(&mut self.state, State::Away { until, fault }) {
            State::Up => Change::WentAway,
            State::Away { .. } | State::Probed { .. } => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn away(permit: &Permit) -> bool {
        matches!(permit, Permit::Away(_))
    }

    #[test]
    fn a_failed_node_is_left_alone_longer_each_time_up_to_a_bound() {
        let start = Instant::now();
        let mut health = Health::new();
        let mut pauses = Vec::new();
        let mut now = start;
        for _ in 0..9 {
            health.failed("gone".into(), now, 1.0);
            let mut waited = 0;
            while away(&health.permit(now + ms(waited))) {
                waited += 50;
            }
            pauses.push(waited);
            now += ms(waited);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
        let mut health = Health::new();
        health.failed("gone".into(), start, 0.0);
        assert!(away(&health.permit(start + ms(49))));
        assert_eq!(health.permit(start + ms(50)), Permit::Probe, "jitter halves it at most");
    }

    #[test]
    fn one_call_probes_and_its_result_decides_for_all() {
        let start = Instant::now();
        let mut health = Health::new();
        assert_eq!(health.failed("gone".into(), start, 1.0), Change::WentAway);
        for _ in 0..9 {
            health.failed("gone".into(), start, 1.0);
        }
        let later = start + ms(100);
        assert_eq!(health.permit(later), Permit::Probe);
        assert!(away(&health.permit(later)), "one at a time");
        assert_eq!(health.failed("gone".into(), later, 1.0), Change::None, "told once");
        assert!(away(&health.permit(later + ms(199))));
        assert_eq!(health.permit(later + ms(200)), Permit::Probe);
        health.probe_abandoned(later + ms(200));
        assert_eq!(health.permit(later + ms(200)), Permit::Probe, "a lost probe blocks nobody");
        assert_eq!(health.answered(), Change::CameBack);
        assert_eq!(health.permit(later), Permit::Go);
        assert_eq!(health.answered(), Change::None);
    }

    #[test]
    fn a_rate_limit_is_a_wait_and_no_failure() {
        let start = Instant::now();
        let mut health = Health::new();
        assert_eq!(health.limited(ms(1_000), start), Change::None);
        assert_eq!(health.limited(ms(200), start), Change::None, "the longer one holds");
        assert_eq!(health.permit(start + ms(400)), Permit::Limited(ms(600)));
        assert_eq!(health.standing(start + ms(400)), Standing::RateLimited);
        assert_eq!(health.permit(start + ms(1_000)), Permit::Go);
        assert_eq!(health.standing(start + ms(1_000)), Standing::Up);
    }

    #[test]
    fn a_node_of_another_chain_is_out_of_use_and_looked_at_again() {
        let start = Instant::now();
        let mut health = Health::new();
        assert_eq!(health.is_on_chain(5, start), Change::IsOnWrongChain);
        assert_eq!(health.standing(start), Standing::WrongChain);
        assert_eq!(health.permit(start), Permit::Away(Fault::WrongChain { found: 5 }));
        assert_eq!(health.permit(start + PAUSE_WRONG_CHAIN), Permit::Probe);
        assert_eq!(health.is_on_chain(5, start), Change::None, "told once");
        assert_eq!(health.permit(start + PAUSE_WRONG_CHAIN), Permit::Probe);
        assert_eq!(health.answered(), Change::CameBack);
    }
}
