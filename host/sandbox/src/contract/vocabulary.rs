//! The interface `vocabulary`: the tokens of the model that an adapter is attached to.

use std::sync::Arc;

use lockgate_api::Vocabulary;

use super::bindings::adapter::lockgate::plugin::vocabulary;
use crate::call::Call;
use crate::stop::Stop;

/// Bytes of text that one call turns into tokens. Some milliseconds' work at the most, which nothing interrupts.
const TEXT_BYTES_MAX: usize = 4096;
/// Tokens whose bytes one call gives.
const TOKENS_MAX: usize = 4096;

impl Call {
    fn vocabulary(&self) -> wasmtime::Result<Arc<dyn Vocabulary>> {
        let missing = || wasmtime::Error::msg("an adapter that is being described has no vocabulary yet");
        self.facts().vocabulary.clone().ok_or_else(missing)
    }
}

impl vocabulary::Host for Call {
    fn size(&mut self) -> wasmtime::Result<u32> {
        self.enter()?;
        Ok(self.vocabulary()?.size())
    }

    fn tokens(&mut self, text: String) -> wasmtime::Result<Option<Vec<u32>>> {
        self.enter_with(text.len())?;
        if text.len() > TEXT_BYTES_MAX {
            let part = "a text to be made into tokens";
            return Err(Stop::Part { part, length: text.len(), max: TEXT_BYTES_MAX }.into());
        }
        let tokens = self.vocabulary()?.tokens(&text);
        self.hand_over(tokens.as_ref().map_or(0, |tokens| tokens.len() * size_of::<u32>()))?;
        Ok(tokens)
    }

    fn texts(&mut self, tokens: Vec<u32>) -> wasmtime::Result<Vec<Vec<u8>>> {
        self.enter_with(tokens.len() * size_of::<u32>())?;
        if tokens.len() > TOKENS_MAX {
            let part = "tokens whose texts are wanted";
            return Err(Stop::Part { part, length: tokens.len(), max: TOKENS_MAX }.into());
        }
        let vocabulary = self.vocabulary()?;
        self.hand_over(tokens.iter().map(|&token| vocabulary.bytes(token).len()).sum())?;
        Ok(tokens.iter().map(|&token| vocabulary.bytes(token).to_vec()).collect())
    }

    fn containing(&mut self, bytes: Vec<u8>) -> wasmtime::Result<Vec<u32>> {
        self.enter_with(bytes.len())?;
        let vocabulary = self.vocabulary()?;
        let mut wanted = [false; 256];
        bytes.iter().for_each(|&byte| wanted[usize::from(byte)] = true);
        let has_one = |token: &u32| vocabulary.bytes(*token).iter().any(|&byte| wanted[usize::from(byte)]);
        let tokens: Vec<u32> = (0..vocabulary.size()).filter(has_one).collect();
        self.hand_over(tokens.len() * size_of::<u32>())?;
        Ok(tokens)
    }

    fn ends(&mut self) -> wasmtime::Result<Vec<u32>> {
        self.enter()?;
        let ends = self.vocabulary()?.ends();
        self.hand_over(ends.len() * size_of::<u32>())?;
        Ok(ends)
    }
}
