//! What the repository says of itself, held mechanically: the sentences of `host/src/lib.rs`, the
//! sizes of files and functions, the top level, and what no file may mention.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod exceptions;
mod map;
mod names;
mod sizes;
mod source;
