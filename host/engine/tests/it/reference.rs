//! An independent forward pass: dense, in double precision, without cache, batch or kernels, straight from the bytes
//! of the file. The engine's logits stay within a stated bound of it for every weight format.
//!
//! The engine rounds inputs of quantized products to eight bits and the cache to F16; this does neither, so the bound
//! is loose for quantized weights. A wrong rotation, mask, bias or tensor is far outside it.

use lockgate_engine::gguf::{Gguf, Metadata, TensorType, Value};
use lockgate_engine::model::{Mix, Model, Shape, random_model};
use lockgate_kernels::cpu::Level;
use lockgate_kernels::formats::{Format, dequantize_row};

use super::support::{LLAMA, QWEN2, Run, gguf, load, tokens};

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

pub(crate) type Matrix = Vec<Vec<f64>>;

pub(crate) fn read(gguf: &Gguf, name: &str) -> Option<Matrix> {
    let tensor = gguf.tensor(name)?;
    let name = tensor.tensor_type.name();
    let format = match name {
        "Q4_K" => Format::Q4K,
        "Q5_K" => Format::Q5K,
        "Q6_K" => Format::Q6K,
        other => Format::from_name(other).expect("a known format"),
    };
    let mut bytes = vec![0; tensor.size_bytes as usize];
    gguf.read_data(tensor, 0, &mut bytes).expect("inside");
    let row_bytes = bytes.len() / tensor.rows() as usize;
    let rows = bytes.chunks_exact(row_bytes).map(|bytes| {
        let mut row = vec![0.0; tensor.columns() as usize];
        dequantize_row(format, bytes, &mut row);
        row.into_iter().map(f64::from).collect()
    });
    Some(rows.collect())
}

fn product(matrix: &Matrix, x: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

fn normalize(x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(x, w)| x / (mean + epsilon).sqrt() * w).collect()
}

pub(crate) struct Naive<'a> {
    gguf: &'a Gguf,
    prefix: String,
    /// Element i of a head is rotated with element `partner(i)`.
    pub(crate) neighbours: bool,
    matrices: RefCell<HashMap<String, Option<Rc<Matrix>>>>,
}

impl<'a> Naive<'a> {
    pub(crate) fn new(gguf: &'a Gguf) -> Self {
        let prefix = gguf.metadata().string("general.architecture").unwrap().to_owned();
        Self { gguf, neighbours: prefix == "llama", prefix, matrices: RefCell::default() }
    }

    /// Computes with this matrix in the place of the file's.
    pub(crate) fn replace(&mut self, name: &str, matrix: Matrix) {
        self.matrices.get_mut().insert(name.to_owned(), Some(Rc::new(matrix)));
    }

    fn size(&self, key: &str) -> usize {
        self.gguf.metadata().u32(&format!("{}.{key}", self.prefix)).unwrap() as usize
    }

    fn float(&self, key: &str) -> Option<f64> {
        self.gguf.metadata().f32(&format!("{}.{key}", self.prefix)).ok().map(f64::from)
    }

    fn optional(&self, name: &str) -> Option<Rc<Matrix>> {
        let mut matrices = self.matrices.borrow_mut();
        matrices.entry(name.to_owned()).or_insert_with(|| read(self.gguf, name).map(Rc::new)).clone()
    }

    fn matrix(&self, name: &str) -> Rc<Matrix> {
        self.optional(name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn vector(&self, name: &str) -> Vec<f64> {
        self.matrix(name)[0].clone()
    }

    fn project(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let mut out = product(&self.matrix(&format!("{name}.weight")), x);
        if let Some(bias) = self.optional(&format!("{name}.bias")) {
            out.iter_mut().zip(&bias[0]).for_each(|(out, bias)| *out += bias);
        }
        out
    }

    fn rotate(&self, heads: &mut [f64], head_dim: usize, position: usize) {
        let base = self.float("rope.freq_base").unwrap();
        let linear = self.float("rope.scaling.factor").unwrap_or(1.0);
        let factors = self.optional("rope_freqs.weight");
        for head in heads.chunks_exact_mut(head_dim) {
            for pair in 0..head_dim / 2 {
                let mut angle = position as f64 / base.powf(2.0 * pair as f64 / head_dim as f64) / linear;
                if let Some(factors) = &factors {
                    angle /= factors[0][pair];
                }
                let (i, j) =
                    if self.neighbours { (2 * pair, 2 * pair + 1) } else { (pair, pair + head_dim / 2) };
                let (a, b) = (head[i], head[j]);
                head[i] = a * angle.cos() - b * angle.sin();
                head[j] = a * angle.sin() + b * angle.cos();
            }
        }
    }

    pub(crate) fn logits(&self, tokens: &[u32]) -> Matrix {
        let output = self.optional("output.weight").unwrap_or_else(|| self.matrix("token_embd.weight"));
        self.states(tokens).iter().map(|state| product(&output, state)).collect()
    }

    /// The hidden states behind the last norm.
    pub(crate) fn states(&self, tokens: &[u32]) -> Matrix {
        let epsilon = self.float("attention.layer_norm_rms_epsilon").unwrap();
        let embedding = self.matrix("token_embd.weight");
        let mut stream: Matrix = tokens.iter().map(|token| embedding[*token as usize].clone()).collect();
        for layer in 0..self.size("block_count") {
            self.layer(layer, epsilon, &mut stream);
        }
        let norm = self.vector("output_norm.weight");
        stream.iter().map(|x| normalize(x, &norm, epsilon)).collect()
    }

    fn layer(&self, layer: usize, epsilon: f64, stream: &mut Matrix) {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let head_dim = self.size("attention.key_length");
        let (heads, kv_heads) = (self.size("attention.head_count"), self.size("attention.head_count_kv"));
        let norm = self.vector(&name("attn_norm.weight"));
        let normalized: Matrix = stream.iter().map(|x| normalize(x, &norm, epsilon)).collect();
        let project =
            |part: &str| -> Matrix { normalized.iter().map(|x| self.project(&name(part), x)).collect() };
        let (mut queries, mut keys, values) = (project("attn_q"), project("attn_k"), project("attn_v"));
        for position in 0..stream.len() {
            self.rotate(&mut queries[position], head_dim, position);
            self.rotate(&mut keys[position], head_dim, position);
        }
        let output = self.matrix(&name("attn_output.weight"));
        for position in 0..stream.len() {
            let mut attended = Vec::new();
            for head in 0..heads {
                let part = |row: &'_ [f64], head: usize| row[head * head_dim..(head + 1) * head_dim].to_vec();
                let shared = head / (heads / kv_heads);
                let query = part(&queries[position], head);
                let scores: Vec<f64> = (0..=position)
                    .map(|other| {
                        let key = part(&keys[other], shared);
                        query.iter().zip(&key).map(|(q, k)| q * k).sum::<f64>() / (head_dim as f64).sqrt()
                    })
                    .collect();
                let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - greatest).exp()).collect();
                let total: f64 = weights.iter().sum();
                let mut sum = vec![0.0; head_dim];
                for (other, weight) in weights.iter().enumerate() {
                    let value = part(&values[other], shared);
                    sum.iter_mut().zip(value).for_each(|(sum, value)| *sum += weight / total * value);
                }
                attended.extend(sum);
            }
            let out = product(&output, &attended);
            stream[position].iter_mut().zip(out).for_each(|(x, out)| *x += out);
        }
        let norm = self.vector(&name("ffn_norm.weight"));
        let [gate, up, down] =
            ["ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"].map(|part| self.matrix(&name(part)));
        for x in stream {
            let n = normalize(x, &norm, epsilon);
            let gated: Vec<f64> = product(&gate, &n)
                .iter()
                .zip(product(&up, &n))
                .map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up)
                .collect();
            x.iter_mut().zip(product(&down, &gated)).for_each(|(x, out)| *x += out);
        }
    }
}

/// The root of the mean squared difference, relative to that of the expected logits.
pub(crate) fn relative_error(found: &[Vec<f32>], expected: &Matrix) -> f64 {
    let (mut difference, mut size) = (0.0, 0.0);
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        difference += (f64::from(*found) - expected).powi(2);
        size += expected.powi(2);
    }
    (difference / size).sqrt()
}

#[track_caller]
fn check(gguf: &Gguf, model: &Model, bound: f64, what: &str) {
    let tokens = tokens(24, 3, model.config().vocabulary);
    let expected = Naive::new(gguf).logits(&tokens);
    let (found, _) = Run::new(model, 2, Level::detect()).all_logits(&tokens, 13);
    let error = relative_error(&found, &expected);
    assert!(error <= bound, "{what}: relative error {error:.2e}, bound {bound:.0e}");
    // The other way round: the bound would notice a difference of one in a hundred.
    assert!(error.is_finite() && error > 0.0, "{what}: {error}");
}

/// F16 keys and values leave about 2⁻¹² a number.
const FLOAT_BOUND: f64 = 1e-3;
/// Inputs of eight bits with a scale for every 32 leave about a hundredth a product.
const QUANTIZED_BOUND: f64 = 3e-2;
/// With a scale for every 256 somewhat more.
const K_QUANTIZED_BOUND: f64 = 5e-2;

#[test]
fn logits_agree_with_a_naive_model_for_every_format() {
    for shape in [&LLAMA, &QWEN2] {
        for (format, bound) in [
            (TensorType::F32, FLOAT_BOUND),
            (TensorType::F16, FLOAT_BOUND),
            (TensorType::BF16, FLOAT_BOUND),
            (TensorType::Q8_0, QUANTIZED_BOUND),
            (TensorType::Q4_0, QUANTIZED_BOUND),
            (TensorType::Q4_1, QUANTIZED_BOUND),
            (TensorType::Q5_0, QUANTIZED_BOUND),
            (TensorType::Q5_1, QUANTIZED_BOUND),
            (TensorType::MXFP4, QUANTIZED_BOUND),
            (TensorType::Q4_K, K_QUANTIZED_BOUND),
            (TensorType::Q5_K, K_QUANTIZED_BOUND),
            (TensorType::Q6_K, K_QUANTIZED_BOUND),
        ] {
            let gguf = gguf(shape, format);
            check(&gguf, &load(&gguf), bound, &format!("{} {}", shape.architecture, format.name()));
        }
    }
}

#[test]
fn mixes_of_formats_agree_as_well() {
    let shape = Shape { layers: 4, feed_forward: 256, ..LLAMA };
    for name in ["q4_k_m", "q5_k_m", "q4_0"] {
        let gguf = random_model(&shape, Mix::named(name).unwrap(), 3, &Metadata::new()).unwrap();
        check(&gguf, &load(&gguf), K_QUANTIZED_BOUND, name);
    }
}

#[test]
fn linear_rope_scaling_agrees() {
    let mut extra = Metadata::new();
    extra.insert("qwen2.rope.scaling.type", "linear");
    extra.insert("qwen2.rope.scaling.factor", Value::F32(4.0));
    let gguf = random_model(&QWEN2, Mix::pure(TensorType::F32), 5, &extra).unwrap();
    check(&gguf, &load(&gguf), FLOAT_BOUND, "linear scaling");
}
