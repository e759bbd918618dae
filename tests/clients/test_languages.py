"""docs/languages.md does what it says, word for word, and the shipped examples run in the server."""

import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from conftest import ROOT, lockgate
from upstream import Upstream

BINARY = Path(os.environ["LOCKGATE_BIN"])
SECTION = re.compile(r"^## (\w+)\n.*?^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"Python": "by-length-py", "JavaScript": "by-length-js", "C": "by-length-c"}


def commands(language: str) -> str:
    text = (ROOT / "docs/languages.md").read_text()
    return dict(SECTION.findall(text))[language]


def missing(output: str) -> bool:
    """Whether a tool is missing, which `build.sh` says. In CI it is not allowed to be."""
    return os.environ.get("CI") != "true" and re.search(r"^missing: | is needed \(", output, re.MULTILINE) is not None


@contextmanager
def deciding(start, plugin: str, component: Path, more: str = ""):
    """A server with one target, for which the component decides; `more` stands in the plugin's block."""
    house = Upstream(deltas=[{"content": "Fine."}])
    try:
        policy = f'[[plugin]]\nid = "{plugin}"\npath = "{component}"\nworld = "router"\n{more}'
        yield start(house.target() + policy)
    finally:
        house.close()


def ask(server) -> httpx.Response:
    body = {"model": "auto", "messages": [{"role": "user", "content": "How are you?"}]}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30)


def metrics(server) -> list[str]:
    return httpx.get(f"{server.url}/metrics").text.splitlines()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_project_builds_and_passes_its_scenarios(language, tmp_path):
    environment = os.environ | {"PATH": f"{BINARY.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", commands(language)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    if missing(done.stderr):
        pytest.skip(done.stderr)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "3 of 3 scenarios hold, 1 of 1 properties" in done.stdout
    assert (tmp_path / LANGUAGES[language] / "build" / f"{LANGUAGES[language]}.wasm").is_file()


@pytest.mark.parametrize("plugin", ["office-hours", "by-language", "best-fit"])
def test_a_shipped_example_serves(plugin, start):
    component = ROOT / "target/plugins" / f"{plugin}.wasm"
    if not component.exists() and os.environ.get("CI") != "true":
        pytest.skip("its tools are not installed")
    # Compiles it, which may take longer than a server is waited for.
    subprocess.run([BINARY, "plugin", "check", component], check=True, capture_output=True)
    grants = '["clock"]' if plugin == "office-hours" else "[]"
    with deciding(start, plugin, component, f"grants = {grants}\nreuse = 10\n") as server:
        for _ in range(3):
            answer = ask(server)
            assert answer.json()["choices"][0]["message"]["content"] == "Fine."
            assert answer.headers["x-lockgate-policy"] == plugin
        warm = f'lockgate_plugin_warm_calls_total{{plugin="{plugin}",world="router"}} 2'
        assert warm in metrics(server), [line for line in metrics(server) if "plugin" in line]


def test_a_folder_that_does_not_build_says_why(tmp_path):
    (tmp_path / "a.scenario.toml").write_text('policy = "."\n[[scenario]]\nname = "x"\nprompt = "x"\n')
    (tmp_path / "policy.toml").write_text('build = ["sh", "-c", "echo no compiler >&2; exit 3"]\ncomponent = "c"\nsources = ["."]\n')
    done = lockgate("policy", "test", tmp_path)
    assert done.returncode == 2 and b"no compiler" in done.stderr, done.stderr
    (tmp_path / "policy.toml").write_text('built = ["sh"]\n')
    done = lockgate("policy", "test", tmp_path)
    assert done.returncode == 2 and b"policy.toml:1:1" in done.stderr, done.stderr


# It asks the host while it is made, before it is called, and again when it is.
EARLY = """
#include <stdlib.h>
#include <string.h>
#include "policy.h"

static size_t early;

static size_t targets(void) {
    policy_list_string_t ids;
    lockgate_plugin_catalog_ids(&ids);
    return ids.len;
}

__attribute__((constructor)) static void begin(void) { early = targets(); }

bool exports_lockgate_plugin_route_route(
    exports_lockgate_plugin_route_borrow_request_t request,
    exports_lockgate_plugin_route_own_plan_t *plan,
    exports_lockgate_plugin_route_own_refusal_t *refusal) {
    (void)plan;
    static char words[] = "first 0, then 0";
    words[6] = (char)('0' + early);
    words[14] = (char)('0' + targets());
    policy_string_t reason;
    policy_string_set(&reason, words);
    *refusal = lockgate_plugin_plan_constructor_refusal(&reason);
    lockgate_plugin_request_request_drop_borrow(request);
    return false;
}
"""


def test_a_component_that_asks_before_it_is_called_asks_for_its_request(tmp_path, start):
    project = tmp_path / "early"
    shutil.copytree(ROOT / "plugins/c/best-fit", project)
    (project / "policy.c").write_text(EARLY)
    component = project / "build/early.wasm"
    script = (project / "build.sh").read_text()
    (project / "build.sh").write_text(re.sub("^out=.*$", f"out={component}", script, flags=re.MULTILINE))
    environment = os.environ | {"LOCKGATE": str(BINARY)}
    built = subprocess.run(["sh", "build.sh"], cwd=project, env=environment, capture_output=True, text=True)
    if missing(built.stderr):
        pytest.skip(built.stderr)
    assert built.returncode == 0, built.stderr
    with deciding(start, "early", component) as server:
        for _ in range(5):
            answer = ask(server)
            assert (answer.status_code, "first 1, then 1" in answer.text) == (403, True), answer.text
            # Long enough for an instance that is made ahead.
            time.sleep(0.05)
        # None is, as it would have asked before there was a request.
        ahead = 'lockgate_plugin_ahead_calls_total{plugin="early",world="router"} '
        assert [line.removeprefix(ahead) for line in metrics(server) if line.startswith(ahead)] == ["0"]
