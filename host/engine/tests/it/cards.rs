//! Whole models on a card that is emulated: the same kernels, launched as on a card, run thread by thread. Compared with
//! the processor's engine over tokens that are given, and over the tokens that each chooses.
//!
//! Where weights are quantized both round activations to eight bits: the card 32 numbers at a time, the processor in some
//! formats 256. The card also rounds queries, keys, values and attention weights to half precision, and the inputs of
//! products of many rows to bf16. So logits agree within a bound and not in every bit.

use std::sync::Arc;

use lockgate_emulator::{Emulator, Probe, Recorder, Schedule};
use lockgate_engine::adapter::Adapter;
use lockgate_engine::gguf::{Gguf, Metadata, TensorType};
use lockgate_engine::kv::Sequence;
use lockgate_engine::model::{
    CardChoice, ForwardError, GpuLayers, Input, KvFormat, LoadOptions, LoadProblem, Mix, Model, Shape,
    Wanted, random_model,
};
use lockgate_engine::tokenizer::{Specials, Tokenizer};
use lockgate_kernels::cpu::Level;
use lockgate_kernels::cuda::memory::Device;
use lockgate_kernels::cuda::planes::PlaneFormat;
use lockgate_kernels::cuda::tuning::EightBitProducts;

use super::lora::Lora;
use super::reference::{Naive, relative_error};
use super::support::{LLAMA, QWEN2, Run, likeliest, load, pool, tokens};

/// By how much a logit may differ, as a part of the deviation of its row.
const BOUND: f32 = 0.35;

/// By how much rows as a whole may differ from what double precision gives.
const NAIVE_BOUND: f64 = 3e-2;
/// What bf16 and half precision may add to that beside the processor's engine.
const ROUNDING: f64 = 1e-2;

/// Heads as kernels have them, and rows that are whole blocks of every format.
pub(crate) const WIDE_LLAMA: Shape =
    Shape { head_dim: 64, heads: 4, kv_heads: 2, feed_forward: 256, vocabulary: 70, ..LLAMA };
pub(crate) const WIDE_QWEN2: Shape =
    Shape { head_dim: 64, heads: 6, kv_heads: 2, feed_forward: 256, vocabulary: 70, ..QWEN2 };

pub(crate) fn mixes() -> Vec<Mix> {
    let pure = [TensorType::F16, TensorType::BF16, TensorType::F32, TensorType::Q4_0, TensorType::Q5_1];
    let named = ["q4_k_m", "q5_k_m", "q8_0", "mxfp4"].map(|name| Mix::named(name).expect("a known mix"));
    pure.map(Mix::pure).into_iter().chain(named).collect()
}

pub(crate) fn random(shape: &Shape, mix: Mix) -> Gguf {
    random_model(shape, mix, 7, &Metadata::new()).expect("a valid shape")
}

/// An emulated card, or the one that `LOCKGATE_CARD` names.
pub(crate) fn card(layers: GpuLayers) -> CardChoice {
    let emulated = || Device::new(Arc::new(Emulator::new(Schedule::InOrder)));
    let device = lockgate_emulator::card().unwrap_or_else(emulated);
    CardChoice { device, free_bytes: 4 << 30, layers }
}

fn options() -> LoadOptions {
    LoadOptions {
        context: Some(64),
        sequences: 4,
        step_tokens: 48,
        scored_tokens: 48,
        ..LoadOptions::default()
    }
}

pub(crate) fn load_on(gguf: &Gguf, card: &CardChoice) -> Model {
    Model::load_on(gguf, &options(), Some(card), &pool(2), &|_| {}).expect("a model that fits")
}

/// The bound for a row of logits.
pub(crate) fn bound(expected: &[f32]) -> f32 {
    let mean = expected.iter().sum::<f32>() / expected.len() as f32;
    let squares: f32 = expected.iter().map(|logit| (logit - mean).powi(2)).sum();
    BOUND * (squares / expected.len() as f32).sqrt()
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compared {
    /// The greatest part of the bound that was used.
    used: f32,
    /// Rows whose first token is further ahead of the second than twice the bound.
    sure: usize,
}

/// Fails unless rows are within the bound and, where the reference is sure, choose the same token.
#[track_caller]
pub(crate) fn check(found: &[Vec<f32>], expected: &[Vec<f32>], what: &str) -> Compared {
    assert_eq!(found.len(), expected.len(), "{what}: rows");
    let mut compared = Compared::default();
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        let bound = bound(expected);
        for (token, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (found - expected).abs();
            // NaN is within no bound.
            assert!(
                error <= bound,
                "{what}: row {row}, token {token}: {found}, not {expected} within {bound}"
            );
            compared.used = compared.used.max(error / bound);
        }
        let mut sorted = expected.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        if sorted[0] - sorted[1] > 2.0 * bound {
            assert_eq!(likeliest(found), likeliest(expected), "{what}: row {row}");
            compared.sure += 1;
        }
    }
    compared
}

/// Logits of several texts, a number of tokens of each in every pass.
fn batched(run: &mut Run<'_>, texts: &[&[u32]], chunk: usize) -> Vec<Vec<Vec<f32>>> {
    let mut sequences: Vec<Sequence> = texts.iter().map(|_| run.cache.sequence()).collect();
    let mut rows = vec![Vec::new(); texts.len()];
    loop {
        let mut inputs = Vec::new();
        let mut of = Vec::new();
        for (number, (sequence, text)) in sequences.iter_mut().zip(texts).enumerate() {
            let rest = &text[sequence.tokens()..];
            let tokens = &rest[..rest.len().min(chunk)];
            if !tokens.is_empty() {
                of.extend(std::iter::repeat_n(number, tokens.len()));
                inputs.push(Input { sequence, tokens, wanted: Wanted::All });
            }
        }
        if inputs.is_empty() {
            return rows;
        }
        let found = run.compute.forward(run.model, &mut run.cache, &mut inputs, &|| false).expect("it fits");
        of.iter().zip(found.rows()).for_each(|(number, row)| rows[*number].push(row.to_vec()));
    }
}

#[test]
fn every_format_agrees_with_the_processor() {
    let mut used = 0.0_f32;
    for (shape, salt) in [(&WIDE_LLAMA, 1), (&WIDE_QWEN2, 2)] {
        for (number, mix) in mixes().into_iter().enumerate() {
            let gguf = random(shape, mix);
            let (here, there) = (load(&gguf), load_on(&gguf, &card(GpuLayers::Auto)));
            let card = there.plan().card.expect("all of it fits");
            assert_eq!((card.layers, there.plan().weights_bytes), (shape.layers, 0));
            let text = tokens(19, salt, shape.vocabulary);
            let (expected, _) = Run::new(&here, 2, Level::detect()).all_logits(&text, 19);
            let exact = Naive::new(&gguf).logits(&text);
            // Whole, in two unequal chunks, and for one format token by token.
            for chunk in [19, 13, 4].into_iter().chain((number == 5).then_some(1)) {
                let what = format!("{} {mix:?}, chunks of {chunk}", shape.architecture);
                let (found, _) = Run::new(&there, 2, Level::detect()).all_logits(&text, chunk);
                used = used.max(check(&found, &expected, &what).used);
                let error = relative_error(&found, &exact);
                let beside = relative_error(&expected, &exact);
                println!("{what}: {error:.4}, the processor's engine {beside:.4}");
                assert!(error <= NAIVE_BOUND.min(1.5 * beside + ROUNDING), "{what}: {error:.2e}");
            }
        }
    }
    println!("{used:.2} of the bound were used");
    assert!(used > 0.02, "a bound that is far away proves nothing");
}

/// A card may multiply many rows in 8 bits, as the processor's engine does, for the formats where it is faster so.
#[test]
fn products_in_eight_bits_agree_with_the_processor() {
    let choice = card(GpuLayers::Auto);
    let device = choice.device.with_eight_bit_products(EightBitProducts::of(&PlaneFormat::ALL));
    let choice = CardChoice { device, ..choice };
    for (shape, mix) in [(&WIDE_LLAMA, "q4_k_m"), (&WIDE_QWEN2, "q5_k_m"), (&WIDE_LLAMA, "q4_0")] {
        let gguf = random(shape, Mix::named(mix).expect("known"));
        let (here, there) = (load(&gguf), load_on(&gguf, &choice));
        let text = tokens(19, 3, shape.vocabulary);
        let (expected, _) = Run::new(&here, 2, Level::detect()).all_logits(&text, 19);
        let exact = Naive::new(&gguf).logits(&text);
        let (found, _) = Run::new(&there, 2, Level::detect()).all_logits(&text, 19);
        check(&found, &expected, mix);
        let (error, beside) = (relative_error(&found, &exact), relative_error(&expected, &exact));
        assert!(error <= NAIVE_BOUND.min(1.5 * beside + ROUNDING), "{mix}: {error:.2e}");
        let (in_bf16, _) =
            Run::new(&load_on(&gguf, &card(GpuLayers::Auto)), 2, Level::detect()).all_logits(&text, 19);
        assert_ne!(found, in_bf16, "{mix}: another kernel rounds otherwise");
    }
}

/// A card may have the vendor's library for weights in bf16, which sums in another order.
#[test]
fn products_of_a_library_agree_with_the_processor() {
    let gguf = random(&WIDE_QWEN2, Mix::pure(TensorType::BF16));
    let probe = Arc::new(Probe::new(Arc::new(Emulator::new(Schedule::InOrder).with_library())));
    let choice = CardChoice { device: Device::new(probe.clone()), ..card(GpuLayers::Auto) };
    let (here, there) = (load(&gguf), load_on(&gguf, &choice));
    let text = tokens(19, 4, WIDE_QWEN2.vocabulary);
    let (expected, _) = Run::new(&here, 2, Level::detect()).all_logits(&text, 19);
    let (found, _) = Run::new(&there, 2, Level::detect()).all_logits(&text, 19);
    check(&found, &expected, "bf16 by the library");
    // Those with a bias are our own kernel's.
    let kernels = probe.kernels();
    assert!(kernels.contains(&"multiply") && kernels.contains(&"gemm_bf16"), "{kernels:?}");
}

#[test]
fn prompts_and_single_tokens_share_a_pass() {
    let gguf = random(&WIDE_QWEN2, Mix::named("q4_k_m").expect("known"));
    let (here, there) = (load(&gguf), load_on(&gguf, &card(GpuLayers::Auto)));
    let texts: Vec<Vec<u32>> =
        [37, 21, 9].iter().map(|length| tokens(*length, *length as u32, WIDE_QWEN2.vocabulary)).collect();
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let alone: Vec<_> =
        texts.iter().map(|text| Run::new(&here, 2, Level::detect()).all_logits(text, 48).0).collect();
    for chunk in [1, 5, 16] {
        let found = batched(&mut Run::new(&there, 2, Level::detect()), &texts, chunk);
        for (number, (found, expected)) in found.iter().zip(&alone).enumerate() {
            check(found, expected, &format!("text {number} in chunks of {chunk}"));
        }
    }
    // A prompt beside two answers: many rows and few in one pass.
    let mut run = Run::new(&there, 2, Level::detect());
    let mut sequences: Vec<Sequence> = texts.iter().map(|_| run.cache.sequence()).collect();
    for (sequence, text) in sequences.iter_mut().zip(&texts).skip(1) {
        let tokens = &text[..text.len() - 1];
        let mut input = [Input { sequence, tokens, wanted: Wanted::None }];
        let found = run.compute.forward(&there, &mut run.cache, &mut input, &|| false).expect("it fits");
        assert_eq!(found.rows().len(), 0);
    }
    let mut inputs: Vec<Input<'_>> = sequences
        .iter_mut()
        .zip(&texts)
        .map(|(sequence, text)| {
            let tokens = &text[sequence.tokens()..];
            Input { sequence, tokens, wanted: Wanted::Last }
        })
        .collect();
    let found = run.compute.forward(&there, &mut run.cache, &mut inputs, &|| false).expect("it fits");
    let found: Vec<Vec<f32>> = found.rows().map(<[f32]>::to_vec).collect();
    let expected: Vec<Vec<f32>> = alone.iter().map(|rows| rows.last().expect("rows").clone()).collect();
    check(&found, &expected, "a prompt beside two answers");
}

#[test]
fn layers_may_be_on_either_side() {
    for shape in [&WIDE_LLAMA, &WIDE_QWEN2] {
        let shape = Shape { layers: 3, ..*shape };
        let gguf = random(&shape, Mix::pure(TensorType::Q8_0));
        let here = load(&gguf);
        let text = tokens(20, 5, shape.vocabulary);
        let (expected, _) = Run::new(&here, 2, Level::detect()).all_logits(&text, 20);
        let weights = |model: &Model| (model.plan().weights_bytes, model.plan().card);
        for count in [1, 2] {
            let there = load_on(&gguf, &card(GpuLayers::Count(count)));
            let (left, card) = weights(&there);
            assert_eq!(card.expect("a part").layers, count);
            assert!(left > 0 && there.bytes_per_token() > 0);
            for chunk in [20, 3] {
                let (found, _) = Run::new(&there, 2, Level::detect()).all_logits(&text, chunk);
                let what = format!("{}, {count} of 3 layers there, {chunk}", shape.architecture);
                check(&found, &expected, &what);
            }
        }
        // As many as there are is all.
        let all = load_on(&gguf, &card(GpuLayers::Count(9)));
        assert_eq!((weights(&all).0, weights(&all).1.expect("all").layers), (0, 3));
    }
}

#[test]
fn adapters_add_the_same_to_their_rows_alone() {
    let shape = &WIDE_LLAMA;
    let gguf = random(shape, Mix::pure(TensorType::Q5_0));
    for layers in [GpuLayers::Auto, GpuLayers::Count(1)] {
        let (here, there) = (load(&gguf), load_on(&gguf, &card(layers)));
        let adapters: Vec<Option<Arc<Adapter>>> = vec![
            Some(Lora::random(shape, &[0, 1, 2, 3, 4, 5, 6], 4, 1).load(here.config())),
            None,
            Some(Lora::random(shape, &[0, 6], 9, 2).load(here.config())),
        ];
        let text = tokens(6, 9, shape.vocabulary);
        let alone: Vec<Vec<Vec<f32>>> = adapters
            .iter()
            .map(|adapter| Run::new(&here, 2, Level::detect()).adapted_logits(adapter.as_ref(), &text, 6).0)
            .collect();
        // Each alone, all in one pass of many rows, and all in passes of three.
        for (adapter, expected) in adapters.iter().zip(&alone) {
            let mut run = Run::new(&there, 2, Level::detect());
            check(&run.adapted_logits(adapter.as_ref(), &text, 6).0, expected, "an adapter alone");
        }
        for chunk in [6, 1] {
            let mut run = Run::new(&there, 2, Level::detect());
            let mut sequences: Vec<Sequence> =
                adapters.iter().map(|adapter| run.cache.sequence_with(adapter.clone())).collect();
            for place in (0..text.len()).step_by(chunk) {
                let tokens = &text[place..place + chunk];
                let mut inputs: Vec<Input<'_>> = sequences
                    .iter_mut()
                    .map(|sequence| Input { sequence, tokens, wanted: Wanted::All })
                    .collect();
                let found =
                    run.compute.forward(&there, &mut run.cache, &mut inputs, &|| false).expect("it fits");
                let rows: Vec<Vec<f32>> = found.rows().map(<[f32]>::to_vec).collect();
                for (found, expected) in rows.chunks(chunk).zip(&alone) {
                    check(found, &expected[place..place + chunk], "an adapter among others");
                }
            }
        }
        let changed = alone[0].iter().zip(&alone[1]).all(|(with, without)| {
            let far = 3.0 * bound(without);
            with.iter().zip(without).any(|(with, without)| (with - without).abs() > far)
        });
        assert!(changed, "without its adapter a row would not be within the bound");
    }
}

#[test]
fn states_forks_and_passes_given_up_work_there_too() {
    let gguf = random(&WIDE_QWEN2, Mix::named("q4_k_m").expect("known"));
    let (here, there) = (load(&gguf), load_on(&gguf, &card(GpuLayers::Auto)));
    let (first, second) = (tokens(21, 1, 70), tokens(5, 2, 70));
    let compute = |model: &Model| {
        let mut run = Run::new(model, 2, Level::detect());
        let mut parent = run.cache.sequence();
        let forward = |run: &mut Run<'_>, sequence: &mut Sequence, tokens: &[u32], wanted| {
            let mut input = [Input { sequence, tokens, wanted }];
            let found = run.compute.forward(model, &mut run.cache, &mut input, &|| false).expect("it fits");
            found.rows().chain(found.states()).map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        let mut rows = forward(&mut run, &mut parent, &first, Wanted::Last);
        let mut child = run.cache.fork(&mut parent).expect("there is room");
        let stopped = run.compute.forward(
            model,
            &mut run.cache,
            &mut [Input { sequence: &mut child, tokens: &[3; 9], wanted: Wanted::All }],
            &|| true,
        );
        assert_eq!(stopped.expect_err("it was told to"), ForwardError::Stopped);
        // The parent goes on after the child, which must not show.
        rows.extend(forward(&mut run, &mut child, &second, Wanted::All));
        rows.extend(forward(&mut run, &mut parent, &second[..2], Wanted::All));
        // States and logits of one pass.
        let mut other = run.cache.sequence();
        let mut inputs = [
            Input { sequence: &mut other, tokens: &first[..11], wanted: Wanted::States },
            Input { sequence: &mut child, tokens: &second[..1], wanted: Wanted::Last },
        ];
        let found = run.compute.forward(model, &mut run.cache, &mut inputs, &|| false).expect("it fits");
        assert_eq!((found.rows().len(), found.states().len()), (1, 11));
        rows.extend(found.rows().chain(found.states()).map(<[f32]>::to_vec));
        rows
    };
    check(&compute(&there), &compute(&here), "states and forks");
}

#[test]
fn what_does_not_fit_or_has_no_kernel_is_refused() {
    let gguf = random(&Shape { layers: 4, ..WIDE_LLAMA }, Mix::pure(TensorType::Q8_0));
    let plan = |choice: &CardChoice| {
        Model::inspect_on(&gguf, &options(), Some(choice))
            .map(|(_, plan)| plan)
            .map_err(|error| error.problem)
    };
    let whole = plan(&card(GpuLayers::Auto)).expect("it fits").card.expect("all");
    let half = plan(&card(GpuLayers::Count(2))).expect("it fits").card.expect("half");
    assert!(half.weights_bytes < whole.weights_bytes && half.cache_bytes * 2 == whole.cache_bytes);
    // A card that has room for half of it, beside what is left to others.
    let small = CardChoice { free_bytes: half.total_bytes() + (64 << 20), ..card(GpuLayers::Auto) };
    let some = plan(&small).expect("some layers fit").card.expect("some");
    assert!((1..4).contains(&some.layers), "{some:?}");
    let all = CardChoice { layers: GpuLayers::Count(4), ..small.clone() };
    let error = plan(&all).expect_err("all do not").to_string();
    assert!(error.contains("4 of 4 layers need") && error.contains("gpu_layers"), "{error}");
    let none = CardChoice { free_bytes: 1 << 20, ..small };
    assert!(matches!(plan(&none).expect_err("nothing fits"), LoadProblem::CardMemory { .. }));

    let odd = random(&LLAMA, Mix::pure(TensorType::Q8_0));
    let refused = Model::inspect_on(&odd, &options(), Some(&card(GpuLayers::Auto)));
    let error = refused.expect_err("heads of 16").to_string();
    assert!(error.contains("heads of 16 on a card") && error.contains("cpu"), "{error}");

    let there = load_on(&gguf, &card(GpuLayers::Auto));
    let mut run = Run::new(&there, 1, Level::detect());
    let mut sequence = run.cache.sequence();
    let mut input = [Input { sequence: &mut sequence, tokens: &[1; 49], wanted: Wanted::Last }];
    let error = run.compute.forward(&there, &mut run.cache, &mut input, &|| false).expect_err("too many");
    assert!(
        error.to_string().contains("a pass of 49 tokens, 1 of them wanted, is more than the 48"),
        "{error}"
    );
    assert_eq!(sequence.tokens(), 0);
}

/// Keys and values in 8 bits, on either side alike: in passes of many rows and of few, past a page, and forked.
#[test]
fn a_cache_in_eight_bits_computes_the_same_on_both() {
    for (shape, mix, layers) in
        [(&WIDE_LLAMA, "q4_k_m", GpuLayers::Auto), (&WIDE_QWEN2, "q8_0", GpuLayers::Count(1))]
    {
        let gguf = random(shape, Mix::named(mix).expect("known"));
        let options = LoadOptions { kv: KvFormat::Q8_0, ..options() };
        let load = |card: Option<&CardChoice>| {
            Model::load_on(&gguf, &options, card, &pool(2), &|_| {}).expect("a model that fits")
        };
        let (here, there) = (load(None), load(Some(&card(layers))));
        let halves = load_on(&gguf, &card(layers)).plan().card.expect("some").cache_bytes;
        let eights = there.plan().card.expect("some").cache_bytes;
        assert_eq!(eights * 64, halves * 34, "34 bytes of 32 numbers");
        let (first, second) = (tokens(37, 5, 70), tokens(6, 6, 70));
        let [expected, found] = [&here, &there].map(|model| {
            let mut run = Run::new(model, 2, Level::detect());
            let (mut rows, mut parent) = run.all_logits(&first, 30);
            let mut child = run.cache.fork(&mut parent).expect("there is room");
            for token in &second {
                for sequence in [&mut parent, &mut child] {
                    let mut input = [Input { sequence, tokens: &[*token], wanted: Wanted::Last }];
                    let logits = run.compute.forward(model, &mut run.cache, &mut input, &|| false);
                    rows.extend(logits.expect("it fits").rows().map(<[f32]>::to_vec));
                }
            }
            rows
        });
        let compared = check(&found, &expected, "a cache in 8 bits");
        println!("{compared:?}");
        // It is another cache: 8 bits show, and little.
        let mut run = Run::new(&here, 2, Level::detect());
        let (eights, _) = run.all_logits(&first, 37);
        let half = super::support::load(&gguf);
        let (halves, _) = Run::new(&half, 2, Level::detect()).all_logits(&first, 37);
        check(&eights, &halves, "8 bits beside half precision");
        assert_ne!(eights, halves);
    }
}

/// SmolLM2 as it is served: eight tokens of a continuation, teacher-forced and chosen. Needs its file, as `real_model`.
#[test]
fn smollm2_continues_as_on_the_processor() {
    let gguf = super::real_model::open();
    let tokenizer = Tokenizer::from_metadata(gguf.metadata()).expect("a known tokenizer");
    let here = load(&gguf);
    let there = load_on(&gguf, &card(GpuLayers::Auto));
    let prompt = tokenizer.encode("The capital of France is", Specials::AsModel).expect("plain text");
    let mut run = Run::new(&here, 2, Level::detect());
    let (logits, mut sequence) = run.all_logits(&prompt, prompt.len());
    let mut text = prompt.clone();
    text.extend(run.greedy(&mut sequence, logits.last().expect("rows"), 8));
    let (expected, _) = run.all_logits(&text, text.len());
    // The prompt and what follows, in passes of many rows and of few, and the last token alone.
    let mut run = Run::new(&there, 2, Level::detect());
    let (many, few) = text.split_at(text.len() - 5);
    let (mut found, mut sequence) = run.all_logits(many, many.len());
    for tokens in [&few[..4], &few[4..]] {
        let mut input = [Input { sequence: &mut sequence, tokens, wanted: Wanted::All }];
        let rows = run.compute.forward(&there, &mut run.cache, &mut input, &|| false).expect("it fits");
        found.extend(rows.rows().map(<[f32]>::to_vec));
    }
    let compared = check(&found, &expected, "SmolLM2");
    println!("{compared:?}");
    assert!(compared.sure > 0, "no row tells its first token from its second");
}

/// The third decode of a batch size and all after it are one launch each, and compute the same; so are those of batches
/// that rows are added to, and of sequences that attention splits.
#[test]
fn decodes_are_captured_once_and_launched_as_one() {
    let shape = Shape { context: 1024, ..WIDE_LLAMA };
    let gguf = random(&shape, Mix::named("q8_0").expect("known"));
    let probe = Arc::new(Probe::new(Arc::clone(card(GpuLayers::Auto).device.driver())));
    let device = Device::new(probe.clone());
    let card = CardChoice { device, free_bytes: 4 << 30, layers: GpuLayers::Auto };
    let options = LoadOptions { context: Some(1024), ..options() };
    let there = Model::load_on(&gguf, &options, Some(&card), &pool(2), &|_| {}).expect("a model that fits");
    let here = load(&gguf);
    let text = tokens(520, 3, 70);
    // Sequences, tokens before the decodes, tokens decoded.
    for (batch, before, decodes) in [(1, 5, 5), (3, 20, 4), (9, 3, 4), (1, 509, 7)] {
        let mut runs = [&here, &there].map(|model| Run::new(model, 2, Level::detect()));
        let mut rows = [Vec::new(), Vec::new()];
        let mut launched = Vec::new();
        for (run, rows) in runs.iter_mut().zip(&mut rows) {
            let mut sequences: Vec<Sequence> = (0..batch).map(|_| run.cache.sequence()).collect();
            for (number, sequence) in sequences.iter_mut().enumerate() {
                for tokens in text[number..number + before].chunks(48) {
                    let mut input = [Input { sequence: &mut *sequence, tokens, wanted: Wanted::None }];
                    run.compute.forward(run.model, &mut run.cache, &mut input, &|| false).expect("it fits");
                }
            }
            for step in 0..decodes {
                let counts = probe.counts();
                let mut inputs: Vec<Input<'_>> = sequences
                    .iter_mut()
                    .map(|sequence| Input { sequence, tokens: &text[step..=step], wanted: Wanted::Last })
                    .collect();
                let logits = run.compute.forward(run.model, &mut run.cache, &mut inputs, &|| false);
                let logits = logits.expect("it fits");
                assert_eq!(logits.rows().count(), batch, "not of rows that were added");
                rows.extend(logits.rows().map(<[f32]>::to_vec));
                let after = probe.counts();
                launched.push((after.graphs - counts.graphs, after.launches > counts.launches));
            }
        }
        check(&rows[1], &rows[0], &format!("{batch} sequences behind {before} tokens"));
        // Plainly, into a graph and by it, by it alone; again from the 513th token on, where attention has two parts.
        let mut expected = vec![(0, true), (1, true), (1, false), (1, false), (1, false)];
        expected.truncate(decodes);
        if before == 509 {
            expected = vec![(0, true), (1, true), (1, false), (0, true), (1, true), (1, false), (1, false)];
        }
        assert_eq!(launched[decodes..], expected, "{batch} sequences behind {before} tokens");
    }
}

#[test]
fn passes_allocate_nothing_and_wait_once_for_what_they_hand_out() {
    let recorder = Arc::new(Recorder::new());
    let probe = Arc::new(Probe::new(recorder.clone()));
    let card =
        CardChoice { device: Device::new(probe.clone()), free_bytes: 4 << 30, layers: GpuLayers::Auto };
    let gguf = random(&WIDE_QWEN2, Mix::named("q4_k_m").expect("known"));
    let there = load_on(&gguf, &card);
    let mut run = Run::new(&there, 1, Level::detect());
    // What was planned is what was taken, but for rounding.
    let (planned, taken) = (there.plan().card.expect("all").total_bytes(), probe.counts().bytes);
    assert!((taken..taken + taken / 50 + (64 << 10)).contains(&planned), "{planned} planned, {taken} taken");

    let adapter = Lora::random(&WIDE_QWEN2, &[0, 3, 4, 6], 4, 1).load(there.config());
    let mut sequences = [None, None, Some(adapter)].map(|adapter| run.cache.sequence_with(adapter));
    let long = tokens(20, 1, 70);
    // Tokens of each sequence, whether anything is wanted, and whether an adapter comes for the first time.
    let passes: [([usize; 3], Wanted<'_>, bool); 7] = [
        ([20, 0, 0], Wanted::None, false),
        ([1, 5, 0], Wanted::Last, false),
        ([1, 1, 0], Wanted::Last, false),
        ([1, 1, 0], Wanted::All, false),
        ([1, 1, 7], Wanted::Last, true),
        ([1, 1, 1], Wanted::Last, false),
        ([2, 12, 3], Wanted::States, false),
    ];
    for (number, (counts, wanted, first)) in passes.into_iter().enumerate() {
        let mut inputs: Vec<Input<'_>> = sequences
            .iter_mut()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
            .map(|(sequence, count)| Input { sequence, tokens: &long[..count], wanted })
            .collect();
        let before = probe.counts();
        run.compute.forward(&there, &mut run.cache, &mut inputs, &|| false).expect("it fits");
        let after = probe.counts();
        let copies = after.downloads - before.downloads;
        assert_eq!(copies, u64::from(wanted != Wanted::None), "pass {number}: {before:?}, {after:?}");
        // It waits once in any case.
        assert_eq!(copies + after.synchronizations - before.synchronizations, 1, "pass {number}");
        assert_eq!(
            (after.allocations > before.allocations, after.frees),
            (first, before.frees),
            "pass {number}"
        );
        assert!(after.uploads - before.uploads < 40 && after.launches > before.launches, "pass {number}");
    }
    assert_eq!(recorder.violations(), Vec::<String>::new());
}
