"""Starts the real binary for the client tests: no fake, one process a configuration."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

READY_SECONDS_MAX = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running `lockgate serve`."""

    def __init__(self, folder: Path, config: str, *flags: str, **environment: str):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = folder / f"serve-{self.port}.log"
        self.config_path = folder / f"lockgate-{self.port}.toml"
        self.config_path.write_text(config)
        command = [os.environ["LOCKGATE_BIN"], "serve", "--config", self.config_path, "--listen", f"127.0.0.1:{self.port}", *flags]
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=os.environ | environment)
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"serve ended: {self.output()}")
            try:
                with urllib.request.urlopen(f"{self.url}/ready", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"serve was not ready in {READY_SECONDS_MAX} s: {self.output()}")

    def output(self) -> str:
        self.log.flush()
        return self.log_path.read_text(errors="replace")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        return self.process.returncode


@pytest.fixture(scope="session")
def model_path() -> str:
    return os.environ["LOCKGATE_TEST_MODEL"]


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """A function that starts a server of a configuration; all are stopped at the end."""
    servers = []

    def start_one(config: str, *flags: str, **environment: str) -> Server:
        server = Server(tmp_path_factory.mktemp("serve"), config, *flags, **environment)
        servers.append(server)
        return server

    yield start_one
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def local(start, model_path) -> Server:
    """One model on this machine, the default policy, no cloud."""
    return start(f'[[model]]\nid = "smollm2"\npath = "{model_path}"\n')


def lockgate(*arguments: str, stdin: bytes | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Runs a command of the binary to its end."""
    return subprocess.run(
        [os.environ["LOCKGATE_BIN"], *arguments],
        input=stdin,
        capture_output=True,
        timeout=120,
        env=os.environ | environment,
        stdin=None if stdin is not None else subprocess.DEVNULL,
    )


ROOT = Path(__file__).resolve().parents[2]
GUESTS = ROOT / "target/test-guests"


@pytest.fixture(scope="session")
def program():
    """The test servers. LOCKGATE_TEST_CLOUDS names a built one; otherwise it is built here."""
    named = os.environ.get("LOCKGATE_TEST_CLOUDS")
    if named:
        return named
    command = ["cargo", "build", "--release", "-p", "lockgate-test-clouds", "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    artifacts = (json.loads(line) for line in built.stdout.splitlines())
    return [artifact["executable"] for artifact in artifacts if artifact.get("executable")][-1]


@pytest.fixture(scope="session")
def guest():
    """A function that compiles a guest crate of the tests and gives its component."""

    def compiled(name: str) -> Path:
        outside = {key: value for key, value in os.environ.items() if not key.endswith("RUSTFLAGS")}
        command = ["cargo", "build", "--release", "--locked", "--lib", "-p", name, "--target", "wasm32-wasip2"]
        subprocess.run([*command, "--target-dir", GUESTS], cwd=ROOT, env=outside, check=True)
        return GUESTS / "wasm32-wasip2/release" / f"{name.replace('-', '_')}.wasm"

    return compiled


def serve(program, kind):
    """Yields the server's URL; the server ends with its standard input."""
    with subprocess.Popen([program, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().strip()
        server.stdin.close()
        assert server.wait(timeout=10) == 0


@pytest.fixture(scope="session")
def openai_url(program):
    yield from serve(program, "openai")


@pytest.fixture(scope="session")
def bedrock_url(program):
    yield from serve(program, "bedrock")


if sys.version_info < (3, 9):
    raise RuntimeError("the client tests need Python 3.9 or newer")
