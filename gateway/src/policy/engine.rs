//! The one wasmtime engine and its settings.
//!
//! Never compiles or calls anything. The settings are those of DESIGN §6, each
//! measured; the numbers of the pooling allocator are address space and slots,
//! not memory in use. Used by `host`.

use std::num::NonZeroUsize;

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::HostError;

/// Instances over all bindings (DESIGN §6); past it idle ones of others go.
pub(super) const INSTANCES_MAX: usize = 1024;

/// Largest memory of an instance, whatever its plugin's limits say: what one
/// slot of the pool holds.
pub(super) const MEMORY_BYTES_MAX: usize = 128 << 20;

/// Deep recursion of a guest traps here.
const STACK_BYTES: usize = 512 << 10;

/// Elements of one table; StarlingMonkey needs 7,689.
pub(super) const TABLE_ELEMENTS_MAX: usize = 20_000;

fn config() -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(false)
        .memory_init_cow(true)
        .table_lazy_init(true)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(1 << 20)
        .wasm_tail_call(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        // The compiler runs on one nice'd thread, so that it delays no exchange.
        .parallel_compilation(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(16));
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let instances = u32::try_from(INSTANCES_MAX).unwrap_or(u32::MAX);
    pool.total_component_instances(instances)
        .total_memories(instances)
        .total_tables(instances * 2)
        .total_core_instances(instances * 8)
        .total_stacks(instances)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_tables_per_module(2)
        .max_memories_per_module(1)
        .max_core_instances_per_component(64)
        .max_memories_per_component(4)
        .max_tables_per_component(8)
        .max_component_instance_size(1 << 20)
        .max_core_instance_size(1 << 20)
        // More is a memset of that much on every drop: 1 MiB left +206 MB.
        .linear_memory_keep_resident(64 << 10)
        .table_keep_resident(64 << 10)
        .decommit_batch_size(16)
        .max_unused_warm_slots(128);
    pool
}

/// The engine; with the pooling allocator where the machine gives its 4 TiB of
/// address space, else on demand, which costs more per fresh instance only.
pub(super) fn engine() -> Result<Engine, HostError> {
    let mut pooling = config();
    pooling.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    match Engine::new(&pooling) {
        Ok(engine) => Ok(engine),
        Err(refused) => {
            tracing::warn!(
                error = format!("{refused:#}"),
                "no address space for the plugin pool; instances are made on demand"
            );
            on_demand()
        }
    }
}

/// The engine without the pooling allocator.
pub(super) fn on_demand() -> Result<Engine, HostError> {
    Engine::new(&config()).map_err(|error| HostError::Engine(format!("{error:#}")))
}
