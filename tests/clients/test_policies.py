"""The shipped policies, end to end: a model on this machine, a cloud, and an official client."""

import json
import threading
import urllib.request
from pathlib import Path

import openai
import pytest
from upstream import Upstream

PLUGINS = Path(__file__).resolve().parents[2] / "target" / "plugins"

CONFIG = '[[model]]\nid = "small"\npath = "{model}"\n'
PRICE = "{ input = 3.0, output = 15.0 }"


def plugin(name: str, world: str = "router", **settings: str) -> str:
    pairs = ", ".join(f'{key} = "{value}"' for key, value in settings.items())
    head = f'[[plugin]]\nid = "{name}"\npath = "{PLUGINS / name}.wasm"\nworld = "{world}"\n'
    return f"{head}settings = {{ {pairs} }}\n"


@pytest.fixture
def begin(start, model_path):
    """Starts a server with these plugins and a cloud that says these pieces; gives both and a client."""
    clouds = []

    def begin_one(plugins: str, *pieces: str):
        cloud = Upstream(deltas=[{"content": piece} for piece in pieces])
        clouds.append(cloud)
        server = start(CONFIG.format(model=model_path) + cloud.target(price=PRICE) + plugins)
        return cloud, openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)

    yield begin_one
    for cloud in clouds:
        cloud.close()


def ask(client, content: str, **options):
    """The answer, and what its headers say about it."""
    options = {"max_tokens": 8} | options
    messages = [{"role": "user", "content": content}]
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=messages, **options)
    return raw.parse(), raw.headers


def test_a_cascade_keeps_a_good_answer_here(begin):
    cloud, client = begin(plugin("cascade", likelihood_min="-20"), "from", " afar")
    answer, headers = ask(client, "What is the capital of France?")
    assert (headers["x-lockgate-target"], headers["x-lockgate-attempts"]) == ("small", "1")
    assert answer.choices[0].message.content and answer.choices[0].logprobs is None
    assert not cloud.requests


def test_a_cascade_takes_the_next_target_when_the_model_is_unsure(begin):
    # No model is as sure as this.
    cloud, client = begin(plugin("cascade", likelihood_min="-0.0000001"), "from", " afar")
    answer, headers = ask(client, "What is the capital of France?")
    assert (headers["x-lockgate-target"], headers["x-lockgate-attempts"]) == ("big", "2")
    assert answer.choices[0].message.content == "from afar"
    chunks = client.chat.completions.create(
        model="auto", stream=True, max_tokens=8, messages=[{"role": "user", "content": "And of Spain?"}]
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "from afar"
    assert len(cloud.requests) == 2


def test_a_cascade_never_leaves_for_a_labelled_request(begin):
    cloud, client = begin(plugin("cascade", likelihood_min="-0.0000001"), "from", " afar")
    answer, headers = ask(client, "My HbA1c is 8.1", extra_headers={"x-lockgate-labels": "local-only"})
    assert headers["x-lockgate-target"] == "small" and answer.choices[0].message.content
    assert not cloud.requests, "the only step that is left is taken as it is"


def test_cost_saver_pays_only_for_hard_work(begin):
    cloud, client = begin(plugin("cost-saver"), "from", " afar")
    assert ask(client, "What is the capital of France?")[1]["x-lockgate-target"] == "small"
    assert ask(client, "Prove the theorem step by step.")[1]["x-lockgate-target"] == "big"
    assert len(cloud.requests) == 1


def test_failover_goes_on_when_a_target_is_gone(begin):
    cloud, client = begin(plugin("failover", sticky="none"), "from", " afar")
    cloud.close()
    answer, headers = ask(client, "Hello")
    assert headers["x-lockgate-target"] == "small" and answer.choices[0].message.content


SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "person",
        "schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name"],
            "additionalProperties": False,
        },
    },
}
GUARD = plugin("json-guard", "preprocessor") + plugin("json-guard", "guard")


def test_a_late_target_gets_another_beside_it(start):
    released = threading.Event()
    late, quick = Upstream(text="at last", hold=released), Upstream(text="at once")
    try:
        config = late.target("late") + quick.target("quick") + plugin("failover", sticky="none", hedge_after_ms="50")
        server = start(config)
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)
        answer, headers = ask(client, "What is the capital of France?")
        assert (headers["x-lockgate-target"], headers["x-lockgate-attempts"]) == ("quick", "2")
        assert answer.choices[0].message.content == "at once"
        assert (len(late.requests), len(quick.requests)) == (1, 1)
        metrics = urllib.request.urlopen(f"{server.url}/metrics").read().decode()
        assert 'lockgate_hedges_total{target="quick",result="won"} 1' in metrics
        assert 'lockgate_attempts_total{target="late",result="abandoned"} 1' in metrics
    finally:
        released.set()
        late.close()
        quick.close()


def streamed(client, response_format):
    chunks = client.chat.completions.create(
        model="big",
        stream=True,
        messages=[{"role": "user", "content": "Who?"}],
        response_format=response_format,
    )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    return "".join(choice.delta.content or "" for choice in choices), choices[-1].finish_reason


@pytest.mark.parametrize(
    ("pieces", "expected", "reason"),
    [
        (('{"name": ', '"Anna"}'), {"name": "Anna"}, "stop"),
        (("Sure:\n```json\n{", '"name": "Anna", "age": 4', "1}\n```"), {"name": "Anna", "age": 41}, "stop"),
        (('{"name": "An', 'na", "ag'), {"name": "Anna"}, "stop"),
        (('{"name": ', "41}"), None, "content_filter"),
        (("I would", " rather not."), None, "content_filter"),
    ],
)
def test_json_guard_lets_only_json_of_the_schema_through(begin, pieces, expected, reason):
    _, client = begin(GUARD, *pieces)
    text, finish = streamed(client, SCHEMA)
    assert finish == reason
    if expected is not None:
        assert json.loads(text) == expected


def test_json_guard_leaves_everything_else_alone(begin):
    _, client = begin(GUARD, "Sure:\n", "{ no JSON")
    assert streamed(client, openai.NOT_GIVEN) == ("Sure:\n{ no JSON", "stop")
