//! Where `messaging` ends.
