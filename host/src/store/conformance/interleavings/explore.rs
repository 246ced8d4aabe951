//! Visits every state that a system can reach, breadth first, so that what it finds is found by the
//! shortest way. Own code and no crate: it is short, and the crate for it has no "from every state an
//! end can be reached".

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::rc::Rc;

pub(super) trait System: Sized {
    type State: Clone + Eq + Hash + Debug;
    type Action: Copy + Debug;

    fn begin(&self) -> Self::State;

    /// Everything that can happen next. An error names the property that the step breaks.
    fn steps(&self, state: &Self::State) -> Vec<Happens<Self>>;

    /// The property that a state breaks by itself.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;

    /// Whether nothing is left to do.
    fn is_end(&self, state: &Self::State) -> bool;

    /// Whether it happens without anyone's help, sooner or later.
    fn is_progress(&self, action: Self::Action) -> bool;
}

/// One step, and where it leads or what it breaks.
pub(super) type Happens<S> = (<S as System>::Action, Result<<S as System>::State, &'static str>);

pub(super) const NO_END: &str = "from every state an end can be reached";

#[derive(Debug)]
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) steps: usize,
    /// Of the shortest ways, the longest.
    pub(super) depth: usize,
}

#[derive(Debug)]
pub(super) struct Counterexample {
    pub(super) property: &'static str,
    /// What happened, from the begin on.
    pub(super) way: Vec<String>,
}

/// A state's first way: where from, by what, in how many steps.
type Came<A> = Option<(usize, A, usize)>;

/// # Errors
/// The first property that is found broken.
pub(super) fn explore<S: System>(system: &S) -> Result<Explored, Counterexample> {
    let first = Rc::new(system.begin());
    let mut known = HashMap::from([(Rc::clone(&first), 0_usize)]);
    let mut states = vec![first];
    let mut came: Vec<Came<S::Action>> = vec![None];
    // Progress, backwards: from, to.
    let mut progress: Vec<(usize, usize)> = Vec::new();
    let (mut steps, mut depth, mut at) = (0, 0, 0);
    while let Some(state) = states.get(at).cloned() {
        depth = came[at].map_or(0, |(.., depth)| depth);
        if let Some(property) = system.broken(&state) {
            return Err(Counterexample { property, way: way(&came, at, None) });
        }
        for (action, next) in system.steps(&state) {
            let next = next.map_err(|property| Counterexample {
                property,
                way: way(&came, at, Some(action)),
            })?;
            steps += 1;
            let next = Rc::new(next);
            let new = states.len();
            let to = *known.entry(Rc::clone(&next)).or_insert(new);
            if to == new {
                states.push(next);
                came.push(Some((at, action, depth + 1)));
            }
            if system.is_progress(action) {
                progress.push((to, at));
            }
        }
        at += 1;
    }
    match without_end(system, &states, progress) {
        Some(stuck) => Err(Counterexample { property: NO_END, way: way(&came, stuck, None) }),
        None => Ok(Explored { states: states.len(), steps, depth }),
    }
}

/// The first state from which progress alone leads to no end.
fn without_end<S: System>(
    system: &S,
    states: &[Rc<S::State>],
    mut progress: Vec<(usize, usize)>,
) -> Option<usize> {
    progress.sort_unstable();
    let mut leads: Vec<bool> = states.iter().map(|state| system.is_end(state)).collect();
    let mut open: Vec<usize> = (0..states.len()).filter(|n| leads[*n]).collect();
    while let Some(to) = open.pop() {
        let first = progress.partition_point(|(of, _)| *of < to);
        for (_, from) in progress[first..].iter().take_while(|(of, _)| *of == to) {
            if !leads[*from] {
                leads[*from] = true;
                open.push(*from);
            }
        }
    }
    leads.iter().position(|leads| !leads)
}

fn way<A: Copy + Debug>(came: &[Came<A>], to: usize, last: Option<A>) -> Vec<String> {
    let mut way: Vec<_> = last.iter().map(|action| format!("{action:?}")).collect();
    let mut at = to;
    while let Some((from, action, _)) = came[at] {
        way.push(format!("{action:?}"));
        at = from;
    }
    way.reverse();
    way
}
