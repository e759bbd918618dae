"""Starting and stopping the server: what is refused, and what is finished."""

import hashlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
from conftest import lockgate

PLUGINS = Path(__file__).resolve().parents[2] / "target" / "plugins"


def test_beyond_loopback_needs_a_key(tmp_path, model_path):
    path = tmp_path / "lockgate.toml"
    path.write_text(f'[[model]]\nid = "m"\npath = "{model_path}"\n')
    result = lockgate("serve", "--config", str(path), "--listen", "0.0.0.0:0")
    assert result.returncode == 2 and b"key" in result.stderr


def test_a_port_in_use_is_named(local, tmp_path):
    path = tmp_path / "lockgate.toml"
    path.write_text("")
    result = lockgate("serve", "--config", str(path), "--listen", f"127.0.0.1:{local.port}")
    assert result.returncode == 2
    assert str(local.port).encode() in result.stderr and b"in use" in result.stderr.lower()


def test_a_bad_configuration_names_line_and_nearest_key(tmp_path):
    path = tmp_path / "lockgate.toml"
    path.write_text("[server]\nlisen = \"127.0.0.1:1\"\n")
    for command in ("check", "serve"):
        result = lockgate(command, "--config", str(path))
        assert result.returncode == 2
        assert f"{path}:2:1".encode() in result.stderr and b"`listen`" in result.stderr


def test_what_cannot_be_loaded_is_told_with_its_line(tmp_path, model_path):
    (tmp_path / "no.gguf").write_text("not a model")
    wasm = PLUGINS / "privacy-first.wasm"
    model = '[[model]]\nid = "m"\npath = "{}"\n'
    plugin = f'[[plugin]]\nid = "p"\npath = "{wasm}"\nworld = "{{}}"\n'
    provider = '[[provider]]\nid = "p"\nkind = "openai-compatible"\nendpoint = "{}/v1"\nlocality = "{}"\n'
    path = tmp_path / "lockgate.toml"
    for text, place in {
        model.format("no.gguf"): "3:8: model `m`: ",
        model.format(model_path) + "context = 99999999\n": "3:8: model `m`: ",
        plugin.format("guard"): "3:8: plugin `p`: ",
        plugin.format("router") + f'sha256 = "{"0" * 64}"\n': "3:8: plugin `p`: ",
        provider.format("http://203.0.113.7", "local"): "2:6: provider `p`: ",
        "[server]\nair_gapped = true\n" + provider.format("http://127.0.0.1:1", "cloud"): "4:6: provider `p`: ",
    }.items():
        path.write_text(text)
        done = lockgate("check", "--config", str(path))
        assert done.returncode == 2 and f"{path}:{place}" in done.stderr.decode(), (text, done.stderr.decode())
    path.write_text(provider.format("http://127.0.0.1:1", "local") + '[[target]]\nid = "t"\nprovider = "p"\nmodel = "x"\ncontext = 0\n')
    done = lockgate("check", "--config", str(path))
    assert done.returncode == 2 and f"{path}:10:11: `context` is a number of tokens".encode() in done.stderr


def test_a_component_of_no_world_is_named(tmp_path, model_path):
    wasm = tmp_path / "policy.wasm"
    for content in (b"not wasm", b"\0asm\x01\0\0\0", b""):
        wasm.write_bytes(content)
        result = lockgate("serve", "--listen", "127.0.0.1:0", "--model", model_path, "--policy", str(wasm))
        assert result.returncode == 2 and b"policy.wasm" in result.stderr, content


def test_keys(start, model_path):
    made = lockgate("key", "new", "clinic")
    key = made.stdout.decode().strip()
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert f'hash = "sha256:{digest}"'.encode() in made.stderr
    server = start(
        f'[[model]]\nid = "m"\npath = "{model_path}"\n'
        f'[[key]]\nname = "clinic"\nhash = "sha256:{digest}"\nlabels = ["local-only"]\n'
    )
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    url = f"{server.url}/v1/chat/completions"
    assert httpx.post(url, json=body).status_code == 401
    assert httpx.post(url, json=body, headers={"Authorization": "Bearer wrong"}).status_code == 401
    answer = httpx.post(url, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)
    assert answer.status_code == 200 and answer.headers["x-lockgate-labels"] == "local-only"
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert key not in server.output()


def test_shutdown_finishes_what_runs(start, model_path):
    server = start(f'[[model]]\nid = "m"\npath = "{model_path}"\n')
    body = {"model": "m", "messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 60}
    answers = []
    worker = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60))
    )
    worker.start()
    time.sleep(0.3)
    os.kill(server.process.pid, signal.SIGTERM)
    worker.join()
    assert answers[0].status_code == 200 and answers[0].json()["choices"][0]["message"]["content"]
    assert server.process.wait(30) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


def test_reload_keeps_the_old_configuration_when_the_new_is_bad(start, model_path):
    server = start(f'[[model]]\nid = "m"\npath = "{model_path}"\n')
    path = server.log_path.parent / f"lockgate-{server.port}.toml"
    path.write_text("[servr]\n")
    os.kill(server.process.pid, signal.SIGHUP)
    deadline = time.monotonic() + 20
    while "servr" not in server.output() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "servr" in server.output()
    assert [model["id"] for model in httpx.get(f"{server.url}/v1/models").json()["data"] if model["id"] != "auto"] == ["m"]
    path.write_text(f'[[model]]\nid = "renamed"\npath = "{model_path}"\n')
    os.kill(server.process.pid, signal.SIGHUP)
    ids = []
    while "renamed" not in ids and time.monotonic() < deadline:
        ids = [model["id"] for model in httpx.get(f"{server.url}/v1/models").json()["data"]]
        time.sleep(0.1)
    assert "renamed" in ids
