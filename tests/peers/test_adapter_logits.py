"""The real model with a random LoRA beside llama.cpp with the same one, and in either form of file.

What agreement can be asked for is explained in `test_logits`: that we differ from llama.cpp no more than it differs
from itself. The adapter must change far more than that, or agreement would say nothing.
"""

from pathlib import Path

import exact_model
import gguf
import numpy
import peer_engine
import peers
import pytest
import test_logits
from random_adapter import random_adapter

TOKENS = 400
# By how much more the adapter must change logits than llama.cpp's own noise.
EFFECT_MIN = 5


@pytest.fixture(scope="module")
def adapter():
    return random_adapter(gguf.GGUFReader(peers.MODEL), seed=1)


@pytest.fixture(scope="module")
def files(adapter, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("adapter")
    return adapter.write_gguf(folder / "adapter.gguf"), adapter.write_peft(folder / "peft")


@pytest.fixture(scope="module")
def tokens() -> list[int]:
    return test_logits.own_tokens(test_logits.TEXTS[1])[:TOKENS]


@pytest.fixture(scope="module")
def ours(files, tokens, tmp_path_factory) -> numpy.ndarray:
    return test_logits.own_logits(tokens, tmp_path_factory.mktemp("ours"), "--adapter", files[0])


@pytest.fixture(scope="module")
def peer(files):
    with peer_engine.Peer(Path(peers.MODEL)) as peer:
        peer.adapt(files[0])
        yield peer


@pytest.fixture(scope="module")
def peers_logits(peer, tokens) -> numpy.ndarray:
    return peer.logits(tokens)


@pytest.fixture(scope="module")
def noise(peer, peers_logits, tokens) -> tuple[float, float]:
    """llama.cpp at once against itself token by token: mean difference of logits, share of equal tokens."""
    warm = test_logits.WARM_UP_TOKENS
    at_once, alone = peers_logits[warm:], peer.logits(tokens, at_once=False)[warm:]
    return float(numpy.abs(at_once - alone).mean()), float((at_once.argmax(1) == alone.argmax(1)).mean())


def test_the_same_bits_from_either_form(ours, files, tokens, tmp_path):
    for path in (files[1], files[1] / "adapter_model.safetensors"):
        assert numpy.array_equal(ours, test_logits.own_logits(tokens, tmp_path, "--adapter", path))


def test_the_adapter_changes_the_answer(ours, noise, tokens, tmp_path):
    plain = test_logits.own_logits(tokens, tmp_path)
    assert numpy.abs(ours - plain).mean() >= EFFECT_MIN * noise[0]


def test_the_same_next_token_as_the_peer_with_the_same_adapter(ours, peers_logits, noise, tokens):
    mean_noise, own_share = noise
    both = test_logits.compare(ours, peers_logits, tokens)
    share = both.equal.mean()
    assert share >= own_share - test_logits.EQUAL_SHARE_SLACK, f"{share:.2%}, the peer itself {own_share:.2%}"
    within = (both.shortfall <= mean_noise).mean()
    assert within >= test_logits.WITHIN_NOISE_MIN, f"{within:.2%} within {mean_noise:.3f} logits"
    sure = both.lead > test_logits.SURE_LEAD_LOGITS
    assert sure.sum() >= len(sure) / 4, "too few clear positions to say anything"
    assert both.equal[sure].all(), f"other tokens at {numpy.flatnonzero(sure & ~both.equal).tolist()}"
    ratio = float(numpy.exp(both.our_losses.mean() - both.peers_losses.mean()))
    # That bound is for more positions; the error of a mean grows as the root of their number falls.
    fewer = 10 * test_logits.POSITIONS_MIN / len(both.our_losses)
    bound = test_logits.PERPLEXITY_DIFFERENCE_MAX * float(numpy.sqrt(fewer))
    assert abs(ratio - 1) <= bound, f"perplexity differs by {ratio - 1:+.3%}, bound {bound:.3%}"


def test_as_close_to_merged_weights_in_exact_arithmetic_as_the_peer(adapter, ours, peers_logits, tokens):
    count = test_logits.EXACT_TOKENS
    exact = exact_model.logits(gguf.GGUFReader(peers.MODEL), tokens[:count], adapter.added())
    our_error = numpy.abs(ours[:count] - exact).mean()
    peers_error = numpy.abs(peers_logits[:count] - exact).mean()
    assert our_error <= test_logits.ERROR_RATIO_MAX * peers_error, f"{our_error:.4f}, the peer's {peers_error:.4f}"
