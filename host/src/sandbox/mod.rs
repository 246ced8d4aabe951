//! Stand-ins for targets.
