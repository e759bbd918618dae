"""Adapters that are components, over HTTP: targets of their own that steer every token, contained when they fail."""

import json
import os
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from conftest import ROOT, lockgate
from test_adapters import ask, ids, text_of, write_adapter

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]


@pytest.fixture(scope="module")
def components(guest, tmp_path_factory):
    """A folder with the hostile adapter, the shipped one, and weights beside each."""
    folder = tmp_path_factory.mktemp("components")
    shutil.copy(guest("hostile-adapter"), folder / "hostile.wasm")
    shutil.copy(guest("support-triage"), folder / "support-triage.wasm")
    write_adapter(folder / "support-triage", 1)
    write_adapter(folder / "weights", 5)
    return folder


def model_block(path, name="smollm2"):
    return f'[[model]]\nid = "{name}"\npath = "{path}"\n'


def component_block(name, path, steer=None, model="smollm2", limits="", **settings):
    if steer is not None:
        settings["steer"] = steer
    listed = ", ".join(f'{key} = "{value}"' for key, value in settings.items())
    return (
        f'[[plugin]]\nid = "{name}"\nworld = "adapter"\nmodel = "{model}"\npath = "{path}"\n'
        f'grants = ["log"]\nsettings = {{ {listed} }}\nlimits = {{ {limits} }}\n'
    )


@pytest.fixture(scope="module")
def server(start, model_path, components):
    hostile = components / "hostile.wasm"
    config = model_block(model_path)
    for name, steer in {
        "plain": "good", "abc": "only-abc", "vowels": "never-vowels", "stop": "stop@4", "panics": "panic@3", "traps": "trap@0",
        "none": "none@3", "never-any": "never-any@2", "huge": "huge-list@2", "memory": "memory@2", "refuses": "begin-refuse",
        "second": "second-choice-panics", "asked": "facts",
    }.items():
        config += component_block(name, hostile, steer)
    config += component_block("loops", hostile, "loop@3", limits="time_ms = 300")
    config += component_block("slow", hostile, "slow", limits="generation_ms = 30")
    config += component_block("weighted", hostile, "good", describe="weights-beside", weights="weights")
    config += f'[[adapter]]\nid = "file"\nmodel = "smollm2"\npath = "{components / "weights"}"\n'
    config += component_block("of-file", hostile, "good", describe="weights-of", weights="file")
    config += component_block("brief", hostile, describe="no-steering")
    config += component_block("support-triage", components / "support-triage.wasm").replace('grants = ["log"]\n', "")
    return start(config)


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)


def complete(client, model, **options):
    answer = client.chat.completions.create(
        model=f"smollm2:{model}", messages=QUESTION, **({"temperature": 0, "max_tokens": 24} | options)
    )
    return answer.choices[0]


def test_each_component_is_a_target_of_its_own(server, client):
    found = {model.id: model for model in client.models.list()}
    assert "smollm2:abc" in found and found["smollm2:abc"].locality == "local"
    assert list(found)[:3] == ["auto", "smollm2", "smollm2:file"], "models first, then adapters, then components"
    answer = ask(server, "smollm2:abc", **{"x-lockgate-labels": "local-only"})
    assert answer.headers["x-lockgate-target"] == "smollm2:abc"
    assert text_of(ask(server, "smollm2:plain")) == text_of(ask(server, "smollm2")), "one that allows all changes nothing"
    assert text_of(ask(server, "smollm2:asked")) == text_of(ask(server, "smollm2"))


def test_a_mask_holds_for_every_token(client):
    choice = complete(client, "abc")
    assert len(choice.message.content) == 24 and set(choice.message.content) <= set("abc"), choice
    assert choice.finish_reason == "length"
    assert not set(complete(client, "vowels", temperature=1.5, seed=3).message.content) & set("aeiouAEIOU")
    choice = complete(client, "stop")
    assert choice.finish_reason == "stop" and choice.message.content
    stream = client.chat.completions.create(
        model="smollm2:abc", messages=QUESTION, temperature=1, seed=1, max_tokens=30, n=3, stream=True
    )
    texts = {0: "", 1: "", 2: ""}
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert all(set(text) <= set("abc") and len(text) == 30 for text in texts.values()) and len(set(texts.values())) == 3


def test_weights_come_from_beside_or_from_a_configured_adapter(server):
    texts = {name: text_of(ask(server, f"smollm2:{name}")) for name in ("file", "weighted", "of-file")}
    assert len(set(texts.values())) == 1 and texts["file"] != text_of(ask(server, "smollm2")), texts


def test_what_the_component_says_is_a_default(client):
    short = client.chat.completions.create(model="smollm2:brief", messages=QUESTION, temperature=0)
    assert short.usage.completion_tokens == 5
    assert client.chat.completions.create(model="smollm2:brief", messages=QUESTION, max_tokens=9).usage.completion_tokens <= 9
    plain = client.chat.completions.create(model="smollm2:plain", messages=[{"role": "system", "content": "be brief"}, *QUESTION], max_tokens=5)
    assert short.usage.prompt_tokens == plain.usage.prompt_tokens, "the system message is put before"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("panics", "trap"), ("traps", "trap"), ("none", "invalid_answer"), ("never-any", "invalid_answer"), ("huge", "limit"),
     ("memory", "limit"), ("loops", "limit"), ("slow", "limit")],
)
def test_a_failure_ends_the_answer_with_an_error(server, client, name, kind):
    with pytest.raises(openai.InternalServerError) as failed:
        complete(client, name)
    assert failed.value.status_code == 503 and failed.value.code == "adapter_failed"
    assert f"({kind})" in str(failed.value) and "capital" not in str(failed.value)
    metrics = httpx.get(f"{server.url}/metrics").text
    if kind != "invalid_answer":
        assert re.search(rf'lockgate_plugin_calls_total{{plugin="{name}",world="adapter",end="{kind}"}} [1-9]', metrics)


def test_a_component_that_fails_in_a_stream_leaves_no_unadapted_text(client):
    whole = complete(client, "plain").message.content
    text, error = "", None
    try:
        for chunk in client.chat.completions.create(
            model="smollm2:panics", messages=QUESTION, temperature=0, max_tokens=24, stream=True
        ):
            for choice in chunk.choices:
                assert choice.finish_reason is None
                text += choice.delta.content or ""
    except openai.APIError as failed:
        error = failed
    assert error is not None and error.code == "adapter_failed", error
    # Three tokens were allowed; the fourth never came.
    assert len(text) < len(whole) / 2 and whole.startswith(text)


def test_a_refusal_is_the_clients_to_read(client):
    with pytest.raises(openai.BadRequestError, match="refused the request: not today"):
        complete(client, "refuses")
    with pytest.raises(openai.InternalServerError):
        complete(client, "second", n=2)
    assert complete(client, "second").message.content


def test_while_components_fail_others_are_answered_as_ever(server):
    expected = {name: text_of(ask(server, name)) for name in ("smollm2", "smollm2:abc", "smollm2:file")}
    bad = ["panics", "loops", "none", "huge", "memory", "slow"]
    with ThreadPoolExecutor(12) as threads:
        good = [threads.submit(ask, server, name) for _ in range(8) for name in expected]
        failing = [threads.submit(ask, server, f"smollm2:{name}") for _ in range(3) for name in bad]
        texts = [text_of(answer.result()) for answer in good]
        assert texts == [expected[name] for _ in range(8) for name in expected]
        assert {answer.result().status_code for answer in failing} == {503}


def test_the_shipped_one_keeps_its_forms_whatever_the_weights(server):
    prompts = (ROOT / "plugins/support-triage/src/lib.rs").read_text()
    classify, extract = re.findall(r'&str =\s+"((?:Classify|Extract)[^"]+)"', prompts)

    def told(system, **options):
        turns = [{"role": "system", "content": system}, {"role": "user", "content": "I was charged 12.50 twice. Ada Byron"}]
        body = {"model": "smollm2:support-triage", "messages": turns, **options}
        return text_of(httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=120))

    for temperature in (0, 2):
        name = told(classify, temperature=temperature)
        assert name in ("billing", "delivery", "returns", "account access", "technical fault", "cancellation")
        facts = json.loads(told(extract, temperature=temperature, max_tokens=200))
        assert list(facts) == ["sender", "date", "amount"] and facts["sender"]
    assert told(classify) == told(classify), "temperature 0 is its own default"
    # Other prompts are answered as the model likes.
    assert told("You are a helpful assistant.", temperature=0, max_tokens=20)


def test_check_names_place_and_reason(model_path, components, tmp_path):
    hostile = components / "hostile.wasm"
    path = tmp_path / "lockgate.toml"
    for config, words in {
        model_block(model_path, "m") + component_block("a", hostile, model="m"): ":7:9: the adapter `a` is made for the model `smollm2` and attached to `m`",
        model_block(model_path) + component_block("a", hostile, model="smollm"): ":7:9: there is no model `smollm`; did you mean `smollm2`?",
        model_block(model_path) + component_block("a", hostile).replace('model = "smollm2"\n', ""): ":5:6: an adapter needs model = ",
        model_block(model_path) + component_block("a", hostile, describe="hot"): "temperature: 9 is not between 0 and 2",
        model_block(model_path) + component_block("a", hostile, describe="outside"): "are not beside the component",
        model_block(model_path) + component_block("a", hostile, describe="weights-of", weights="x"): "add an [[adapter]] with that id",
        model_block(model_path) + component_block("a", hostile, describe="weights-beside", weights="x"): "adapter `a` of model `smollm2`",
        model_block(model_path) + component_block("a", hostile).replace('grants = ["log"]', "grants = []"): 'grants = ["log"]',
        model_block(model_path) + component_block("a", hostile) + component_block("a", hostile): "a second plugin `a`",
    }.items():
        path.write_text(config)
        done = lockgate("check", "--config", str(path))
        assert done.returncode == 2 and words in done.stderr.decode(), (words, done.stderr.decode())
    path.write_text(model_block(model_path) + component_block("a", hostile))
    done = lockgate("check", "--config", str(path))
    assert done.returncode == 0 and b"1 adapters" in done.stderr, done.stderr


def test_plugin_check_tells_what_it_is_and_costs(components):
    done = lockgate("plugin", "check", str(components / "support-triage.wasm"))
    told = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert "world       adapter of version 0.1.0" in told
    assert "of smollm2, weights beside it: support-triage; steers each token, seeing the 64 most likely" in told
    assert re.search(r"one call    [\d.]+ µs median.*for a token, the 64 most likely in view \(adapter\)", told), told
    assert 'world = "adapter"\nmodel = "smollm2"\n' in told


def test_a_reload_changes_components_and_keeps_what_works(start, model_path, components):
    hostile = components / "hostile.wasm"
    server = start(model_block(model_path) + component_block("a", hostile, "only-abc"))

    def reload(text, done):
        server.config_path.write_text(text)
        os.kill(server.process.pid, signal.SIGHUP)
        deadline = time.monotonic() + 60
        while not done() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert done(), server.output()

    def letters():
        return set(text_of(ask(server, "smollm2:a")))

    assert letters() <= set("abc")
    reload(model_block(model_path) + component_block("a", hostile, "good"), lambda: not letters() <= set("abc"))
    reload(model_block(model_path) + component_block("a", hostile, describe="hot"), lambda: "temperature: 9" in server.output())
    assert not letters() <= set("abc"), "what served before goes on"
    reload(model_block(model_path), lambda: "smollm2:a" not in ids(server))
    assert ask(server, "smollm2:a").status_code == 404
