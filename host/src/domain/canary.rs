//! Whether a new release does its work as well as the one that it shall replace: which events it is
//! tried on, what is counted of both, and what the figures say.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::event::OutboxEvent;
use super::name::Aggregate;

/// A part of all aggregates, in hundredths of a per cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

/// A text that is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no share: write a percentage from 0.01% to 100%, such as 5%")]
pub struct ShareError {
    given: String,
}

impl Share {
    const ALL: u16 = 10_000;

    /// In hundredths of a per cent; 1 to 10,000.
    #[must_use]
    pub fn of_hundredths(hundredths: u64) -> Option<Self> {
        let share = u16::try_from(hundredths).ok()?;
        (1..=Self::ALL).contains(&share).then_some(Self(share))
    }

    #[must_use]
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// Whether an aggregate belongs to this share of a plugin's. Always the same answer for the same
    /// aggregate, so that one withdrawal stays on one side; another plugin's share is another one.
    #[must_use]
    pub fn has(self, plugin: &str, aggregate: &Aggregate) -> bool {
        let mut hash = Sha256::new();
        for part in [plugin, aggregate.kind(), aggregate.id()] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let digest = hash.finalize();
        let place = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        // A stretch of the whole range, so that no residue is likelier than another.
        (u64::from(place) * u64::from(Self::ALL)) >> 32 < u64::from(self.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        if rest == 0 { write!(f, "{whole}%") } else { write!(f, "{whole}.{rest:02}%") }
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let error = || ShareError { given: text.chars().take(40).collect() };
        let number = text.strip_suffix('%').unwrap_or(text);
        let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
        let digits =
            |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(rest) || rest.len() > 2 {
            return Err(error());
        }
        let whole: u64 = whole.parse().map_err(|_| error())?;
        let rest: u64 = format!("{rest:0<2}").parse().map_err(|_| error())?;
        Self::of_hundredths(whole * 100 + rest).ok_or_else(error)
    }
}

/// Whether an event may be tried on a canary: nothing went wrong with it yet. What failed once, on
/// whichever side, goes to the old release from then on.
#[must_use]
pub fn is_untroubled(event: &OutboxEvent) -> bool {
    event.last_error.is_none() && event.attempt_count == 0 && !event.outcome_unknown
}

/// What is counted of one side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    pub handled: u64,
    pub failed: u64,
    latencies: Latencies,
}

/// What was counted of both sides since a canary began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CanaryTallies {
    pub live: Tally,
    pub canary: Tally,
}

/// How many attempts took how long. Two of them are added place by place, so that those of many
/// hosts make one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Latencies([u64; Self::STRETCHES]);

impl Default for Latencies {
    fn default() -> Self {
        Self([0; Self::STRETCHES])
    }
}

impl Latencies {
    /// Each stretch ends a fifth later than the one before; the first ends at 100 µs, the last holds
    /// all that is longer than eleven minutes.
    const STRETCHES: usize = 88;
    const FIRST_MICROS: f64 = 100.0;
    const GROWTH: f64 = 1.2;

    /// The ends of the stretches, in microseconds.
    fn ends() -> impl Iterator<Item = f64> {
        std::iter::successors(Some(Self::FIRST_MICROS), |end| Some(end * Self::GROWTH))
    }

    fn stretch(took: Duration) -> usize {
        let micros = took.as_secs_f64() * 1e6;
        let shorter = Self::ends().take(Self::STRETCHES - 1).take_while(|end| micros > *end);
        shorter.count()
    }

    /// The end of the stretch in which the given part of all attempts has ended.
    fn quantile(&self, part: f64) -> Option<Duration> {
        let all: u64 = self.0.iter().sum();
        if all == 0 {
            return None;
        }
        let wanted = all as f64 * part;
        let mut seen = 0;
        for (count, end) in self.0.iter().zip(Self::ends()) {
            seen += count;
            if seen as f64 >= wanted {
                return Some(Duration::from_secs_f64(end / 1e6));
            }
        }
        None
    }
}

impl Tally {
    pub fn count(&mut self, succeeded: bool, took: Duration) {
        self.handled += 1;
        self.failed += u64::from(!succeeded);
        self.latencies.0[Latencies::stretch(took)] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.handled += other.handled;
        self.failed += other.failed;
        for (mine, theirs) in self.latencies.0.iter_mut().zip(other.latencies.0) {
            *mine += theirs;
        }
    }

    /// As it is kept: counts, with commas between.
    #[must_use]
    pub fn latencies_text(&self) -> String {
        let counts: Vec<_> = self.latencies.0.iter().map(u64::to_string).collect();
        counts.join(",")
    }

    /// None if the text is none of [`Tally::latencies_text`].
    #[must_use]
    pub fn from_parts(handled: u64, failed: u64, latencies: &str) -> Option<Self> {
        let mut counts = Latencies::default();
        let mut texts = latencies.split(',');
        for count in &mut counts.0 {
            *count = texts.next()?.parse().ok()?;
        }
        texts.next().is_none().then_some(Self { handled, failed, latencies: counts })
    }

    /// The time within which 95 of 100 attempts ended.
    #[must_use]
    pub fn p95(&self) -> Option<Duration> {
        self.latencies.quantile(0.95)
    }

    /// The bounds between which the share of failures lies, with 99 of 100 chances (Wilson's
    /// score interval); of nothing, between none and all.
    fn failure_bounds(&self) -> (f64, f64) {
        const Z: f64 = 2.576;
        if self.handled == 0 {
            return (0.0, 1.0);
        }
        let n = self.handled as f64;
        let p = self.failed as f64 / n;
        let scale = 1.0 + Z * Z / n;
        let centre = (p + Z * Z / (2.0 * n)) / scale;
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt() / scale;
        ((centre - half).max(0.0), (centre + half).min(1.0))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio =
            if self.handled == 0 { 0.0 } else { 100.0 * self.failed as f64 / self.handled as f64 };
        write!(f, "{} of {} failed ({ratio:.1} %)", self.failed, self.handled)?;
        match self.p95() {
            Some(p95) => write!(f, ", p95 {:.1} ms", p95.as_secs_f64() * 1e3),
            None => Ok(()),
        }
    }
}

/// What the figures say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanaryVerdict {
    /// Not enough was seen yet.
    GoOn,
    Worse {
        why: String,
    },
    Fine {
        why: String,
    },
}

/// Fewer events than these say nothing.
const EVENTS_MIN: u64 = 20;
/// Fewer than these say nothing about times.
const EVENTS_MIN_FOR_TIMES: u64 = 200;
/// What the old release is taken to fail of while too little was seen of it.
const FAILURES_ASSUMED: f64 = 0.05;
/// Differences below this are noise of a machine.
const LATENCY_MARGIN: Duration = Duration::from_millis(10);

/// Compares a canary with the live release. Worse: its failures are more with 99 of 100 chances on
/// both sides, or its p95 is more than twice as long. Fine: it is not, after `events` events.
#[must_use]
pub fn judge_canary(live: &Tally, canary: &Tally, events: u64) -> CanaryVerdict {
    let why = || format!("canary: {canary}; live: {live}");
    if canary.handled < EVENTS_MIN.min(events) {
        return CanaryVerdict::GoOn;
    }
    let (at_least, _) = canary.failure_bounds();
    let at_most =
        if live.handled < EVENTS_MIN { FAILURES_ASSUMED } else { live.failure_bounds().1 };
    if at_least > at_most {
        return CanaryVerdict::Worse { why: format!("it fails more often: {}", why()) };
    }
    if canary.handled >= EVENTS_MIN_FOR_TIMES
        && live.handled >= EVENTS_MIN_FOR_TIMES
        && let (Some(new), Some(old)) = (canary.p95(), live.p95())
        && new > 2 * old + LATENCY_MARGIN
    {
        return CanaryVerdict::Worse { why: format!("it is slower: {}", why()) };
    }
    if canary.handled >= events { CanaryVerdict::Fine { why: why() } } else { CanaryVerdict::GoOn }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(handled: u64, failed: u64, took: Duration) -> Tally {
        let mut tally = Tally::default();
        (0..handled).for_each(|i| tally.count(i >= failed, took));
        tally
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_share_is_read_and_written_alike() {
        for (text, hundredths) in
            [("5%", 500), ("5", 500), ("0.01%", 1), ("100%", 10_000), ("12.5%", 1_250)]
        {
            let share: Share = text.parse().unwrap();
            assert_eq!(share.hundredths(), hundredths, "{text}");
            assert_eq!(share.to_string().parse(), Ok(share), "{text}");
        }
        for bad in ["", "%", "0%", "101%", "-1%", "5.123%", "five", "1e2", "5%%", "."] {
            assert!(bad.parse::<Share>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_share_takes_its_part_of_the_aggregates_and_always_the_same() {
        let share: Share = "20%".parse().unwrap();
        let aggregates: Vec<_> =
            (0..10_000).map(|i| Aggregate::new("ORDER", &i.to_string()).unwrap()).collect();
        let taken = |plugin: &str| -> Vec<bool> {
            aggregates.iter().map(|aggregate| share.has(plugin, aggregate)).collect()
        };
        let one = taken("one");
        let count = one.iter().filter(|taken| **taken).count();
        assert!((1_800..=2_200).contains(&count), "{count}");
        assert_eq!(one, taken("one"));
        assert_ne!(one, taken("two"));
        let all: Share = "100%".parse().unwrap();
        assert!(aggregates.iter().all(|aggregate| all.has("one", aggregate)));
    }

    #[test]
    fn a_tally_is_kept_as_text_and_added_over_hosts() {
        let mut sum = tally(90, 0, MS);
        sum.add(&tally(10, 10, 50 * MS));
        let kept = Tally::from_parts(sum.handled, sum.failed, &sum.latencies_text());
        assert_eq!(kept.as_ref(), Some(&sum));
        let p95 = sum.p95().unwrap();
        assert!((50 * MS..61 * MS).contains(&p95), "{p95:?}");
        assert_eq!(Tally::from_parts(1, 0, "1,2"), None);
        assert_eq!(Tally::default().p95(), None);
    }

    #[test]
    fn every_time_has_its_stretch() {
        for micros in [0, 1, 99, 100, 101, 1_000, 1_000_000, 600_000_000, u64::MAX / 1_000] {
            let mut one = Tally::default();
            one.count(true, Duration::from_micros(micros));
            let seen = one.p95().unwrap().as_micros() as f64;
            let exact = micros as f64;
            let near = (exact..=exact * 1.21 + 100.0).contains(&seen) || micros > 600_000_000;
            assert!(near, "{micros} µs are seen as {seen}");
        }
    }

    #[test]
    fn three_failures_of_ten_are_found_within_thirty_events() {
        let live = tally(1_000, 2, MS);
        assert_eq!(judge_canary(&live, &tally(19, 19, MS), 1_000), CanaryVerdict::GoOn);
        let verdict = judge_canary(&live, &tally(30, 9, MS), 1_000);
        let CanaryVerdict::Worse { why } = verdict else { panic!("{verdict:?}") };
        assert!(why.starts_with("it fails more often: canary: 9 of 30 failed (30.0 %)"), "{why}");
        assert!(why.contains("live: 2 of 1000 failed (0.2 %)"), "{why}");
    }

    #[test]
    fn chance_alone_rolls_nothing_back() {
        // Both sides fail one in ten, as when the partner is half away.
        let live = tally(2_000, 200, MS);
        for (handled, failed) in [(20, 4), (50, 8), (100, 15), (1_000, 115)] {
            let verdict = judge_canary(&live, &tally(handled, failed, MS), 1_000);
            let worse = matches!(verdict, CanaryVerdict::Worse { .. });
            assert!(!worse, "{failed} of {handled}: {verdict:?}");
        }
    }

    #[test]
    fn without_an_old_release_to_compare_with_a_canary_must_be_good_by_itself() {
        let none = Tally::default();
        let verdict = judge_canary(&none, &tally(40, 12, MS), 100);
        assert!(matches!(verdict, CanaryVerdict::Worse { .. }), "{verdict:?}");
        let verdict = judge_canary(&none, &tally(100, 1, MS), 100);
        assert!(matches!(verdict, CanaryVerdict::Fine { .. }), "{verdict:?}");
    }

    #[test]
    fn one_that_is_twice_as_slow_is_worse_and_one_that_is_a_little_slower_is_not() {
        let live = tally(500, 0, 20 * MS);
        let slow = judge_canary(&live, &tally(300, 0, 90 * MS), 1_000);
        let CanaryVerdict::Worse { why } = slow else { panic!("{slow:?}") };
        assert!(why.starts_with("it is slower: "), "{why}");
        assert_eq!(judge_canary(&live, &tally(300, 0, 30 * MS), 1_000), CanaryVerdict::GoOn);
        let fine = judge_canary(&live, &tally(1_000, 0, 20 * MS), 1_000);
        assert!(matches!(fine, CanaryVerdict::Fine { .. }), "{fine:?}");
    }
}
