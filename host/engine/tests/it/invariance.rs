//! A sequence's logits are the same bits however it is computed: in which chunks, beside which others, on how many
//! threads, with which instructions, and whether a pass was given up in between.

use lockgate_engine::gguf::TensorType;
use lockgate_engine::kv::Sequence;
use lockgate_engine::model::{ForwardError, Input, KvFormat, Model, Shape, Wanted};
use lockgate_kernels::cpu::Level;
use proptest::prelude::*;

use super::support::{LLAMA, QWEN2, Run, check_same_bits, gguf, likeliest, load, load_with, tokens};

const FORMATS: [TensorType; 4] = [TensorType::Q4_K, TensorType::Q8_0, TensorType::Q4_1, TensorType::F16];
/// More than a chunk of 64, and than a block of the attention.
const PROMPT: usize = 150;
const ANSWER: usize = 12;

/// Heads that a cache in 8 bits takes.
const EIGHT_BITS: Shape = Shape { head_dim: 32, ..LLAMA };

fn each_model(check: impl Fn(&Model, &str)) {
    for shape in [&LLAMA, &QWEN2] {
        for format in FORMATS {
            check(&load(&gguf(shape, format)), &format!("{} {}", shape.architecture, format.name()));
        }
    }
    let model = load_with(&gguf(&EIGHT_BITS, TensorType::Q8_0), KvFormat::Q8_0);
    check(&model, "llama Q8_0, cache in 8 bits");
}

/// Logits of the prompt computed at once on one thread, and the greedy answer.
fn baseline(model: &Model, prompt: &[u32]) -> (Vec<Vec<f32>>, Vec<u32>) {
    let mut run = Run::new(model, 1, Level::detect());
    let (logits, mut sequence) = run.all_logits(prompt, PROMPT);
    let answer = run.greedy(&mut sequence, &logits[prompt.len() - 1], ANSWER);
    (logits, answer)
}

#[test]
fn chunks_and_threads_change_no_bit() {
    each_model(|model, name| {
        let prompt = tokens(PROMPT, 1, model.config().vocabulary);
        let (expected, answer) = baseline(model, &prompt);
        for threads in [1, 2] {
            for chunk in [1, 7, 64, PROMPT] {
                let what = format!("{name}, {threads} threads, chunks of {chunk}");
                let mut run = Run::new(model, threads, Level::detect());
                let (found, mut sequence) = run.all_logits(&prompt, chunk);
                check_same_bits(&found, &expected, &what);
                assert_eq!(run.greedy(&mut sequence, &found[PROMPT - 1], ANSWER), answer, "{what}");
            }
        }
    });
}

#[test]
fn instructions_change_no_bit() {
    each_model(|model, name| {
        let prompt = tokens(PROMPT, 1, model.config().vocabulary);
        let (expected, _) = baseline(model, &prompt);
        for level in Level::available() {
            let (found, _) = Run::new(model, 2, *level).all_logits(&prompt, 64);
            check_same_bits(&found, &expected, &format!("{name}, {}", level.name()));
        }
    });
}

#[test]
fn eight_in_one_batch_answer_as_each_alone() {
    each_model(|model, name| {
        let prompts: Vec<Vec<u32>> = (0..8)
            .map(|number| tokens(PROMPT - 17 * number, number as u32, model.config().vocabulary))
            .collect();
        let mut run = Run::new(model, 2, Level::detect());
        let mut sequences: Vec<Sequence> = prompts.iter().map(|_| run.cache.sequence()).collect();
        let mut next: Vec<Vec<u32>> = prompts.clone();
        let mut answers: Vec<Vec<u32>> = vec![Vec::new(); prompts.len()];
        let mut last: Vec<Vec<f32>> = Vec::new();
        for _ in 0..=ANSWER {
            let before = run.compute.passes();
            let mut inputs: Vec<Input<'_>> = sequences
                .iter_mut()
                .zip(&next)
                .map(|(sequence, tokens)| Input { sequence, tokens, wanted: Wanted::Last })
                .collect();
            let logits = run.compute.forward(model, &mut run.cache, &mut inputs, &|| false).unwrap();
            last = logits.rows().map(<[f32]>::to_vec).collect();
            next = last.iter().map(|logits| vec![likeliest(logits)]).collect();
            for (answer, token) in answers.iter_mut().zip(&next) {
                answer.push(token[0]);
            }
            assert_eq!(run.compute.passes() - before, 1, "all sequences are one pass");
        }
        for (number, prompt) in prompts.iter().enumerate() {
            let what = format!("{name}, sequence {number} of 8");
            let mut alone = Run::new(model, 1, Level::detect());
            let (logits, mut sequence) = alone.all_logits(prompt, PROMPT);
            let answer = alone.greedy(&mut sequence, &logits[prompt.len() - 1], ANSWER);
            assert_eq!(answers[number][..ANSWER], answer, "{what}");
            let whole: Vec<u32> = prompt.iter().chain(&answer).copied().collect();
            let (logits, _) = alone.all_logits(&whole, whole.len());
            check_same_bits(&last[number..=number], &logits[whole.len() - 1..], &what);
        }
    });
}

#[test]
fn a_pass_given_up_leaves_no_trace() {
    for shape in [&LLAMA, &QWEN2] {
        let model = load(&gguf(shape, TensorType::Q8_0));
        let prompt = tokens(PROMPT, 1, model.config().vocabulary);
        let (expected, answer) = baseline(&model, &prompt);
        let mut run = Run::new(&model, 2, Level::detect());
        let (mut logits, mut sequence) = run.all_logits(&prompt[..100], 100);
        for layers in 0..model.config().layers {
            let polls = std::cell::Cell::new(0);
            let stop = || polls.replace(polls.get() + 1) == layers;
            // Other tokens than those that come, so that what they leave in the cache would show.
            let mut input = [Input { sequence: &mut sequence, tokens: &[5; 50], wanted: Wanted::All }];
            let error = run.compute.forward(&model, &mut run.cache, &mut input, &stop).unwrap_err();
            assert_eq!((error, polls.get()), (ForwardError::Stopped, layers + 1));
            assert_eq!(sequence.tokens(), 100);
        }
        let mut input = [Input { sequence: &mut sequence, tokens: &prompt[100..], wanted: Wanted::All }];
        let rest = run.compute.forward(&model, &mut run.cache, &mut input, &|| false).unwrap();
        logits.extend(rest.rows().map(<[f32]>::to_vec));
        check_same_bits(&logits, &expected, "after passes given up");
        assert_eq!(run.greedy(&mut sequence, &logits[PROMPT - 1], ANSWER), answer);
    }
}

/// Several sequences, each cut into chunks, the chunks of all mixed into passes as the numbers say.
fn check_schedule(shape: &Shape, format: TensorType, kv: KvFormat, schedule: &[Vec<(usize, usize)>]) {
    let model = load_with(&gguf(shape, format), kv);
    let prompts: Vec<Vec<u32>> = (0..3).map(|seed| tokens(120, seed, model.config().vocabulary)).collect();
    let mut run = Run::new(&model, 2, Level::detect());
    let mut sequences: Vec<Sequence> = prompts.iter().map(|_| run.cache.sequence()).collect();
    let mut found: Vec<Vec<Vec<f32>>> = vec![Vec::new(); prompts.len()];
    for pass in schedule {
        let mut inputs = Vec::new();
        let mut served = Vec::new();
        for (number, sequence) in sequences.iter_mut().enumerate() {
            let count =
                pass.iter().filter(|(which, _)| *which == number).map(|(_, count)| count).sum::<usize>();
            let rest = &prompts[number][sequence.tokens()..];
            let tokens = &rest[..count.min(rest.len())];
            if !tokens.is_empty() {
                served.extend(std::iter::repeat_n(number, tokens.len()));
                inputs.push(Input { sequence, tokens, wanted: Wanted::All });
            }
        }
        if inputs.is_empty() {
            continue;
        }
        let logits = run.compute.forward(&model, &mut run.cache, &mut inputs, &|| false).unwrap();
        for (number, row) in served.iter().zip(logits.rows()) {
            found[*number].push(row.to_vec());
        }
    }
    for (prompt, found) in prompts.iter().zip(&found) {
        let (expected, _) = Run::new(&model, 1, Level::detect()).all_logits(prompt, 120);
        check_same_bits(found, &expected[..found.len()], "any schedule");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_schedule_gives_the_same_bits(
        model in prop::sample::select(vec![(&LLAMA, KvFormat::F16), (&QWEN2, KvFormat::F16), (&EIGHT_BITS, KvFormat::Q8_0)]),
        format in prop::sample::select(FORMATS.to_vec()),
        schedule in prop::collection::vec(prop::collection::vec((0..3usize, 1..40usize), 1..4), 1..12),
    ) {
        check_schedule(model.0, format, model.1, &schedule);
    }
}
