//! One view out of what several nodes said. Pure.
//!
//! What `quorum` nodes say alike is agreed. A node that has nothing to say about a thing is not
//! against it, and never evidence of its absence. Where nodes say different things, the larger
//! group is believed only if it is also more than half of all that are configured: then the others
//! are outvoted. Otherwise nothing is agreed, and whoever is right will be so in the next pass.

/// How many nodes there are, and how many must say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quorum {
    configured: usize,
    needed: usize,
}

/// What came of asking about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vote<T> {
    pub(super) agreed: Option<T>,
    /// The largest group that said the same; 0 where nobody said anything.
    pub(super) largest: usize,
    /// Some nodes said another thing, whether or not they are outvoted.
    pub(super) contradicted: bool,
}

impl Quorum {
    /// `needed` as configured: at least 1 and at most `configured`; more than half where none is.
    pub(super) fn new(configured: usize, needed: Option<usize>) -> Self {
        let needed = needed.unwrap_or(configured / 2 + 1).clamp(1, configured.max(1));
        Self { configured, needed }
    }

    pub(super) const fn needed(self) -> usize {
        self.needed
    }

    /// Counts what was said about one thing: an item a node, none where it has nothing.
    pub(super) fn vote<T: PartialEq>(self, said: impl IntoIterator<Item = Option<T>>) -> Vote<T> {
        let mut groups: Vec<(T, usize)> = Vec::new();
        for value in said.into_iter().flatten() {
            match groups.iter_mut().find(|(known, _)| *known == value) {
                Some((_, count)) => *count += 1,
                None => groups.push((value, 1)),
            }
        }
        let contradicted = groups.len() > 1;
        // Of two equal groups neither is believed, so it does not matter which comes first.
        let largest = groups.into_iter().max_by_key(|(_, count)| *count);
        let Some((value, largest)) = largest else {
            return Vote { agreed: None, largest: 0, contradicted: false };
        };
        let outvotes = !contradicted || largest * 2 > self.configured;
        let agreed = (largest >= self.needed && outvotes).then_some(value);
        Vote { agreed, largest, contradicted }
    }

    /// Whether `more` nodes could still bring about what is not agreed yet.
    pub(super) fn is_open<T>(self, vote: &Vote<T>, more: usize) -> bool {
        vote.agreed.is_none() && more > 0 && vote.largest + more >= self.needed
    }

    /// The highest number that a quorum has reached: each of the `needed` highest said at least
    /// this. One node that is ahead, or says so, raises it by nothing.
    pub(super) fn reached(self, said: impl IntoIterator<Item = u64>) -> Option<u64> {
        let mut said: Vec<u64> = said.into_iter().collect();
        said.sort_unstable_by(|a, b| b.cmp(a));
        said.get(self.needed - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agreed(configured: usize, needed: Option<usize>, said: &[Option<u8>]) -> Option<u8> {
        Quorum::new(configured, needed).vote(said.iter().copied()).agreed
    }

    #[test]
    fn the_quorum_is_more_than_half_unless_it_is_configured() {
        let needed = |configured| Quorum::new(configured, None).needed();
        assert_eq!([1, 2, 3, 4, 5].map(needed), [1, 2, 2, 3, 3]);
        assert_eq!(Quorum::new(3, Some(1)).needed(), 1);
        assert_eq!(Quorum::new(3, Some(9)).needed(), 3);
        assert_eq!(Quorum::new(3, Some(0)).needed(), 1);
    }

    #[test]
    fn a_quorum_that_says_the_same_is_believed_and_less_is_not() {
        assert_eq!(agreed(1, None, &[Some(7)]), Some(7));
        assert_eq!(agreed(2, None, &[Some(7)]), None);
        assert_eq!(agreed(2, None, &[Some(7), None]), None, "having nothing is no vote");
        assert_eq!(agreed(3, None, &[Some(7), None, Some(7)]), Some(7), "nor a vote against");
        assert_eq!(agreed(3, None, &[None, None, None]), None);
        assert_eq!(agreed(3, Some(1), &[None, Some(7)]), Some(7));
    }

    #[test]
    fn contradicting_nodes_are_outvoted_by_more_than_half_only() {
        assert_eq!(agreed(2, None, &[Some(7), Some(8)]), None);
        assert_eq!(agreed(3, None, &[Some(7), Some(8), Some(7)]), Some(7));
        assert_eq!(agreed(3, Some(1), &[Some(7), Some(8)]), None, "a quorum of one is no majority");
        assert_eq!(agreed(4, Some(2), &[Some(7), Some(7), Some(8), Some(8)]), None);
        assert_eq!(agreed(4, Some(2), &[Some(7), Some(7), Some(8)]), None);
        let vote = Quorum::new(3, None).vote([Some(7), Some(8), Some(7)]);
        assert!(vote.contradicted, "and it is told");
    }

    #[test]
    fn what_is_not_agreed_stays_open_while_enough_nodes_are_left() {
        let open = |configured, needed, said: &[Option<u8>]| {
            let quorum = Quorum::new(configured, needed);
            let vote = quorum.vote(said.iter().copied());
            quorum.is_open(&vote, configured - said.len())
        };
        assert!(open(3, None, &[Some(7), None]));
        assert!(open(3, None, &[Some(7), Some(8)]));
        assert!(!open(3, None, &[Some(7), Some(7)]), "agreed");
        assert!(!open(3, None, &[None, None]), "one more is no quorum");
        assert!(open(5, Some(2), &[None, None]));
        assert!(!open(3, None, &[Some(7), None, None]), "nobody is left");
    }

    #[test]
    fn a_height_counts_when_a_quorum_has_reached_it() {
        let reached = |said: &[u64]| Quorum::new(3, None).reached(said.iter().copied());
        assert_eq!(reached(&[10, 12, 11]), Some(11));
        assert_eq!(reached(&[10, u64::MAX]), Some(10), "one node alone raises nothing");
        assert_eq!(reached(&[10, 10, 0]), Some(10), "one that lags holds up nothing");
        assert_eq!(reached(&[10]), None);
    }

    proptest! {
        /// Whatever fewer than a quorum of nodes say, and however the others lag, nothing comes
        /// out that no honest node said. With the default quorum and one honest answer more than
        /// half, it does come out.
        #[test]
        fn liars_below_the_quorum_delay_and_never_decide(
            configured in 1_usize..8,
            liars in 0_usize..8,
            honest in 0_usize..8,
            lies in proptest::collection::vec(proptest::option::of(1_u8..4), 8),
        ) {
            let quorum = Quorum::new(configured, None);
            let liars = liars.min(quorum.needed() - 1);
            let honest = honest.min(configured - liars);
            let said = lies[..liars].iter().copied()
                .chain(std::iter::repeat_n(Some(0), honest))
                .chain(std::iter::repeat_n(None, configured - liars - honest));
            let agreed = quorum.vote(said).agreed;
            prop_assert!(agreed.is_none_or(|value| value == 0));
            prop_assert_eq!(agreed.is_some(), honest >= quorum.needed());
        }
    }
}
