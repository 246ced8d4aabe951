//! Releases in the database: deployed to the fleet, tried, copied to, held, rolled back, disabled.

mod canary;
mod operating;
mod scene;
mod shadow;
mod three_hosts;
