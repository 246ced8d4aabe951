//! Hosts that die, stop and lose their way, at moments that a seed decides, while callers go on.
//!
//! `TIDEGATE_SEED` repeats what was drawn, `TIDEGATE_CRASH_SECONDS` makes it last longer; with
//! `-- --nocapture` the faults are told as they happen.

mod faults;
mod load;
mod many_hosts;
mod one_host;
mod scene;
mod verdict;
