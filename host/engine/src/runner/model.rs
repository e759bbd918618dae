//! The real [`Forward`]: a loaded model with its cache and threads.

use std::collections::HashMap;
use std::sync::Arc;

use lockgate_kernels::cuda::driver::DriverError;

use super::Loss;
use super::forward::{Fault, Forward, Input, Part, Pass};
use crate::adapter::Adapter;
use crate::kv::{Cache, ForkError, Sequence};
use crate::model::{self, Compute, ForwardError, Model, Wanted};

/// Loads the same model anew, where a card's loss cannot reach it, with a cache of as many blocks.
pub(crate) type Spare = Box<dyn FnOnce() -> Result<(Model, Cache), String> + Send>;

/// What is left where the card of `model` is lost.
pub(crate) struct Rescue {
    pub(crate) model: String,
    /// Where the operator allows it, the processor.
    pub(crate) spare: Option<Spare>,
    /// Told where there is no spare.
    pub(crate) loss: Loss,
}

/// A model that computes for the runner. When its card fails, the requests that ran fail with it; the next one finds the
/// spare, where there is one.
pub(crate) struct ModelForward {
    model: Model,
    cache: Cache,
    compute: Compute,
    sequences: HashMap<Part, Sequence>,
    rescue: Rescue,
    /// Why the card is of no use any more.
    broken: Option<DriverError>,
}

impl ModelForward {
    /// `cache` must be of `model`.
    pub(crate) fn new(model: Model, cache: Cache, compute: Compute, rescue: Rescue) -> Self {
        Self { model, cache, compute, sequences: HashMap::new(), rescue, broken: None }
    }

    /// Takes the spare where the card is lost. What sequences were left of it have gone with it.
    fn recover(&mut self) -> Result<(), Fault> {
        let Some(error) = &self.broken else { return Ok(()) };
        let Some(spare) = self.rescue.spare.take() else {
            return Err(Fault(format!("the card is lost ({error}); restart, or use device = \"auto\"")));
        };
        tracing::warn!(%error, "the card is lost; the processor takes the model over");
        let (model, cache) = spare().map_err(Fault)?;
        self.sequences.clear();
        (self.model, self.cache, self.broken) = (model, cache, None);
        Ok(())
    }
}

impl Rescue {
    /// Notes that the card failed.
    fn note(&self, broken: &mut Option<DriverError>, error: DriverError) -> Fault {
        let fault = Fault(format!("the card failed: {error}"));
        if self.spare.is_none() {
            self.loss.tell(format!(
                "model `{}`: the card is lost ({error}) and its `device` allows no other; \
                 device = \"auto\" would go on with the processor",
                self.model
            ));
        }
        *broken = Some(error);
        fault
    }
}

impl Forward for ModelForward {
    fn open(&mut self, part: Part, positions: usize, adapter: Option<Arc<Adapter>>) -> Result<(), Fault> {
        self.recover()?;
        let mut sequence = self.cache.sequence_with(adapter);
        sequence.reserve(positions).map_err(|error| Fault(error.to_string()))?;
        self.sequences.insert(part, sequence);
        Ok(())
    }

    fn fork(&mut self, from: Part, to: Part, positions: usize) -> Result<(), Fault> {
        let parent = self.sequences.get_mut(&from).ok_or_else(lost)?;
        let mut child = match self.cache.fork(parent) {
            Ok(child) => child,
            Err(ForkError::Device(error)) => return Err(self.rescue.note(&mut self.broken, error)),
            Err(error) => return Err(Fault(error.to_string())),
        };
        child.reserve(positions).map_err(|error| Fault(error.to_string()))?;
        self.sequences.insert(to, child);
        Ok(())
    }

    fn rewind(&mut self, part: Part, tokens: usize, positions: usize) -> Result<(), Fault> {
        let sequence = self.sequences.get_mut(&part).ok_or_else(lost)?;
        sequence.truncate(tokens);
        sequence.reserve(positions).map_err(|error| Fault(error.to_string()))
    }

    fn close(&mut self, part: Part) {
        self.sequences.remove(&part);
    }

    fn pass(&mut self, inputs: &[Input<'_>], stop: &dyn Fn() -> bool) -> Result<Pass<'_>, Fault> {
        let Self { model, cache, compute, sequences, rescue, broken } = self;
        // The pass borrows several sequences at once, so they leave the map for its time. After a panic they are
        // gone with their blocks, as the runner expects.
        let mut taken = Vec::with_capacity(inputs.len());
        for input in inputs {
            let sequence = sequences.remove(&input.part);
            taken.push(sequence.filter(|sequence| sequence.tokens() == input.start).ok_or_else(lost)?);
        }
        let mut batch: Vec<model::Input<'_>> = taken
            .iter_mut()
            .zip(inputs)
            .map(|(sequence, input)| model::Input { sequence, tokens: input.tokens, wanted: input.wanted })
            .collect();
        let result = compute.forward(model, cache, &mut batch, stop);
        drop(batch);
        sequences.extend(inputs.iter().map(|input| input.part).zip(taken));
        match result {
            Ok(found) => {
                let (mut logits, mut states) = (found.rows(), found.states());
                let mut rows = Vec::with_capacity(logits.len() + states.len());
                for input in inputs {
                    let count = input.wanted.rows(input.tokens.len());
                    match input.wanted {
                        Wanted::States => rows.extend(states.by_ref().take(count)),
                        _ => rows.extend(logits.by_ref().take(count)),
                    }
                }
                Ok(Pass::Complete { rows, choices: found.choices() })
            }
            Err(ForwardError::Stopped) => Ok(Pass::Stopped),
            Err(ForwardError::Device(error)) => Err(rescue.note(broken, error)),
            Err(error) => Err(Fault(error.to_string())),
        }
    }

    fn passes(&self) -> u64 {
        self.compute.passes()
    }
}

fn lost() -> Fault {
    Fault("a sequence is not where it was left".to_owned())
}
