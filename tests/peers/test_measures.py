"""Likelihoods of continuations beside llama.cpp's.

The engine's own tests show that a likelihood has the very bits of the logits that `logits` gives for prompt and
continuation in one text; here those are compared with llama.cpp's. Both engines round activations to 8 bits in other
places (see `test_logits`), so what is asked is that we differ from it hardly more than it differs from itself.
"""

from pathlib import Path

import numpy
import peer_engine
import peers
import pytest
from test_logits import own_logits, own_tokens

PROMPT = "Question: What is the capital of France?\nAnswer:"
CONTINUATIONS = [" Paris", " The capital of France is Paris.", " London", " Berlin is the capital of Germany", " cheese"]
# Nats a token: several times what llama.cpp differs from itself between batches.
NOISE_FACTOR = 4
NOISE_FLOOR = 0.05


def log_likelihood(logits: numpy.ndarray, tokens: list[int], prompt: int) -> float:
    scores = logits[prompt - 1 : -1].astype(numpy.float64)
    top = scores.max(1)
    normalizers = top + numpy.log(numpy.exp(scores - top[:, None]).sum(1))
    return float((scores[numpy.arange(len(scores)), tokens[prompt:]] - normalizers).sum())


@pytest.fixture(scope="module")
def peer():
    with peer_engine.Peer(Path(peers.MODEL)) as peer:
        yield peer


def test_likelihoods_of_continuations(peer, tmp_path):
    prompt = own_tokens(PROMPT)
    ours, theirs, noise = [], [], []
    for text in CONTINUATIONS:
        tokens = prompt + own_tokens(text)
        count = len(tokens) - len(prompt)
        ours.append(log_likelihood(own_logits(tokens, tmp_path), tokens, len(prompt)) / count)
        theirs.append(log_likelihood(peer.logits(tokens), tokens, len(prompt)) / count)
        noise.append(log_likelihood(peer.logits(tokens, at_once=False), tokens, len(prompt)) / count)
    own_noise = numpy.abs(numpy.subtract(theirs, noise)).max()
    bound = max(NOISE_FLOOR, NOISE_FACTOR * own_noise)
    difference = numpy.abs(numpy.subtract(ours, theirs)).max()
    assert difference <= bound, f"{difference:.3f} nats a token, the peer from itself {own_noise:.3f}"
    assert numpy.argmax(ours) == numpy.argmax(theirs) == 1
