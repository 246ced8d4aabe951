//! The faults that nobody tests: a store that is away, full, locked or damaged, a clock that jumps,
//! a pooler in between. Each is met by a host at work; it says what is the matter, comes back by
//! itself, and nothing is done half or twice.

mod away;
mod clock;
mod connections;
mod database;
mod disk;
mod file;
mod limits;
mod pooler;
mod scene;
mod volume;
