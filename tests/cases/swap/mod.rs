//! Plugins that are replaced, broken and taken away while the host runs.

mod bad_candidates;
mod held;
mod retired;
mod scene;
mod signed;
mod under_load;
