"""docs/tutorial.md does what it says, word for word."""

import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from conftest import ROOT, lockgate
from upstream import Upstream

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BINARY = Path(os.environ["LOCKGATE_BIN"])


def blocks() -> list[tuple[str, str, str]]:
    """Each block's language, text, and the file that the words before it name."""
    text = (ROOT / "docs/tutorial.md").read_text()
    found = []
    for match in FENCE.finditer(text):
        named = re.search(r"Put this into `([^`]+)`:\n\n$", text[: match.start()])
        found.append((match[1], match[2], named[1] if named else ""))
    return found


def environment() -> dict[str, str]:
    # The toolchain of the new project is its own to choose.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CARGO", "RUSTUP_TOOLCHAIN"))}
    return kept | {"PATH": f"{BINARY.parent}{os.pathsep}{os.environ['PATH']}"}


def run(command: str, folder: Path) -> None:
    done = subprocess.run(["bash", "-euc", command], cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The tutorial up to the server; what its scenarios say in between is checked on the way."""
    folder = tmp_path_factory.mktemp("tutorial")
    for language, text, file in blocks():
        if file:
            (folder / file).write_text(text)
            if file.endswith("scenario.toml"):
                done = subprocess.run([BINARY, "policy", "test", "scenarios"], cwd=folder, env=environment())
                assert done.returncode == 1, "the policy does not do that yet"
        elif language == "sh":
            run(text, folder)
            if "policy new" in text:
                folder = folder / "zeppelin"
    return folder


def test_the_policy_runs_in_the_server(project):
    small = Upstream(deltas=[{"content": "Fine."}])
    port = socket.socket()
    port.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{port.getsockname()[1]}"
    port.close()
    config = (project / "lockgate.toml").read_text()
    config = config.replace("127.0.0.1:8099", address).replace("http://127.0.0.1:11434", small.url.removesuffix("/v1"))
    (project / "mine.toml").write_text(config)
    server = subprocess.Popen([BINARY, "serve", "--config", "mine.toml"], cwd=project)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"http://{address}/ready").raise_for_status()
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        body = re.search(r"-d '(.*)'", (ROOT / "docs/tutorial.md").read_text())[1]
        answer = httpx.post(f"http://{address}/v1/chat/completions", json=json.loads(body), timeout=30)
        assert answer.json()["choices"][0]["message"]["content"] == "Fine."
        assert (answer.headers["x-lockgate-policy"], answer.headers["x-lockgate-labels"]) == ("zeppelin", "no-cloud")
    finally:
        server.terminate()
        server.wait(10)
        small.close()


def test_nothing_is_overwritten_and_a_bad_name_is_told(project):
    done = lockgate("policy", "new", "Bad_Name")
    assert done.returncode == 2 and b"cannot be a policy's name" in done.stderr
    done = subprocess.run([BINARY, "policy", "new", "zeppelin"], cwd=project.parent, capture_output=True)
    assert done.returncode == 2 and b"exists already" in done.stderr
    assert "it is about zeppelin" in (project / "src/lib.rs").read_text()
