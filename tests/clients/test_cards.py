"""The binary on a card: a library in the driver's place, whose card is the emulator and fails when it is told to."""

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import httpx
import pytest
from conftest import lockgate

LIBRARY = Path(os.environ["LOCKGATE_BIN"]).parent / "deps/liblockgate_libcuda.so"
MISUSED = "libcuda was misused"
# What is left of the test model, which would take minutes: layers, and tokens with the merges that make them.
LAYERS, TOKENS, BYTE_TOKENS = 1, 512, 252
# How much likelier a token must be than the next one, as a logarithm, so that rounding cannot decide between them.
CLEAR = 0.05


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """The environment of a process that has the card."""
    if not LIBRARY.exists():
        subprocess.run(["cargo", "build", "--release", "-p", "lockgate-libcuda"], cwd=LIBRARY.parents[3], check=True)
    folder = tmp_path_factory.mktemp("driver")
    (folder / "libcuda.so.1").symlink_to(LIBRARY)
    return {"LD_LIBRARY_PATH": str(folder)}


@pytest.fixture(scope="module")
def small_model(tmp_path_factory, model_path):
    """The beginning of the test model: what it says is no language."""
    path = tmp_path_factory.mktemp("model") / "small.gguf"
    whole = gguf.GGUFReader(model_path)
    writer = gguf.GGUFWriter(path, "llama")
    changed = {
        "llama.block_count": LAYERS,
        "llama.vocab_size": TOKENS,
        "tokenizer.chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    }
    counts = {"tokenizer.ggml.tokens": TOKENS, "tokenizer.ggml.token_type": TOKENS, "tokenizer.ggml.merges": TOKENS - BYTE_TOKENS}
    for name, field in whole.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        value = changed.get(name, field.contents())
        writer.add_key_value(name, value[: counts[name]] if name in counts else value, field.types[0], inner)
    for tensor in whole.tensors:
        part = tensor.name.split(".")
        if part[0] != "blk" or int(part[1]) < LAYERS:
            rows = tensor.data[:TOKENS] if part[0] == "token_embd" else tensor.data
            writer.add_tensor(tensor.name, rows, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def config(model, device):
    return f'[[model]]\nid = "m"\npath = "{model}"\ncontext = 512\ndevice = "{device}"\n'


def log(server):
    return server.log_path.read_text(errors="replace")


def ask(server, text="Hello", tokens=6):
    body = {
        "model": "m",
        "temperature": 0,
        "max_tokens": tokens,
        "logprobs": True,
        "top_logprobs": 2,
        "messages": [{"role": "user", "content": text}],
    }
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=120)


def said(answer):
    """The tokens of an answer, and how much likelier each was than any other."""
    assert answer.status_code == 200, answer.text
    tokens = answer.json()["choices"][0]["logprobs"]["content"]
    return [(token["token"], token["top_logprobs"][0]["logprob"] - token["top_logprobs"][1]["logprob"]) for token in tokens]


def check(answer, expected):
    """That an answer has the tokens that are expected, up to the first that rounding may decide."""
    found = said(answer)
    clear = next((at for at, (_, gap) in enumerate(expected) if gap < CLEAR), len(expected))
    assert clear > 0 and [token for token, _ in found[:clear]] == [token for token, _ in expected[:clear]], (found, expected)


QUESTIONS = ["Hello", "What is the capital of France?", "Count from one to ten, then back again, please."]


@pytest.fixture(scope="module")
def expected(start, small_model):
    """What the processor answers to each question."""
    server = start(config(small_model, "cpu"))
    return [said(ask(server, question)) for question in QUESTIONS]


def test_doctor_names_the_card(card):
    told = lockgate("doctor", **card)
    line = "cuda:0: Lockgate emulated card, compute capability 8.0, 16384 MiB; can be used"
    assert told.returncode == 0 and line in told.stdout.decode(), told.stdout
    told = lockgate("doctor", **card, LIBCUDA_VERSION="12080").stdout.decode()
    assert "16384 MiB; not used: no CUDA device can be used: its driver supports CUDA 12.8; the kernels need 13.0" in told


def test_bench_measures_a_card_and_says_what_does_not_fit(card, small_model):
    arguments = ["bench", "--device", "cuda:0", "--model", str(small_model), "-b", "1,2", "-d", "0,16", "-p", "8", "-n", "2", "-r", "1"]
    told = lockgate(*arguments, **card, LIBCUDA_MEMORY=str(256 << 20))
    lines = told.stdout.decode().splitlines()
    assert told.returncode == 0 and lines[1].startswith("Lockgate emulated card, CUDA 13.0, copies "), told.stderr
    assert [line for line in lines if line.startswith("batch")] == [f"batch {batch}, depth {depth}" for depth in (0, 16) for batch in (1, 2)]
    assert MISUSED.encode() not in told.stderr, told.stderr
    told = lockgate(*arguments, **card, LIBCUDA_MEMORY=str(64 << 20))
    lines = told.stdout.decode().splitlines()
    assert told.returncode == 2 and told.stderr.startswith(b"lockgate: none of these cases fits on the card"), told.stderr
    for batch, depth in ((1, 0), (2, 0), (1, 16), (2, 16)):
        wanted = f"batch {batch}, depth {depth}: wants "
        assert any(line.startswith(wanted) and line.endswith("where 64 MiB are free") for line in lines), lines


@pytest.mark.parametrize("capability", ["8.0", "9.0"])
def test_a_model_on_the_card_answers_as_on_the_processor(start, card, small_model, expected, capability):
    server = start(config(small_model, "cuda:0"), **card, LIBCUDA_CAPABILITY=capability)
    with ThreadPoolExecutor(len(QUESTIONS)) as pool:
        answers = list(pool.map(lambda question: ask(server, question), QUESTIONS))
    for answer, tokens in zip(answers, expected):
        check(answer, tokens)
    # Alone, and so by the other kernels; the prompt is known by now.
    check(ask(server, QUESTIONS[1]), expected[1])
    assert server.stop() == 0
    assert "memory on the card" in log(server) and MISUSED not in log(server), log(server)


def test_run_takes_the_card(card, small_model):
    arguments = ["run", str(small_model), QUESTIONS[1], "--temperature", "0", "--max-tokens", "6"]
    alone, there = lockgate(*arguments), lockgate(*arguments, **card)
    assert (there.returncode, there.stdout) == (0, alone.stdout), there.stderr
    assert MISUSED.encode() not in there.stderr


def test_the_processor_takes_over_where_it_may(start, card, small_model, expected, tmp_path):
    lost = tmp_path / "lost"
    server = start(config(small_model, "auto"), **card, LIBCUDA_LOST=str(lost))
    check(ask(server), expected[0])
    lost.touch()
    failed = ask(server)
    assert failed.status_code in (500, 502, 503) and "the card failed" in failed.text, failed.text
    # By the processor: not a bit is another's.
    assert [said(ask(server, question)) for question in QUESTIONS] == expected
    assert server.stop() == 0
    assert "the card is lost; the processor takes the model over" in log(server), log(server)
    assert MISUSED not in log(server), log(server)


def test_a_card_that_is_lost_ends_a_server_that_may_have_nothing_else(start, card, small_model, expected, tmp_path):
    lost = tmp_path / "lost"
    server = start(config(small_model, "cuda:0"), **card, LIBCUDA_LOST=str(lost))
    check(ask(server), expected[0])
    lost.touch()
    failed = ask(server)
    assert failed.status_code in (500, 502, 503) and "uncorrectable ECC error" in failed.text, failed.text
    assert server.process.wait(30) == 2
    line = log(server).strip().splitlines()[-1]
    assert "model `m`: the card is lost" in line and 'device = "auto" would go on' in line, log(server)
    assert MISUSED not in log(server), log(server)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"LIBCUDA_VERSION": "12080"}, "its driver supports CUDA 12.8; the kernels need 13.0"),
        ({"LIBCUDA_CAPABILITY": "7.5"}, "compute capability 7.5; the kernels need 8.0"),
        ({"LIBCUDA_MEMORY": "1000000"}, "the device has no 2097152 bytes of memory left"),
        ({"LIBCUDA_MEMORY": "70000000"}, "where 67 MiB are free and 64 of them are left to others"),
    ],
)
def test_a_card_of_no_use_is_told(start, card, small_model, expected, tmp_path, settings, told):
    path = tmp_path / "lockgate.toml"
    path.write_text(config(small_model, "cuda:0"))
    refused = lockgate("serve", "--config", str(path), "--listen", "127.0.0.1:0", **card, **settings)
    assert refused.returncode == 2 and told in refused.stderr.decode(), refused.stderr.decode()
    server = start(config(small_model, "auto"), **card, **settings)
    assert said(ask(server)) == expected[0]
    assert server.stop() == 0
    assert told in log(server) and "omputes on the processor" in log(server), log(server)
    assert MISUSED not in log(server) + refused.stderr.decode()
