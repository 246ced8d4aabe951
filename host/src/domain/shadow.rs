//! What a shadow is told by: a release that gets copies of attempts, and whose doings are compared
//! with the live release's and go nowhere.

use std::collections::BTreeMap;

use super::canary::Share;
use super::id::EventId;

/// Of which aggregates a release gets copies, and how many at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowPlan {
    pub share: Share,
    /// After so many compared copies, over all hosts, no more are made. An event that is attempted
    /// twice counts twice.
    pub events: u64,
}

/// In what a copy differed from the attempt that it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DifferenceKind {
    /// It came to another end: done, retry, unknown, defer, reject.
    Verdict,
    Transition,
    FollowUps,
    Detail,
    RequestMissing,
    RequestAdded,
    RequestChanged,
    /// The same requests, one before the other.
    RequestOrder,
    /// What it published.
    Message,
    /// What it wanted signed.
    Signature,
    /// What it kept for the next attempt.
    Checkpoint,
}

impl DifferenceKind {
    pub const ALL: [Self; 11] = [
        Self::Verdict,
        Self::Transition,
        Self::FollowUps,
        Self::Detail,
        Self::RequestMissing,
        Self::RequestAdded,
        Self::RequestChanged,
        Self::RequestOrder,
        Self::Message,
        Self::Signature,
        Self::Checkpoint,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Transition => "transition",
            Self::FollowUps => "follow-ups",
            Self::Detail => "detail",
            Self::RequestMissing => "request missing",
            Self::RequestAdded => "request added",
            Self::RequestChanged => "request changed",
            Self::RequestOrder => "request order",
            Self::Message => "message",
            Self::Signature => "signature",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// Why an attempt of the share was not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// The host had its fill of copies.
    Busy,
    /// Its recording would have become too large.
    TooLarge,
    /// The attempt did not end by itself, or not with all answers, or its recording holds less than
    /// the shadow asked for.
    CutOff,
    /// The host stopped.
    Stopped,
}

impl SkipReason {
    pub const ALL: [Self; 4] = [Self::Busy, Self::TooLarge, Self::CutOff, Self::Stopped];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::TooLarge => "too large",
            Self::CutOff => "cut off",
            Self::Stopped => "stopped",
        }
    }
}

/// One difference, in words, without bodies and secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowDifference {
    pub kind: DifferenceKind,
    pub text: String,
}

/// An event whose copy differed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowExample {
    pub event: EventId,
    pub differences: Vec<ShadowDifference>,
}

/// What was counted of a shadow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShadowTally {
    pub same: u64,
    pub different: u64,
    pub skipped: BTreeMap<SkipReason, u64>,
    /// Copies by each of their differences; one copy may have several.
    pub differences: BTreeMap<DifferenceKind, u64>,
    /// The first ones, and of each kind some.
    pub examples: Vec<ShadowExample>,
}

impl ShadowTally {
    pub const EXAMPLES_MAX: usize = 10;
    /// A kind of which there are so many examples needs no more.
    const EXAMPLES_OF_A_KIND: usize = 3;
    /// Differences that an example tells of.
    const TOLD_MAX: usize = 8;

    /// How many copies were compared.
    #[must_use]
    pub const fn copies(&self) -> u64 {
        self.same.saturating_add(self.different)
    }

    /// How many attempts of the share were not compared.
    #[must_use]
    pub fn skips(&self) -> u64 {
        self.skipped.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// One copy was compared: these are all its differences.
    pub fn count(&mut self, event: EventId, mut differences: Vec<ShadowDifference>) {
        if differences.is_empty() {
            self.same += 1;
            return;
        }
        self.different += 1;
        let mut kinds: Vec<_> = differences.iter().map(|it| it.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            *self.differences.entry(kind).or_default() += 1;
        }
        differences.truncate(Self::TOLD_MAX);
        self.keep(ShadowExample { event, differences });
    }

    pub fn skip(&mut self, reason: SkipReason) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    /// Adds another host's.
    pub fn add(&mut self, other: &Self) {
        self.same = self.same.saturating_add(other.same);
        self.different = self.different.saturating_add(other.different);
        for (reason, count) in &other.skipped {
            *self.skipped.entry(*reason).or_default() += count;
        }
        for (kind, count) in &other.differences {
            *self.differences.entry(*kind).or_default() += count;
        }
        other.examples.iter().for_each(|example| self.keep(example.clone()));
    }

    /// Keeps an example if it shows something of which there are few.
    fn keep(&mut self, example: ShadowExample) {
        let shown = |kind| {
            let shows = |it: &&ShadowExample| it.differences.iter().any(|it| it.kind == kind);
            self.examples.iter().filter(shows).count()
        };
        let mut kinds = example.differences.iter().map(|it| it.kind);
        let tells = kinds.any(|kind| shown(kind) < Self::EXAMPLES_OF_A_KIND);
        if tells && self.examples.len() < Self::EXAMPLES_MAX {
            self.examples.push(example);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(kind: DifferenceKind) -> ShadowDifference {
        ShadowDifference { kind, text: kind.as_str().to_owned() }
    }

    #[test]
    fn a_copy_counts_once_for_each_kind_of_its_differences() {
        let mut tally = ShadowTally::default();
        let event = EventId::generate();
        tally.count(event, Vec::new());
        let (changed, verdict) = (DifferenceKind::RequestChanged, DifferenceKind::Verdict);
        tally.count(event, vec![difference(changed), difference(changed), difference(verdict)]);
        tally.skip(SkipReason::Busy);
        tally.skip(SkipReason::Busy);
        assert_eq!((tally.same, tally.different, tally.copies(), tally.skips()), (1, 1, 2, 2));
        assert_eq!(tally.differences, BTreeMap::from([(verdict, 1), (changed, 1)]));
        assert_eq!(tally.examples.len(), 1);
        assert_eq!(tally.examples[0].differences.len(), 3);
    }

    #[test]
    fn what_is_rare_finds_a_place_among_the_examples_and_there_is_an_end_to_them() {
        let mut tally = ShadowTally::default();
        for _ in 0..50 {
            tally.count(EventId::generate(), vec![difference(DifferenceKind::Detail)]);
        }
        assert_eq!(tally.examples.len(), ShadowTally::EXAMPLES_OF_A_KIND);
        let rare = EventId::generate();
        tally.count(rare, vec![difference(DifferenceKind::Verdict)]);
        assert_eq!(tally.examples.last().map(|it| it.event), Some(rare));
        for kind in DifferenceKind::ALL {
            for _ in 0..5 {
                tally.count(EventId::generate(), vec![difference(kind); 20]);
            }
        }
        assert_eq!(tally.examples.len(), ShadowTally::EXAMPLES_MAX);
        assert!(tally.examples.iter().all(|it| it.differences.len() <= ShadowTally::TOLD_MAX));
    }

    #[test]
    fn hosts_are_added_up() {
        let mut one = ShadowTally::default();
        one.count(EventId::generate(), Vec::new());
        one.count(EventId::generate(), vec![difference(DifferenceKind::Detail)]);
        one.skip(SkipReason::TooLarge);
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!((sum.same, sum.different, sum.skips()), (2, 2, 2));
        assert_eq!(sum.differences[&DifferenceKind::Detail], 2);
        assert_eq!(sum.examples.len(), 2);
    }
}
