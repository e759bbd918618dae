//! Tokens that are chosen where logits are computed: by the processor, which is the sampler itself, and by a card.
//!
//! From equal logits a card chooses the same token: weights have the same bits, and only their sums may differ, by far less
//! than anything here could show. Its own logits differ from the processor's within the bound of `cards`.

use std::sync::Arc;

use lockgate_emulator::{Operation, Probe, Recorder};
use lockgate_engine::kv::Sequence;
use lockgate_engine::model::{CardChoice, GpuLayers, Input, Mix, Model, Wanted};
use lockgate_engine::sampler::{Choice, NoLogit, Parameters, Sampler, Scratch};
use lockgate_kernels::cpu::Level;
use lockgate_kernels::cuda::memory::Device;

use super::cards::{WIDE_LLAMA, WIDE_QWEN2, bound, card, load_on, random};
use super::lora::Lora;
use super::support::{Run, likeliest, load, tokens};

/// How far a log-probability may be from the sampler's, by the same logits.
const LOGARITHM_BOUND: f32 = 1e-5;

/// Every rule, alone and together.
fn parameters(vocabulary: usize) -> Vec<Parameters> {
    let greedy = Parameters::likeliest(vocabulary);
    let drawn = Parameters { temperature: 1.0, seed: 3, ..greedy.clone() };
    vec![
        greedy.clone(),
        drawn.clone(),
        Parameters { temperature: 0.3, seed: 4, ..drawn.clone() },
        Parameters { top_k: 5, seed: 5, ..drawn.clone() },
        Parameters { top_p: 0.6, seed: 6, ..drawn.clone() },
        Parameters { min_p: 0.2, seed: 7, ..drawn.clone() },
        Parameters { temperature: 1.7, top_k: 20, top_p: 0.9, min_p: 0.05, seed: 8, ..drawn.clone() },
        Parameters { repetition_penalty: 1.4, ..greedy.clone() },
        Parameters { presence_penalty: 1.5, frequency_penalty: 0.7, top_p: 0.8, ..drawn.clone() },
        Parameters {
            logit_bias: vec![(3, -100.0), (9, 2.5), (9, 0.5)],
            repetition_penalty: 0.8,
            ..drawn.clone()
        },
        // More than a card has room for, but it comes to little.
        Parameters { logit_bias: vec![(11, 1e-3); 4000], top_k: 9, ..drawn },
    ]
}

/// One sequence being answered.
struct Answer {
    sequence: Sequence,
    sampler: Sampler,
    last: u32,
}

impl Answer {
    fn begin(run: &mut Run<'_>, parameters: &Parameters, choice: u32) -> Answer {
        let prompt = tokens(7 + choice as usize, choice, run.model.config().vocabulary);
        let mut sequence = run.cache.sequence();
        let (before, last) = prompt.split_at(prompt.len() - 1);
        let mut input = [Input { sequence: &mut sequence, tokens: before, wanted: Wanted::None }];
        run.compute.forward(run.model, &mut run.cache, &mut input, &|| false).expect("it fits");
        Answer { sequence, sampler: Sampler::new(parameters.clone(), choice, &prompt), last: last[0] }
    }
}

/// Logits and choices of one pass over the next token of every answer, which is then forgotten. `wants_choice` says which of
/// them want one.
fn pass(
    run: &mut Run<'_>,
    answers: &mut [Answer],
    tokens: usize,
    wants_choice: impl Fn(usize) -> bool,
) -> (Vec<Vec<f32>>, Vec<Result<Choice, NoLogit>>) {
    let mut inputs: Vec<Input<'_>> = answers
        .iter_mut()
        .enumerate()
        .map(|(number, Answer { sequence, sampler, last })| {
            let wanted = match wants_choice(number) {
                true => Wanted::Choice(sampler.rules(tokens, number % 2 == 1)),
                false => Wanted::Last,
            };
            Input { sequence, tokens: std::slice::from_ref(last), wanted }
        })
        .collect();
    let found = run.compute.forward(run.model, &mut run.cache, &mut inputs, &|| false).expect("it fits");
    let (rows, choices) = (found.rows().map(<[f32]>::to_vec).collect(), found.choices().to_vec());
    for answer in answers {
        let tokens = answer.sequence.tokens();
        answer.sequence.truncate(tokens - 1);
    }
    (rows, choices)
}

/// Has the model answer with these parameters, all in one batch, and compares every choice with the sampler's by the logits of
/// the same pass: all chosen, and every third read back instead.
fn check(model: &Model, parameters: &[Parameters], steps: usize, exact: bool) {
    let mut run = Run::new(model, 2, Level::detect());
    let mut answers: Vec<Answer> = (0..)
        .zip(parameters)
        .map(|(choice, parameters)| Answer::begin(&mut run, parameters, choice))
        .collect();
    let mut scratch = Scratch::default();
    // Not all of a row's logits need count.
    let counting = model.config().vocabulary - 2;
    for step in 0..steps {
        let (rows, none) = pass(&mut run, &mut answers, counting, |_| false);
        assert_eq!((rows.len(), none.len()), (answers.len(), 0));
        let (no_rows, chosen) = pass(&mut run, &mut answers, counting, |_| true);
        assert_eq!((no_rows.len(), chosen.len()), (0, answers.len()));
        let (some_rows, some) = pass(&mut run, &mut answers, counting, |number| number % 3 != 0);
        let (mut some_rows, mut some) = (some_rows.iter(), some.iter());
        for (number, answer) in answers.iter_mut().enumerate() {
            let expected =
                answer.sampler.rules(counting, number % 2 == 1).choose(&rows[number], &mut scratch);
            let found = chosen[number];
            let what = format!("answer {number}, step {step}");
            let (found, expected) = (found.expect("finite logits"), expected.expect("finite logits"));
            assert_eq!(found.token, expected.token, "{what}");
            assert_eq!(found.log_probability.is_some(), number % 2 == 1, "{what}");
            let distance = found.log_probability.zip(expected.log_probability).map(|(a, b)| (a - b).abs());
            assert!(distance.is_none_or(|distance| distance <= LOGARITHM_BOUND), "{what}: {distance:?}");
            assert!(!exact || found == expected, "{what}: every bit");
            match number % 3 {
                0 => assert_eq!(some_rows.next().expect("read back"), &rows[number], "{what}"),
                _ => assert_eq!(some.next().expect("chosen"), &Ok(found), "{what}"),
            }
            answer.sampler.take(found.token);
            let mut input =
                [Input { sequence: &mut answer.sequence, tokens: &[answer.last], wanted: Wanted::None }];
            run.compute.forward(model, &mut run.cache, &mut input, &|| false).expect("it fits");
            answer.last = found.token;
        }
        assert!(some_rows.next().is_none() && some.next().is_none());
    }
}

#[test]
fn the_processor_chooses_by_its_sampler() {
    for shape in [&WIDE_LLAMA, &WIDE_QWEN2] {
        let gguf = random(shape, Mix::named("q4_k_m").expect("known"));
        check(&load(&gguf), &parameters(shape.vocabulary)[..8], 4, true);
    }
}

#[test]
fn a_card_chooses_what_the_sampler_would() {
    // A vocabulary for several tokens a thread.
    let shape = lockgate_engine::model::Shape { vocabulary: 700, ..WIDE_LLAMA };
    let gguf = random(&shape, Mix::named("q4_k_m").expect("known"));
    let all = parameters(shape.vocabulary);
    let model = load_on(&gguf, &card(GpuLayers::Auto));
    // Four sequences at a time, of which the third pass of a kind and all after it are launched as one.
    for parameters in all.chunks(4) {
        check(&model, parameters, 4, false);
    }
    // A single one; and where other layers are on the processor.
    check(&model, &all[4..5], 3, false);
    check(&load_on(&gguf, &card(GpuLayers::Count(1))), &all[6..9], 3, false);
}

/// Another seed, choice or place draws other numbers, on either side alike.
#[test]
fn seeds_decide_on_a_card_too() {
    let gguf = random(&WIDE_QWEN2, Mix::named("q8_0").expect("known"));
    let answer = |model: &Model, seed: u64, choice: u32| -> Vec<u32> {
        let mut run = Run::new(model, 2, Level::detect());
        let parameters = Parameters { temperature: 2.0, seed, ..Parameters::likeliest(70) };
        let mut answer = [Answer::begin(&mut run, &parameters, choice)];
        // Draws of the same place: what differs is the random number alone.
        (0..12)
            .map(|_| {
                let (_, chosen) = pass(&mut run, &mut answer, 70, |_| true);
                let token = chosen[0].expect("finite logits").token;
                answer[0].sampler.take(token);
                token
            })
            .collect()
    };
    let there = load_on(&gguf, &card(GpuLayers::Auto));
    let first = answer(&there, 1, 0);
    assert_eq!(answer(&there, 1, 0), first);
    assert_ne!(answer(&there, 2, 0), first);
    assert!(first.iter().any(|token| *token != first[0]), "{first:?}");
}

/// Against the processor's own logits: the same token wherever the first is further ahead than twice the bound.
#[test]
fn a_card_chooses_as_the_processor_where_the_choice_is_clear() {
    let mut sure = 0;
    for (shape, mix) in [(&WIDE_LLAMA, "q8_0"), (&WIDE_QWEN2, "q5_k_m")] {
        let gguf = random(shape, Mix::named(mix).expect("known"));
        let (here, there) = (load(&gguf), load_on(&gguf, &card(GpuLayers::Auto)));
        let text = tokens(40, 21, shape.vocabulary);
        let (expected, _) = Run::new(&here, 2, Level::detect()).all_logits(&text, 40);
        let mut run = Run::new(&there, 2, Level::detect());
        let mut sequence = run.cache.sequence();
        let sampler = Sampler::new(Parameters::likeliest(shape.vocabulary), 0, &[]);
        for (token, expected) in text.iter().zip(&expected) {
            let wanted = Wanted::Choice(sampler.rules(shape.vocabulary, false));
            let mut input = [Input { sequence: &mut sequence, tokens: &[*token], wanted }];
            let found = run.compute.forward(&there, &mut run.cache, &mut input, &|| false).expect("it fits");
            let mut sorted = expected.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            if sorted[0] - sorted[1] > 2.0 * bound(expected) {
                assert_eq!(found.choices()[0].expect("finite").token, likeliest(expected));
                sure += 1;
            }
        }
    }
    assert!(sure > 3, "{sure} rows tell their first token from their second");
}

/// What a pass brings back from a card: eight bytes a choice, and rows of logits only where they are wanted; all of it in one
/// copy where everything is chosen. Nothing is allocated.
#[test]
fn passes_bring_back_only_what_was_chosen() {
    let recorder = Arc::new(Recorder::new());
    let probe = Arc::new(Probe::new(recorder.clone()));
    let card =
        CardChoice { device: Device::new(probe.clone()), free_bytes: 4 << 30, layers: GpuLayers::Auto };
    let shape = &WIDE_QWEN2;
    let there = load_on(&random(shape, Mix::named("q4_k_m").expect("known")), &card);
    let mut run = Run::new(&there, 1, Level::detect());
    let row_bytes = shape.vocabulary * 4;
    let samplers: Vec<Sampler> = parameters(shape.vocabulary)[7..10]
        .iter()
        .map(|parameters| Sampler::new(parameters.clone(), 0, &[1, 2, 3]))
        .collect();
    let choice = |number: usize| Wanted::Choice(samplers[number].rules(shape.vocabulary, number == 1));
    let adapter = Lora::random(shape, &[0, 3], 4, 1).load(there.config());
    let mut sequences = [None, None, Some(adapter)].map(|adapter| run.cache.sequence_with(adapter));
    let long = tokens(20, 1, shape.vocabulary);
    // Tokens of each sequence, what is wanted of it, and what comes back.
    let mut passes: Vec<([usize; 3], [Wanted<'_>; 3], Vec<usize>)> = vec![
        ([20, 5, 0], [choice(0), choice(1), Wanted::None], vec![16]),
        ([20, 1, 0], [Wanted::None, choice(1), Wanted::None], vec![8]),
        ([1, 1, 0], [choice(0), Wanted::Last, Wanted::None], vec![8, row_bytes]),
        ([1, 1, 3], [Wanted::Last, choice(1), Wanted::All], vec![8, row_bytes, 3 * row_bytes]),
        ([1, 1, 3], [choice(0), Wanted::All, Wanted::States], vec![8, row_bytes, 3 * shape.hidden * 4]),
        ([1, 1, 1], [choice(0), choice(1), choice(2)], vec![24]),
    ];
    // Plainly, captured, and launched as one.
    passes.extend((0..4).map(|_| ([1, 1, 0], [choice(0), choice(1), Wanted::None], vec![16])));
    let mut launched = 0;
    for (number, (counts, wanted, expected)) in passes.into_iter().enumerate() {
        let mut inputs: Vec<Input<'_>> = sequences
            .iter_mut()
            .zip(counts)
            .zip(wanted)
            .filter(|((_, count), _)| *count > 0)
            .map(|((sequence, count), wanted)| Input { sequence, tokens: &long[..count], wanted })
            .collect();
        let (before, _) = (probe.counts(), recorder.take_operations());
        run.compute.forward(&there, &mut run.cache, &mut inputs, &|| false).expect("it fits");
        let after = probe.counts();
        let operations = recorder.take_operations();
        let downloads = operations.iter().filter_map(|operation| match operation {
            Operation::Download(_, _, bytes) => Some(*bytes),
            _ => None,
        });
        assert_eq!(downloads.collect::<Vec<_>>(), expected, "pass {number}");
        assert_eq!(after.synchronizations, before.synchronizations, "pass {number}: each copy waits");
        // The adapter's copy, once.
        assert_eq!(after.allocations > before.allocations, number == 3, "pass {number}");
        assert!(after.frees == before.frees && after.uploads - before.uploads < 40, "pass {number}");
        launched += after.graphs - before.graphs;
    }
    assert!(launched >= 2, "{launched} decodes were launched as one");
    assert_eq!(recorder.violations(), Vec::<String>::new());
}

/// What the next decode looks up is on its way before this one's tokens are waited for; behind them nothing is sent any more
/// where it is that decode which follows, what its penalties are by included.
#[test]
fn the_next_decode_is_prepared_while_this_one_runs() {
    let recorder = Arc::new(Recorder::new());
    let card =
        CardChoice { device: Device::new(recorder.clone()), free_bytes: 4 << 30, layers: GpuLayers::Auto };
    let shape = &WIDE_LLAMA;
    let there = load_on(&random(shape, Mix::named("q8_0").expect("known")), &card);
    let mut run = Run::new(&there, 1, Level::detect());
    let mut answers: Vec<Answer> = parameters(shape.vocabulary)[6..9]
        .iter()
        .zip(0..)
        .map(|(parameters, choice)| Answer::begin(&mut run, parameters, choice))
        .collect();
    for answer in &mut answers {
        answer.sequence.reserve(48).expect("there are blocks");
    }
    let mut prepared = 0;
    // Across the border of a page.
    for step in 0..14 {
        let _ = recorder.take_operations();
        let mut inputs: Vec<Input<'_>> = answers
            .iter_mut()
            .map(|Answer { sequence, sampler, last }| {
                let wanted = Wanted::Choice(sampler.rules(shape.vocabulary, false));
                Input { sequence, tokens: std::slice::from_ref(last), wanted }
            })
            .collect();
        run.compute.forward(&there, &mut run.cache, &mut inputs, &|| false).expect("it fits");
        let operations = recorder.take_operations();
        let place = |is: fn(&Operation) -> bool| operations.iter().position(is);
        let download = place(|operation| matches!(operation, Operation::Download(..))).expect("the tokens");
        let wait = place(|operation| matches!(operation, Operation::Wait(_))).expect("for them alone");
        let is_upload = |operation: &Operation| matches!(operation, Operation::Upload(..));
        // Positions, slots, what attention is shared out by, and the random numbers.
        let between = operations[download..wait].iter().filter(|operation| is_upload(operation)).count();
        assert!((4..=5).contains(&between), "step {step}: {operations:?}");
        assert_eq!(wait + 1, operations.len(), "step {step}: nothing else is waited for");
        let before = operations[..download].iter().filter(|operation| is_upload(operation)).count();
        if step > 0 {
            assert_eq!(before, 0, "step {step}: {operations:?}");
            prepared += 1;
        }
        for answer in &mut answers {
            // What the recorder brings back.
            answer.sampler.take(0);
            answer.last = 0;
        }
    }
    assert_eq!((prepared, recorder.violations()), (13, Vec::new()));
}

/// Answers whose tokens never leave the card but to be read: each is what the sampler chooses by the logits of a run that reads
/// them back.
#[test]
fn answers_that_go_on_by_themselves_are_the_sampler_s() {
    let shape = lockgate_engine::model::Shape { vocabulary: 700, ..WIDE_LLAMA };
    let there = load_on(&random(&shape, Mix::named("q8_0").expect("known")), &card(GpuLayers::Auto));
    let all = parameters(shape.vocabulary);
    // By penalties, from few tokens, so that the same come again and again; and by chance alone.
    let penalised = Parameters { top_k: 4, temperature: 0.8, ..all[8].clone() };
    let chosen_by = [all[7].clone(), penalised, all[2].clone()];
    let begin = |run: &mut Run<'_>| -> Vec<Answer> {
        chosen_by.iter().zip(0..).map(|(parameters, choice)| Answer::begin(run, parameters, choice)).collect()
    };
    let mut run = Run::new(&there, 2, Level::detect());
    let mut answers = begin(&mut run);
    answers.iter_mut().for_each(|answer| answer.sequence.reserve(48).expect("there are blocks"));
    let mut told: Vec<Vec<u32>> = Vec::new();
    for _ in 0..30 {
        let mut inputs: Vec<Input<'_>> = answers
            .iter_mut()
            .map(|Answer { sequence, sampler, last }| {
                let wanted = Wanted::Choice(sampler.rules(shape.vocabulary, false));
                Input { sequence, tokens: std::slice::from_ref(last), wanted }
            })
            .collect();
        let found = run.compute.forward(&there, &mut run.cache, &mut inputs, &|| false).expect("it fits");
        let tokens: Vec<u32> =
            found.choices().iter().map(|choice| choice.expect("finite logits").token).collect();
        for (answer, &token) in answers.iter_mut().zip(&tokens) {
            answer.sampler.take(token);
            answer.last = token;
        }
        told.push(tokens);
    }
    let mut run = Run::new(&there, 2, Level::detect());
    let (mut answers, mut scratch) = (begin(&mut run), Scratch::default());
    for (step, told) in told.iter().enumerate() {
        let mut inputs: Vec<Input<'_>> = answers
            .iter_mut()
            .map(|Answer { sequence, last, .. }| Input {
                sequence,
                tokens: std::slice::from_ref(last),
                wanted: Wanted::Last,
            })
            .collect();
        let logits = run.compute.forward(&there, &mut run.cache, &mut inputs, &|| false).expect("it fits");
        let rows: Vec<Vec<f32>> = logits.rows().map(<[f32]>::to_vec).collect();
        for ((answer, row), &token) in answers.iter_mut().zip(&rows).zip(told) {
            let expected = answer.sampler.sample(row, &mut scratch).expect("finite logits");
            assert_eq!(token, expected, "step {step}");
            answer.last = token;
        }
    }
}

/// Where another decode follows than was prepared, or none, it is as right as if nothing had been.
#[test]
fn what_was_prepared_in_vain_does_no_harm() {
    let shape = &WIDE_QWEN2;
    let gguf = random(shape, Mix::named("q8_0").expect("known"));
    let all = parameters(shape.vocabulary);
    let [here, there] = [load(&gguf), load_on(&gguf, &card(GpuLayers::Auto))];
    let [expected, found] = [&here, &there].map(|model| {
        let mut run = Run::new(model, 2, Level::detect());
        let mut answers: Vec<Answer> =
            (0..3).map(|number| Answer::begin(&mut run, &all[[7, 8, 0][number]], number as u32)).collect();
        answers.iter_mut().for_each(|answer| answer.sequence.reserve(60).expect("there are blocks"));
        let mut rows = Vec::new();
        for step in 0..24_u32 {
            // All of them, some, in another order, and beside a piece of a prompt.
            let members: &[usize] =
                [&[0, 1, 2][..], &[0, 1, 2], &[2, 0], &[0, 1, 2], &[1]][step as usize % 5];
            let mut prompt = run.cache.sequence();
            let mut inputs: Vec<Input<'_>> = Vec::new();
            let mut taken: Vec<(usize, &mut Answer)> = answers.iter_mut().enumerate().collect();
            taken.sort_by_key(|(number, _)| members.iter().position(|member| member == number));
            for (number, Answer { sequence, sampler, last }) in taken {
                if members.contains(&number) {
                    let wanted = match step % 3 {
                        0 => Wanted::Last,
                        _ => Wanted::Choice(sampler.rules(shape.vocabulary, false)),
                    };
                    inputs.push(Input { sequence, tokens: std::slice::from_ref(last), wanted });
                }
            }
            let text = tokens(9, step, shape.vocabulary);
            if step % 4 == 3 {
                inputs.push(Input { sequence: &mut prompt, tokens: &text, wanted: Wanted::Last });
            }
            let logits = run.compute.forward(model, &mut run.cache, &mut inputs, &|| false).expect("it fits");
            rows.extend(logits.rows().map(<[f32]>::to_vec));
            // Teacher-forced, so that both go the same way.
            for &number in members {
                answers[number].last = text[number];
                answers[number].sampler.take(text[number]);
            }
        }
        rows
    });
    super::cards::check(&found, &expected, "decodes that were not expected");
}

#[test]
fn a_choice_among_more_than_there_is_is_refused() {
    let gguf = random(&WIDE_LLAMA, Mix::named("q8_0").expect("known"));
    let model = load(&gguf);
    let mut run = Run::new(&model, 1, Level::detect());
    let mut sequence = run.cache.sequence();
    let sampler = Sampler::new(Parameters::likeliest(71), 0, &[]);
    let wanted = Wanted::Choice(sampler.rules(71, false));
    let mut input = [Input { sequence: &mut sequence, tokens: &[1], wanted }];
    let error = run.compute.forward(&model, &mut run.cache, &mut input, &|| false).expect_err("70 logits");
    assert!(error.to_string().contains("fewer output rows than its tokenizer has tokens"), "{error}");
    assert_eq!(sequence.tokens(), 0);
}
