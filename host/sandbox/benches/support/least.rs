//! The least that a host of this contract can do: what [`lockgate_sandbox`] is measured beside in the same run.
//!
//! A fresh store and instance a call on a pooling allocator, with the settings that a decision is fastest with
//! (pages kept resident, images copied on write, memories reserved whole so that no access checks its bounds), an
//! epoch deadline and a limiter. It answers the functions that `tests/reader` imports, straight from fields. It has no
//! budget of host calls, no bounds on what passes through them, no grants, labels, records or metrics, and no limit
//! on how many calls are in hand.

use std::path::Path;

use lockgate_api::{Locality, RouteInput};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, InstancePre, Lift, Linker, LinkerInstance, Lower,
    Resource, ResourceType, types::ComponentItem,
};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreLimits,
    StoreLimitsBuilder, format_err,
};

/// Bytes of a guest's memory, and of a table, that stay resident between calls.
const RESIDENT_BYTES: usize = 128 << 10;
const MEMORY_BYTES_MAX: usize = 64 << 20;
const ROUTE: &str = "lockgate:plugin/route@0.1.0";

type Answer = (Result<Resource<Plan>, Resource<Refusal>>,);

struct Request;
struct Plan;
struct Refusal;
/// Any resource of WASI: none is ever made.
struct Nothing;

#[derive(Clone, ComponentType, Lift, Lower)]
#[component(variant)]
enum Place {
    #[component(name = "local")]
    Local,
    #[component(name = "lan")]
    Lan,
    #[component(name = "cloud")]
    Cloud,
    #[component(name = "other")]
    Other(String),
}

/// One call's facts and its plan.
struct World {
    input: RouteInput,
    attempts: Vec<String>,
    reason: String,
    limits: StoreLimits,
}

/// A host with one component.
pub(crate) struct Least {
    engine: Engine,
    component: InstancePre<World>,
    route: ComponentExportIndex,
}

impl Least {
    /// Compiles a router that imports no more than `tests/reader` does.
    pub(crate) fn load(path: &Path) -> wasmtime::Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(4)
            .total_core_instances(64)
            .total_memories(16)
            .total_tables(64)
            .total_stacks(4)
            .max_memory_size(MEMORY_BYTES_MAX)
            .linear_memory_keep_resident(RESIDENT_BYTES)
            .table_keep_resident(RESIDENT_BYTES);
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .concurrency_support(false)
            .epoch_interruption(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let component = Component::from_file(&engine, path)?;
        let mut linker = Linker::new(&engine);
        contract(&mut linker)?;
        wasi(&mut linker, &component)?;
        let found = component
            .get_export_index(None, ROUTE)
            .and_then(|interface| component.get_export_index(Some(&interface), "route"));
        let route = found.ok_or_else(|| format_err!("it exports no {ROUTE}"))?;
        Ok(Self { component: linker.instantiate_pre(&component)?, engine, route })
    }

    /// One decision: the targets in order, and the reason.
    pub(crate) async fn route(&self, input: RouteInput) -> wasmtime::Result<(Vec<String>, String)> {
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES_MAX).build();
        let world = World { input, attempts: Vec::new(), reason: String::new(), limits };
        let mut store = Store::new(&self.engine, world);
        store.limiter(|world| &mut world.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let instance = self.component.instantiate_async(&mut store).await?;
        let route = instance.get_typed_func::<(Resource<Request>,), Answer>(&mut store, &self.route)?;
        let (answer,) = route.call_async(&mut store, (Resource::new_borrow(0),)).await?;
        answer.map_err(|_| format_err!("it refused"))?;
        let world = store.into_data();
        Ok((world.attempts, world.reason))
    }
}

fn contract(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    let mut request = linker.instance("lockgate:plugin/request@0.1.0")?;
    resource::<Request>(&mut request, "request")?;
    request.func_wrap("[method]request.text", |store, (_, limit): (Resource<Request>, u32)| {
        let text = store.data().input.request.messages[0].content.first();
        let Some(lockgate_api::Part::Text(text)) = text else { return Ok((String::new(),)) };
        Ok((text.get(..limit as usize).unwrap_or(text).to_owned(),))
    })?;
    let mut catalog = linker.instance("lockgate:plugin/catalog@0.1.0")?;
    catalog.func_wrap("ids", |store, (): ()| {
        let targets = store.data().input.catalog.iter();
        Ok((targets.map(|facts| facts.target.id.clone()).collect::<Vec<_>>(),))
    })?;
    catalog.func_wrap("localities", |store, (): ()| {
        let targets = store.data().input.catalog.iter();
        let places = targets.map(|facts| match facts.target.locality {
            Locality::Local => Place::Local,
            Locality::Lan => Place::Lan,
            Locality::Cloud => Place::Cloud,
        });
        Ok((places.collect::<Vec<_>>(),))
    })?;
    catalog.func_wrap("permitted", |store, (): ()| {
        Ok((store.data().input.catalog.iter().map(|facts| facts.permitted).collect::<Vec<_>>(),))
    })?;
    let mut plan = linker.instance("lockgate:plugin/plan@0.1.0")?;
    resource::<Plan>(&mut plan, "plan")?;
    resource::<Refusal>(&mut plan, "refusal")?;
    plan.func_wrap("[constructor]plan", |_, (): ()| Ok((Resource::<Plan>::new_own(0),)))?;
    plan.func_wrap("[constructor]refusal", |_, _: (String,)| Ok((Resource::<Refusal>::new_own(0),)))?;
    plan.func_wrap("[method]plan.add-attempts", |mut store, (_, targets): (Resource<Plan>, Vec<String>)| {
        let world = store.data_mut();
        world.attempts.extend(targets);
        Ok((world.attempts.len() as u32,))
    })?;
    plan.func_wrap("[method]plan.set-reason", |mut store, (_, reason): (Resource<Plan>, String)| {
        store.data_mut().reason = reason;
        Ok(())
    })
}

fn resource<T: 'static>(interface: &mut LinkerInstance<'_, World>, name: &str) -> wasmtime::Result<()> {
    interface.resource(name, ResourceType::host::<T>(), |_, _| Ok(()))
}

/// Every function that a component imports beside those ends it: the standard library's, and what the SDK names for
/// other plans than this one's.
fn wasi(linker: &mut Linker<World>, component: &Component) -> wasmtime::Result<()> {
    let engine = component.engine();
    for (interface, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
        let mut links = linker.instance(interface)?;
        for (name, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::Resource(_) if interface.starts_with("wasi:") => {
                    resource::<Nothing>(&mut links, name)?;
                }
                // Those that the contract has are kept.
                ComponentItem::ComponentFunc(_) => {
                    let called = format!("{interface} {name}");
                    let stop = move |_: wasmtime::StoreContextMut<'_, World>, _: _, _: &[_], _: &mut [_]| {
                        Err(format_err!("it called {called}"))
                    };
                    let _ = links.func_new(name, stop);
                }
                _ => {}
            }
        }
    }
    Ok(())
}
