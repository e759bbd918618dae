"""Several routers behind one address, a canary and a shadow beside them, and what `/metrics` says of it all."""

import re
from pathlib import Path

import httpx
import openai
import pytest

# `cargo xtask plugins` put it there.
POLICY = Path(__file__).parents[2] / "target/plugins/privacy-first.wasm"

CONFIG = """
[[model]]
id = "small"
path = "{model}"

[[plugin]]
id = "main"
path = "{policy}"
world = "router"

[[plugin]]
id = "other"
path = "{policy}"
world = "router"
settings = {{ labels = "no-cloud" }}

[[plugin]]
id = "next"
path = "{policy}"
world = "router"
mode = "canary"
of = "other"
share = 1.0

[[plugin]]
id = "tried"
path = "{policy}"
world = "router"
mode = "shadow"
"""


@pytest.fixture(scope="module")
def server(start, model_path):
    return start(CONFIG.format(model=model_path, policy=POLICY))


def ask(server, model: str) -> httpx.Response:
    body = {"model": model, "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)


def metric(server, name: str, **labels: str) -> float:
    text = httpx.get(f"{server.url}/metrics", timeout=10).text
    total = 0.0
    for line in text.splitlines():
        found = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
        if found and found[1] == name:
            given = dict(re.findall(r'(\w+)="([^"]*)"', found[2]))
            if labels.items() <= given.items():
                total += float(found[3])
    return total


def test_the_models_name_chooses_the_router(server):
    for model, policy in [("auto", "main"), ("auto:main", "main"), ("auto:other", "next"), ("small", "direct")]:
        answer = ask(server, model)
        assert (answer.status_code, answer.headers["x-lockgate-policy"]) == (200, policy), answer.text
    missing = ask(server, "auto:nobody")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_the_routers_are_listed_to_an_official_client(server):
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused")
    assert [model.id for model in client.models.list()] == ["auto", "auto:main", "auto:other", "small"]
    assert client.models.retrieve("auto:other").id == "auto:other"


def test_metrics_tell_what_happened(server):
    before = {
        "requests": metric(server, "lockgate_requests_total", policy="main", outcome="answered"),
        "shadows": metric(server, "lockgate_shadow_decisions_total", plugin="tried", comparison="same"),
        "canaries": metric(server, "lockgate_canary_decisions_total", plugin="next", decided="yes"),
        "calls": metric(server, "lockgate_plugin_calls_total", plugin="main", end="ok"),
        "tokens": metric(server, "lockgate_tokens_total", target="small", kind="output"),
    }
    for model in ["auto", "auto", "auto:other"]:
        assert ask(server, model).status_code == 200
    assert metric(server, "lockgate_requests_total", policy="main", outcome="answered") == before["requests"] + 2
    assert metric(server, "lockgate_shadow_decisions_total", plugin="tried", comparison="same") == before["shadows"] + 2
    assert metric(server, "lockgate_canary_decisions_total", plugin="next", decided="yes") == before["canaries"] + 1
    assert metric(server, "lockgate_plugin_calls_total", plugin="main", end="ok") == before["calls"] + 2
    assert metric(server, "lockgate_tokens_total", target="small", kind="output") == before["tokens"] + 6
    assert metric(server, "lockgate_plugin_memory_peak_bytes", plugin="main") > 0
    assert metric(server, "lockgate_plugin_instructions_total", plugin="main") > 1000
    assert metric(server, "lockgate_attempt_first_event_seconds_count", target="small") >= 3
