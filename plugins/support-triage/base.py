"""The base model as users run it: weights and tokenizer of the GGUF file, for PyTorch.

The weights are what the file's blocks stand for, so that an adapter is trained on what the host computes with. This
file knows GGUF files of the Llama family with a byte-level tokenizer that splits digits (SmolLM2's), and no other.
"""

from pathlib import Path

import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL_TOKEN = 3  # In tokenizer.ggml.token_type.


class Base:
    """A GGUF file, read."""

    def __init__(self, path: Path):
        self.file = GGUFReader(path)
        found = (self.value("general.architecture"), self.value("tokenizer.ggml.pre"))
        if found != ("llama", "smollm"):
            raise ValueError(f"{path}: architecture and tokenizer are {found}, not llama and smollm")

    def value(self, key: str):
        field = self.file.get_field(key)
        if field is None:
            raise ValueError(f"the model has no {key}")
        return field.contents()

    def config(self) -> LlamaConfig:
        """The shape, in Transformers' words."""
        return LlamaConfig(
            vocab_size=len(self.value("tokenizer.ggml.tokens")),
            hidden_size=self.value("llama.embedding_length"),
            intermediate_size=self.value("llama.feed_forward_length"),
            num_hidden_layers=self.value("llama.block_count"),
            num_attention_heads=self.value("llama.attention.head_count"),
            num_key_value_heads=self.value("llama.attention.head_count_kv"),
            rms_norm_eps=self.value("llama.attention.layer_norm_rms_epsilon"),
            rope_parameters={"rope_type": "default", "rope_theta": self.value("llama.rope.freq_base")},
            tie_word_embeddings=True,
        )

    def model(self) -> LlamaForCausalLM:
        """The model with its weights in F32."""
        config = self.config()
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        weights = {}
        for tensor in self.file.tensors:
            values = torch.tensor(dequantize(tensor.data, tensor.tensor_type), dtype=torch.float32)
            *layer, kind, _ = tensor.name.split(".")
            if kind in heads:
                values = halves_apart(values, heads[kind])
            name = f"model.layers.{layer[1]}.{LAYER_NAMES[kind]}" if layer else TOP_NAMES[kind]
            weights[f"{name}.weight"] = values
        model = LlamaForCausalLM(config)
        missing, unexpected = model.load_state_dict(weights, strict=False)
        if unexpected or missing not in ([], ["lm_head.weight"]):
            raise ValueError(f"the weights do not fit: {missing} are missing, {unexpected} unknown")
        return model.eval().requires_grad_(False)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer; control tokens are recognised in text."""
        tokens = self.value("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ")) for merge in self.value("tokenizer.ggml.merges")]
        tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
        digits, byte_level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
        tokenizer.decoder = decoders.ByteLevel()
        kinds = self.value("tokenizer.ggml.token_type")
        control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
        tokenizer.add_special_tokens([AddedToken(token, special=True) for token in control])
        return tokenizer


def halves_apart(weights: torch.Tensor, heads: int) -> torch.Tensor:
    """Undoes GGUF's order of rows: it holds rotated pairs side by side, Transformers the halves of a head."""
    rows, columns = weights.shape
    return weights.reshape(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)
