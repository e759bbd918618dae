//! From the bytes of an adapter's files, whatever they are, to one decode with it on a small model. Shared with the
//! fuzz target, so it stands alone.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lockgate_engine::adapter::AdapterFile;
use lockgate_engine::gguf::{Gguf, Limits, Metadata};
use lockgate_engine::model::{Compute, Input, LoadOptions, Mix, Model, Shape, Wanted, random_model};
use lockgate_kernels::cpu::Level;
use lockgate_kernels::pool::ThreadPool;

/// The model that the adapters are for.
pub(crate) const SHAPE: Shape = Shape {
    architecture: "llama",
    layers: 2,
    hidden: 32,
    feed_forward: 64,
    heads: 2,
    kv_heads: 1,
    head_dim: 16,
    vocabulary: 64,
    context: 64,
    norm_epsilon: 1e-5,
    rope_base: 10_000.0,
    tied: true,
    rope_factor: None,
};

/// An adapter's files.
pub(crate) enum Files {
    Gguf(Vec<u8>),
    Peft { settings: Vec<u8>, weights: Vec<u8> },
}

/// What became of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Refused,
    Decoded,
}

impl Files {
    /// The files that some bytes stand for: a GGUF file, or the length of the settings in two bytes, the settings,
    /// and the weights.
    #[allow(dead_code, reason = "of use to the fuzz target alone")]
    pub(crate) fn split(bytes: &[u8]) -> Self {
        match bytes {
            [low, high, rest @ ..] if !bytes.starts_with(b"GGUF") => {
                let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
                let (settings, weights) = rest.split_at(length);
                Self::Peft { settings: settings.to_vec(), weights: weights.to_vec() }
            }
            _ => Self::Gguf(bytes.to_vec()),
        }
    }
}

/// The model, ready.
pub(crate) struct Base {
    model: Model,
    pool: Arc<ThreadPool>,
}

impl Base {
    pub(crate) fn new() -> Self {
        // One thread: the caller's own, whose allocations are counted.
        let pool = Arc::new(ThreadPool::new(NonZeroUsize::MIN));
        let mix = Mix::named("q8_0").expect("a known mix");
        let gguf = random_model(&SHAPE, mix, 5, &Metadata::new()).expect("a valid shape");
        let model = Model::load(&gguf, &LoadOptions::default(), &pool, &|_| {}).expect("a valid model");
        Self { model, pool }
    }

    /// From the bytes to one decode.
    pub(crate) fn run(&self, files: Files) -> Outcome {
        let file = match files {
            Files::Gguf(bytes) => match Gguf::read(Box::new(bytes), "mutated.gguf", &Limits::default()) {
                Ok(gguf) => AdapterFile::from_gguf(gguf),
                Err(_) => return Outcome::Refused,
            },
            Files::Peft { settings, weights } => {
                AdapterFile::from_peft("mutated", &settings, Box::new(weights))
            }
        };
        let Ok(file) = file else { return Outcome::Refused };
        let checked = file.check(self.model.config(), 1.0);
        let Ok(adapter) = file.load(self.model.config(), 1.0) else { return Outcome::Refused };
        assert!(checked.is_ok(), "what loads has passed the check");
        let mut cache = self.model.cache_for(8).expect("memory");
        let mut sequence = cache.sequence_with(Some(Arc::new(adapter)));
        let mut compute = Compute::new(Arc::clone(&self.pool), Level::detect());
        for tokens in [&[1, 2, 3][..], &[4]] {
            let mut input = [Input { sequence: &mut sequence, tokens, wanted: Wanted::Last }];
            compute.forward(&self.model, &mut cache, &mut input, &|| false).expect("tokens that there are");
        }
        Outcome::Decoded
    }
}
