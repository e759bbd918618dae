//! From the bytes of a file, whatever they are, to a model, a tokenizer and one decode. Shared with the fuzz target, so
//! it stands alone.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lockgate_engine::gguf::{Gguf, Limits};
use lockgate_engine::model::{Compute, Input, LoadOptions, Model, Wanted};
use lockgate_engine::tokenizer::{Specials, Tokenizer};
use lockgate_kernels::cpu::Level;
use lockgate_kernels::pool::ThreadPool;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Refused,
    Loaded,
    Decoded,
}

/// From the bytes to one decode.
pub(crate) fn run(bytes: Vec<u8>) -> Outcome {
    let Ok(gguf) = Gguf::read(Box::new(bytes), "mutated.gguf", &Limits::default()) else {
        return Outcome::Refused;
    };
    let tokenizer = Tokenizer::from_metadata(gguf.metadata());
    let text =
        tokenizer.as_ref().ok().and_then(|tokenizer| tokenizer.encode("ab ba, abba", Specials::AsModel).ok());
    // A context of which no file can make more than a little memory.
    let options = LoadOptions {
        sequences: 1,
        step_tokens: 64,
        memory_bytes_max: Some(16 << 20),
        ..LoadOptions::default()
    };
    let Ok((config, _)) = Model::inspect(&gguf, &options) else { return Outcome::Refused };
    let options = LoadOptions { context: Some(config.context.min(64)), ..options };
    // One thread: the caller's own, whose allocations are counted.
    let pool = Arc::new(ThreadPool::new(NonZeroUsize::MIN));
    let Ok(model) = Model::load(&gguf, &options, &pool, &|_| {}) else { return Outcome::Refused };
    let Ok(mut cache) = model.cache() else { return Outcome::Loaded };
    let mut sequence = cache.sequence();
    let mut compute = Compute::new(pool, Level::detect());
    for tokens in [text.as_deref().unwrap_or(&[0, 1, 2]), &[1]] {
        let mut input = [Input { sequence: &mut sequence, tokens, wanted: Wanted::Last }];
        // A token of a damaged tokenizer may be beyond a damaged vocabulary: an error, not a read out of bounds.
        if compute.forward(&model, &mut cache, &mut input, &|| false).is_err() {
            return Outcome::Loaded;
        }
    }
    Outcome::Decoded
}
