//! Memory for a key: a page of its own, not swapped out where the system allows that, and wiped
//! when it is given back.

use k256::ecdsa::SigningKey;
use region::LockGuard;

/// The largest page of the systems that we run on.
const PAGE_BYTES: usize = 16 * 1024;

/// It has its pages to itself, so that giving one key back unlocks no other.
#[repr(align(16384))]
struct Page(SigningKey);

const _: () = assert!(align_of::<Page>() == PAGE_BYTES);

/// A private key. `SigningKey` wipes itself when it is dropped.
pub(super) struct LockedKey {
    // Before the page: it must be unlocked while it is still ours.
    _lock: Option<LockGuard>,
    page: Box<Page>,
}

impl LockedKey {
    pub(super) fn new(key: SigningKey) -> Self {
        let page = Box::new(Page(key));
        let lock = region::lock(std::ptr::from_ref::<Page>(&page), size_of::<Page>());
        if let Err(error) = &lock {
            tracing::warn!(
                %error,
                "the system does not lock memory: a key may be written to its swap space; allow \
                 the process to lock some (ulimit -l)"
            );
        }
        Self { _lock: lock.ok(), page }
    }

    pub(super) fn key(&self) -> &SigningKey {
        &self.page.0
    }

    #[cfg(test)]
    pub(super) fn is_locked(&self) -> bool {
        self._lock.is_some()
    }
}
