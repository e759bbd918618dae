//! Which device a model is computed on: the operator's word, what the machine has, what fits, and whether it computes
//! what it should.

use std::path::Path;
use std::sync::Arc;

use lockgate_kernels::cuda::cards::Cards;
use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::pool::ThreadPool;
use tracing::{info, warn};

use super::Device;
use super::options::ModelOptions;
use super::trial::try_card;
use crate::gguf::Gguf;
use crate::model::{CardChoice, Config, LoadError, LoadOptions, MemoryPlan, Model};

/// A device that was asked for and cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("device {device}: {problem}; give device = \"auto\" or \"cpu\" to compute on the processor")]
pub struct DeviceError {
    /// What was asked for.
    pub device: Device,
    /// Why there is none.
    pub problem: DriverError,
}

/// Where a model is going to be computed.
#[derive(Debug)]
struct Placed {
    card: Option<CardChoice>,
    config: Config,
    plan: MemoryPlan,
}

impl Placed {
    fn try_card(&self, gguf: &Gguf, pool: &Arc<ThreadPool>) -> Result<(), DriverError> {
        self.card.as_ref().map_or(Ok(()), |card| try_card(gguf, &self.config, self.plan.kv, card, pool))
    }
}

/// Why there is no place for a model.
#[derive(Debug)]
pub(super) enum Unplaced {
    Device(DeviceError),
    Model(LoadError),
}

/// Finds a place for the model. Where the operator left the choice open, whatever is against a card is told and the
/// processor takes it. Nothing is the processor.
pub(super) fn place(
    gguf: &Gguf,
    options: &ModelOptions,
    load: &LoadOptions,
    cards: &dyn Cards,
    pool: &Arc<ThreadPool>,
) -> Result<Option<CardChoice>, Unplaced> {
    let model = options.id.as_str();
    let here = || {
        let inspected = Model::inspect(gguf, load).map_err(Unplaced::Model);
        inspected.map(|(config, plan)| Placed { card: None, config, plan })
    };
    let on = |card: CardChoice| {
        let (config, plan) = Model::inspect_on(gguf, load, Some(&card))?;
        Ok(Placed { card: Some(card), config, plan })
    };
    let placed = match options.device {
        Device::Cpu => here()?,
        Device::Cuda(number) => {
            let error = |problem| Unplaced::Device(DeviceError { device: options.device, problem });
            let card = open(number as usize, options, cards).map_err(error)?;
            let placed = on(card).map_err(Unplaced::Model)?;
            placed.try_card(gguf, pool).map_err(error)?;
            placed
        }
        Device::Auto => match first(options, cards) {
            Err(problem) => {
                info!(model, %problem, "computes on the processor");
                here()?
            }
            Ok(card) => match on(card) {
                Ok(placed) => match placed.try_card(gguf, pool) {
                    Ok(()) => placed,
                    Err(problem) => {
                        warn!(model, %problem, "the card is not to be trusted; computes on the processor");
                        here()?
                    }
                },
                Err(LoadError { problem, .. }) => {
                    warn!(model, %problem, "no part of the model goes to the card; computes on the processor");
                    here()?
                }
            },
        },
    };
    tell(model, &placed);
    Ok(placed.card)
}

/// The first card that the kernels run on.
fn first(options: &ModelOptions, cards: &dyn Cards) -> Result<CardChoice, DriverError> {
    let mut problem = DriverError::Unavailable("the driver shows no card".to_owned());
    for (number, info) in cards.list()?.iter().enumerate() {
        match info.check().and_then(|()| open(number, options, cards)) {
            Ok(card) => return Ok(card),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

fn open(number: usize, options: &ModelOptions, cards: &dyn Cards) -> Result<CardChoice, DriverError> {
    let kernels: Option<&Path> = options.kernels.as_deref();
    cards.open(number, kernels).map(|card| CardChoice::of(&card, options.gpu_layers))
}

/// Says what the model will take before it is loaded.
fn tell(model: &str, placed: &Placed) {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let Placed { plan, config, .. } = placed;
    if let Some(card) = &plan.card {
        info!(
            model,
            layers = %format!("{} of {}", card.layers, config.layers),
            weights_mib = mib(card.weights_bytes),
            cache_mib = mib(card.cache_bytes),
            working_mib = mib(card.working_bytes),
            "memory on the card"
        );
    }
    info!(
        model,
        weights_mib = mib(plan.weights_bytes),
        cache_mib = mib(plan.cache_bytes),
        working_mib = mib(plan.working_bytes),
        "memory of this machine, at most"
    );
}
