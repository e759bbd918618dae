"""Components as operators handle them: looked into, pinned, replaced while requests go on."""

import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
from conftest import lockgate

# `cargo xtask plugins` put it there.
COMPONENT = Path(__file__).parents[2] / "target/plugins/privacy-first.wasm"
SECONDS_MAX = 30


@pytest.fixture
def component(tmp_path) -> Path:
    return Path(shutil.copy(COMPONENT, tmp_path / "policy.wasm"))


def block(component: Path, **keys: str) -> str:
    lines = ["[[plugin]]", 'id = "policy"', f'path = "{component}"', 'world = "router"']
    return "\n".join(lines + [f'{name} = "{value}"' for name, value in keys.items()]) + "\n"


def model(path: str) -> str:
    return f'[[model]]\nid = "m"\npath = "{path}"\n'


def wait_until(condition) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def ask(server) -> httpx.Response:
    body = {"model": "auto", "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)


def test_check_says_what_a_component_is_and_prints_a_block_that_loads_it(component, tmp_path):
    done = lockgate("plugin", "check", str(component))
    assert done.returncode == 0, done.stderr
    printed = done.stdout.decode()
    assert "router of version 0.1.0" in printed
    assert "lockgate:plugin/request@0.1.0" in printed
    assert hashlib.sha256(component.read_bytes()).hexdigest() in printed
    assert "µs median" in printed
    path = tmp_path / "lockgate.toml"
    path.write_text(printed[printed.index("[[plugin]]") :])
    done = lockgate("check", "--config", str(path))
    assert done.returncode == 0, done.stderr


def test_check_measures_both_halves_of_a_filter():
    done = lockgate("plugin", "check", str(COMPONENT.parent / "redactor.wasm"))
    assert done.returncode == 0, done.stderr
    costs = [line for line in done.stdout.decode().splitlines() if line.startswith("one call")]
    assert ["(preprocessor)" in costs[0], "(guard)" in costs[1], len(costs)] == [True, True, 2]
    assert all("µs median" in cost for cost in costs), costs


def test_check_refuses_what_is_no_component(tmp_path):
    path = tmp_path / "policy.wasm"
    path.write_bytes(b"not wasm")
    done = lockgate("plugin", "check", str(path))
    assert done.returncode == 2 and str(path).encode() in done.stderr


def test_a_pin_holds(component, tmp_path):
    path = tmp_path / "lockgate.toml"
    digest = hashlib.sha256(component.read_bytes()).hexdigest()
    path.write_text(block(component, sha256=digest))
    assert lockgate("check", "--config", str(path)).returncode == 0
    # A custom section without content: still a component.
    component.write_bytes(component.read_bytes() + b"\0\1\0")
    done = lockgate("check", "--config", str(path))
    assert done.returncode == 2 and digest.encode() in done.stderr
    path.write_text(block(component, signer="RWSwGcHC9TiMxEiaO3VqBVbZiPoYvzmhRUBjSWGw/0DWePq5XLnA2ewo"))
    done = lockgate("check", "--config", str(path))
    assert done.returncode == 2 and b".minisig" in done.stderr


def test_a_component_is_replaced_while_requests_go_on(component, start, model_path):
    server = start(model(model_path) + block(component))
    good = component.read_bytes()
    statuses = []
    stop = threading.Event()

    def keep_asking():
        while not stop.is_set():
            statuses.append(ask(server).status_code)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        component.write_bytes(b"no component")
        wait_until(lambda: "warning" in httpx.get(f"{server.url}/ready").json())
        assert "policy.wasm" in server.output() and "not reloaded" in server.output()
        assert httpx.get(f"{server.url}/ready").status_code == 200
        component.write_bytes(good + b"\0\1\0")
        wait_until(lambda: httpx.get(f"{server.url}/ready").json() == {"status": "ready"})
        for _ in range(5):
            os.kill(server.process.pid, signal.SIGHUP)
            time.sleep(0.1)
        asked = len(statuses)
        wait_until(lambda: len(statuses) > asked + 5)
    finally:
        stop.set()
        asking.join()
    assert set(statuses) == {200}


def test_compiled_plugins_are_kept_and_a_forged_one_is_not_used(component, tmp_path):
    home = tmp_path / "home"

    def check():
        done = lockgate("plugin", "check", str(component), LOCKGATE_HOME=str(home))
        assert done.returncode == 0, done.stderr
        return done.stderr.decode()

    assert "not written by this host" not in check()
    (kept,) = (home / "plugins").glob("*.compiled")
    written = kept.read_bytes()
    assert "not written by this host" not in check()
    assert kept.read_bytes() == written and oct((home / "plugins").stat().st_mode & 0o777) == "0o700"
    forged = bytearray(written)
    forged[len(forged) // 2] ^= 1
    kept.write_bytes(forged)
    assert "not written by this host" in check()
    assert kept.read_bytes() == written, "it was compiled anew"


def leb(number: int) -> bytes:
    out = bytearray()
    while True:
        number, byte = number >> 7, number & 0x7F
        out.append(byte | (0x80 if number else 0))
        if not number:
            return bytes(out)


def section(number: int, body: bytes) -> bytes:
    return bytes([number]) + leb(len(body)) + body


def bomb() -> bytes:
    """A component of a few small megabytes whose one function has a million branches."""
    branches = b"\x20\x00\x0d\x00" * 1_000_000  # local.get 0, br_if 0
    body = b"\x00\x02\x40" + branches + b"\x0b\x0b"  # no locals; block … end; end
    code = leb(1) + leb(len(body)) + body
    types, functions = b"\x01\x60\x01\x7f\x00", b"\x01\x00"
    module = b"\0asm\x01\0\0\0" + section(1, types) + section(3, functions) + section(10, code)
    return b"\0asm\x0d\0\x01\0" + section(1, module)


def test_a_compile_bomb_dies_of_its_limits():
    for limits in [("--seconds=1", "--memory-bytes=4294967296"), ("--seconds=60", "--memory-bytes=150000000")]:
        begun = time.monotonic()
        done = lockgate("compile-plugin", *limits, stdin=bomb())
        assert done.returncode != 0 and not done.stdout.startswith(b"\0"), limits
        assert time.monotonic() - begun < SECONDS_MAX


def test_a_host_with_less_memory_than_the_compiler_may_use_still_compiles(component, tmp_path):
    # The compiler's process inherits the limit, which it cannot raise; the host itself reserves more than that.
    command = ["sh", "-c", 'ulimit -v 3000000; exec "$0" compile-plugin --seconds=60 --memory-bytes=4294967296']
    done = subprocess.run(
        [*command, os.environ["LOCKGATE_BIN"]], input=component.read_bytes(), capture_output=True, timeout=SECONDS_MAX
    )
    assert done.returncode == 0 and done.stdout.startswith(b"\0"), done.stderr
