//! The real [`Forward`]: a loaded model with its cache and threads.

use std::collections::HashMap;
use std::sync::Arc;

use super::forward::{Fault, Forward, Input, Part, Pass};
use crate::adapter::Adapter;
use crate::kv::{Cache, Sequence};
use crate::model::{self, Compute, ForwardError, Model, Wanted};

/// A model that computes for the runner.
#[derive(Debug)]
pub(crate) struct ModelForward {
    model: Model,
    cache: Cache,
    compute: Compute,
    sequences: HashMap<Part, Sequence>,
}

impl ModelForward {
    /// `cache` must be of `model`.
    pub(crate) fn new(model: Model, cache: Cache, compute: Compute) -> Self {
        Self { model, cache, compute, sequences: HashMap::new() }
    }
}

impl Forward for ModelForward {
    fn open(&mut self, part: Part, positions: usize, adapter: Option<Arc<Adapter>>) -> Result<(), Fault> {
        let mut sequence = self.cache.sequence_with(adapter);
        sequence.reserve(positions).map_err(|error| Fault(error.to_string()))?;
        self.sequences.insert(part, sequence);
        Ok(())
    }

    fn fork(&mut self, from: Part, to: Part, positions: usize) -> Result<(), Fault> {
        let parent = self.sequences.get_mut(&from).ok_or_else(lost)?;
        let mut child = self.cache.fork(parent).map_err(|error| Fault(error.to_string()))?;
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
        let Self { model, cache, compute, sequences } = self;
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
                Ok(Pass::Complete(rows))
            }
            Err(ForwardError::Stopped) => Ok(Pass::Stopped),
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
