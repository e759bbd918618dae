"""Logits of the real model beside llama.cpp's, and beside exact arithmetic.

Given quantized weights both engines round activations to 8 bits, and a difference in the last bit of any sum
turns some of those roundings over: after a few layers their errors are as good as unrelated. llama.cpp itself
names other tokens for one position in thirty, according to whether it computes a text at once or token by
token, and 64-bit arithmetic differs from it as often. So what is asked is that we differ from it no more than
it differs from itself: in the share of equal tokens, within its own noise at nearly every position, never
where it is sure, and in perplexity hardly at all.
"""

from dataclasses import dataclass
from pathlib import Path

import exact_model
import gguf
import numpy
import peer_engine
import peers
import pytest

HERE = Path(__file__).parent
LICENSE = (HERE.parents[1] / "LICENSE").read_text()
TEXTS = [(HERE / "page.txt").read_text(), LICENSE[:4000], LICENSE[4000:7700], LICENSE[7700:]]
# The first tokens of a text follow next to no context.
WARM_UP_TOKENS = 32
EXACT_TOKENS = 40
ALONE_TOKENS = 432
POSITIONS_MIN = 200
WITHIN_NOISE_MIN = 0.98
# Three standard errors of a difference between two shares of 400 positions that are near 97 %.
EQUAL_SHARE_SLACK = 0.03
PERPLEXITY_DIFFERENCE_MAX = 0.005
# Six times either engine's mean error: a lead above this is no near-tie.
SURE_LEAD_LOGITS = 1.0
ERROR_RATIO_MAX = 1.25


def own_logits(tokens: list[int], folder: Path, *flags) -> numpy.ndarray:
    path = folder / "logits.npy"
    inputs = ",".join(map(str, tokens))
    done = peers.lockgate("logits", "--model", peers.MODEL, "--tokens", inputs, "--out", path, *flags)
    assert done.returncode == 0, done.stderr.decode()
    logits = numpy.load(path)
    path.unlink()
    assert logits.dtype == numpy.float32 and len(logits) == len(tokens)
    return logits


def own_tokens(text: str) -> list[int]:
    return peers.tokenize(peers.MODEL, text)


def losses(logits: numpy.ndarray, tokens: list[int]) -> numpy.ndarray:
    """-ln p of each token after the warm-up, given all that stand before it."""
    scores = logits[WARM_UP_TOKENS:-1].astype(numpy.float64)
    top = scores.max(1)
    normalizers = top + numpy.log(numpy.exp(scores - top[:, None]).sum(1))
    return normalizers - scores[numpy.arange(len(scores)), tokens[WARM_UP_TOKENS + 1 :]]


@dataclass
class Comparison:
    """Of one text after the warm-up."""

    equal: numpy.ndarray  # Is the top token the same?
    shortfall: numpy.ndarray  # By how much the peer ranks our top token below its own.
    lead: numpy.ndarray  # Of the peer's first token over its second.
    our_losses: numpy.ndarray
    peers_losses: numpy.ndarray


def compare(ours: numpy.ndarray, peers_: numpy.ndarray, tokens: list[int]) -> Comparison:
    our_tops, scores = ours[WARM_UP_TOKENS:].argmax(1), peers_[WARM_UP_TOKENS:]
    ranked = numpy.partition(scores, -2, axis=1)
    return Comparison(
        equal=our_tops == scores.argmax(1),
        shortfall=ranked[:, -1] - scores[numpy.arange(len(scores)), our_tops],
        lead=ranked[:, -1] - ranked[:, -2],
        our_losses=losses(ours, tokens),
        peers_losses=losses(peers_, tokens),
    )


@pytest.fixture(scope="module")
def peer():
    with peer_engine.Peer(Path(peers.MODEL)) as peer:
        yield peer


@pytest.fixture(scope="module")
def comparisons(peer, tmp_path_factory) -> list[Comparison]:
    folder = tmp_path_factory.mktemp("logits")
    every = []
    for text in TEXTS:
        tokens = own_tokens(text)
        every.append(compare(own_logits(tokens, folder), peer.logits(tokens), tokens))
    assert sum(len(one.equal) for one in every) >= 10 * POSITIONS_MIN
    return every


@pytest.fixture(scope="module")
def itself(peer) -> tuple[float, float]:
    """The peer at once against the peer token by token: mean difference of logits, share of equal tokens."""
    tokens = own_tokens(TEXTS[0])[:ALONE_TOKENS]
    at_once = peer.logits(tokens)[WARM_UP_TOKENS:]
    alone = peer.logits(tokens, at_once=False)[WARM_UP_TOKENS:]
    return float(numpy.abs(at_once - alone).mean()), float((at_once.argmax(1) == alone.argmax(1)).mean())


def test_the_peers_tokens(peer):
    for text in TEXTS:
        assert own_tokens(text) == peer.tokenize(text)


def test_the_same_next_token_as_often_as_the_peer_by_itself(comparisons, itself):
    _, own_share = itself
    share = numpy.concatenate([one.equal for one in comparisons]).mean()
    assert share >= own_share - EQUAL_SHARE_SLACK, f"{share:.2%}, the peer itself {own_share:.2%}"


def test_the_same_next_token_within_the_peers_own_noise(comparisons, itself):
    noise, _ = itself
    assert noise < SURE_LEAD_LOGITS / 4, f"a noise of {noise:.3f} logits would excuse anything"
    share = (numpy.concatenate([one.shortfall for one in comparisons]) <= noise).mean()
    assert share >= WITHIN_NOISE_MIN, f"{share:.2%} within {noise:.3f} logits of the peer's first token"


def test_the_same_next_token_wherever_the_peer_is_sure(comparisons):
    sure = numpy.concatenate([one.lead for one in comparisons]) > SURE_LEAD_LOGITS
    assert sure.sum() >= POSITIONS_MIN, "too few clear positions to say anything"
    differing = sure & ~numpy.concatenate([one.equal for one in comparisons])
    assert differing.sum() == 0, f"other tokens at positions {numpy.flatnonzero(differing).tolist()}"


def test_the_same_perplexity_as_the_peer(comparisons):
    ours = numpy.concatenate([one.our_losses for one in comparisons]).mean()
    theirs = numpy.concatenate([one.peers_losses for one in comparisons]).mean()
    ratio = float(numpy.exp(ours - theirs))
    assert abs(ratio - 1) <= PERPLEXITY_DIFFERENCE_MAX, f"perplexity differs by {ratio - 1:+.3%}"


def test_as_close_to_exact_arithmetic_as_the_peer(peer, tmp_path):
    tokens = own_tokens(TEXTS[0])[:EXACT_TOKENS]
    exact = exact_model.logits(gguf.GGUFReader(peers.MODEL), tokens)
    our_error = numpy.abs(own_logits(tokens, tmp_path) - exact).mean()
    peers_error = numpy.abs(peer.logits(tokens) - exact).mean()
    assert our_error <= ERROR_RATIO_MAX * peers_error, f"mean error {our_error:.4f}, the peer's {peers_error:.4f}"
