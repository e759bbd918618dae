//! Adapters on whole models: equal to merged weights, the same in either form of file and in any batch, without a
//! trace in rows that have none; and every reason for which one is refused.

use std::sync::Arc;

use lockgate_engine::adapter::{Adapter, AdapterFile};
use lockgate_engine::gguf::{Gguf, GgufWriter, Limits, Metadata, TensorType};
use lockgate_engine::kv::Sequence;
use lockgate_engine::model::{Input, Mix, Model, Shape, Wanted, random_model};
use lockgate_kernels::cpu::Level;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::lora::{Lora, MODULES, Pair, Stored, outputs_and_inputs, safetensors, whole};
use super::reference::{Matrix, Naive, read, relative_error};
use super::support::{LLAMA, QWEN2, Run, check_same_bits, gguf, load, tokens};

const ALL: [usize; 7] = [0, 1, 2, 3, 4, 5, 6];
/// What the product promises of merged weights.
const MERGED_BOUND: f64 = 1e-3;

fn add(matrix: &mut Matrix, delta: &[Vec<f64>]) {
    for (row, delta) in matrix.iter_mut().zip(delta) {
        row.iter_mut().zip(delta).for_each(|(weight, delta)| *weight += delta);
    }
}

fn weight(pair: &Pair) -> String {
    format!("blk.{}.{}.weight", pair.layer, MODULES[pair.module].0)
}

/// The model file with the adapter merged into its weights, as a tool would write it.
fn merged(base: &Gguf, lora: &Lora) -> Gguf {
    let mut writer = GgufWriter::new();
    base.metadata().iter().for_each(|(key, value)| {
        writer.metadata(key, value.clone());
    });
    for tensor in base.tensors() {
        let mut data = vec![0; tensor.size_bytes as usize];
        base.read_data(tensor, 0, &mut data).unwrap();
        if let Some(pair) = lora.pairs.iter().find(|pair| weight(pair) == tensor.name) {
            let mut matrix = read(base, &tensor.name).unwrap();
            add(&mut matrix, &lora.stored_order(pair.module, &lora.delta(pair)));
            data = matrix.iter().flatten().flat_map(|weight| (*weight as f32).to_le_bytes()).collect();
        }
        writer.tensor(&tensor.name, &tensor.dimensions, tensor.tensor_type, data);
    }
    Gguf::read(Box::new(writer.finish()), "merged", &Limits::default()).unwrap()
}

fn to_f64(rows: &[Vec<f32>]) -> Matrix {
    rows.iter().map(|row| row.iter().copied().map(f64::from).collect()).collect()
}

fn logits(model: &Model, adapter: Option<&Arc<Adapter>>, tokens: &[u32]) -> Vec<Vec<f32>> {
    Run::new(model, 2, Level::detect()).adapted_logits(adapter, tokens, 13).0
}

#[test]
fn an_adapter_equals_its_merged_weights() {
    for shape in [&LLAMA, &QWEN2] {
        let base = gguf(shape, TensorType::F32);
        let model = load(&base);
        let prompt = tokens(30, 3, shape.vocabulary);
        let plain = logits(&model, None, &prompt);
        let variants = [
            Lora::random(shape, &ALL, 4, 1),
            Lora { alpha: 12.0, stabilized: true, ..Lora::random(shape, &ALL, 8, 2) },
            Lora { alpha: 3.0, ..Lora::random(shape, &[0], 1, 3) },
            Lora::random(shape, &[1, 2, 6], 17, 4),
        ];
        for lora in variants {
            let expected = to_f64(&logits(&load(&merged(&base, &lora)), None, &prompt));
            for file in [lora.peft(Stored::F32), lora.gguf(Stored::F32)] {
                let adapter = Arc::new(file.load(model.config(), 1.0).unwrap());
                let found = logits(&model, Some(&adapter), &prompt);
                let error = relative_error(&found, &expected);
                assert!(error <= MERGED_BOUND, "{}, rank {}: {error:.2e}", shape.architecture, lora.rank);
                // The other way round: without the adapter the bound is far away.
                assert!(relative_error(&plain, &expected) > 30.0 * MERGED_BOUND);
            }
        }
    }
}

#[test]
fn a_scale_multiplies_what_is_added() {
    let base = gguf(&LLAMA, TensorType::F32);
    let model = load(&base);
    let prompt = tokens(20, 5, LLAMA.vocabulary);
    let lora = Lora::random(&LLAMA, &ALL, 4, 1);
    let half = Lora { alpha: lora.alpha / 2.0, ..lora.clone() };
    let scaled = Arc::new(lora.peft(Stored::F32).load(model.config(), 0.5).unwrap());
    let whole = Arc::new(half.peft(Stored::F32).load(model.config(), 1.0).unwrap());
    assert_eq!(scaled.content(), whole.content());
    check_same_bits(&logits(&model, Some(&scaled), &prompt), &logits(&model, Some(&whole), &prompt), "scale");
}

/// The published model, naively: heads rotated by halves, weights and adapter in published order. What a GGUF file
/// stores in another order must come out the same.
#[test]
fn published_adapters_agree_with_a_naive_published_model() {
    for shape in [&LLAMA, &QWEN2] {
        let base = gguf(shape, TensorType::F32);
        let model = load(&base);
        let prompt = tokens(24, 3, shape.vocabulary);
        let lora = Lora::random(shape, &ALL, 4, 9);
        let mut published = Naive::new(&base);
        published.neighbours = false;
        for layer in 0..shape.layers {
            for (module, (name, _)) in MODULES.iter().enumerate() {
                let name = format!("blk.{layer}.{name}.weight");
                let matrix = published_order(shape, module, &read(&base, &name).unwrap());
                published.replace(&name, matrix);
            }
        }
        let plain = published.logits(&prompt);
        assert!(relative_error(&logits(&model, None, &prompt), &plain) <= MERGED_BOUND, "the model itself");
        for pair in &lora.pairs {
            let mut matrix = published_order(shape, pair.module, &read(&base, &weight(pair)).unwrap());
            add(&mut matrix, &lora.delta(pair));
            published.replace(&weight(pair), matrix);
        }
        let expected = published.logits(&prompt);
        let found = logits(&model, Some(&lora.load(model.config())), &prompt);
        let error = relative_error(&found, &expected);
        assert!(error <= MERGED_BOUND, "{}: {error:.2e}", shape.architecture);
        assert!(relative_error(&found, &plain) > 30.0 * MERGED_BOUND);
    }
}

/// Rows of a GGUF file's queries or keys in published order: llama's neighbours apart again.
fn published_order(shape: &Shape, module: usize, rows: &Matrix) -> Matrix {
    if shape.architecture != "llama" || module > 1 {
        return rows.clone();
    }
    let head = |rows: &[Vec<f64>]| -> Matrix {
        let even = rows.iter().step_by(2);
        even.chain(rows.iter().skip(1).step_by(2)).cloned().collect()
    };
    rows.chunks_exact(shape.head_dim).flat_map(head).collect()
}

#[test]
fn both_forms_are_the_same_adapter() {
    for shape in [&LLAMA, &QWEN2] {
        let model = load(&gguf(shape, TensorType::Q8_0));
        let prompt = tokens(20, 5, shape.vocabulary);
        let mut contents = Vec::new();
        for stored in [Stored::F32, Stored::F16, Stored::Bf16] {
            let lora = Lora::random(shape, &ALL, 4, 1);
            let [peft, gguf] = [lora.peft(stored), lora.gguf(stored)]
                .map(|file| Arc::new(file.load(model.config(), 1.0).unwrap()));
            assert_eq!(peft.content(), gguf.content(), "{stored:?}");
            let found = logits(&model, Some(&gguf), &prompt);
            check_same_bits(&found, &logits(&model, Some(&peft), &prompt), "two forms");
            contents.push(peft.content());
        }
        contents.push(Lora::random(shape, &ALL, 4, 2).load(model.config()).content());
        let different: std::collections::HashSet<_> = contents.iter().collect();
        assert_eq!(different.len(), contents.len(), "different weights are different content");
    }
}

#[test]
fn chunks_threads_and_instructions_change_no_bit() {
    for shape in [&LLAMA, &QWEN2] {
        for format in [TensorType::Q4_K, TensorType::Q8_0, TensorType::F16] {
            let model = load(&gguf(shape, format));
            let adapter = Lora::random(shape, &ALL, 5, 1).load(model.config());
            let prompt = tokens(100, 1, shape.vocabulary);
            let one = |threads, level, chunk| {
                Run::new(&model, threads, level).adapted_logits(Some(&adapter), &prompt, chunk).0
            };
            let expected = one(1, Level::detect(), 100);
            for threads in [1, 2] {
                for chunk in [1, 7, 64, 100] {
                    let what = format!("{}, {threads} threads, chunks of {chunk}", format.name());
                    check_same_bits(&one(threads, Level::detect(), chunk), &expected, &what);
                }
            }
            for level in Level::available() {
                check_same_bits(&one(2, *level, 64), &expected, level.name());
            }
        }
    }
}

/// Which adapter each of six sequences has: two with the same, apart from each other, and some with none.
const BATCH: [Option<usize>; 6] = [Some(0), None, Some(1), Some(0), None, Some(2)];

#[test]
fn several_adapters_and_none_in_one_batch_answer_as_each_alone() {
    for (shape, format) in [(&LLAMA, TensorType::Q4_K), (&QWEN2, TensorType::Q8_0), (&LLAMA, TensorType::F32)]
    {
        let model = load(&gguf(shape, format));
        let adapters = [
            Lora::random(shape, &ALL, 4, 1).load(model.config()),
            Lora::random(shape, &[0, 2], 16, 2).load(model.config()),
            Lora::random(shape, &[6], 1, 3).load(model.config()),
        ];
        let prompts: Vec<Vec<u32>> =
            (0..BATCH.len()).map(|number| tokens(40 - 5 * number, number as u32, shape.vocabulary)).collect();
        let mut run = Run::new(&model, 2, Level::detect());
        let mut sequences: Vec<Sequence> = BATCH
            .iter()
            .map(|which| run.cache.sequence_with(which.map(|which| Arc::clone(&adapters[which]))))
            .collect();
        let mut inputs: Vec<Input<'_>> = sequences
            .iter_mut()
            .zip(&prompts)
            .map(|(sequence, tokens)| Input { sequence, tokens, wanted: Wanted::All })
            .collect();
        let together = run.compute.forward(&model, &mut run.cache, &mut inputs, &|| false).unwrap();
        let mut rows = together.rows();
        for (which, prompt) in BATCH.iter().zip(&prompts) {
            let found: Vec<Vec<f32>> = rows.by_ref().take(prompt.len()).map(<[f32]>::to_vec).collect();
            let alone = logits(&model, which.map(|which| &adapters[which]), prompt);
            check_same_bits(&found, &alone, &format!("{} with {which:?}", format.name()));
        }
        // The same batch decodes: only last logits are wanted, so most rows are dropped behind the last attention.
        let mut inputs: Vec<Input<'_>> = sequences
            .iter_mut()
            .map(|sequence| Input { sequence, tokens: &[7, 3], wanted: Wanted::Last })
            .collect();
        inputs[2].wanted = Wanted::None;
        let together = run.compute.forward(&model, &mut run.cache, &mut inputs, &|| false).unwrap();
        let mut rows = together.rows();
        for (number, (which, prompt)) in
            BATCH.iter().zip(&prompts).enumerate().filter(|(number, _)| *number != 2)
        {
            let prompt: Vec<u32> = prompt.iter().chain(&[7, 3]).copied().collect();
            let alone = logits(&model, which.map(|which| &adapters[which]), &prompt);
            let found = vec![rows.next().unwrap().to_vec()];
            check_same_bits(&found, &alone[prompt.len() - 1..], &format!("sequence {number} decodes"));
        }
        assert!(rows.next().is_none());
    }
}

#[test]
fn sequences_of_different_adapters_share_no_state() {
    let model = load(&gguf(&LLAMA, TensorType::Q8_0));
    let adapter = Lora::random(&LLAMA, &[1], 2, 1).load(model.config());
    let mut run = Run::new(&model, 1, Level::detect());
    let prompt = tokens(40, 1, LLAMA.vocabulary);
    let (_, plain) = run.all_logits(&prompt, 40);
    let (_, adapted) = run.adapted_logits(Some(&adapter), &prompt, 40);
    assert!(plain.pages().iter().all(|page| !adapted.pages().contains(page)));
    assert!(plain.adapter().is_none());
    assert_eq!(adapted.adapter().map(|adapter| adapter.content()), Some(adapter.content()));
}

#[test]
#[should_panic(expected = "an adapter is used with the model that it was loaded for")]
fn an_adapter_of_another_model_is_never_computed_with() {
    let model = load(&gguf(&LLAMA, TensorType::Q8_0));
    let adapter = Lora::random(&QWEN2, &[0], 2, 1).load(load(&gguf(&QWEN2, TensorType::Q8_0)).config());
    let _ = logits(&model, Some(&adapter), &[1, 2, 3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_schedule_gives_the_same_bits(
        which in prop::collection::vec(prop::option::of(0..2usize), 3),
        wanted in any::<bool>(),
        schedule in prop::collection::vec(prop::collection::vec((0..3usize, 1..40usize), 1..4), 1..10),
    ) {
        check_schedule(&which, wanted, &schedule);
    }
}

/// Three sequences with these adapters, cut into chunks that are mixed into passes as the schedule says.
fn check_schedule(which: &[Option<usize>], all_wanted: bool, schedule: &[Vec<(usize, usize)>]) {
    let model = load(&gguf(&LLAMA, TensorType::Q8_0));
    let adapters = [1, 2].map(|seed| Lora::random(&LLAMA, &ALL, 3, seed).load(model.config()));
    let adapter_of = |number: usize| which[number].map(|which| &adapters[which]);
    let prompts: Vec<Vec<u32>> = (0..3).map(|seed| tokens(100, seed, LLAMA.vocabulary)).collect();
    let mut run = Run::new(&model, 2, Level::detect());
    let mut sequences: Vec<Sequence> =
        (0..3).map(|number| run.cache.sequence_with(adapter_of(number).cloned())).collect();
    let expected: Vec<Vec<Vec<f32>>> =
        (0..3).map(|number| logits(&model, adapter_of(number), &prompts[number])).collect();
    for pass in schedule {
        let mut inputs = Vec::new();
        let mut served = Vec::new();
        for (number, sequence) in sequences.iter_mut().enumerate() {
            let count: usize =
                pass.iter().filter(|(which, _)| *which == number).map(|(_, count)| count).sum();
            let start = sequence.tokens();
            let tokens = &prompts[number][start..(start + count).min(100)];
            if tokens.is_empty() {
                continue;
            }
            let first = if all_wanted { start } else { start + tokens.len() - 1 };
            served.extend((first..start + tokens.len()).map(|position| (number, position)));
            let wanted = if all_wanted { Wanted::All } else { Wanted::Last };
            inputs.push(Input { sequence, tokens, wanted });
        }
        if inputs.is_empty() {
            continue;
        }
        let found = run.compute.forward(&model, &mut run.cache, &mut inputs, &|| false).unwrap();
        assert_eq!(found.rows().len(), served.len());
        for ((number, position), row) in served.iter().zip(found.rows()) {
            check_same_bits(&[row.to_vec()], &expected[*number][*position..=*position], "any schedule");
        }
    }
}

fn small() -> Lora {
    Lora::random(&LLAMA, &[0, 3], 4, 1)
}

/// The message with which PEFT's two files are refused.
fn refusal(settings: &Json, weights: Vec<u8>) -> String {
    let model = load(&gguf(&LLAMA, TensorType::Q8_0));
    let file = AdapterFile::from_peft("adapter", settings.to_string().as_bytes(), Box::new(weights));
    let error = match file {
        Err(error) => error,
        Ok(file) => {
            let error = file.check(model.config(), 1.0).expect_err("it does not fit");
            let loaded = file.load(model.config(), 1.0).expect_err("what is not checked is not loaded");
            assert_eq!(error.to_string(), loaded.to_string());
            error
        }
    };
    let message = error.to_string();
    assert!(message.starts_with("adapter: "), "{message}");
    message
}

#[track_caller]
fn check_setting(key: &str, value: Json, words: &str) {
    let mut settings = small().settings();
    settings[key] = value;
    let message = refusal(&settings, small().weights(Stored::F32));
    assert!(message.contains(&format!("`{key}")) && message.contains(words), "{message}");
}

#[test]
fn settings_that_change_the_answer_are_refused_by_name() {
    check_setting("use_dora", json!(true), "DoRA");
    check_setting("bias", json!("all"), "bias=\"none\"");
    check_setting("lora_bias", json!(true), "biases");
    check_setting("modules_to_save", json!(["lm_head"]), "merge");
    check_setting("fan_in_fan_out", json!(true), "fan_in_fan_out=False");
    check_setting("layer_replication", json!([[0, 2]]), "merge");
    check_setting("trainable_token_indices", json!([5]), "embeddings");
    check_setting("alora_invocation_tokens", json!([5, 6]), "activated");
    check_setting("init_lora_weights", json!("pissa"), "changed base model");
    check_setting("peft_type", json!("LOHA"), "only LORA");
    check_setting("task_type", json!("SEQ_CLS"), "CAUSAL_LM");
    check_setting("some_new_rule", json!("on"), "not known");
    check_setting("r", json!(0), "1 to 1024");
    check_setting("lora_alpha", json!(-1), "positive");
    check_setting("lora_alpha", json!("16"), "positive");
    check_setting("lora_alpha", Json::Null, "positive");
    check_setting("rank_pattern", json!({"q_proj": "4"}), "1 to 1024");
    check_setting("alpha_pattern", json!({".*q_proj": 4}), "in full");
    check_setting("use_rslora", json!("yes"), "true or false");
    check_setting("target_modules", json!(["q_proj", "o_proj", "lm_head"]), "no weights for it");
    check_setting("target_modules", json!([3]), "list of names");
    let message = refusal(&json!([1]), small().weights(Stored::F32));
    assert!(message.contains("not a PEFT configuration"), "{message}");
    let mut settings = small().settings();
    settings["target_modules"] = json!(["q_proj"]);
    let message = refusal(&settings, small().weights(Stored::F32));
    assert!(message.contains("o_proj.lora_A.weight` is not of the modules"), "{message}");
    for key in ["r", "lora_alpha", "peft_type"] {
        let mut settings = small().settings();
        settings.as_object_mut().unwrap().remove(key);
        let message = refusal(&settings, small().weights(Stored::F32));
        assert!(message.contains(key) && message.contains("must be given"), "{message}");
    }
}

#[test]
fn settings_that_change_nothing_are_passed_over() {
    let model = load(&gguf(&LLAMA, TensorType::Q8_0));
    let plain = small().load(model.config()).content();
    let mut settings = small().settings();
    settings["peft_version"] = json!("0.18.0");
    settings["a_setting_of_the_future"] = json!([]);
    settings["init_lora_weights"] = json!("gaussian");
    settings["exclude_modules"] = json!("lm_head");
    for targets in [json!("all-linear"), json!(".*(q|o)_proj"), json!(["self_attn.q_proj", "o_proj"])] {
        settings["target_modules"] = targets;
        let weights = Box::new(small().weights(Stored::F32));
        let file = AdapterFile::from_peft("adapter", settings.to_string().as_bytes(), weights).unwrap();
        assert_eq!(file.load(model.config(), 1.0).unwrap().content(), plain);
    }
}

#[test]
fn ranks_and_alphas_of_single_modules_count() {
    let base = gguf(&LLAMA, TensorType::F32);
    let model = load(&base);
    let prompt = tokens(20, 5, LLAMA.vocabulary);
    // Two adapters in one: the second has a rank and an alpha of its own.
    let (first, second) = (Lora::random(&LLAMA, &[0], 4, 1), Lora::random(&LLAMA, &[3], 2, 2));
    let second = Lora { alpha: 6.0, ..second };
    let pairs = first.pairs.iter().chain(&second.pairs).cloned().collect();
    let both = Lora { pairs, ..first.clone() };
    let mut settings = both.settings();
    settings["rank_pattern"] = json!({"o_proj": 2});
    settings["alpha_pattern"] = json!({"self_attn.o_proj": 6, "proj": 1});
    let weights = Box::new(both.weights(Stored::F32));
    let file = AdapterFile::from_peft("adapter", settings.to_string().as_bytes(), weights).unwrap();
    let found = logits(&model, Some(&Arc::new(file.load(model.config(), 1.0).unwrap())), &prompt);
    let whole = merged(&merged(&base, &first), &second);
    let error = relative_error(&found, &to_f64(&logits(&load(&whole), None, &prompt)));
    assert!(error <= MERGED_BOUND, "{error:.2e}");
    // Without the pattern the rank is not the one that the settings promise.
    settings["rank_pattern"] = json!({});
    let message = refusal(&settings, both.weights(Stored::F32));
    assert!(message.contains("has rank 2, but the configuration says 4"), "{message}");
}

/// The weights with one more tensor, or with one in the place of another.
fn weights_with(name: &str, dtype: &str, shape: &[usize], instead_of: Option<&str>) -> Vec<u8> {
    let bytes = |dtype: &str| shape.iter().product::<usize>() * if dtype == "F32" { 4 } else { 2 };
    let mut tensors = Vec::new();
    for Pair { layer, module, a, b } in small().pairs {
        for (half, rows) in [("lora_A", a), ("lora_B", b)] {
            let name = format!("base_model.model.model.layers.{layer}.{}.{half}.weight", MODULES[module].1);
            if instead_of != Some(name.as_str()) {
                let values = rows.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
                tensors.push((name, "F32", vec![rows.len(), rows[0].len()], values));
            }
        }
    }
    if !name.is_empty() {
        tensors.push((name.to_owned(), dtype, shape.to_vec(), vec![0; bytes(dtype)]));
    }
    safetensors(tensors.into_iter())
}

#[track_caller]
fn check_tensor(name: &str, dtype: &str, shape: &[usize], instead_of: Option<&str>, words: &str) {
    let message = refusal(&small().settings(), weights_with(name, dtype, shape, instead_of));
    assert!(message.contains(words), "{message}");
    assert!(name.is_empty() || message.contains(name), "{message}");
}

const QUERY_A: &str = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight";

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let model = "base_model.model.model";
    let of = |rest: &str| format!("{model}.{rest}");
    check_tensor("", "F32", &[], Some(QUERY_A), "without its other half");
    check_tensor(
        QUERY_A,
        "F32",
        &[4, 128],
        Some(QUERY_A),
        "has 4 rows of 128 but the model needs 4 rows of 256",
    );
    check_tensor(QUERY_A, "F32", &[4, 256, 1], Some(QUERY_A), "is no matrix");
    check_tensor(QUERY_A, "F32", &[0, 256], Some(QUERY_A), "rank 0");
    check_tensor(QUERY_A, "F32", &[3, 256], Some(QUERY_A), "has rank 3, but the configuration says 4");
    check_tensor(QUERY_A, "I16", &[4, 256], Some(QUERY_A), "save the adapter as F32, F16 or BF16");
    check_tensor(
        &of("layers.2.self_attn.q_proj.lora_A.weight"),
        "F32",
        &[4, 256],
        None,
        "the model has 2 layers",
    );
    check_tensor(
        &of("layers.01.self_attn.q_proj.lora_A.weight"),
        "F32",
        &[4, 256],
        None,
        "means the same as",
    );
    check_tensor(&of("layers.0.self_attn.qkv_proj.lora_A.weight"), "F32", &[4, 256], None, "known module");
    check_tensor(&of("layers.0.mlp.experts.3.up_proj.lora_A.weight"), "F32", &[4, 256], None, "known module");
    check_tensor(&of("layers.0.self_attn.q_proj.lora_magnitude_vector"), "F32", &[64], None, "DoRA");
    check_tensor(&of("layers.0.self_attn.q_proj.bias"), "F32", &[64], None, "bias");
    check_tensor(&of("layers.0.input_layernorm.weight"), "F32", &[256], None, "norm");
    check_tensor(&of("embed_tokens.lora_embedding_A"), "F32", &[4, 33], None, "embedding");
    check_tensor("base_model.model.lm_head.lora_A.weight", "F32", &[4, 256], None, "output matrix");
    check_tensor("model.layers.0.self_attn.q_proj.lora_A.weight", "F32", &[4, 256], None, "known module");
}

#[test]
fn numbers_that_are_not_finite_are_refused_when_they_are_read() {
    let config = load(&gguf(&LLAMA, TensorType::Q8_0)).config().clone();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut lora = small();
        lora.pairs[1].b[9][2] = bad;
        let error = lora.peft(Stored::F32).load(&config, 1.0).expect_err("not finite").to_string();
        assert!(error.contains("o_proj.lora_B.weight") && error.contains("at element 38"), "{error}");
    }
    let huge = Lora { alpha: 1e6, ..small() };
    let error = huge.peft(Stored::F32).check(&config, f32::MAX).expect_err("too much").to_string();
    assert!(error.contains("smaller scale"), "{error}");
}

fn gguf_refusal(writer: &GgufWriter) -> String {
    let gguf = Gguf::read(Box::new(writer.finish()), "adapter.gguf", &Limits::default()).unwrap();
    let config = load(&super::support::gguf(&LLAMA, TensorType::Q8_0)).config().clone();
    let error =
        AdapterFile::from_gguf(gguf).and_then(|file| file.check(&config, 1.0)).expect_err("it is refused");
    error.to_string()
}

/// A valid GGUF adapter with these keys and tensors in the place of its own.
fn gguf_with(
    keys: &[(&str, lockgate_engine::gguf::Value)],
    tensor: Option<(&str, &[u64], TensorType)>,
) -> String {
    let original = small().gguf_writer(Stored::F32).finish();
    let original = Gguf::read(Box::new(original), "adapter.gguf", &Limits::default()).unwrap();
    let mut metadata: Metadata = original.metadata().clone();
    for (key, value) in keys {
        metadata.insert(*key, value.clone());
    }
    let mut writer = GgufWriter::new();
    metadata.iter().for_each(|(key, value)| {
        writer.metadata(key, value.clone());
    });
    for known in original.tensors().filter(|known| tensor.is_none_or(|(name, ..)| known.name != name)) {
        let mut data = vec![0; known.size_bytes as usize];
        original.read_data(known, 0, &mut data).unwrap();
        writer.tensor(&known.name, &known.dimensions, known.tensor_type, data);
    }
    if let Some((name, dimensions, tensor_type)) = tensor {
        let bytes = tensor_type.bytes_of(dimensions.iter().product()).unwrap() as usize;
        writer.tensor(name, dimensions, tensor_type, vec![0; bytes]);
    }
    gguf_refusal(&writer)
}

#[test]
fn gguf_adapters_that_do_not_fit_are_refused_by_name() {
    use lockgate_engine::gguf::Value;
    let key = |key: &str, value: Value, words: &str| {
        let message = gguf_with(&[(key, value)], None);
        assert!(message.starts_with("adapter.gguf: ") && message.contains(words), "{message}");
    };
    key("general.type", Value::from("model"), "no adapter");
    key("adapter.type", Value::from("control_vector"), "only `lora`");
    key("general.architecture", Value::from("qwen2"), "architecture `qwen2`, the model's is `llama`");
    key("adapter.lora.alpha", Value::F32(0.0), "positive");
    key("adapter.lora.alpha", Value::F32(f32::NAN), "adapter.lora.alpha");
    key("adapter.lora.alpha", Value::U32(4), "adapter.lora.alpha");
    key("adapter.alora.invocation_tokens", Value::from(vec![1u32]), "activated");
    let tensor = |name: &str, dimensions: &[u64], tensor_type: TensorType, words: &str| {
        let message = gguf_with(&[], Some((name, dimensions, tensor_type)));
        assert!(message.contains(name) && message.contains(words), "{message}");
    };
    tensor("blk.0.attn_q.weight.lora_a", &[128, 4], TensorType::F32, "needs 4 rows of 256");
    tensor("blk.0.attn_q.weight.lora_a", &[256, 4, 1, 1], TensorType::F32, "no matrix");
    tensor("blk.0.attn_q.weight.lora_a", &[256, 4], TensorType::Q8_0, "--outtype f16");
    tensor("blk.0.attn_k.weight.lora_b", &[4, 32], TensorType::F32, "without its other half");
    tensor("blk.9.attn_q.weight.lora_a", &[256, 4], TensorType::F32, "2 layers");
    tensor("blk.0.attn_norm.weight", &[256], TensorType::F32, "norm");
    tensor("token_embd.weight.lora_a", &[256, 4], TensorType::F32, "embedding");
    tensor("output.weight.lora_b", &[4, 33], TensorType::F32, "output matrix");
    tensor("blk.0.ffn_up_exps.weight.lora_a", &[256, 4, 2], TensorType::F32, "known module");
    let mut empty = GgufWriter::new();
    let mut keys = vec![("general.type", Value::from("adapter")), ("adapter.type", Value::from("lora"))];
    keys.extend([("general.architecture", Value::from("llama")), ("adapter.lora.alpha", Value::F32(1.0))]);
    for (key, value) in keys {
        empty.metadata(key, value);
    }
    assert!(gguf_refusal(&empty).contains("no low-rank weights"));
}

#[test]
fn safetensors_files_that_lie_are_refused_by_name() {
    let attack = |header: &str, data: &[u8], words: &str| {
        let message = refusal(&small().settings(), whole(header, data));
        assert!(message.contains(words), "{header}: {message}");
    };
    let entry = |name: &str, shape: &str, begin: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    };
    attack("", &[], "damaged");
    attack("[]", &[], "damaged");
    attack(&"[".repeat(100_000), &[], "damaged");
    attack("{}", &[0; 8], "need 0 bytes of data but the file has 8");
    attack(&format!("{{{}}}", entry("a", "[2]", 0, 8)), &[0; 4], "need 8 bytes");
    attack(&format!("{{{}}}", entry("a", "[2]", 0, 12)), &[0; 12], "not its shape");
    attack(&format!("{{{}}}", entry("a", "[2]", 8, 0)), &[0; 8], "not its shape");
    attack(&format!("{{{}}}", entry("a", "[2]", 4, 12)), &[0; 12], "begins at 4 where 0");
    let two = |first: &str, second: &str| format!("{{{first},{second}}}");
    attack(&two(&entry("a", "[2]", 0, 8), &entry("b", "[2]", 4, 12)), &[0; 12], "begins at 4 where 8");
    attack(&two(&entry("a", "[2]", 0, 8), &entry("a", "[2]", 8, 16)), &[0; 16], "two tensors `a`");
    attack(&two(&entry("a", "[2]", 0, 8), &entry("b", "[2]", 12, 20)), &[0; 20], "begins at 12 where 8");
    let most = u64::MAX;
    attack(&format!("{{{}}}", entry("a", "[4611686018427387905]", 0, 4)), &[0; 4], "not its shape");
    attack(&format!("{{{}}}", entry("a", "[4294967296,4294967296,4294967296]", 0, 0)), &[], "not its shape");
    attack(&format!("{{{}}}", entry("a", &format!("[{most},{most}]"), 0, most)), &[], "not its shape");
    attack(&format!("{{{}}}", entry("a", "[-1]", 0, 8)), &[0; 8], "damaged");
    attack(&format!("{{{}}}", entry("a", "[2e0]", 0, 8)), &[0; 8], "damaged");
    attack(r#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0],"more":1}}"#, &[], "damaged");
    attack(r#"{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}"#, &[0; 8], "stored as F8_E4M3");
    attack(r#"{"__metadata__":{"format":"pt"}}"#, &[], "no weights for it");
    let refused = |file: Vec<u8>, words: &str| {
        let message = refusal(&small().settings(), file);
        assert!(message.contains(words), "{message}");
    };
    refused(Vec::new(), "the file has 0");
    refused(vec![1, 2, 3], "the file has 3");
    refused(most.to_le_bytes().to_vec(), "over the limit");
    refused((1u64 << 22).to_le_bytes().to_vec(), "needs 4194312 bytes");
    refused(vec![0xff; 4096], "over the limit");
}

#[test]
fn shapes_of_the_helpers_are_the_models() {
    let base = random_model(&QWEN2, Mix::pure(TensorType::F32), 1, &Metadata::new()).unwrap();
    for (module, (name, _)) in MODULES.iter().enumerate() {
        let tensor = base.tensor(&format!("blk.0.{name}.weight")).unwrap();
        let [outputs, inputs] = outputs_and_inputs(&QWEN2, module);
        assert_eq!(tensor.dimensions, [inputs as u64, outputs as u64]);
    }
}
