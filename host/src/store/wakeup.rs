//! Filled by the store.
