//! The real [`Forward`]: a loaded model with its cache and threads.

use std::collections::HashMap;
use std::sync::Arc;

use super::forward::{Fault, Forward, Input, Pass};
use crate::adapter::Adapter;
use crate::kv::{Cache, Sequence};
use crate::model::{self, Compute, ForwardError, Model, Wanted};
use crate::scheduler::SequenceId;

/// A model that computes for the runner.
#[derive(Debug)]
pub(crate) struct ModelForward {
    model: Model,
    cache: Cache,
    compute: Compute,
    sequences: HashMap<SequenceId, Sequence>,
}

impl ModelForward {
    /// `cache` must be of `model`.
    pub(crate) fn new(model: Model, cache: Cache, compute: Compute) -> Self {
        Self { model, cache, compute, sequences: HashMap::new() }
    }
}

impl Forward for ModelForward {
    fn open(&mut self, id: SequenceId, positions: usize, adapter: Option<Arc<Adapter>>) -> Result<(), Fault> {
        let mut sequence = self.cache.sequence_with(adapter);
        sequence.reserve(positions).map_err(|error| Fault(error.to_string()))?;
        self.sequences.insert(id, sequence);
        Ok(())
    }

    fn close(&mut self, id: SequenceId) {
        self.sequences.remove(&id);
    }

    fn pass(&mut self, inputs: &[Input<'_>], stop: &dyn Fn() -> bool) -> Result<Pass<'_>, Fault> {
        let Self { model, cache, compute, sequences } = self;
        // The pass borrows several sequences at once, so they leave the map for its time. After a panic they are
        // gone with their blocks, as the runner expects.
        let mut taken = Vec::with_capacity(inputs.len());
        for input in inputs {
            let sequence = sequences.remove(&input.sequence);
            let Some(sequence) = sequence.filter(|sequence| sequence.tokens() == input.start) else {
                return Err(Fault("a sequence is not where it was left".to_owned()));
            };
            taken.push(sequence);
        }
        let mut batch: Vec<model::Input<'_>> = taken
            .iter_mut()
            .zip(inputs)
            .map(|(sequence, input)| {
                let wanted = if input.wants_logits { Wanted::Last } else { Wanted::None };
                model::Input { sequence, tokens: input.tokens, wanted }
            })
            .collect();
        let result = compute.forward(model, cache, &mut batch, stop);
        drop(batch);
        sequences.extend(inputs.iter().map(|input| input.sequence).zip(taken));
        match result {
            Ok(logits) => Ok(Pass::Complete(logits.rows().collect())),
            Err(ForwardError::Stopped) => Ok(Pass::Stopped),
            Err(error) => Err(Fault(error.to_string())),
        }
    }

    fn passes(&self) -> u64 {
        self.compute.passes()
    }
}
