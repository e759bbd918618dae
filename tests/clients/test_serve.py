"""Starting and stopping the server: what is refused, and what is finished."""

import hashlib
import os
import signal
import socket
import threading
import time

import httpx
from conftest import lockgate


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
