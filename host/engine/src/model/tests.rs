//! What a model file may say about its model, and what is refused.

use std::num::NonZeroUsize;
use std::sync::Mutex;

use lockgate_kernels::pool::ThreadPool;

use super::*;
use crate::gguf::{GgufWriter, Limits, Metadata, ReadAt, TensorInfo, TensorType, Value};
use crate::kv::block_bytes;

const TINY: Shape = Shape {
    architecture: "llama",
    layers: 2,
    hidden: 64,
    feed_forward: 96,
    heads: 4,
    kv_heads: 2,
    head_dim: 16,
    vocabulary: 40,
    context: 128,
    norm_epsilon: 1e-5,
    rope_base: 10_000.0,
    tied: false,
    rope_factor: None,
};

fn tiny() -> Gguf {
    random_model(&TINY, Mix::pure(TensorType::Q8_0), 1, &Metadata::new()).expect("a valid shape")
}

fn load_with(gguf: &Gguf, options: &LoadOptions) -> Result<Model, LoadError> {
    let pool = ThreadPool::new(NonZeroUsize::new(2).unwrap());
    Model::load(gguf, options, &pool, &|_| {})
}

/// The tiny model with its metadata and its list of tensors changed.
fn changed(
    change: impl FnOnce(&mut Metadata),
    tensors: impl Fn(&TensorInfo) -> Option<(String, Vec<u64>, TensorType)>,
) -> Gguf {
    let original = tiny();
    let mut metadata = original.metadata().clone();
    change(&mut metadata);
    let mut writer = GgufWriter::new();
    for (key, value) in metadata.iter() {
        writer.metadata(key, value.clone());
    }
    for tensor in original.tensors() {
        let Some((name, dimensions, tensor_type)) = tensors(tensor) else { continue };
        let size = tensor_type.bytes_of(dimensions.iter().product()).expect("whole blocks");
        let mut data = vec![0; size as usize];
        if size == tensor.size_bytes {
            original.read_data(tensor, 0, &mut data).unwrap();
        }
        writer.tensor(name, &dimensions, tensor_type, data);
    }
    Gguf::read(Box::new(writer.finish()), "test.gguf", &Limits::default()).expect("a readable file")
}

fn as_it_is(tensor: &TensorInfo) -> Option<(String, Vec<u64>, TensorType)> {
    Some((tensor.name.clone(), tensor.dimensions.clone(), tensor.tensor_type))
}

#[track_caller]
fn check_refused(gguf: &Gguf, expected: &str) {
    let message = load_with(gguf, &LoadOptions::default()).expect_err("must be refused").to_string();
    assert!(message.starts_with(&format!("{}: ", gguf.file())), "{message}");
    assert!(message.contains(expected), "expected `{expected}` in: {message}");
}

#[track_caller]
fn check_key(key: &str, value: impl Into<Value>, expected: &str) {
    let value = value.into();
    check_refused(&changed(|metadata| drop(metadata.insert(key, value)), as_it_is), expected);
}

#[test]
fn the_changed_file_is_the_original_when_nothing_changes() {
    let model = load_with(&changed(|_| {}, as_it_is), &LoadOptions::default()).expect("valid");
    assert_eq!(model.config(), load_with(&tiny(), &LoadOptions::default()).expect("valid").config());
}

#[test]
fn an_unknown_architecture_is_named_with_those_that_are_known() {
    check_key(
        "general.architecture",
        "mamba",
        "architecture `mamba` is not supported; this version runs llama, qwen2",
    );
    check_key("general.architecture", 5u32, "key `general.architecture` must be a string, but it is u32");
}

#[test]
fn hyperparameters_are_ranged() {
    check_key("llama.block_count", 0u32, "key `llama.block_count` is 0, but it must be from 1 to 1024");
    // As many layers as overran a fixed array elsewhere.
    check_key("llama.block_count", 513u32, "tensor `blk.2.attn_norm.weight` is missing");
    check_key("llama.block_count", u32::MAX, "must be from 1 to 1024");
    check_key(
        "llama.block_count",
        -1i32,
        "key `llama.block_count` must be an unsigned 32-bit integer, but it is -1",
    );
    check_key("llama.block_count", vec![2u32], "but it is array of u32");
    check_key("llama.embedding_length", 0u32, "from 1 to 1048576");
    check_key("llama.feed_forward_length", u32::MAX, "from 1 to 1048576");
    check_key("llama.attention.head_count", 0u32, "from 1 to 4096");
    check_key("llama.attention.head_count_kv", 0u32, "from 1 to 4096");
    check_key("llama.attention.head_count_kv", 3u32, "a divisor of the 4 query heads");
    check_key("llama.attention.key_length", 15u32, "even and at most 1024");
    check_key("llama.attention.value_length", 8u32, "16, as the keys' length");
    check_key("llama.attention.layer_norm_rms_epsilon", -1f32, "from 0 to 1");
    check_key("llama.attention.layer_norm_rms_epsilon", f32::NAN, "a finite 32-bit float, but it is NaN");
    check_key("llama.rope.dimension_count", 18u32, "even and at most the 16 of a head");
    check_key("llama.rope.dimension_count", 7u32, "even and at most the 16 of a head");
    check_key("llama.rope.freq_base", 0f32, "from 1 to 1000000000000");
    check_key("llama.context_length", 0u32, "from 1 to 16777216");
    check_key("llama.context_length", u32::MAX, "from 1 to 16777216");
}

#[test]
fn missing_keys_are_named() {
    for key in ["general.architecture", "llama.block_count", "llama.attention.layer_norm_rms_epsilon"] {
        let mut rest = Metadata::new();
        tiny().metadata().iter().filter(|(name, _)| *name != key).for_each(|(name, value)| {
            rest.insert(name, value.clone());
        });
        check_refused(&changed(|metadata| *metadata = rest, as_it_is), &format!("key `{key}`"));
    }
}

#[test]
fn embedding_tokenizer_and_declared_vocabulary_agree() {
    check_key(
        "llama.vocab_size",
        41u32,
        "key `llama.vocab_size` is 41, but it must be 40, the rows of the embedding",
    );
    check_key("tokenizer.ggml.tokens", vec!["a"; 39], "is of 39 tokens, but it must be of 40");
    let model = changed(|metadata| drop(metadata.insert("tokenizer.ggml.tokens", vec!["a"; 40])), as_it_is);
    load_with(&model, &LoadOptions::default()).expect("they agree");
}

#[test]
fn a_factor_means_linear_scaling_unless_the_file_says_that_there_is_none() {
    let factor = |keys: &[(&str, Value)]| {
        let set = |metadata: &mut Metadata| {
            for (key, value) in keys {
                metadata.insert(format!("llama.rope.{key}"), value.clone());
            }
        };
        load_with(&changed(set, as_it_is), &LoadOptions::default())
            .map(|model| model.config().rope.linear_factor)
    };
    let of = |kind: &str| ("scaling.type", Value::from(kind));
    let (new, old) = (("scaling.factor", Value::from(4f32)), ("scale_linear", Value::from(2f32)));
    let known = |keys: &[(&str, Value)]| factor(keys).expect("it is valid");
    assert_eq!(known(&[]), 1.0);
    assert_eq!(known(std::slice::from_ref(&new)), 4.0);
    assert_eq!(known(std::slice::from_ref(&old)), 2.0);
    assert_eq!(known(&[new.clone(), old.clone(), of("linear")]), 4.0);
    assert_eq!(known(&[old.clone(), of("linear")]), 2.0);
    assert_eq!(known(&[new, old, of("none")]), 1.0);
    assert!(factor(&[of("linear")]).is_err(), "by how much?");
}

#[test]
fn what_would_change_the_answer_is_refused_by_name() {
    check_key(
        "llama.rope.scaling.type",
        "yarn",
        "rope scaling `yarn` (key `llama.rope.scaling.type`) is not supported",
    );
    check_key("llama.rope.scaling.type", "longrope", "rope scaling `longrope`");
    check_key("llama.expert_count", 8u32, "key `llama.expert_count` for this architecture is not supported");
    check_key("llama.logit_scale", 2f32, "key `llama.logit_scale`");
    check_key("llama.attention.causal", false, "attention that is not causal");
    check_key("split.count", 3u32, "a model split into 3 files is not supported; merge them");
    for (key, value) in [("llama.expert_count", Value::U32(0)), ("llama.logit_scale", Value::F32(1.0))] {
        let model = changed(|metadata| drop(metadata.insert(key, value)), as_it_is);
        load_with(&model, &LoadOptions::default()).expect("it means nothing");
    }
}

#[test]
fn tensors_have_the_shapes_of_the_hyperparameters() {
    check_key("llama.embedding_length", 32u32, "the dimensions [64], but the model needs [32]");
    check_key(
        "llama.feed_forward_length",
        64u32,
        "tensor `blk.0.ffn_gate.weight` has the dimensions [64, 96]",
    );
    check_key("llama.attention.head_count", 8u32, "tensor `blk.0.attn_q.weight` has the dimensions [64, 64]");
    let longer = |metadata: &mut Metadata| {
        metadata.insert("llama.attention.key_length", 32u32);
        metadata.insert("llama.attention.value_length", 32u32);
    };
    check_refused(&changed(longer, as_it_is), "has the dimensions [64, 64], but the model needs [64, 128]");
}

#[test]
fn every_tensor_is_needed_and_none_is_left_over() {
    for dropped in tiny().tensors() {
        // Without its own, the output is the embedding.
        if dropped.name == "output.weight" {
            continue;
        }
        let file = changed(|_| {}, |tensor| as_it_is(tensor).filter(|(name, ..)| *name != dropped.name));
        check_refused(&file, &format!("tensor `{}` is missing", dropped.name));
    }
    // The biases that another family has: computing without them would be almost right.
    let qwen2 = Shape { architecture: "qwen2", ..TINY };
    let biased = random_model(&qwen2, Mix::pure(TensorType::F32), 1, &Metadata::new()).unwrap();
    assert!(biased.tensor("blk.0.attn_q.bias").is_some());
    load_with(&biased, &LoadOptions::default()).expect("they are qwen2's");
    let extra = changed(
        |_| {},
        |tensor| {
            let (name, dimensions, tensor_type) = as_it_is(tensor)?;
            Some((name.replace("output_norm.weight", "output_norm.bias"), dimensions, tensor_type))
        },
    );
    check_refused(&extra, "tensor `output_norm.weight` is missing");
    let mut writer = GgufWriter::new();
    let original = tiny();
    for (key, value) in original.metadata().iter() {
        writer.metadata(key, value.clone());
    }
    for tensor in original.tensors() {
        writer.tensor(
            &tensor.name,
            &tensor.dimensions,
            tensor.tensor_type,
            vec![0; tensor.size_bytes as usize],
        );
    }
    writer.tensor("blk.0.attn_q.bias", &[64], TensorType::F32, vec![0; 256]);
    let file = Gguf::read(Box::new(writer.finish()), "test.gguf", &Limits::default()).unwrap();
    check_refused(&file, "tensor `blk.0.attn_q.bias` does not belong to architecture `llama`");
}

#[test]
fn storage_types_without_kernels_are_named() {
    let file = changed(
        |_| {},
        |tensor| {
            let (name, dimensions, tensor_type) = as_it_is(tensor)?;
            let found = if name == "blk.1.ffn_up.weight" { TensorType::IQ4_NL } else { tensor_type };
            Some((name, dimensions, found))
        },
    );
    let expected = "tensor `blk.1.ffn_up.weight` is stored as IQ4_NL, which is not supported; choose a file with F32, F16";
    check_refused(&file, expected);
}

#[test]
fn small_tensors_are_finite() {
    let mut writer = GgufWriter::new();
    let original = tiny();
    for (key, value) in original.metadata().iter() {
        writer.metadata(key, value.clone());
    }
    for tensor in original.tensors() {
        let mut data = vec![0; tensor.size_bytes as usize];
        if tensor.name == "blk.1.attn_norm.weight" {
            data[4..8].copy_from_slice(&f32::INFINITY.to_le_bytes());
        }
        writer.tensor(&tensor.name, &tensor.dimensions, tensor.tensor_type, data);
    }
    let file = Gguf::read(Box::new(writer.finish()), "test.gguf", &Limits::default()).unwrap();
    check_refused(&file, "tensor `blk.1.attn_norm.weight` holds inf at element 1");
}

#[test]
fn rope_factors_are_positive() {
    let shape = Shape { rope_factor: Some(8.0), ..TINY };
    let scaled = random_model(&shape, Mix::pure(TensorType::Q8_0), 1, &Metadata::new()).unwrap();
    load_with(&scaled, &LoadOptions::default()).expect("valid");
    let mut bytes = vec![
        0;
        RandomSource::new(&shape, Mix::pure(TensorType::Q8_0), 1, &Metadata::new()).size_bytes()
            as usize
    ];
    RandomSource::new(&shape, Mix::pure(TensorType::Q8_0), 1, &Metadata::new())
        .read_exact_at(&mut bytes, 0)
        .unwrap();
    let at = scaled.tensor("rope_freqs.weight").unwrap().offset as usize;
    bytes[at..at + 4].copy_from_slice(&0f32.to_le_bytes());
    let file = Gguf::read(Box::new(bytes), "test.gguf", &Limits::default()).unwrap();
    check_refused(&file, "key `rope_freqs.weight` is 0, but it must be positive");
}

#[test]
fn a_sliding_window_bounds_the_context() {
    let file = changed(|metadata| drop(metadata.insert("llama.attention.sliding_window", 64u32)), as_it_is);
    assert_eq!(load_with(&file, &LoadOptions::default()).unwrap().plan().context, 64);
}

#[test]
fn memory_is_planned_before_it_is_taken() {
    let gguf = tiny();
    let plan = |context, sequences, memory_bytes_max| {
        let options = LoadOptions { context, sequences, memory_bytes_max, ..LoadOptions::default() };
        Model::inspect(&gguf, &options).map(|(_, plan)| plan)
    };
    let whole = plan(None, 2, None).unwrap();
    assert_eq!((whole.context, whole.cache_blocks), (128, 16));
    assert_eq!(
        whole.cache_bytes,
        16 * block_bytes(&plan::kv_layouts(
            &Model::inspect(&gguf, &LoadOptions::default()).unwrap().0,
            KvFormat::F16
        ))
    );
    let weights: u64 = gguf.tensors().map(|tensor| tensor.size_bytes).sum();
    assert!((weights..weights * 5 / 4).contains(&whole.weights_bytes), "{weights} {whole:?}");
    assert_eq!(plan(Some(17), 1, None).unwrap().cache_blocks, 2);

    let fits = plan(Some(128), 2, Some(whole.total_bytes())).unwrap();
    assert_eq!(fits, whole);
    let fewer = plan(Some(128), 2, Some(whole.total_bytes() - 1)).unwrap();
    assert_eq!(fewer.cache_blocks, 15);
    let error = plan(Some(128), 1, Some(whole.total_bytes() - whole.cache_bytes)).unwrap_err();
    assert!(matches!(error.problem, LoadProblem::Memory { .. }), "{error}");
    let error = plan(None, 1, Some(1 << 10)).unwrap_err().to_string();
    assert!(
        error.contains("over the limit of 1 MiB; choose a smaller quantization or a shorter context"),
        "{error}"
    );
    for context in [0, 129] {
        let error = plan(Some(context), 1, None).unwrap_err().to_string();
        assert!(error.contains(&format!("a context of {context} tokens where the model has 128")), "{error}");
    }
}

#[test]
fn a_cache_in_eight_bits_is_planned_as_it_is() {
    let plan = |head_dim, kv| {
        let shape = Shape { head_dim, ..TINY };
        let gguf = random_model(&shape, Mix::pure(TensorType::Q8_0), 1, &Metadata::new()).unwrap();
        Model::inspect(&gguf, &LoadOptions { kv, ..LoadOptions::default() }).map(|(_, plan)| plan)
    };
    let [half, eight] = [KvFormat::F16, KvFormat::Q8_0].map(|kv| plan(32, kv).unwrap());
    // 34 bytes of 32 numbers, not 64.
    assert_eq!(eight.cache_bytes * 64, half.cache_bytes * 34);
    assert_eq!((eight.kv, eight.cache_blocks), (KvFormat::Q8_0, half.cache_blocks));
    let error = plan(16, KvFormat::Q8_0).unwrap_err().to_string();
    assert!(error.contains("8 bits for heads of 16") && error.contains("kv = \"f16\""), "{error}");
}

#[test]
fn a_context_nobody_asked_for_shrinks_to_the_memory() {
    let shape = Shape { context: 1 << 20, ..TINY };
    let gguf = random_model(&shape, Mix::pure(TensorType::Q8_0), 1, &Metadata::new()).unwrap();
    let whole = Model::inspect(&gguf, &LoadOptions::default()).unwrap().1;
    let limit = whole.total_bytes() - whole.cache_bytes / 2;
    let options = LoadOptions { memory_bytes_max: Some(limit), ..LoadOptions::default() };
    let less = Model::inspect(&gguf, &options).unwrap().1;
    assert_eq!(less.context, (1 << 20) / 2);
    assert!(less.total_bytes() <= limit);
    let asked = LoadOptions { context: Some(1 << 20), ..options };
    assert!(matches!(Model::inspect(&gguf, &asked).unwrap_err().problem, LoadProblem::Memory { .. }));
}

#[test]
fn progress_ends_with_every_byte() {
    let seen = Mutex::new(Vec::new());
    let gguf = tiny();
    let pool = ThreadPool::new(NonZeroUsize::new(2).unwrap());
    Model::load(&gguf, &LoadOptions::default(), &pool, &|progress| seen.lock().unwrap().push(progress))
        .unwrap();
    let total: u64 = gguf.tensors().map(|tensor| tensor.size_bytes).sum();
    let seen = seen.into_inner().unwrap();
    assert!(seen.iter().all(|progress| progress.bytes_total == total));
    assert_eq!(seen.iter().map(|progress| progress.bytes_read).max(), Some(total));
}

#[test]
fn random_bytes_do_not_depend_on_how_they_are_read() {
    for mix in ["q4_k_m", "q8_0", "f16", "f32", "q5_1", "mxfp4"] {
        let shape = Shape { hidden: 256, feed_forward: 256, head_dim: 64, ..TINY };
        let source = RandomSource::new(&shape, Mix::named(mix).unwrap(), 9, &Metadata::new());
        let mut whole = vec![0; source.size_bytes() as usize];
        source.read_exact_at(&mut whole, 0).unwrap();
        for (start, length) in [(0, 77), (1_001, 5_000), (whole.len() - 3, 3), (whole.len(), 0)] {
            let mut part = vec![0; length];
            source.read_exact_at(&mut part, start as u64).unwrap();
            assert_eq!(part, whole[start..start + length], "{mix} from {start}");
        }
        assert!(source.read_exact_at(&mut [0], whole.len() as u64).is_err());
        assert!(source.read_exact_at(&mut [0], u64::MAX).is_err());
    }
}

#[test]
fn random_weights_are_of_the_size_that_they_should_be() {
    use lockgate_kernels::formats::dequantize_row;
    for format in lockgate_kernels::formats::Format::ALL {
        let name = format.name().to_uppercase();
        let tensor_type =
            (0..40).filter_map(TensorType::from_number).find(|known| known.name() == name).unwrap();
        let shape = Shape { hidden: 256, feed_forward: 256, vocabulary: 512, ..TINY };
        let gguf = random_model(&shape, Mix::pure(tensor_type), 3, &Metadata::new()).unwrap();
        let tensor = gguf.tensor("token_embd.weight").unwrap();
        let mut bytes = vec![0; tensor.size_bytes as usize];
        gguf.read_data(tensor, 0, &mut bytes).unwrap();
        let mut values = vec![0.0; 256 * 512];
        dequantize_row(format, &bytes, &mut values);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let deviation = (values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32).sqrt();
        assert!(mean.abs() < 0.01 && (0.05..0.075).contains(&deviation), "{name}: {mean} ± {deviation}");
    }
}

#[test]
fn what_is_planned_for_a_matrix_is_what_it_takes() {
    use lockgate_kernels::formats::Format;
    use lockgate_kernels::matmul::PackedMatrix;
    let types = (0..40).filter_map(TensorType::from_number);
    let computed: Vec<_> = types.filter_map(|known| Some((known, super::loader::computed(known)?))).collect();
    assert_eq!(computed.len(), Format::ALL.len());
    for (tensor_type, format) in computed {
        // Neither whole panels of rows nor, in blocks of 32, whole units of columns.
        let hidden = if format.block_len() == 256 { 256 } else { 96 };
        let shape = Shape { hidden, feed_forward: 256, vocabulary: 500, ..TINY };
        let gguf = random_model(&shape, Mix::pure(tensor_type), 3, &Metadata::new()).unwrap();
        let planned = super::loader::packed_bytes(gguf.tensor("token_embd.weight").unwrap());
        let taken = PackedMatrix::new(format, 500, hidden).unwrap().bytes() as u64;
        assert_eq!(planned, taken, "{}", format.name());
    }
}

#[test]
fn shapes_and_mixes_are_known_by_name() {
    let shape = Shape::named("llama-3.2-1b").unwrap();
    let source = RandomSource::new(&shape, Mix::named("q4_k_m").unwrap(), 1, &Metadata::new());
    // The published file of this model and mix is 807,694,464 bytes, vocabulary included.
    assert!((790_000_000..808_000_000).contains(&source.size_bytes()), "{}", source.size_bytes());
    let message = Shape::named("gpt-5").unwrap_err().to_string();
    assert!(message.starts_with("there is no shape `gpt-5`; known are llama-3.2-1b, "), "{message}");
    for (name, architecture) in [("qwen3-0.6b", "qwen3"), ("phi-3.5-mini", "phi3")] {
        let message = Shape::named(name).unwrap_err().to_string();
        assert!(
            message.contains(&format!("shape `{name}` needs the architecture `{architecture}`")),
            "{message}"
        );
    }
    for name in ["llama-3.1-8b", "qwen2.5-7b", "mistral-7b-v0.3"] {
        let gguf =
            random_model(&Shape::named(name).unwrap(), Mix::named("Q4_K_M").unwrap(), 1, &Metadata::new())
                .unwrap();
        let (config, plan) = Model::inspect(&gguf, &LoadOptions::default()).unwrap();
        assert!(config.layers > 20 && plan.weights_bytes > 4 << 30, "{name}");
    }
    assert!(Mix::named("q3_k_m").unwrap_err().to_string().contains("there is no quantization `q3_k_m`"));
}

#[test]
fn the_mix_of_q4_k_m_is_the_published_one() {
    let shape = Shape { hidden: 256, feed_forward: 256, head_dim: 64, layers: 16, ..TINY };
    let gguf = random_model(&shape, Mix::named("q4_k_m").unwrap(), 1, &Metadata::new()).unwrap();
    let stored = |name: &str| gguf.tensor(name).unwrap().tensor_type;
    assert_eq!((stored("output.weight"), stored("token_embd.weight")), (TensorType::Q6_K, TensorType::Q4_K));
    let more: Vec<usize> = (0..16)
        .filter(|layer| {
            let (value, down) = (
                stored(&format!("blk.{layer}.attn_v.weight")),
                stored(&format!("blk.{layer}.ffn_down.weight")),
            );
            assert_eq!(value, down);
            value == TensorType::Q6_K
        })
        .collect();
    assert_eq!(more, [0, 1, 4, 7, 10, 13, 14, 15]);
}
