"""Token ids against two independent implementations: llama.cpp, and Hugging Face's or Google's own library."""

import os
import unicodedata

import mistral_common
import pytest
import sentencepiece
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

import corpus
import peers

LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA.replace(r"\p{N}{1,3}", r"\p{N}")


def by_expression(expression):
    split = pre_tokenizers.Split(tokenizers.Regex(expression), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2():
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


# For each pre-tokenizer: its steps as the families' tokenizer.json have them, whether whole words win over merges,
# whether characters are composed first.
RULES = {
    "gpt-2": (gpt2(), False, False),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2()]), False, False),
    "llama-bpe": (by_expression(LLAMA), True, False),
    "smaug-bpe": (by_expression(LLAMA), False, False),
    "qwen2": (by_expression(QWEN), False, True),
}


def differences(texts, ours, theirs):
    assert len(ours) == len(theirs) == len(texts)
    return [(text, a, b) for text, a, b in zip(texts, ours, theirs) if a != b]


@pytest.fixture(scope="module")
def byte_level():
    """SmolLM2's real vocabulary, with the separator as one more token."""
    tokens, types, merges = peers.vocabulary(peers.MODEL)
    return tokens + [peers.SEPARATOR], types + [peers.USER_DEFINED], merges


@pytest.mark.parametrize("rules", RULES)
def test_byte_level(rules, byte_level, tmp_path):
    tokens, types, merges = byte_level
    steps, whole_words, composes = RULES[rules]
    model = peers.write_model(
        tmp_path / "model.gguf",
        "gpt2",
        tokens,
        types,
        tokenizer_pre=rules,
        token_merges=merges,
        bos_token_id=1,
        eos_token_id=2,
        add_bos_token=False,
    )
    texts = corpus.texts()
    separator = len(tokens) - 1
    ours = peers.tokenize_each(model, texts, separator)

    pairs = [tuple(merge.split(" ")) for merge in merges]
    vocabulary = {token: id for id, token in enumerate(tokens[:-1])}
    reference = tokenizers.Tokenizer(models.BPE(vocabulary, pairs, ignore_merges=whole_words))
    reference.pre_tokenizer = steps
    if composes:
        reference.normalizer = normalizers.NFC()
    theirs = [encoding.ids for encoding in reference.encode_batch(texts, add_special_tokens=False)]
    assert differences(texts, ours, theirs) == []

    # llama.cpp does not compose characters; the families' own tokenizers do.
    composed = [unicodedata.normalize("NFC", text) if composes else text for text in texts]
    theirs = peers.LlamaCpp(model).tokenize_each(composed, separator)
    assert differences(texts, ours, theirs) == []


def test_the_real_model_one_text_at_a_time():
    llama = peers.LlamaCpp(peers.MODEL)
    texts = [text for text in corpus.texts(20) if "\0" not in text]
    for text in texts:
        assert peers.tokenize(peers.MODEL, text) == llama.tokenize(text, add_special=True), repr(text)


def test_sentencepiece(tmp_path):
    path = os.path.join(os.path.dirname(mistral_common.__file__), "data", "tokenizer.model.v1")
    reference = sentencepiece.SentencePieceProcessor(model_file=path)
    ids = range(reference.vocab_size())

    def kind(id):
        if reference.is_unknown(id):
            return peers.UNKNOWN
        if reference.is_control(id):
            return peers.CONTROL
        return peers.BYTE if reference.is_byte(id) else peers.NORMAL

    model = peers.write_model(
        tmp_path / "model.gguf",
        "llama",
        [reference.id_to_piece(id) for id in ids] + [peers.SEPARATOR],
        [kind(id) for id in ids] + [peers.USER_DEFINED],
        token_scores=[reference.get_score(id) for id in ids] + [0.0],
        bos_token_id=reference.bos_id(),
        eos_token_id=reference.eos_id(),
        unk_token_id=reference.unk_id(),
        add_bos_token=True,
        add_space_prefix=True,
    )
    texts = corpus.texts()
    separator = reference.vocab_size()
    ours = peers.tokenize_each(model, texts, separator)
    assert differences(texts, ours, [reference.encode(text) for text in texts]) == []
    assert differences(texts, ours, peers.LlamaCpp(model).tokenize_each(texts, separator)) == []
    assert peers.tokenize(model, "x") == [reference.bos_id(), *reference.encode("x")]


def test_beginning_and_end(byte_level, tmp_path):
    tokens, types, merges = byte_level
    for beginning in (True, False):
        for end in (True, False):
            model = peers.write_model(
                tmp_path / f"{beginning}{end}.gguf",
                "gpt2",
                tokens,
                types,
                tokenizer_pre="smollm",
                token_merges=merges,
                bos_token_id=1,
                eos_token_id=2,
                add_bos_token=beginning,
                add_eos_token=end,
            )
            ours = peers.tokenize(model, "a b")
            assert ours == peers.LlamaCpp(model).tokenize("a b", add_special=True)
            bare = peers.tokenize(model, "a b", "--no-special")
            assert ours == [1] * beginning + bare + [2] * end


def test_unusable_vocabularies(byte_level, tmp_path):
    tokens, types, merges = byte_level
    for rules, complaint in (("no-such-rules", "no-such-rules"), ("default", "default"), (None, "tokenizer.ggml.pre")):
        model = peers.write_model(
            tmp_path / f"{rules}.gguf", "gpt2", tokens, types, tokenizer_pre=rules, token_merges=merges
        )
        done = peers.lockgate("tokenize", "--model", model, "x")
        assert done.returncode == 2 and complaint in done.stderr.decode(), done


def test_bytes_that_are_no_text():
    done = peers.lockgate("tokenize", "--model", peers.MODEL, "-", text=b"ab\xffc")
    assert done.returncode == 2 and done.stdout == b"" and b"UTF-8" in done.stderr
