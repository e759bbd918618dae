//! The projections that an adapter can change: what files call them, and their shapes.

use crate::model::Config;

/// A projection of a decoder's layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Module {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// What attention adds to the residual.
    Output,
    /// The gate of the feed-forward network.
    Gate,
    /// Its other half.
    Up,
    /// What it adds to the residual.
    Down,
}

impl Module {
    /// All, in the order of the enum.
    pub(crate) const ALL: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// The name in GGUF files, after `blk.N.`.
    pub(crate) fn gguf_name(self) -> &'static str {
        match self {
            Self::Query => "attn_q",
            Self::Key => "attn_k",
            Self::Value => "attn_v",
            Self::Output => "attn_output",
            Self::Gate => "ffn_gate",
            Self::Up => "ffn_up",
            Self::Down => "ffn_down",
        }
    }

    /// The name in Hugging Face's models, after `model.layers.N.`.
    pub(crate) fn published_name(self) -> &'static str {
        match self {
            Self::Query => "self_attn.q_proj",
            Self::Key => "self_attn.k_proj",
            Self::Value => "self_attn.v_proj",
            Self::Output => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// Outputs and inputs.
    pub(crate) fn shape(self, config: &Config) -> [usize; 2] {
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match self {
            Self::Query => [queries, config.hidden],
            Self::Key | Self::Value => [keys, config.hidden],
            Self::Output => [config.hidden, queries],
            Self::Gate | Self::Up => [config.feed_forward, config.hidden],
            Self::Down => [config.hidden, config.feed_forward],
        }
    }
}
