"""The commands, as a person or a script runs them."""

import json
import os
import pty
import re
import select
import signal
import time

import pytest
from conftest import lockgate


def test_version_and_usage():
    assert lockgate("--version").stdout.startswith(b"lockgate ")
    assert lockgate().returncode == 2
    assert lockgate("no-such-command").returncode == 2


def test_run_answers_once(model_path):
    result = lockgate("run", model_path, "What is the capital of France? Answer in one short sentence.", "--temperature", "0", "--max-tokens", "40")
    assert result.returncode == 0, result.stderr
    assert b"Paris" in result.stdout


def test_pull_list_show_rm(tmp_path, model_path):
    home = {"LOCKGATE_HOME": str(tmp_path)}
    copy = tmp_path / "mine.gguf"
    copy.symlink_to(model_path)
    assert lockgate("list", **home).stdout == b""
    pulled = lockgate("pull", str(copy), **home)
    assert pulled.returncode == 0 and pulled.stdout.strip() == b"mine"
    assert b"mine" in lockgate("list", **home).stdout
    shown = lockgate("show", "mine", **home).stdout.decode()
    for word in ("llama", "Q4_1", "49152", "8192"):
        assert word in shown, shown
    assert lockgate("rm", "mine", **home).returncode == 0
    assert lockgate("rm", "mine", **home).returncode == 2


def test_an_interrupt_ends_the_answer_and_not_the_chat(model_path):
    child, terminal = pty.fork()
    if child == 0:
        binary = os.environ["LOCKGATE_BIN"]
        os.execv(binary, [binary, "run", model_path, "--temperature", "0", "--max-tokens", "4000"])
    seen = b""

    def until(words: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + 60
        while words not in seen:
            assert time.monotonic() < deadline and select.select([terminal], [], [], 60)[0], seen
            seen += os.read(terminal, 4096)
        seen = seen.partition(words)[2]

    until(b"> ")
    os.write(terminal, b"Write a long story about a dragon, in ten chapters.\r")
    # The end of the prompt's line, and of the answer's first sentence.
    until(b"\r\n")
    until(b". ")
    os.kill(child, signal.SIGINT)
    until(b"> ")
    os.write(terminal, b"What is the capital of France?\r")
    until(b"Paris")
    os.kill(child, signal.SIGINT)
    until(b"> ")
    os.write(terminal, b"/exit\r")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(terminal)


def test_half_a_model_is_not_kept(tmp_path, model_path):
    half = tmp_path / "half.gguf"
    with open(model_path, "rb") as whole:
        half.write_bytes(whole.read(os.path.getsize(model_path) // 2))
    home = {"LOCKGATE_HOME": str(tmp_path / "home")}
    pulled = lockgate("pull", str(half), **home)
    assert pulled.returncode == 2 and b"is no whole model" in pulled.stderr, pulled.stderr
    assert lockgate("list", **home).stdout == b""
    assert not list((tmp_path / "home").rglob("half*"))


def test_a_keys_name_is_one_that_the_configuration_takes():
    for name in ("", "a b"):
        made = lockgate("key", "new", name)
        assert made.returncode == 2 and b"an id is 1 to 128 letters" in made.stderr
        assert made.stdout == b""


def test_offline_fetches_nothing(tmp_path):
    home = {"LOCKGATE_HOME": str(tmp_path)}
    for command in (("pull", "smollm2", "--offline"), ("run", "smollm2", "hi", "--offline")):
        result = lockgate(*command, **home)
        assert result.returncode == 2 and b"offline" in result.stderr
    assert not list(tmp_path.rglob("*.gguf*"))


def test_unknown_source_lists_the_catalogue():
    result = lockgate("pull", "no-such-model")
    assert result.returncode == 2 and b"smollm2" in result.stderr


def test_tokenize(model_path):
    result = lockgate("tokenize", "--model", model_path, "--json", "Hello, world!")
    tokens = json.loads(result.stdout)["tokens"]
    assert tokens and all(isinstance(token, int) for token in tokens)
    piped = lockgate("tokenize", "--model", model_path, "--json", "-", stdin=b"Hello, world!")
    assert json.loads(piped.stdout)["tokens"] == tokens
    plain = lockgate("tokenize", "--model", model_path, "Hello, world!")
    assert [int(number) for number in re.findall(r"\d+", plain.stdout.decode())] == tokens
    marker = lockgate("tokenize", "--model", model_path, "--json", "<|im_start|>")
    assert len(json.loads(marker.stdout)["tokens"]) > 1, "text never becomes a control token"
    assert lockgate("tokenize", "--model", model_path, "-", stdin=b"\xff").returncode == 2


def test_template(model_path, tmp_path):
    messages = tmp_path / "messages.json"
    messages.write_text(json.dumps([{"role": "user", "content": "Hi"}]))
    result = lockgate("template", "--model", model_path, "--messages", str(messages))
    assert result.stdout.endswith(b"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    looping = tmp_path / "loop.jinja"
    looping.write_text("{% for a in range(1000000) %}{% for b in range(1000000) %}x{% endfor %}{% endfor %}")
    result = lockgate("template", "--file", str(looping), "--messages", str(messages))
    assert result.returncode == 2 and result.stderr


def test_logits_are_an_npy_file(model_path, tmp_path):
    np = pytest.importorskip("numpy")
    out = tmp_path / "logits.npy"
    assert lockgate("logits", "--model", model_path, "--tokens", "1,2,3", "--out", str(out)).returncode == 0
    logits = np.load(out)
    assert logits.dtype == np.float32 and logits.shape == (3, 49152) and np.isfinite(logits).all()
    assert lockgate("logits", "--model", model_path, "--tokens", "1,99999999", "--out", str(out)).returncode == 2


def test_bench_gives_json(model_path):
    result = lockgate("bench", "--model", model_path, "-p", "32", "-n", "8", "-r", "1", "--json")
    rows = json.loads(result.stdout)
    assert [row["test"] for row in rows] == ["pp32", "tg8"]
    for row in rows:
        assert row["tokens_per_second"] > 0 and row["device"] and row["model"]
    assert rows[1]["bytes_per_token"] > 50_000_000
    several = ("--batch", "1,3", "--depth", "0,40", "--case", "2x70,1x9")
    result = lockgate("bench", "--model", model_path, "-p", "8", "-n", "4", "-r", "1", "--json", *several)
    cases = [(row["test"], row["batch"], row["depth"]) for row in json.loads(result.stdout)]
    assert cases == [("pp8", 1, 0), ("tg4", 1, 0), ("tg4", 3, 0), ("tg4", 1, 40), ("tg4", 3, 40), ("tg4", 2, 70), ("tg4", 1, 9)]
    result = lockgate("bench", "--model", model_path, "-p", "8", "-n", "4", "-r", "1", "-b", "1,2", "-d", "0,999999")
    lines = result.stdout.decode().splitlines()
    assert [line.split(" ")[0] for line in lines[2:]] == ["batch", "pp8", "tg4", "batch", "tg4", "batch", "batch"]
    assert lines[-1].startswith("batch 2, depth 999999: a context of 1000003 tokens")
    refused = lockgate("bench", "--model", model_path, "--device", "gpu")
    assert refused.returncode == 2 and b"use cpu, cuda or cuda:NUMBER" in refused.stderr
    for case in ("8", "0x16", "2x", "-1x3"):
        refused = lockgate("bench", "--model", model_path, f"--case={case}")
        assert refused.returncode == 2 and b"as in 8x32704" in refused.stderr
    refused = lockgate("bench", "--model", model_path, "--device", "cuda:63")
    assert refused.returncode == 2 and b"device cuda:63" in refused.stderr
    refused = lockgate("bench", "--shape", "no-such-shape", "--quant", "q8_0")
    assert refused.returncode == 2 and b"llama-3.2-1b" in refused.stderr


def test_doctor(model_path):
    result = lockgate("doctor", "--json")
    facts = json.loads(result.stdout)
    assert facts["threads"] >= 1 and facts["read_bandwidth_gb_per_second"] > 0
    assert "cuBLASLt" in facts["bf16_products_of_cards"]


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 16, b"no model at all"])
def test_a_broken_model_file_is_named(tmp_path, content):
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    for command in (("show", str(path)), ("run", str(path), "hi"), ("tokenize", "--model", str(path), "hi")):
        result = lockgate(*command)
        assert result.returncode == 2 and b"broken.gguf" in result.stderr and b"panicked" not in result.stderr
