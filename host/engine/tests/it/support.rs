//! Tiny random models, and the plainest way to run one.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lockgate_engine::adapter::Adapter;
use lockgate_engine::gguf::{Gguf, Metadata, TensorType};
use lockgate_engine::kv::{Cache, Sequence};
use lockgate_engine::model::{
    Compute, Input, KvFormat, LoadOptions, Mix, Model, Shape, Wanted, random_model,
};
use lockgate_kernels::cpu::Level;
use lockgate_kernels::pool::ThreadPool;

/// A Llama with grouped heads, Llama 3's rope scaling and a tied output. Some rows are too short for blocks of 256
/// elements, so that such formats come mixed with others, as in published files.
pub(crate) const LLAMA: Shape = Shape {
    architecture: "llama",
    layers: 2,
    hidden: 256,
    feed_forward: 64,
    heads: 4,
    kv_heads: 2,
    head_dim: 16,
    vocabulary: 33,
    context: 512,
    norm_epsilon: 1e-5,
    rope_base: 10_000.0,
    tied: true,
    rope_factor: Some(8.0),
};

/// A Qwen 2 with an untied output.
pub(crate) const QWEN2: Shape = Shape {
    architecture: "qwen2",
    heads: 6,
    kv_heads: 3,
    rope_base: 1e6,
    norm_epsilon: 1e-6,
    tied: false,
    rope_factor: None,
    ..LLAMA
};

pub(crate) fn gguf(shape: &Shape, format: TensorType) -> Gguf {
    random_model(shape, Mix::pure(format), 7, &Metadata::new()).expect("a valid shape")
}

pub(crate) fn pool(threads: usize) -> Arc<ThreadPool> {
    Arc::new(ThreadPool::new(NonZeroUsize::new(threads).expect("at least one")))
}

pub(crate) fn load(gguf: &Gguf) -> Model {
    load_with(gguf, KvFormat::F16)
}

/// The same with a cache of this format.
pub(crate) fn load_with(gguf: &Gguf, kv: KvFormat) -> Model {
    let options = LoadOptions { sequences: 8, kv, ..LoadOptions::default() };
    Model::load(gguf, &options, &pool(2), &|_| {}).expect("a valid model")
}

/// Tokens that look random and are the same each time.
pub(crate) fn tokens(count: usize, seed: u32, vocabulary: usize) -> Vec<u32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % vocabulary as u32
    };
    (0..count).map(|_| next()).collect()
}

/// A model being run.
pub(crate) struct Run<'m> {
    pub(crate) model: &'m Model,
    pub(crate) compute: Compute,
    pub(crate) cache: Cache,
}

impl<'m> Run<'m> {
    pub(crate) fn new(model: &'m Model, threads: usize, level: Level) -> Self {
        let cache = model.cache().expect("memory");
        Self { model, compute: Compute::new(pool(threads), level), cache }
    }

    /// Logits of all tokens, computed in chunks of `chunk`, and the sequence that they are in.
    pub(crate) fn all_logits(&mut self, tokens: &[u32], chunk: usize) -> (Vec<Vec<f32>>, Sequence) {
        self.adapted_logits(None, tokens, chunk)
    }

    /// The same with an adapter.
    pub(crate) fn adapted_logits(
        &mut self,
        adapter: Option<&Arc<Adapter>>,
        tokens: &[u32],
        chunk: usize,
    ) -> (Vec<Vec<f32>>, Sequence) {
        let mut sequence = self.cache.sequence_with(adapter.cloned());
        let mut rows = Vec::new();
        for chunk in tokens.chunks(chunk) {
            let mut input = [Input { sequence: &mut sequence, tokens: chunk, wanted: Wanted::All }];
            let logits =
                self.compute.forward(self.model, &mut self.cache, &mut input, &|| false).expect("fits");
            rows.extend(logits.rows().map(<[f32]>::to_vec));
        }
        (rows, sequence)
    }

    /// The next `count` greedy tokens of `sequence`, whose last logits are given.
    pub(crate) fn greedy(&mut self, sequence: &mut Sequence, last: &[f32], count: usize) -> Vec<u32> {
        let mut token = likeliest(last);
        let mut answer = Vec::new();
        while answer.len() < count {
            answer.push(token);
            let mut input = [Input { sequence, tokens: &[token], wanted: Wanted::Last }];
            let logits =
                self.compute.forward(self.model, &mut self.cache, &mut input, &|| false).expect("fits");
            token = likeliest(logits.row(0));
        }
        answer
    }
}

pub(crate) fn likeliest(logits: &[f32]) -> u32 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|logit| *logit == greatest).expect("finite logits") as u32
}

/// Fails unless the rows are the same bits.
#[track_caller]
pub(crate) fn check_same_bits(found: &[Vec<f32>], expected: &[Vec<f32>], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: rows");
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        let differs = found.iter().zip(expected).position(|(a, b)| a.to_bits() != b.to_bits());
        if let Some(token) = differs {
            panic!("{what}: row {row}, token {token}: {} is not {}", found[token], expected[token]);
        }
    }
}
