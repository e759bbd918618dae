"""What the comparisons share: our own command line, llama.cpp in this process, and small model files."""

import json
import os
import socket
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import gguf
import numpy

LOCKGATE = os.environ.get("LOCKGATE_BIN", "target/release/lockgate")
MODEL = os.environ.get("LOCKGATE_TEST_MODEL", "")

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
# A token that is recognised whole wherever it stands: it parts many texts in one call without touching any.
SEPARATOR = "<|between two texts|>"


def lockgate(*arguments, text=None):
    """The finished process of one command."""
    command = [LOCKGATE, *map(str, arguments)]
    given = text if text is None or isinstance(text, bytes) else text.encode()
    return subprocess.run(command, input=given, capture_output=True, timeout=120)


def tokenize(model, text, *flags):
    """Token ids as `lockgate tokenize` prints them."""
    done = lockgate("tokenize", "--model", model, "--json", *flags, "-", text=text)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)["tokens"]


def tokenize_each(model, texts, separator_id):
    """The ids of each text, in one call: the texts are joined by the separator token."""
    return split(tokenize(model, SEPARATOR.join(texts), "--no-special"), separator_id)


def split(tokens, separator_id):
    parts = [[]]
    for token in tokens:
        if token == separator_id:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def in_parallel(work, cases):
    """Runs `work` on every case, two at a time, in order."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda case: work(*case), cases))


class LlamaCpp:
    """llama.cpp's own server on a model file."""

    def __init__(self, model):
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(model)
        parameters.n_ctx = 64
        parameters.n_parallel = 1
        parameters.warmup = False
        parameters.cpuparams.n_threads = 1
        parameters.verbosity = -1
        parameters.hostnames = ["127.0.0.1"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            parameters.port = probe.getsockname()[1]
        self.server = xllamacpp.Server(parameters)
        self.url = self.server.listening_address

    def tokenize(self, text, add_special=False):
        body = json.dumps({"content": text, "add_special": add_special, "parse_special": False}).encode()
        request = urllib.request.Request(f"{self.url}/tokenize", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["tokens"]

    def tokenize_each(self, texts, separator_id):
        return split(self.tokenize(SEPARATOR.join(texts)), separator_id)


def vocabulary(path):
    """(tokens, types, merges) of a byte-level model file."""
    fields = gguf.GGUFReader(path).fields
    return tuple(fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges"))


def write_model(path, algorithm, tokens, types, **tables):
    """A llama of one tiny random layer around a vocabulary: llama.cpp loads nothing without weights."""
    width, heads, inner = 32, 2, 64
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(algorithm)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    for key, value in tables.items():
        if value is not None:
            getattr(writer, f"add_{key}")(value)
    random = numpy.random.default_rng(0)
    matrices = {
        "token_embd": (len(tokens), width),
        "blk.0.attn_q": (width, width),
        "blk.0.attn_k": (width, width),
        "blk.0.attn_v": (width, width),
        "blk.0.attn_output": (width, width),
        "blk.0.ffn_gate": (inner, width),
        "blk.0.ffn_up": (inner, width),
        "blk.0.ffn_down": (width, inner),
    }
    for name, shape in matrices.items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape).astype(numpy.float16))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", numpy.ones(width, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
