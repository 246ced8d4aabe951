//! One suite for both stores: what the traits promise, tested against each.
//!
//! Postgres runs in a throwaway cluster of this process's own. Time is moved by making the whole
//! world older, so that nothing sleeps.

mod accept;
mod accept_events;
mod approvals;
mod audit;
mod away;
mod backlog;
mod breakers;
mod chain;
mod cluster;
mod contract;
mod control;
mod dispatch;
mod ends;
mod files;
mod interleavings;
mod limits;
mod maintain;
mod migrate;
mod model;
mod moving;
mod opening;
mod operate;
mod policies;
mod releases;
mod repair;
mod retain;
mod schema;
mod speed;
mod unrouted;
mod world;

/// Makes each test twice, once a store.
macro_rules! on_both_stores {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let world = $crate::store::conformance::world::World::sqlite().await;
                super::$name(&world).await;
                world.close().await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let world = $crate::store::conformance::world::World::postgres().await;
                let Some(world) = world else { return };
                super::$name(&world).await;
                world.close().await;
            })+
        }
    };
}
use on_both_stores;
