//! A plugin's places: how many calls of it may run at the same time (`limits.concurrency`).
//!
//! They belong to the plugin and not to one release: while a new release starts and the old one
//! ends what it has in hand, their calls together stay within the limit, for the target is the same.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of one plugin, which its releases share one after another.
#[derive(Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    /// What the live manifest says.
    size: Mutex<usize>,
    /// Places that are in use and are more than the manifest allows now. They end as they come back.
    owed: AtomicUsize,
}

/// The right to one call. It goes back when this is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    /// None only while it is dropped.
    permit: Option<OwnedSemaphorePermit>,
}

impl Slots {
    #[must_use]
    pub fn new(size: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(size)),
            size: Mutex::new(size),
            owed: AtomicUsize::new(0),
        })
    }

    /// Places that are free now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.free.available_permits()
    }

    /// Waits for a place. Cancel-safe.
    pub async fn acquire(self: &Arc<Self>) -> Option<Slot> {
        // Never closed, so it always answers.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        Some(self.slot(permit))
    }

    /// Waits for so many places at once. Cancel-safe.
    pub async fn acquire_many(self: &Arc<Self>, count: u32) -> Vec<Slot> {
        let Ok(mut permits) = Arc::clone(&self.free).acquire_many_owned(count).await else {
            return Vec::new();
        };
        let mut slots = Vec::with_capacity(count as usize);
        while let Some(permit) = permits.split(1) {
            slots.push(self.slot(permit));
        }
        slots
    }

    /// A place, if one is free.
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>) -> Option<Slot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.slot(permit))
    }

    fn slot(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Slot {
        Slot { slots: Arc::clone(self), permit: Some(permit) }
    }

    /// What a new manifest says. Fewer: what is in use beyond it goes on to its end.
    pub(super) fn resize(&self, size: usize) {
        let mut current = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = size.checked_sub(*current) {
            let forgiven = self.pay(more);
            self.free.add_permits(more - forgiven);
        } else {
            let fewer = *current - size;
            let gone = self.free.forget_permits(fewer);
            self.owed.fetch_add(fewer - gone, Ordering::AcqRel);
        }
        *current = size;
    }

    /// Pays up to so much of what is owed; answers how much.
    fn pay(&self, most: usize) -> usize {
        let less = |owed: usize| (owed > 0).then(|| owed - owed.min(most));
        match self.owed.fetch_update(Ordering::AcqRel, Ordering::Acquire, less) {
            Ok(owed) => owed.min(most),
            Err(_) => 0,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.slots.pay(1) == 1
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_places_are_there_at_once() {
        let slots = Slots::new(1);
        let _held = slots.try_acquire().unwrap();
        assert!(slots.try_acquire().is_none());
        slots.resize(3);
        assert_eq!(slots.available(), 2);
    }

    #[test]
    fn fewer_places_hold_as_soon_as_those_in_use_come_back() {
        let slots = Slots::new(4);
        let mut held: Vec<_> = (0..3).map(|_| slots.try_acquire().unwrap()).collect();
        slots.resize(1);
        assert_eq!(slots.available(), 0);
        held.pop();
        held.pop();
        assert_eq!(slots.available(), 0, "two were too many");
        held.pop();
        assert_eq!(slots.available(), 1);
    }

    #[test]
    fn what_is_owed_is_forgiven_when_the_limit_rises_again() {
        let slots = Slots::new(4);
        let held: Vec<_> = (0..4).map(|_| slots.try_acquire().unwrap()).collect();
        slots.resize(1);
        slots.resize(3);
        drop(held);
        assert_eq!(slots.available(), 3);
    }
}
