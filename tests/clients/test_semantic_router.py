"""The shipped semantic router through the real binary: it asks the real model, and goes on without one."""

from pathlib import Path

import httpx
import pytest

COMPONENT = Path(__file__).resolve().parents[2] / "target" / "plugins" / "semantic-router.wasm"
NEAR = "Compare and evaluate the two plans"
INTENTS = {
    "intent.code": "Write a function that sorts a list. | Why does this program crash?",
    "target.code": "text",
    "intent.talk": "How was your weekend? | Tell me a joke.",
    "target.talk": "auto",
}


def config(model_path, openai_url, grants=("inference:here",), **settings):
    settings = {"model": "here"} | settings
    pairs = ", ".join(f'"{name}" = "{value}"' for name, value in settings.items())
    granted = ", ".join(f'"{grant}"' for grant in grants)
    return f"""
[[model]]
id = "here"
path = "{model_path}"
[[model]]
id = "other"
path = "{model_path}"
context = 256
[[provider]]
id = "elsewhere"
kind = "openai-compatible"
endpoint = "{openai_url}"
locality = "cloud"
[[target]]
id = "text"
provider = "elsewhere"
model = "text"
[[plugin]]
id = "semantic"
path = "{COMPONENT}"
world = "router"
grants = [{granted}]
settings = {{ {pairs} }}
"""


def ask(server, text, **headers):
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], "max_tokens": 4}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-lockgate-policy"] == "semantic"
    return answer.headers["x-lockgate-target"]


def reasons(server):
    return [line for line in server.output().splitlines() if "planned" in line]


@pytest.fixture(scope="module")
def server(start, model_path, openai_url):
    # However the model leans: what it says counts.
    configured = config(model_path, openai_url, certainty="0", **INTENTS)
    return start(configured, LOCKGATE_LOG="lockgate_gateway=debug,info")


def test_clear_requests_are_decided_without_a_model(server):
    assert ask(server, "Please write a function that sorts this list of names") == "text"
    assert "intent code, by its words" in reasons(server)[-1]


def test_the_model_decides_what_is_open(server):
    target = ask(server, NEAR)
    reason = reasons(server)[-1]
    assert "work, says here" in reason or "intent" in reason and "by its meaning" in reason, reason
    assert target == ask(server, NEAR), "the same question, the same way"
    assert reasons(server)[-1].split("reason=")[-1] == reason.split("reason=")[-1]


def test_labels_hold_against_an_intent(server):
    question = "Please write a function that sorts this list of names"
    assert ask(server, question, **{"x-lockgate-labels": "local-only"}) in ("here", "other")


def test_it_goes_on_when_the_model_is_denied(start, model_path, openai_url):
    # A grant for another model than the one that the settings name.
    denied = config(model_path, openai_url, grants=("inference:other",))
    server = start(denied, LOCKGATE_LOG="lockgate_gateway=debug,info")
    assert ask(server, NEAR) == "text", "hard by its words"
    assert "here did not say: denied" in reasons(server)[-1]


def test_it_goes_on_when_the_question_is_too_long_for_the_model(start, model_path, openai_url):
    server = start(
        config(model_path, openai_url, grants=("inference:other",), model="other"),
        LOCKGATE_LOG="lockgate_gateway=debug,info",
    )
    assert ask(server, f"{NEAR}{' and the one before' * 80}") == "text"
    assert "other did not say: context exceeded" in reasons(server)[-1]
