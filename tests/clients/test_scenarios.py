"""Policies proven in a simulated world: `policy test`, and scenarios that lie beside a component in the server."""

import json
import os
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import httpx
import pytest
from conftest import lockgate

ROOT = Path(__file__).parents[2]
# `cargo xtask plugins` put it there.
COMPONENT = ROOT / "target/plugins/privacy-first.wasm"
SECONDS_MAX = 60

WORLD = """
[[target]]
id = "small"
locality = "local"
context = 8192
price = { input = 0.0, output = 0.0 }
[[target]]
id = "claude"
locality = "cloud"
context = 200000
price = { input = 3.0, output = 15.0 }
[[reply]]
target = "small"
text = "Paris"
after_ms = 120
[[reply]]
target = "claude"
error = "timeout"
"""
HOLDS = """
[[scenario]]
name = "a health question stays here"
request = { model = "auto", messages = [{ role = "user", content = "My HbA1c is 8.1, what now?" }] }
labels = []
expect = { plan = ["small"], answered_by = "small", never_locality = ["cloud"], outcome = "answered", max_cost_usd = 0.0, reason_contains = "health" }
"""
FAILS = """
[[scenario]]
name = "it never asks a cloud"
prompt = "What is the capital of France?"
expect = { never_locality = ["cloud"] }
"""


@pytest.fixture
def component(tmp_path) -> Path:
    return Path(shutil.copy(COMPONENT, tmp_path / "policy.wasm"))


def written(folder: Path, name: str, *parts: str, policy: str = "policy.wasm") -> Path:
    path = folder / f"{name}.scenario.toml"
    path.write_text(f'policy = "{policy}"\n' + "".join(parts))
    return path


def policy_test(*arguments) -> subprocess.CompletedProcess:
    return lockgate("policy", "test", *map(str, arguments))


def test_exit_codes_and_places(component, tmp_path):
    done = policy_test(written(tmp_path, "good", WORLD, HOLDS))
    assert done.returncode == 0, done.stderr
    assert "1 of 1 scenarios hold" in done.stdout.decode()

    failing = policy_test(written(tmp_path, "bad", WORLD, HOLDS, FAILS))
    assert failing.returncode == 1
    printed = failing.stdout.decode()
    assert 'expected  never_locality = ["cloud"]' in printed and "asked for `claude` (cloud)" in printed

    unusable = written(tmp_path, "unusable", WORLD, HOLDS.replace('answered_by = "small"', 'answered_by = "smal"'))
    done = policy_test(unusable)
    line = unusable.read_text()[: unusable.read_text().index('"smal"')].count("\n") + 1
    assert done.returncode == 2
    assert f"{unusable}:{line}:" in done.stderr.decode() and "did you mean `small`?" in done.stderr.decode()
    assert policy_test(tmp_path).returncode == 2, "2 outranks 1"

    (tmp_path / "empty").mkdir()
    done = policy_test(tmp_path / "empty")
    assert done.returncode == 2 and b"no scenario found" in done.stderr
    done = policy_test(written(tmp_path, "holds", WORLD, HOLDS), tmp_path / "empty")
    assert done.returncode == 0 and f"there is no scenario in {tmp_path / 'empty'}".encode() in done.stderr
    assert policy_test(tmp_path / "nowhere").returncode == 2
    missing = policy_test(written(tmp_path, "missing", WORLD, HOLDS, policy="other.wasm"))
    assert missing.returncode == 2 and b"missing.scenario.toml:1:10:" in missing.stderr


def test_reports_repeat_byte_for_byte(component, tmp_path):
    path = written(tmp_path, "both", WORLD, HOLDS, FAILS)
    runs = []
    for number in range(2):
        junit = tmp_path / f"{number}.xml"
        done = policy_test(path, "--json", "--junit", junit)
        assert done.returncode == 1
        runs.append((done.stdout, junit.read_bytes()))
    assert runs[0] == runs[1]
    told = json.loads(runs[0][0])
    assert told["held"] is False and told["scenarios"] == {"held": 1, "failed": 1}
    (request,) = told["files"][0]["scenarios"][0]["requests"]
    assert request["virtual_ms"] == 120 and request["labels"] == ["local-only"]
    cases = ElementTree.fromstring(runs[0][1]).findall(".//testcase")
    assert [case.find("failure") is None for case in cases] == [True, False]
    assert [case.get("time") for case in cases] == ["0.120", "0.120"]


def test_a_crate_is_built_first(tmp_path):
    crate = tmp_path / "mine"
    (crate / "src").mkdir(parents=True)
    (crate / "Cargo.toml").write_text(
        f"""[package]
name = "mine"
version = "0.1.0"
edition = "2024"
[lib]
crate-type = ["cdylib"]
[dependencies]
lockgate-plugin = {{ path = "{ROOT / "plugins/sdk"}" }}
[workspace]
"""
    )
    shutil.copy(ROOT / "Cargo.lock", crate / "Cargo.lock")
    source = crate / "src/lib.rs"
    source.write_text(
        """use lockgate_plugin::{Catalog, Plan, Refusal, Request, Router, Settings};
struct Mine;
impl Router for Mine {
    fn route(_: &impl Request, _: &impl Catalog, _: &impl Settings) -> Result<Plan, Refusal> {
        Ok(Plan::because("mine").then("small"))
    }
}
lockgate_plugin::export_router!(Mine);
"""
    )
    expect = '[[scenario]]\nname = "x"\nprompt = "Hi"\nexpect = { plan = ["small"], reason_contains = "mine" }\n'
    path = written(tmp_path, "mine", WORLD, expect, policy="mine")
    done = policy_test(path)
    assert done.returncode == 0, done.stderr
    source.write_text("this is no Rust")
    done = policy_test(path)
    assert done.returncode == 2 and b"mine.scenario.toml:1:10:" in done.stderr and b"error" in done.stderr
    done = policy_test(path, "--no-build")
    assert done.returncode == 2 and b"nothing is built" in done.stderr


def wait_until(condition) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_watch_runs_again_on_a_change_and_ends_on_an_interrupt(component, tmp_path):
    path = written(tmp_path, "good", WORLD, HOLDS)
    output = tmp_path / "output"
    with output.open("wb") as stdout:
        command = [os.environ["LOCKGATE_BIN"], "policy", "test", "--watch", str(path)]
        # A job that a script put into the background has interrupts ignored, and hands that on.
        heeded = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.STDOUT, preexec_fn=heeded)
    try:
        wait_until(lambda: b"1 of 1 scenarios hold" in output.read_bytes() and b"waiting" in output.read_bytes())
        written(tmp_path, "good", WORLD, HOLDS, FAILS)
        wait_until(lambda: b"1 of 2 scenarios hold" in output.read_bytes())
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS_MAX) != 0
    finally:
        process.kill()


def block(component: Path) -> str:
    return f'[[plugin]]\nid = "policy"\npath = "{component}"\nworld = "router"\n'


def test_a_component_whose_scenarios_fail_does_not_serve(component, tmp_path, start, model_path):
    beside = written(tmp_path, "policy", WORLD, HOLDS)
    written(tmp_path, "policyother", "this is beside another component")
    server = start(f'[[model]]\nid = "m"\npath = "{model_path}"\n' + block(component))
    ready = lambda: httpx.get(f"{server.url}/ready").json()
    assert ready() == {"status": "ready"}
    written(tmp_path, "policy", WORLD, HOLDS, FAILS)
    component.write_bytes(component.read_bytes() + b"\0\1\0")
    wait_until(lambda: "warning" in ready())
    assert "plugin `policy`: the scenarios beside it do not hold" in server.output()
    assert "it never asks a cloud" in server.output()
    body = {"model": "auto", "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}
    assert httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60).status_code == 200
    beside.unlink()
    wait_until(lambda: ready() == {"status": "ready"})

    written(tmp_path, "policy.extra", WORLD, FAILS)
    path = tmp_path / "lockgate.toml"
    path.write_text(block(component))
    done = lockgate("serve", "--config", str(path), "--listen", "127.0.0.1:0")
    assert done.returncode == 2 and b"the scenarios beside it do not hold" in done.stderr
