"""Preprocessors and guards, end to end: what a cloud is sent, and what a client reads."""

import json
import os
import signal
import time
from pathlib import Path

import httpx
import openai
import pytest
from conftest import lockgate
from upstream import Upstream

PLUGINS = Path(__file__).resolve().parents[2] / "target" / "plugins"
PERSONAL = "Write to anna.schmidt@posteo.de and call her under +49 151 12345678."
CLEAN = "Write to [EMAIL-1] and call her under [PHONE-1]."


def plugin(name, world, **more):
    extra = "".join(f"{key} = {value}\n" for key, value in more.items())
    return f'[[plugin]]\nid = "{name}"\npath = "{PLUGINS / name}.wasm"\nworld = "{world}"\n{extra}'


REDACTOR = plugin("redactor", "preprocessor") + plugin("redactor", "guard")


def config(cloud, plugins):
    return f"""
{cloud.target()}{plugins}"""


def said(*pieces):
    return [{"content": piece} for piece in pieces]


@pytest.fixture
def through(start):
    """Starts a server behind which a cloud says these deltas; gives both and a client."""
    clouds = []

    def begin(deltas, plugins=REDACTOR):
        cloud = Upstream(deltas=deltas)
        clouds.append(cloud)
        server = start(config(cloud, plugins))
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)
        return cloud, client

    yield begin
    for cloud in clouds:
        cloud.close()


def ask(client, model="big", content=PERSONAL, **options):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}], **options)


def test_a_cloud_sees_placeholders_and_the_client_what_they_stand_for(through):
    pieces = said("Dear [", "EMA", "IL-1], is [PHONE-", "1", "] right? [not", " this]", " [EMAIL-")
    cloud, client = through(pieces)
    expected = "Dear anna.schmidt@posteo.de, is +49 151 12345678 right? [not this] [EMAIL-"
    # A named model and the router's choice alike: neither is personal any more.
    for model in ["big", "auto"]:
        chunks = list(ask(client, model, stream=True, stream_options={"include_usage": True}))
        parts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
        parts = [part for part in parts if part]
        assert "".join(parts) == expected
        assert len(parts) > 3, "a stream stays a stream"
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
        assert chunks[-1].usage.total_tokens == 8
        whole = ask(client, model)
        assert whole.choices[0].message.content == expected
        assert whole.usage.total_tokens == 8
    assert len(cloud.requests) == 4
    for _, _, body in cloud.requests:
        assert json.loads(body)["messages"][0]["content"] == CLEAN
        assert b"anna" not in body and b"12345678" not in body


@pytest.mark.parametrize("kind", ["openai", "bedrock"])
def test_every_wire_is_restored(request, start, kind):
    """The test clouds say placeholders in parts, each in its own wire format."""
    url = request.getfixturevalue(f"{kind}_url")
    address = f'kind = "openai-compatible"\nlocality = "cloud"\nendpoint = "{url}"'
    if kind == "bedrock":
        address = f'kind = "bedrock"\nregion = "eu-central-1"\nendpoint = "{url}"'
    target = '[[target]]\nid = "big"\nprovider = "elsewhere"\nmodel = "placeholders"\n'
    keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
    server = start(f'[[provider]]\nid = "elsewhere"\n{address}\n{target}{REDACTOR}', **keys)
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)
    expected = "Dear anna.schmidt@posteo.de, is +49 151 12345678 right?"
    chunks = ask(client, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == expected
    assert ask(client).choices[0].message.content == expected


def test_tools_and_passed_fields_are_redacted_and_arguments_restored(through):
    call = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "mail", "arguments": ""}}
    parts = ['{"to": "[EMA', 'IL-1]", "copy', '": "[EMAIL-2]"}']
    more = [{"index": 0, "function": {"arguments": part}} for part in parts]
    cloud, client = through([{"tool_calls": [delta]} for delta in [call, *more]])
    function = {
        "name": "mail",
        "description": "Sends mail as max@firma.at",
        "parameters": {"type": "object", "properties": {"to": {"type": "string"}}},
    }
    answer = ask(client, tools=[{"type": "function", "function": function}], user="max@firma.at")
    made = answer.choices[0].message.tool_calls[0]
    assert (made.id, made.function.name) == ("call-1", "mail")
    assert json.loads(made.function.arguments) == {"to": "anna.schmidt@posteo.de", "copy": "max@firma.at"}
    assert answer.choices[0].finish_reason == "tool_calls"
    sent = cloud.requests[0][2]
    assert b"max@firma" not in sent and b"anna" not in sent
    assert json.loads(sent)["tools"][0]["function"]["description"] == "Sends mail as [EMAIL-2]"


def test_what_cannot_be_redacted_stays(through):
    cloud, client = through(said("no"))
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(openai.PermissionDeniedError) as refused:
        ask(client, content=[{"type": "text", "text": "What is this?"}, picture])
    assert refused.value.code == "locality_forbidden"
    assert refused.value.response.headers["x-lockgate-labels"] == "local-only"
    assert not cloud.requests


def test_personal_data_forbids_even_a_named_cloud(through):
    cloud, client = through(said("yes"), plugin("personal-data", "preprocessor"))
    with pytest.raises(openai.PermissionDeniedError) as refused:
        ask(client)
    assert refused.value.code == "locality_forbidden"
    assert refused.value.response.headers["x-lockgate-labels"] == "local-only"
    assert not cloud.requests
    assert ask(client, content="Hello").choices[0].message.content == "yes"


def test_a_setting_without_sense_lets_nothing_through(through):
    cloud, client = through(said("no"), plugin("redactor", "preprocessor", settings='{ keep = "names" }'))
    with pytest.raises(openai.PermissionDeniedError) as refused:
        ask(client, content="Hello")
    assert refused.value.code == "policy_refused" and "`keep`" in refused.value.message
    assert not cloud.requests


def test_check_names_a_plugin_of_another_world(tmp_path):
    path = tmp_path / "lockgate.toml"
    path.write_text(plugin("personal-data", "guard"))
    checked = lockgate("check", "--config", str(path))
    assert checked.returncode == 2
    assert b"personal-data.wasm" in checked.stderr and b"must export lockgate:plugin/watch@0.1" in checked.stderr
    path.write_text(plugin("personal-data", "preprocessor") + REDACTOR)
    checked = lockgate("check", "--config", str(path))
    assert checked.returncode == 0, checked.stderr
    assert b"preprocessors: personal-data, redactor; guards: redactor" in checked.stderr


def test_a_reload_changes_the_chain(start):
    cloud = Upstream()
    server = start(config(cloud, ""))
    body = {"model": "big", "messages": [{"role": "user", "content": PERSONAL}]}

    def sent():
        httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30).raise_for_status()
        return json.loads(cloud.requests[-1][2])["messages"][0]["content"]

    assert sent() == PERSONAL
    server.config_path.write_text(config(cloud, REDACTOR))
    os.kill(server.process.pid, signal.SIGHUP)
    deadline = time.monotonic() + 60
    while "configuration reloaded" not in server.output() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sent() == CLEAN
    cloud.close()
