//! Random adapters in the layout of published models, and the two forms of file that they come in. Written from the
//! formats' descriptions, not from the engine's code.

use std::sync::Arc;

use half::{bf16, f16};
use lockgate_engine::adapter::{Adapter, AdapterFile};
use lockgate_engine::gguf::{Gguf, GgufWriter, Limits, TensorType, Value};
use lockgate_engine::model::{Config, Shape};
use serde_json::{Value as Json, json};

/// Name in GGUF files, name in published models.
pub(crate) const MODULES: [(&str, &str); 7] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// What an adapter adds to one projection, rows in published order.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) layer: usize,
    /// Index into [`MODULES`].
    pub(crate) module: usize,
    /// `[rank][inputs]`
    pub(crate) a: Vec<Vec<f32>>,
    /// `[outputs][rank]`
    pub(crate) b: Vec<Vec<f32>>,
}

#[derive(Clone)]
pub(crate) struct Lora {
    pub(crate) shape: Shape,
    pub(crate) rank: usize,
    pub(crate) alpha: f32,
    pub(crate) stabilized: bool,
    pub(crate) pairs: Vec<Pair>,
}

/// What a number is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    F32,
    F16,
    Bf16,
}

impl Stored {
    fn bytes(self, values: &[Vec<f32>]) -> Vec<u8> {
        let values = values.iter().flatten().copied();
        match self {
            Self::F32 => values.flat_map(f32::to_le_bytes).collect(),
            Self::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
            Self::Bf16 => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
        }
    }
}

/// Numbers from −1 to 1 that look random and are the same each time.
fn noise(seed: u64, rows: usize, columns: usize, size: f32) -> Vec<Vec<f32>> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u32 << 23) as f32 - 1.0) * size
    };
    (0..rows).map(|_| (0..columns).map(|_| next()).collect()).collect()
}

pub(crate) fn outputs_and_inputs(shape: &Shape, module: usize) -> [usize; 2] {
    let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    match module {
        0 => [queries, shape.hidden],
        1 | 2 => [keys, shape.hidden],
        3 => [shape.hidden, queries],
        4 | 5 => [shape.feed_forward, shape.hidden],
        _ => [shape.hidden, shape.feed_forward],
    }
}

impl Lora {
    /// An adapter of these modules in every layer, strong enough to change every logit.
    pub(crate) fn random(shape: &Shape, modules: &[usize], rank: usize, seed: u64) -> Self {
        let places = (0..shape.layers).flat_map(|layer| modules.iter().map(move |module| (layer, *module)));
        let pairs = places.map(|(layer, module)| {
            let [outputs, inputs] = outputs_and_inputs(shape, module);
            let seed = seed * 1_000 + (layer * 10 + module) as u64;
            let a = noise(seed, rank, inputs, 1.0 / (inputs as f32).sqrt());
            Pair { layer, module, a, b: noise(seed + 500, outputs, rank, 1.0) }
        });
        let pairs = pairs.collect();
        Self { shape: shape.clone(), rank, alpha: rank as f32, stabilized: false, pairs }
    }

    /// By what its products are multiplied.
    pub(crate) fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        f64::from(self.alpha) / if self.stabilized { rank.sqrt() } else { rank }
    }

    /// Rows of queries or keys in the order of llama's GGUF files: seen as `[heads][2][half]`, the last two swapped.
    pub(crate) fn stored_order<T: Clone>(&self, module: usize, rows: &[T]) -> Vec<T> {
        if self.shape.architecture != "llama" || module > 1 {
            return rows.to_vec();
        }
        let half = self.shape.head_dim / 2;
        let head = |rows: &[T]| -> Vec<T> {
            let (first, second) = rows.split_at(half);
            first.iter().zip(second).flat_map(|(a, b)| [a.clone(), b.clone()]).collect()
        };
        rows.chunks_exact(self.shape.head_dim).flat_map(head).collect()
    }

    pub(crate) fn gguf_writer(&self, stored: Stored) -> GgufWriter {
        let mut writer = GgufWriter::new();
        writer.metadata("general.type", "adapter");
        writer.metadata("adapter.type", "lora");
        writer.metadata("general.architecture", self.shape.architecture);
        // The format divides by the rank itself.
        writer.metadata("adapter.lora.alpha", Value::F32((self.scale() * self.rank as f64) as f32));
        let tensor_type = match stored {
            Stored::F32 => TensorType::F32,
            Stored::F16 => TensorType::F16,
            Stored::Bf16 => TensorType::BF16,
        };
        for Pair { layer, module, a, b } in &self.pairs {
            let name = format!("blk.{layer}.{}.weight", MODULES[*module].0);
            let b = self.stored_order(*module, b);
            for (half, rows) in [("lora_a", a), ("lora_b", &b)] {
                let dimensions = [rows[0].len() as u64, rows.len() as u64];
                writer.tensor(format!("{name}.{half}"), &dimensions, tensor_type, stored.bytes(rows));
            }
        }
        writer
    }

    pub(crate) fn settings(&self) -> Json {
        let targets: std::collections::BTreeSet<&str> = self
            .pairs
            .iter()
            .map(|pair| MODULES[pair.module].1.rsplit('.').next().expect("a name"))
            .collect();
        json!({
            "base_model_name_or_path": "some/model", "bias": "none", "fan_in_fan_out": false,
            "inference_mode": true, "init_lora_weights": true, "layers_to_transform": null, "loftq_config": {},
            "lora_alpha": self.alpha, "lora_dropout": 0.05, "modules_to_save": null, "peft_type": "LORA",
            "r": self.rank, "rank_pattern": {}, "alpha_pattern": {}, "revision": null,
            "target_modules": targets, "task_type": "CAUSAL_LM", "use_dora": false, "use_rslora": self.stabilized,
        })
    }

    /// A safetensors file: names, shapes and bytes.
    pub(crate) fn weights(&self, stored: Stored) -> Vec<u8> {
        let mut tensors = Vec::new();
        for Pair { layer, module, a, b } in &self.pairs {
            for (half, rows) in [("lora_A", a), ("lora_B", b)] {
                let module = MODULES[*module].1;
                let name = format!("base_model.model.model.layers.{layer}.{module}.{half}.weight");
                tensors.push((name, vec![rows.len(), rows[0].len()], stored.bytes(rows)));
            }
        }
        let dtype = match stored {
            Stored::F32 => "F32",
            Stored::F16 => "F16",
            Stored::Bf16 => "BF16",
        };
        safetensors(tensors.into_iter().map(|(name, shape, bytes)| (name, dtype, shape, bytes)))
    }

    pub(crate) fn peft(&self, stored: Stored) -> AdapterFile {
        let settings = self.settings().to_string();
        AdapterFile::from_peft("peft", settings.as_bytes(), Box::new(self.weights(stored)))
            .expect("a valid adapter")
    }

    pub(crate) fn gguf(&self, stored: Stored) -> AdapterFile {
        let bytes = self.gguf_writer(stored).finish();
        let gguf = Gguf::read(Box::new(bytes), "adapter.gguf", &Limits::default()).expect("a valid file");
        AdapterFile::from_gguf(gguf).expect("a valid adapter")
    }

    pub(crate) fn load(&self, config: &Config) -> Arc<Adapter> {
        Arc::new(self.peft(Stored::F32).load(config, 1.0).expect("it fits"))
    }

    /// `scale · B · A` of a pair.
    pub(crate) fn delta(&self, pair: &Pair) -> Vec<Vec<f64>> {
        let row = |b: &Vec<f32>| -> Vec<f64> {
            let column = |column: usize| -> f64 {
                b.iter().zip(&pair.a).map(|(b, a)| f64::from(*b) * f64::from(a[column])).sum()
            };
            (0..pair.a[0].len()).map(|at| column(at) * self.scale()).collect()
        };
        pair.b.iter().map(row).collect()
    }
}

/// A file of these tensors: name, type, shape, bytes.
pub(crate) fn safetensors<'a>(
    tensors: impl Iterator<Item = (String, &'a str, Vec<usize>, Vec<u8>)>,
) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    for (name, dtype, shape, bytes) in tensors {
        let begin = data.len();
        data.extend(bytes);
        header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()]}));
    }
    whole(&Json::Object(header).to_string(), &data)
}

/// A file of this directory and data.
pub(crate) fn whole(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(data);
    file
}
