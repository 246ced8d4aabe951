//! Releases in the database: deployed to the fleet, tried, held, rolled back, disabled.

mod canary;
mod operating;
mod scene;
mod three_hosts;
