"""llama.cpp as a second opinion: tokens and raw logits through the C interface of the library in the
prebuilt package `xllamacpp`, whose own Python classes give only log-probabilities over HTTP.

Options structs travel as opaque blocks: filled by the library's `*_default_params`, then changed only in
the leading fields named here. `open_context` checks their defaults first, so that another layout fails
loudly. What agreement is good enough is for the tests to say.
"""

import ctypes
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

import numpy
import xllamacpp.xllamacpp

CONTEXT_TOKENS = 2048
# One thread never waits for another, which llama.cpp's threads do by spinning, on a busy machine at length.
THREADS = 1


class Options(ctypes.Structure):
    """Larger than either options struct; a callee reads the leading part that it knows."""

    _fields_ = [("words", c_uint64 * 128)]


class ContextFields(ctypes.Structure):
    """The leading fields of `llama_context_params`."""

    _fields_ = [
        ("context_tokens", c_uint32),
        ("batch_tokens", c_uint32),
        ("microbatch_tokens", c_uint32),
        ("sequences_max", c_uint32),
        ("recurrent_snapshots", c_uint32),
        ("outputs_max", c_uint32),
        ("outputs_max_per_sequence", c_uint32),
        ("threads", c_int32),
        ("batch_threads", c_int32),
    ]


class Batch(ctypes.Structure):
    """`llama_batch`."""

    _fields_ = [
        ("count", c_int32),
        ("token", POINTER(c_int32)),
        ("embedding", POINTER(c_float)),
        ("position", POINTER(c_int32)),
        ("sequence_count", POINTER(c_int32)),
        ("sequence", POINTER(POINTER(c_int32))),
        ("output", POINTER(c_int8)),
    ]


LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, c_void_p)
SILENT = LogCallback(lambda level, text, data: None)
LIBRARY = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
SIGNATURES = {
    "llama_backend_init": (None,),
    "llama_log_set": (None, LogCallback, c_void_p),
    "llama_model_default_params": (Options,),
    "llama_context_default_params": (Options,),
    "llama_model_load_from_file": (c_void_p, c_char_p, Options),
    "llama_init_from_model": (c_void_p, c_void_p, Options),
    "llama_model_get_vocab": (c_void_p, c_void_p),
    "llama_vocab_n_tokens": (c_int32, c_void_p),
    "llama_tokenize": (c_int32, c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool),
    "llama_batch_init": (Batch, c_int32, c_int32, c_int32),
    "llama_batch_free": (None, Batch),
    "llama_decode": (c_int32, c_void_p, Batch),
    "llama_get_logits_ith": (POINTER(c_float), c_void_p, c_int32),
    "llama_adapter_lora_init": (c_void_p, c_void_p, c_char_p),
    "llama_set_adapters_lora": (c_int32, c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_float)),
    "llama_free": (None, c_void_p),
    "llama_model_free": (None, c_void_p),
}
for name, (result, *arguments) in SIGNATURES.items():
    getattr(LIBRARY, name).restype = result
    getattr(LIBRARY, name).argtypes = arguments
LIBRARY.llama_log_set(SILENT, None)
LIBRARY.llama_backend_init()


class Peer:
    """One model, loaded by llama.cpp; a context manager."""

    def __init__(self, path: Path):
        self.model = LIBRARY.llama_model_load_from_file(bytes(path), LIBRARY.llama_model_default_params())
        assert self.model, f"llama.cpp could not load {path}"
        self.vocabulary = LIBRARY.llama_model_get_vocab(self.model)
        self.adapter = None

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_) -> None:
        LIBRARY.llama_model_free(self.model)

    def adapt(self, path: Path) -> None:
        """Computes with this adapter from now on. It goes with the model."""
        self.adapter = LIBRARY.llama_adapter_lora_init(self.model, bytes(path))
        assert self.adapter, f"llama.cpp could not load {path}"

    def tokenize(self, text: str) -> list[int]:
        data = text.encode()
        tokens = (c_int32 * (len(data) + 2))()
        count = LIBRARY.llama_tokenize(self.vocabulary, data, len(data), tokens, len(tokens), True, True)
        assert count >= 0, "llama.cpp found more tokens than the text has bytes"
        return list(tokens[:count])

    def open_context(self):
        options = LIBRARY.llama_context_default_params()
        fields = ContextFields.from_buffer(options)
        defaults = (fields.context_tokens, fields.batch_tokens, fields.microbatch_tokens, fields.sequences_max)
        assert defaults == (512, 2048, 512, 1), f"llama_context_params has another layout: {defaults}"
        assert 0 < fields.threads == fields.batch_threads < 1024, "llama_context_params has another layout"
        fields.context_tokens = CONTEXT_TOKENS
        fields.threads = fields.batch_threads = THREADS
        context = LIBRARY.llama_init_from_model(self.model, options)
        assert context, "llama.cpp could not make a context"
        if self.adapter:
            status = LIBRARY.llama_set_adapters_lora(context, (c_void_p * 1)(self.adapter), 1, (c_float * 1)(1.0))
            assert status == 0, f"llama_set_adapters_lora returned {status}"
        return context

    def logits(self, tokens: list[int], at_once: bool = True) -> numpy.ndarray:
        """Raw logits, float32 [positions, vocabulary]; row i follows input i. All inputs in one batch, or each
        alone, as decoding does it: llama.cpp rounds otherwise then."""
        width = LIBRARY.llama_vocab_n_tokens(self.vocabulary)
        context = self.open_context()
        batch = LIBRARY.llama_batch_init(len(tokens), 0, 1)
        step = len(tokens) if at_once else 1
        rows = []
        try:
            for start in range(0, len(tokens), step):
                batch.count = step
                for index, token in enumerate(tokens[start : start + step]):
                    batch.token[index] = token
                    batch.position[index] = start + index
                    batch.sequence_count[index] = 1
                    batch.sequence[index][0] = 0
                    batch.output[index] = 1
                status = LIBRARY.llama_decode(context, batch)
                assert status == 0, f"llama_decode returned {status}"
                for index in range(step):
                    row = LIBRARY.llama_get_logits_ith(context, index)
                    rows.append(numpy.ctypeslib.as_array(row, (width,)).copy())
            return numpy.stack(rows)
        finally:
            LIBRARY.llama_batch_free(batch)
            LIBRARY.llama_free(context)
