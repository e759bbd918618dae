"""The test servers against the vendors' own clients: do they speak their wires right?

The servers are one program, `lockgate-test-clouds`. LOCKGATE_TEST_CLOUDS names a built one; otherwise it is
built here.
"""

import json

import boto3
import botocore
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from botocore.eventstream import ChecksumMismatch


@pytest.fixture
def chat(openai_url):
    client = openai.OpenAI(base_url=openai_url, api_key="test", max_retries=0, timeout=20)

    def ask(model, **options):
        messages = [{"role": "user", "content": "Hi"}]
        return client.chat.completions.create(model=model, messages=messages, **options)

    ask.client = client
    return ask


@pytest.fixture
def converse(bedrock_url):
    client = bedrock_client(bedrock_url, aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret")

    def ask(model, stream=False, **options):
        options.setdefault("messages", [{"role": "user", "content": [{"text": "Hi"}]}])
        operation = client.converse_stream if stream else client.converse
        return operation(modelId=model, **options)

    ask.client = client
    return ask


def bedrock_client(url, signature=None, **keys):
    config = Config(retries={"total_max_attempts": 1}, signature_version=signature, proxies={}, read_timeout=20)
    return boto3.client("bedrock-runtime", endpoint_url=url, region_name="eu-central-1", config=config, **keys)


CALLS = [("get_weather", {"city": "Zürich"}), ("get_time", {"zone": "Europe/Zurich"})]


# OpenAI


def test_openai_lists_models(chat):
    assert "text" in [model.id for model in chat.client.models.list()]


def test_openai_plain(chat):
    answer = chat("text")
    assert answer.choices[0].message.content == "Hello, wörld!"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 4)


def test_openai_streaming(chat):
    chunks = list(chat("text", stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello, wörld!"
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 11
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "stop"
    assert all(chunk.usage is None for chunk in chat("text", stream=True))


def test_openai_tools(chat):
    calls = chat("tools").choices[0].message.tool_calls
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == CALLS


def test_openai_tools_streaming(chat):
    with chat.client.chat.completions.stream(model="tools", messages=[{"role": "user", "content": "Hi"}]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls] == CALLS
    assert [call.id for call in message.tool_calls] == ["call_1", "call_2"]


def test_openai_reasoning(chat):
    message = chat("reasoning").choices[0].message
    assert (message.reasoning_content, message.content) == ("Two and two.", "Four.")


def test_openai_choices_and_logprobs(chat):
    answer = chat("text", n=2, logprobs=True, top_logprobs=3)
    assert [choice.index for choice in answer.choices] == [0, 1]
    tokens = answer.choices[1].logprobs.content
    assert [token.token for token in tokens] == ["Hello", ",", " wörld", "!"]
    assert len(tokens[0].top_logprobs) == 3 and bytes(tokens[2].bytes).decode() == " wörld"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("bad-request", openai.BadRequestError),
        ("rate-limited", openai.RateLimitError),
        ("server-error", openai.InternalServerError),
        ("unavailable", openai.InternalServerError),
        ("no-such-model", openai.NotFoundError),
    ],
)
def test_openai_errors(chat, model, error, stream):
    with pytest.raises(error):
        chat(model, stream=stream)


def test_openai_error_in_a_stream(chat):
    text = ""
    with pytest.raises(openai.APIError, match="The server failed."):
        for chunk in chat("error-in-stream", stream=True):
            text += chunk.choices[0].delta.content
    assert text == "Hel"


def test_openai_cut(chat):
    with pytest.raises(openai.APIConnectionError):
        list(chat("cut", stream=True))


def test_openai_cancelled(chat):
    with chat("endless", stream=True) as stream:
        assert [next(stream).choices[0].delta.content for _ in range(3)] == ["", "x", "x"]
    # The server goes on with others.
    assert chat("text").choices[0].message.content == "Hello, wörld!"


# Bedrock


def collect(stream):
    """The text, reasoning and tool calls of a stream, and its other events by name."""
    text, reasoning, calls, rest = "", "", {}, {}
    for event in stream["stream"]:
        ((name, body),) = event.items()
        if name == "contentBlockStart":
            start = body["start"]["toolUse"]
            calls[body["contentBlockIndex"]] = [start["name"], ""]
        elif name == "contentBlockDelta":
            delta = body["delta"]
            text += delta.get("text", "")
            reasoning += delta.get("reasoningContent", {}).get("text", "")
            if "toolUse" in delta:
                calls[body["contentBlockIndex"]][1] += delta["toolUse"]["input"]
        else:
            rest[name] = body
    return text, reasoning, [(name, json.loads(value)) for name, value in calls.values()], rest


def test_bedrock_plain(converse):
    answer = converse("text")
    assert answer["output"]["message"] == {"role": "assistant", "content": [{"text": "Hello, wörld!"}]}
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"] == {"inputTokens": 7, "outputTokens": 4, "totalTokens": 11}


def test_bedrock_streaming(converse):
    text, _, _, rest = collect(converse("text", stream=True))
    assert text == "Hello, wörld!"
    assert rest["messageStart"] == {"role": "assistant"}
    assert rest["messageStop"] == {"stopReason": "end_turn"}
    assert rest["metadata"]["usage"]["totalTokens"] == 11
    assert list(rest)[-2:] == ["messageStop", "metadata"]


def test_bedrock_tools(converse):
    blocks = converse("tools")["output"]["message"]["content"]
    assert [(block["toolUse"]["name"], block["toolUse"]["input"]) for block in blocks] == CALLS
    _, _, calls, rest = collect(converse("tools", stream=True))
    assert calls == CALLS and rest["messageStop"]["stopReason"] == "tool_use"


def test_bedrock_reasoning(converse):
    blocks = converse("reasoning")["output"]["message"]["content"]
    assert blocks[0]["reasoningContent"]["reasoningText"] == {"text": "Two and two.", "signature": "sig"}
    text, reasoning, _, _ = collect(converse("reasoning", stream=True))
    assert (text, reasoning) == ("Four.", "Two and two.")


def test_bedrock_cached_tokens(converse):
    usage = collect(converse("cached", stream=True))[3]["metadata"]["usage"]
    assert (usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"]) == (60, 40)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("throttled", "ThrottlingException"),
        ("denied", "AccessDeniedException"),
        ("not-ready", "ModelNotReadyException"),
        ("unavailable", "ServiceUnavailableException"),
        ("server-error", "InternalServerException"),
        ("timeout", "ModelTimeoutException"),
        ("missing", "ResourceNotFoundException"),
        ("no-such-model", "ValidationException"),
    ],
)
def test_bedrock_errors(converse, model, code, stream):
    with pytest.raises(getattr(converse.client.exceptions, code)) as caught:
        converse(model, stream=stream)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["Error"]["Message"]


@pytest.mark.parametrize(
    ("model", "code"),
    [("throttled-in-stream", "throttlingException"), ("failed-in-stream", "modelStreamErrorException")],
)
def test_bedrock_exceptions_in_a_stream(converse, model, code):
    with pytest.raises(EventStreamError) as caught:
        collect(converse(model, stream=True))
    assert caught.value.response["Error"]["Code"] == code


def test_bedrock_checksums_matter(converse):
    with pytest.raises(ChecksumMismatch):
        collect(converse("corrupted", stream=True))


def test_bedrock_unsigned(bedrock_url):
    client = bedrock_client(bedrock_url, signature=botocore.UNSIGNED)
    with pytest.raises(ClientError) as caught:
        client.converse(modelId="text", messages=[{"role": "user", "content": [{"text": "Hi"}]}])
    assert caught.value.response["Error"]["Code"] == "MissingAuthenticationTokenException"


def test_bedrock_models_with_colons_and_slashes(converse):
    with pytest.raises(converse.client.exceptions.ValidationException, match="model identifier is invalid"):
        converse("arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-v1:0")


CALLING = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}]}
RESULT = {"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": [{"text": "r"}]}}]}
USER = {"role": "user", "content": [{"text": "Hi"}]}


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "assistant", "content": [{"text": "Hi"}]}], "start with a user message"),
        ([USER, USER], "alternate"),
        ([{"role": "user", "content": [{"text": " "}]}], "blank"),
        ([USER, CALLING, USER], "toolResult"),
        ([RESULT], "Unexpected toolResult"),
        ([USER, CALLING, RESULT], "toolConfig"),
    ],
)
def test_bedrock_conversations_have_rules(converse, messages, words):
    with pytest.raises(converse.client.exceptions.ValidationException, match=words):
        converse("text", messages=messages)


def test_bedrock_tool_history_with_definitions(converse):
    specification = {"name": "f", "inputSchema": {"json": {"type": "object"}}}
    answer = converse("text", messages=[USER, CALLING, RESULT], toolConfig={"tools": [{"toolSpec": specification}]})
    assert answer["stopReason"] == "end_turn"


@pytest.mark.parametrize("schema", ['{"type": "object"}', "no JSON"])
def test_bedrock_schemas_of_answers(converse, schema):
    definition = {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema, "name": "answer"}}}
    output = {"textFormat": definition, "effort": "low"}
    if schema.startswith("{"):
        assert converse("text", messages=[USER], outputConfig=output)["stopReason"] == "end_turn"
    else:
        with pytest.raises(converse.client.exceptions.ValidationException, match="JSON schema"):
            converse("text", messages=[USER], outputConfig=output)
