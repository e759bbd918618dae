"""A random LoRA for the test model, in the layout of the published model, and the two forms of file it comes in.

Each addition is a tenth of its matrix in size: far more than either engine's rounding, and not so much that nothing
of the model is left.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy

RANK = 8
ALPHA = 16.0
SHARE = 0.1
MODULES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass
class Pair:
    layer: int
    module: str  # As GGUF files call it.
    a: numpy.ndarray  # [rank, inputs]
    b: numpy.ndarray  # [outputs, rank], rows in published order.


@dataclass
class Adapter:
    pairs: list[Pair]
    heads: dict[str, int]  # Of the modules whose rows GGUF files of this architecture store in another order.

    def stored(self, pair: Pair) -> numpy.ndarray:
        """B with its rows as the model's GGUF file stores them: each head's halves interleaved."""
        if pair.module not in self.heads:
            return pair.b
        halves = pair.b.reshape(self.heads[pair.module], 2, -1, RANK)
        return numpy.ascontiguousarray(halves.swapaxes(1, 2).reshape(pair.b.shape))

    def added(self) -> dict[str, numpy.ndarray]:
        """What it adds to each tensor of the model's file."""
        product = lambda pair: ALPHA / RANK * self.stored(pair).astype(numpy.float64) @ pair.a  # noqa: E731
        return {f"blk.{pair.layer}.{pair.module}.weight": product(pair) for pair in self.pairs}

    def write_gguf(self, path: Path) -> Path:
        writer = gguf.GGUFWriter(str(path), "llama")
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, ALPHA)
        for pair in self.pairs:
            name = f"blk.{pair.layer}.{pair.module}.weight"
            writer.add_tensor(f"{name}.lora_a", pair.a)
            writer.add_tensor(f"{name}.lora_b", self.stored(pair))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def write_peft(self, folder: Path) -> Path:
        folder.mkdir()
        settings = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": RANK,
            "lora_alpha": ALPHA,
            "target_modules": [name.split(".")[1] for name in MODULES.values()],
        }
        (folder / "adapter_config.json").write_text(json.dumps(settings))
        header, data = {"__metadata__": {"format": "pt"}}, []
        place = 0
        for pair in self.pairs:
            for half, values in (("lora_A", pair.a), ("lora_B", pair.b)):
                name = f"base_model.model.model.layers.{pair.layer}.{MODULES[pair.module]}.{half}.weight"
                offsets = [place, place + values.nbytes]
                header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": offsets}
                data.append(values.tobytes())
                place += values.nbytes
        text = json.dumps(header).encode()
        (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))
        return folder


def random_adapter(model: gguf.GGUFReader, seed: int) -> Adapter:
    random = numpy.random.default_rng(seed)
    tensors = {tensor.name: tensor for tensor in model.tensors}
    layers = model.fields["llama.block_count"].contents()
    pairs = []
    for module in MODULES:
        first = tensors[f"blk.0.{module}.weight"]
        inputs, outputs = (int(size) for size in first.shape)
        size = float(numpy.sqrt(numpy.square(gguf.dequantize(first.data, first.tensor_type)).mean()))
        # Elements of B · A are sums of as many products as the rank.
        each = SHARE * size / (ALPHA / RANK * numpy.sqrt(RANK))
        for layer in range(layers):
            a = random.standard_normal((RANK, inputs)).astype(numpy.float32)
            b = (random.standard_normal((outputs, RANK)) * each).astype(numpy.float32)
            pairs.append(Pair(layer, module, a, b))
    heads = {
        "attn_q": model.fields["llama.attention.head_count"].contents(),
        "attn_k": model.fields["llama.attention.head_count_kv"].contents(),
    }
    return Adapter(pairs, heads)
