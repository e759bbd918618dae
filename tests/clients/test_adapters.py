"""Adapters over HTTP: targets of their own beside their model, validated, added and removed by a reload."""

import json
import os
import signal
import struct
import time

import httpx
import pytest
from conftest import lockgate

RANK = 2
HIDDEN = 576  # SmolLM2-135M.


def write_adapter(folder, seed, name="model.layers.0.self_attn.o_proj", inputs=HIDDEN, **settings):
    """A strong adapter of one projection, as PEFT saves it."""
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 4, "target_modules": ["o_proj"]} | settings
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    header, data = {}, b""
    for half, (rows, columns) in {"lora_A": (RANK, inputs), "lora_B": (HIDDEN, RANK)}.items():
        values = [((seed + 7919 * index) % 1009 / 504.5 - 1) / 2 for index in range(rows * columns)]
        offsets = [len(data), len(data) + 4 * len(values)]
        entry = {"dtype": "F32", "shape": [rows, columns], "data_offsets": offsets}
        header[f"base_model.model.{name}.{half}.weight"] = entry
        data += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder


def model_block(path):
    return f'[[model]]\nid = "m"\npath = "{path}"\n'


def adapter_block(name, path):
    return f'[[adapter]]\nid = "{name}"\nmodel = "m"\npath = "{path}"\n'


def ask(server, model, **headers):
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}],
        "temperature": 0,
        "max_tokens": 24,
    }
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=120)


def text_of(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def ids(server):
    return [model["id"] for model in httpx.get(f"{server.url}/v1/models").json()["data"]]


@pytest.fixture(scope="module")
def server(start, model_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    first, second = write_adapter(folder / "first", 1), write_adapter(folder / "second", 5)
    return start(model_block(model_path) + adapter_block("first", first) + adapter_block("second", second))


def test_each_adapter_is_a_target(server):
    models = {model["id"]: model for model in httpx.get(f"{server.url}/v1/models").json()["data"]}
    assert list(models) == ["auto", "m", "m:first", "m:second"]
    for name in ("m:first", "m:second"):
        assert models[name]["locality"] == "local"
        assert models[name]["context_tokens"] == models["m"]["context_tokens"]
        assert httpx.get(f"{server.url}/v1/models/{name}").json()["id"] == name


def test_the_client_chooses_by_name(server):
    answers = {name: ask(server, name, **{"x-lockgate-labels": "local-only"}) for name in ids(server) if name != "auto"}
    for name, answer in answers.items():
        assert answer.headers["x-lockgate-target"] == name and answer.headers["x-lockgate-locality"] == "local"
    texts = {name: text_of(answer) for name, answer in answers.items()}
    assert "Paris" in texts["m"] and len(set(texts.values())) == 3, texts
    assert text_of(ask(server, "auto")) == texts["m"], "what takes targets in their order takes the model as it is"


def test_an_unknown_adapter_is_an_unknown_model(server):
    answer = ask(server, "m:third")
    assert answer.status_code == 404 and "m:first" in answer.text


def test_check_names_place_and_reason(model_path, tmp_path):
    path = tmp_path / "lockgate.toml"
    wrong = {
        "shape": write_adapter(tmp_path / "shape", 1, inputs=64),
        "layer": write_adapter(tmp_path / "layer", 1, name="model.layers.99.self_attn.o_proj"),
        "dora": write_adapter(tmp_path / "dora", 1, use_dora=True),
    }
    for name, words in {"shape": b"needs 2 rows of 576", "layer": b"30 layers", "dora": b"DoRA"}.items():
        path.write_text(model_block(model_path) + adapter_block(name, wrong[name]))
        for command in ("check", "serve"):
            done = lockgate(command, "--config", str(path))
            assert done.returncode == 2, done.stderr
            assert f"{path}:7:8: adapter `{name}` of model `m`".encode() in done.stderr and words in done.stderr
    good = write_adapter(tmp_path / "good", 1)
    path.write_text(model_block(model_path) + adapter_block("good", good))
    done = lockgate("check", "--config", str(path))
    assert done.returncode == 0 and b"1 adapters" in done.stderr, done.stderr


def test_a_reload_adds_changes_and_removes_adapters(start, model_path, tmp_path):
    first = write_adapter(tmp_path / "first", 1)
    server = start(model_block(model_path))
    path = server.log_path.parent / f"lockgate-{server.port}.toml"

    def reload(text, done):
        path.write_text(text)
        os.kill(server.process.pid, signal.SIGHUP)
        deadline = time.monotonic() + 30
        while not done() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert done(), server.output()

    reload(model_block(model_path) + adapter_block("a", first), lambda: "m:a" in ids(server))
    before = text_of(ask(server, "m:a"))
    # The same name, other weights.
    second = write_adapter(tmp_path / "second", 5)
    reload(model_block(model_path) + adapter_block("a", second), lambda: text_of(ask(server, "m:a")) != before)
    # A bad one leaves the old one serving.
    bad = write_adapter(tmp_path / "bad", 1, inputs=64)
    reload(model_block(model_path) + adapter_block("a", bad), lambda: "needs 2 rows of 576" in server.output())
    assert text_of(ask(server, "m:a")) != before
    reload(model_block(model_path), lambda: "m:a" not in ids(server))
    assert ask(server, "m:a").status_code == 404


def test_commands_take_an_adapter(model_path, tmp_path):
    folder = write_adapter(tmp_path / "first", 1)
    question = ("What is the capital of France?", "--temperature", "0", "--max-tokens", "12")
    plain = lockgate("run", model_path, *question)
    adapted = lockgate("run", model_path, *question, "--adapter", str(folder))
    assert adapted.returncode == 0 and adapted.stdout and adapted.stdout != plain.stdout
    bench = lockgate("bench", "--model", model_path, "-p", "16", "-n", "4", "-r", "1", "--json", "--adapter", str(folder))
    assert bench.returncode == 0 and json.loads(bench.stdout)[0]["tokens_per_second"] > 0
    refused = lockgate("run", model_path, "hi", "--adapter", str(tmp_path))
    assert refused.returncode == 2 and b"adapter_config.json" in refused.stderr
    swapped = lockgate("run", str(folder / "adapter_model.safetensors"), "hi")
    assert swapped.returncode == 2 and b"panicked" not in swapped.stderr
