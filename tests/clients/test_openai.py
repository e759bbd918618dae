"""The official `openai` package against the real binary with a real model."""

import threading
import time

import httpx
import openai
import pytest

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]


@pytest.fixture(scope="module")
def client(local):
    return openai.OpenAI(base_url=f"{local.url}/v1", api_key="unused", max_retries=0)


def test_plain(client):
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=QUESTION, temperature=0, max_tokens=40
    )
    answer = raw.parse()
    assert answer.object == "chat.completion"
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    usage = answer.usage
    assert usage.prompt_tokens > 10 and 0 < usage.completion_tokens <= 40
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert raw.headers["x-lockgate-target"] == "smollm2"
    assert raw.headers["x-lockgate-locality"] == "local"
    assert raw.headers["x-lockgate-policy"] == "privacy-first"
    assert raw.headers["x-lockgate-attempts"] == "1"
    assert raw.headers["x-request-id"]


def test_streaming_gives_the_same_text(client):
    plain = client.chat.completions.create(model="smollm2", messages=QUESTION, temperature=0, max_tokens=40)
    stream = client.chat.completions.create(
        model="smollm2",
        messages=QUESTION,
        temperature=0,
        max_tokens=40,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, finish, usage, chunks = "", None, None, 0
    for chunk in stream:
        chunks += 1
        assert chunk.object == "chat.completion.chunk"
        if chunk.usage is not None:
            usage = chunk.usage
            assert chunk.choices == []
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    assert text == plain.choices[0].message.content
    assert finish == "stop" and chunks > 4
    assert usage == plain.usage


def test_usage_is_not_streamed_unless_asked_for(client):
    stream = client.chat.completions.create(model="smollm2", messages=QUESTION, max_tokens=3, stream=True)
    assert all(chunk.usage is None for chunk in stream)


def test_several_choices_and_seed(client):
    def ask():
        answer = client.chat.completions.create(
            model="smollm2", messages=QUESTION, n=3, seed=7, temperature=1.2, max_tokens=12
        )
        return [choice.message.content for choice in answer.choices]

    first = ask()
    assert len(first) == 3 and len(set(first)) > 1
    assert ask() == first


def test_logprobs(client):
    answer = client.chat.completions.create(
        model="smollm2", messages=QUESTION, temperature=0, max_tokens=5, logprobs=True, top_logprobs=3
    )
    entries = answer.choices[0].logprobs.content
    assert len(entries) == 5
    for entry in entries:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob == entry.logprob, "temperature 0 takes the most likely token"
        assert bytes(entry.bytes).decode() == entry.token
    assert "".join(entry.token for entry in entries) == answer.choices[0].message.content


def test_stop_and_length(client):
    stopped = client.chat.completions.create(
        model="smollm2", messages=QUESTION, temperature=0, max_tokens=40, stop=["France"]
    )
    assert "France" not in stopped.choices[0].message.content
    assert stopped.choices[0].finish_reason == "stop"
    short = client.chat.completions.create(model="smollm2", messages=QUESTION, max_completion_tokens=2)
    assert short.choices[0].finish_reason == "length" and short.usage.completion_tokens == 2


def test_models(client):
    ids = [model.id for model in client.models.list()]
    assert "smollm2" in ids and "auto" in ids
    assert client.models.retrieve("smollm2").id == "smollm2"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias"),
        ({"stop": [""]}, "stop"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_bad_fields_are_named(client, fields, words):
    body = {"model": "smollm2", "messages": QUESTION, "max_tokens": 4} | fields
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    error = caught.value
    assert words in error.message
    assert error.type == "invalid_request_error"
    assert (error.param or "").startswith(words)


def test_a_prompt_over_the_context_is_refused_with_both_counts(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="smollm2", messages=[{"role": "user", "content": "word " * 20000}])
    assert caught.value.code == "context_length_exceeded"
    numbers = [int(word) for word in caught.value.message.replace(",", " ").split() if word.isdigit()]
    assert any(number > 20000 for number in numbers) and len(numbers) >= 2, caught.value.message


def test_an_unknown_model_is_named(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-nothing", messages=QUESTION)
    assert "gpt-nothing" in caught.value.message


def test_unknown_fields_are_ignored(client):
    answer = client.chat.completions.create(
        model="smollm2", messages=QUESTION, max_tokens=2, extra_body={"no_such_field": {"a": 1}}
    )
    assert answer.choices[0].message.content


def test_personal_data_is_labelled(client):
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=[{"role": "user", "content": "Write to anna.berger@posteo.de about my diabetes."}],
        max_tokens=4,
    )
    assert raw.headers["x-lockgate-labels"] == "local-only"
    assert raw.headers["x-lockgate-locality"] == "local"


def test_cancellation_frees_the_engine(local, client):
    stream = client.chat.completions.create(
        model="smollm2", messages=[{"role": "user", "content": "Count to one thousand."}], max_tokens=1500, stream=True
    )
    next(iter(stream))
    stream.close()
    # The engine would be busy for many seconds more; a short answer must not queue behind it.
    started = time.monotonic()
    client.chat.completions.create(model="smollm2", messages=QUESTION, max_tokens=2)
    assert time.monotonic() - started < 20


def test_health_answers_while_a_prompt_is_read(local, client):
    long = [{"role": "user", "content": "word " * 1500}]
    worker = threading.Thread(
        target=lambda: client.chat.completions.create(model="smollm2", messages=long, max_tokens=1)
    )
    worker.start()
    while worker.is_alive():
        assert httpx.get(f"{local.url}/health", timeout=5).status_code == 200
        time.sleep(0.01)
    worker.join()


def test_many_at_once(client):
    answers = [None] * 12

    def ask(index):
        answers[index] = client.chat.completions.create(
            model="smollm2", messages=QUESTION, temperature=0, max_tokens=24
        ).choices[0].message.content

    workers = [threading.Thread(target=ask, args=(index,)) for index in range(len(answers))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(answers)) == 1 and answers[0], "the answer does not depend on the batch"
