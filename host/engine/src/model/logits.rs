//! Raw logits of every position of one text, for comparison with other engines.

use std::sync::Arc;

use super::Model;
use super::compute::{Compute, ForwardError, Input, Wanted};
use crate::adapter::Adapter;

/// Tokens of one pass: few, since a row of logits is as long as the vocabulary.
const STEP_TOKENS: usize = 64;

impl Compute {
    /// Hands `on_row` the raw logits after each of `tokens`, in order, computed with `adapter` if there is one; the
    /// tokens are taken as they are. They get a cache of their own, just as large as they need.
    ///
    /// # Errors
    /// There are no tokens, one does not exist, or they are more than the context.
    pub fn logits(
        &mut self,
        model: &Model,
        adapter: Option<Arc<Adapter>>,
        tokens: &[u32],
        mut on_row: impl FnMut(&[f32]),
    ) -> Result<(), ForwardError> {
        let context = model.plan().context;
        if tokens.is_empty() {
            return Err(ForwardError::Empty);
        }
        if tokens.len() > context {
            return Err(ForwardError::Context { tokens: tokens.len(), context });
        }
        let mut cache = model.cache_for(tokens.len())?;
        let mut sequence = cache.sequence_with(adapter);
        for chunk in tokens.chunks(STEP_TOKENS) {
            let mut input = [Input { sequence: &mut sequence, tokens: chunk, wanted: Wanted::All }];
            self.forward(model, &mut cache, &mut input, &|| false)?.rows().for_each(&mut on_row);
        }
        Ok(())
    }
}
