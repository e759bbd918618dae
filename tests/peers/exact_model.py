"""The Llama architecture in 64-bit floats, straight from its definition: the truth that engines approach.

Slow and obvious on purpose; made for a few dozen tokens. It shares nothing with any engine but the file.
"""

import gguf
import numpy


def logits(model: gguf.GGUFReader, tokens: list[int], added: dict | None = None) -> numpy.ndarray:
    """Raw logits, float64 [positions, vocabulary]; row i follows input i. `added` holds what is added to weights,
    by the tensor's name."""
    added = added or {}
    tensors = {tensor.name: tensor for tensor in model.tensors}

    def weight(name: str) -> numpy.ndarray:
        stored = gguf.dequantize(tensors[name].data, tensors[name].tensor_type).astype(numpy.float64)
        return stored + added.get(name, 0.0)

    def setting(name: str) -> float:
        return model.fields[f"llama.{name}"].contents()

    layers = setting("block_count")
    heads = setting("attention.head_count")
    shared_heads = setting("attention.head_count_kv")
    epsilon = setting("attention.layer_norm_rms_epsilon")
    count = len(tokens)

    def normalize(values: numpy.ndarray, scale: numpy.ndarray) -> numpy.ndarray:
        return values / numpy.sqrt((values * values).mean(-1, keepdims=True) + epsilon) * scale

    embedding = weight("token_embd.weight")
    width = embedding.shape[1] // heads
    angles = numpy.arange(count)[:, None] * setting("rope.freq_base") ** (-numpy.arange(0, width, 2) / width)
    cosine, sine = numpy.cos(angles)[:, None, :], numpy.sin(angles)[:, None, :]

    def rotate(values: numpy.ndarray) -> numpy.ndarray:
        even, odd = values[..., 0::2], values[..., 1::2]
        return numpy.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).reshape(values.shape)

    future = numpy.triu(numpy.full((count, count), -numpy.inf), 1)
    state = embedding[tokens]
    for layer in range(layers):
        block = f"blk.{layer}."
        inner = normalize(state, weight(block + "attn_norm.weight"))
        query = rotate((inner @ weight(block + "attn_q.weight").T).reshape(count, heads, width))
        key = rotate((inner @ weight(block + "attn_k.weight").T).reshape(count, shared_heads, width))
        value = (inner @ weight(block + "attn_v.weight").T).reshape(count, shared_heads, width)
        mixed = numpy.empty_like(query)
        for head in range(heads):
            shared = head * shared_heads // heads
            scores = query[:, head] @ key[:, shared].T / numpy.sqrt(width) + future
            shares = numpy.exp(scores - scores.max(-1, keepdims=True))
            mixed[:, head] = shares / shares.sum(-1, keepdims=True) @ value[:, shared]
        state = state + mixed.reshape(count, -1) @ weight(block + "attn_output.weight").T
        inner = normalize(state, weight(block + "ffn_norm.weight"))
        gate = inner @ weight(block + "ffn_gate.weight").T
        up = inner @ weight(block + "ffn_up.weight").T
        state = state + (gate / (1 + numpy.exp(-gate)) * up) @ weight(block + "ffn_down.weight").T
    output = weight("output.weight") if "output.weight" in tensors else embedding
    return normalize(state, weight("output_norm.weight")) @ output.T
