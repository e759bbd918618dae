"""Embeddings through the official `openai` package, with a real model and with a test cloud behind the real binary."""

import base64
import math
import struct
from pathlib import Path

import httpx
import openai
import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "target" / "plugins"
TEXTS = ["The cat sat on the mat.", "A kitten was sitting on a rug.", "Interest rates rose by two percent."]


@pytest.fixture(scope="module")
def server(start, model_path, openai_url):
    return start(
        f"""
[[model]]
id = "here"
path = "{model_path}"
context = 512
[[provider]]
id = "elsewhere"
kind = "openai-compatible"
endpoint = "{openai_url}"
locality = "cloud"
[[target]]
id = "far"
provider = "elsewhere"
model = "text"
[[target]]
id = "broken"
provider = "elsewhere"
model = "server-error"
"""
    )


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)


def product(left, right):
    return sum(a * b for a, b in zip(left, right))


def test_vectors_have_length_one_and_meaning(client):
    # The package asks for base64 by itself and decodes it.
    raw = client.embeddings.with_raw_response.create(model="auto", input=TEXTS)
    answer = raw.parse()
    vectors = [entry.embedding for entry in answer.data]
    assert [entry.index for entry in answer.data] == [0, 1, 2] and len(vectors[0]) == 576
    assert all(math.isclose(product(vector, vector), 1, rel_tol=1e-5) for vector in vectors)
    assert product(vectors[0], vectors[1]) > product(vectors[0], vectors[2])
    assert (answer.object, answer.model) == ("list", "here")
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 20
    headers = raw.headers
    assert headers["x-lockgate-target"] == "here" and headers["x-lockgate-locality"] == "local"
    assert headers["x-lockgate-policy"] == "direct" and headers["x-lockgate-attempts"] == "1"
    assert headers["x-request-id"]


def test_formats_and_batches_change_no_bit(client, server):
    together = client.embeddings.create(model="here", input=TEXTS, encoding_format="float").data
    for text, entry in zip(TEXTS, together):
        body = {"model": "here", "input": text, "encoding_format": "base64"}
        alone = httpx.post(f"{server.url}/v1/embeddings", json=body, timeout=60).json()["data"][0]["embedding"]
        bits = base64.b64decode(alone)
        assert bits == struct.pack(f"<{len(entry.embedding)}f", *entry.embedding)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input": [1, 2, 3]}, "input[0]"),
        ({"input": [[1, 2], [3]]}, "input[0]"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a"] * 257}, "256"),
        ({"dimensions": 64}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
def test_bad_fields_are_named(client, fields, words):
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/embeddings", body={"model": "here", "input": "a"} | fields, cast_to=object)
    assert words in caught.value.message and caught.value.type == "invalid_request_error"


def test_a_text_over_the_context_is_refused_with_both_counts(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="here", input=["short", "word " * 2000])
    assert caught.value.code == "context_length_exceeded" and caught.value.param == "input"
    assert "input[1]" in caught.value.message and "512" in caught.value.message


def test_a_target_elsewhere_and_its_errors(client):
    vectors = [entry.embedding for entry in client.embeddings.create(model="far", input=["abc", "a"]).data]
    assert all(math.isclose(product(vector, vector), 1, rel_tol=1e-5) for vector in vectors)
    assert math.isclose(vectors[0][0] / vectors[0][1], 3, rel_tol=1e-5), "in the order of the texts"
    with pytest.raises(openai.InternalServerError) as caught:
        client.embeddings.create(model="broken", input="a")
    assert caught.value.status_code == 502 and "`broken`" in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nobody", input="a")


@pytest.mark.parametrize("label", ["local-only", "no-cloud", "region:eu-1"])
def test_a_label_keeps_texts_here(client, label):
    headers = {"x-lockgate-labels": label}
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.embeddings.create(model="far", input="my diagnosis", extra_headers=headers)
    assert caught.value.code == "locality_forbidden"
    raw = client.embeddings.with_raw_response.create(model="auto", input="my diagnosis", extra_headers=headers)
    assert raw.headers["x-lockgate-locality"] == "local" and raw.headers["x-lockgate-labels"] == label


@pytest.fixture(scope="module")
def filtered(start, openai_url):
    return start(
        f"""
[[provider]]
id = "elsewhere"
kind = "openai-compatible"
endpoint = "{openai_url}"
locality = "cloud"
[[target]]
id = "far"
provider = "elsewhere"
model = "text"
[[plugin]]
id = "personal-data"
path = "{PLUGINS}/personal-data.wasm"
world = "preprocessor"
"""
    )


def test_preprocessors_see_every_text(filtered):
    client = openai.OpenAI(base_url=f"{filtered.url}/v1", api_key="unused", max_retries=0)
    assert len(client.embeddings.create(model="far", input=["harmless", "as well"]).data) == 2
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.embeddings.create(model="far", input=["harmless", "My IBAN is DE89 3704 0044 0532 0130 00."])
    assert caught.value.code == "locality_forbidden"
    assert caught.value.response.headers["x-lockgate-labels"] == "local-only"
    assert caught.value.response.headers["x-lockgate-attempts"] == "0"
