"""What plugins ask and remember, end to end: a component, the binary, a model on this machine and a cloud."""

import json
import os
import re
from pathlib import Path

import httpx
import pytest
from conftest import GUESTS, ROOT, lockgate
from upstream import Upstream

PLUGINS = ROOT / "target/plugins"
GRANTS = ["log", "state", "inference:here", "cloud:claude"]
PERSONAL = "Write to anna.schmidt@posteo.de, recorded for later."


@pytest.fixture
def cloud():
    upstream = Upstream("from the cloud")
    yield upstream
    upstream.close()


def config(model_path, cloud, *plugins):
    return f"""
[[model]]
id = "here"
path = "{model_path}"
{cloud.target("claude", "{ input = 1.0, output = 2.0 }")}""" + "".join(plugins)


def plugin(path, world, mode=None, grants=GRANTS, name=None):
    settings = f'settings = {{ mode = "{mode}" }}\n' if mode else ""
    return (
        f'[[plugin]]\nid = "{name or Path(path).stem}"\npath = "{path}"\nworld = "{world}"\n'
        f"grants = {json.dumps(grants)}\nlimits = {{ time_ms = 5000, wait_ms = 30000 }}\n{settings}"
    )


def ask(server, content, model="auto", **headers):
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 8}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def sent(cloud):
    return [json.loads(body)["messages"][-1]["content"] for _, _, body in cloud.requests]


def test_a_plugin_asks_a_cloud_only_where_the_labels_permit_it(start, guest, model_path, cloud):
    server = start(config(model_path, cloud, plugin(guest("hostile-filter"), "preprocessor", "ask-and-refuse")))
    answer = ask(server, "Hello")
    assert answer.status_code == 403 and "from the cloud" in answer.json()["error"]["message"]
    for label in ["local-only", "no-cloud"]:
        answer = ask(server, "my secret", **{"x-lockgate-labels": label})
        assert answer.status_code == 403 and "forbidden by labels" in answer.json()["error"]["message"]
    assert sent(cloud) == ["Hello"]
    metrics = httpx.get(f"{server.url}/metrics", timeout=10).text
    usd = re.search(r'lockgate_plugin_usd_total\{plugin="hostile_filter"\} (\S+)', metrics)
    assert usd and float(usd[1]) > 0 and 'lockgate_plugin_asks_total{plugin="hostile_filter"}' in metrics, metrics


def test_a_plugin_asks_a_model_on_this_machine(start, guest, model_path, cloud):
    hostile = guest("hostile")
    grants = GRANTS + ["clock", "random"]
    server = start(config(model_path, cloud, plugin(hostile, "router", "inference:here", grants)))
    for labels in [{}, {"x-lockgate-labels": "local-only"}]:
        answer = ask(server, "What is the capital of France?", **labels)
        said = answer.json()["error"]["message"].split("refused the request: ")[1]
        assert answer.status_code == 403 and said and "error:" not in said, answer.text
    assert not cloud.requests


def test_a_label_that_comes_after_an_ask_refuses_the_request(start, guest, model_path, cloud):
    server = start(config(model_path, cloud, plugin(guest("hostile"), "router", "ask-then-label", GRANTS + ["clock", "random"])))
    answer = ask(server, "my secret")
    assert answer.status_code == 503 and answer.json()["error"]["code"] == "policy_failed", answer.text
    assert answer.headers["x-lockgate-labels"] == "local-only" and answer.headers["x-lockgate-attempts"] == "0"
    assert "a plugin has asked it for this request already" in server.output()
    assert "my secret" not in server.output()


def test_state_does_not_carry_what_is_personal_to_a_cloud(start, guest, model_path, cloud):
    plugins = [
        plugin(guest("hostile-filter"), "preprocessor", "relay", name="relay"),
        plugin(PLUGINS / "personal-data.wasm", "preprocessor", grants=[]),
    ]
    # The relay may not ask a cloud ahead of the one that labels.
    refused = start_refused(config(model_path, cloud, *plugins))
    assert "before the preprocessor `personal-data` adds a label" in refused and ":19:45: " in refused, refused
    relay = plugins[0].replace('"cloud:claude"', '"log"')
    checked = lockgate("check", "--config", written(config(model_path, cloud, relay, plugins[1])))
    assert checked.returncode == 2 and b"needs the grant `cloud:TARGET`" in checked.stderr, checked.stderr

    # Behind it, it may: then it sees the label, too.
    server = start(config(model_path, cloud, plugins[1], plugins[0]))
    assert ask(server, PERSONAL).headers["x-lockgate-locality"] == "local"
    answer = ask(server, "recall", model="claude")
    assert answer.json()["choices"][0]["message"]["content"] == "from the cloud"
    assert sent(cloud) == ["recalled: "]
    ask(server, "plain words", model="claude").raise_for_status()
    ask(server, "recall", model="claude").raise_for_status()
    assert sent(cloud)[-1] == "recalled: plain words"


def written(text) -> str:
    path = GUESTS / "lockgate.toml"
    path.write_text(text)
    return str(path)


def start_refused(text) -> str:
    checked = lockgate("check", "--config", written(text))
    assert checked.returncode == 2
    return checked.stderr.decode()
