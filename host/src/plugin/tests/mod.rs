//! The plugin host through its public door: real components, and services that remember.

mod audit;
mod bounds;
mod calls;
mod components;
mod contract;
mod egress;
mod egress_dns;
mod egress_hostile;
mod egress_tls;
mod fakes;
mod functions;
mod hostile;
mod judgement;
mod limits;
mod loading;
mod outcomes;
mod precompiled;
mod registry;
mod routes;
mod secrecy;
mod server;
mod shadow;
mod targets;
pub(crate) mod wat;
#[cfg(unix)]
mod watching;
