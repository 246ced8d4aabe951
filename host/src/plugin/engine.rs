//! The one engine of the process. Its configuration is made in one place, so that an artifact that
//! this host compiled always fits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::{Config, Enabled, Engine, ModuleVersionStrategy, PoolingAllocationConfig};

use super::egress::Outbound;
use super::limits::Limits;
use super::turns::Turns;

/// How long a guest may hold a thread before it yields to others. A tick of 10 ms would make
/// neighbours wait for up to 33 ms.
const TICK: Duration = Duration::from_millis(1);

/// Instances that can live at the same time, in all plugins together.
pub(super) const INSTANCES_MAX: u32 = 1_000;

/// What one place of the pool holds: the usual component has one memory and a table or three.
const MEMORIES_PER_PLACE: u32 = 2;
const TABLES_PER_PLACE: u32 = 4;

/// The engine could not be made: the machine lacks something that it needs.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine cannot start: {0}")]
pub struct EngineError(String);

/// An engine and the thread that makes its time pass. Stops the thread when the last owner goes.
#[derive(Clone)]
pub struct SandboxEngine {
    engine: Engine,
    places: Arc<Semaphore>,
    outbound: Arc<Outbound>,
    turns: Turns,
    _ticker: Arc<Ticker>,
}

impl SandboxEngine {
    /// # Errors
    /// See [`EngineError`].
    pub fn start() -> Result<Self, EngineError> {
        let failed = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let engine = match Engine::new(&configuration(true).map_err(failed)?) {
            Ok(engine) => engine,
            // Where the address space is limited (`ulimit -v`, small containers) the pool cannot
            // be reserved; instances are then allocated one by one, which is slower.
            Err(error) => {
                tracing::warn!(%error, "no pool of instances; allocating them one by one");
                Engine::new(&configuration(false).map_err(failed)?).map_err(failed)?
            }
        };
        let ticker = Ticker::start(&engine).map_err(|e| EngineError(e.to_string()))?;
        let places = Arc::new(Semaphore::new(INSTANCES_MAX as usize));
        let outbound = Arc::new(Outbound::new().map_err(EngineError)?);
        let turns = Turns::new();
        Ok(Self { engine, places, outbound, turns, _ticker: Arc::new(ticker) })
    }

    /// The same engine with another way out, for the releases that are loaded with it from now on.
    #[must_use]
    pub fn with_outbound(&self, outbound: Arc<Outbound>) -> Self {
        Self { outbound, ..self.clone() }
    }

    #[must_use]
    pub fn outbound(&self) -> &Arc<Outbound> {
        &self.outbound
    }

    /// Room in the pool for one instance of this weight; waits while it is full. Dropping it gives
    /// the room back.
    pub(super) async fn place(&self, weight: u32) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed; without a place the pool itself would refuse.
        self.places.acquire_many(weight).await.ok()
    }

    /// The turns of calls that compute for long.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Whether no call holds a place.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.places.available_permits() == INSTANCES_MAX as usize
    }

    /// How many places an instance takes that needs so many memories and tables. What takes more
    /// than its share of them must take more places too, or neighbours would find the pool full.
    pub(super) fn weight(memories: u32, tables: u32) -> u32 {
        memories.div_ceil(MEMORIES_PER_PLACE).max(tables.div_ceil(TABLES_PER_PLACE)).max(1)
    }

    pub(super) fn get(&self) -> &Engine {
        &self.engine
    }
}

fn configuration(pooled: bool) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        // An artifact fits only what compiled it. By itself wasmtime compares its major version, and
        // code of 48.0.0 would load in 48.0.8 even if a patch fixed what it miscompiled.
        .module_version(ModuleVersionStrategy::Custom(compiler_version()))?
        .epoch_interruption(true)
        .async_stack_zeroing(true)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(16))
        .wasm_component_model(true)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        // The reservation is one slot of the pool: what the largest manifest may ask for.
        .memory_reservation(Limits::MEMORY_MAX as u64)
        .memory_guard_size(64 << 10);
    if pooled {
        config.allocation_strategy(wasmtime::InstanceAllocationStrategy::Pooling(pool()));
    }
    Ok(config)
}

/// This host's version and wasmtime's, exactly: that of the lock file which this build was made from.
fn compiler_version() -> String {
    let lock = include_str!("../../../Cargo.lock");
    let behind = lock.split("name = \"wasmtime\"\nversion = \"").nth(1);
    let wasmtime = behind.and_then(|rest| rest.split('"').next()).unwrap_or("unknown");
    format!("tidegate {} wasmtime {wasmtime}", env!("CARGO_PKG_VERSION"))
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_stacks(INSTANCES_MAX)
        // Only a count, of which nothing is reserved: every component may have its fill.
        .total_core_instances(INSTANCES_MAX * Limits::INSTANCES_MAX)
        .total_memories(INSTANCES_MAX * MEMORIES_PER_PLACE)
        .total_tables(INSTANCES_MAX * TABLES_PER_PLACE)
        .max_core_instances_per_component(Limits::INSTANCES_MAX)
        .max_memories_per_component(Limits::MEMORIES_PER_COMPONENT)
        // A module may have all of them: what it takes of the pool is counted by components.
        .max_memories_per_module(Limits::MEMORIES_PER_COMPONENT)
        .max_tables_per_module(Limits::TABLES_PER_COMPONENT)
        .max_tables_per_component(Limits::TABLES_PER_COMPONENT)
        .table_elements(Limits::TABLE_ELEMENTS_MAX)
        .max_memory_size(Limits::MEMORY_MAX)
        // Below a guest's working set every call gives pages back to the system, and the lock on
        // the address space then stops the second core: 26,000 calls a second instead of 65,000.
        .linear_memory_keep_resident(2 << 20)
        // Asks the system which pages were written and clears only those. Without it the whole
        // memory of each guest is cleared after each call, which is half the cost of a short one.
        .pagemap_scan(Enabled::Auto)
        .table_keep_resident(64 << 10)
        // Given back one by one. In batches two threads interrupt each other less (200,000 short calls
        // a second instead of 140,000), but the thread that gives back sixty-four memories of guests
        // that allocated all they may stands still for 100 ms.
        .async_stack_keep_resident(64 << 10);
    pool
}

/// An OS thread and not a task: guests that spin on every worker must not stop it. It needs no
/// higher priority: it sleeps nearly always, so the system's scheduler lets it run before those that
/// compute all the time, however many they are.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: &Engine) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        // Weak, so that the ticker never keeps an engine's memory alive.
        let engine = engine.weak();
        let thread = std::thread::Builder::new().name("epoch-ticker".into()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the ticker has nothing to tell to whoever drops the engine.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_exact_version_is_known() {
        let version = compiler_version();
        let wasmtime = version.rsplit(' ').next().unwrap();
        assert_eq!(wasmtime.split('.').count(), 3, "{version}");
        assert!(wasmtime.starts_with("48."), "{version}");
    }

    #[test]
    fn what_takes_more_than_its_share_of_the_pool_takes_more_places() {
        for (memories, tables, weight) in
            [(0, 0, 1), (1, 3, 1), (2, 4, 1), (3, 4, 2), (1, 5, 2), (8, 16, 4)]
        {
            assert_eq!(SandboxEngine::weight(memories, tables), weight, "{memories} {tables}");
        }
    }
}
