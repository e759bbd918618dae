"""What a browser, a stranger or a broken client meets."""

import json
import socket

import httpx


def test_foreign_host_and_origin_are_refused(local):
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        answer = httpx.post(f"{local.url}/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 403, headers
        assert answer.json()["error"]["message"]


def test_a_page_of_this_machine_may_read_its_answers_and_no_other_page(local):
    """What a browser does for a page: it asks leave without a key, sends, and looks whether the page may read."""
    url = f"{local.url}/v1/chat/completions"
    wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    page = {"Origin": "http://localhost:3000"}
    leave = httpx.options(url, headers=page | wish)
    assert leave.status_code == 204 and not leave.content
    assert leave.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert leave.headers["access-control-allow-methods"] == "POST"
    assert leave.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "origin" in leave.headers["vary"].lower()
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    for answer in (httpx.post(url, json=body, headers=page), httpx.post(url, json={}, headers=page)):
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000", answer.status_code
        assert "x-lockgate-target" in answer.headers["access-control-expose-headers"]

    for asked in (
        httpx.options(url, headers={"Origin": "https://evil.example"} | wish),
        httpx.post(url, json=body, headers={"Origin": "https://evil.example"}),
        httpx.post(url, json=body, headers={"Origin": "null"}),
        httpx.post(url, json=body),
    ):
        assert "access-control-allow-origin" not in asked.headers
    assert httpx.options(f"{local.url}/v1/nothing", headers=page | wish).status_code == 404


def test_broken_bodies_are_named(local):
    url = f"{local.url}/v1/chat/completions"
    headers = {"content-type": "application/json"}
    for body in (b"{", b"[]", b"null", b'{"model": "auto"}', b'{"model": "\xff"}', b'{"messages": 1, "model": "auto"}'):
        answer = httpx.post(url, content=body, headers=headers)
        assert answer.status_code == 400, body
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error" and error["message"], body
        assert answer.headers["x-request-id"]


def test_unknown_paths_and_methods(local):
    assert httpx.get(f"{local.url}/v1/nothing").status_code == 404
    assert httpx.get(f"{local.url}/v1/chat/completions").status_code == 405


def test_an_unknown_label_is_refused(local):
    answer = httpx.post(
        f"{local.url}/v1/chat/completions",
        json={"model": "auto", "messages": [{"role": "user", "content": "hi"}]},
        headers={"x-lockgate-labels": "lokal"},
    )
    assert answer.status_code == 400 and "lokal" in answer.text


def test_garbage_does_not_take_the_server_down(local):
    for data in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", local.port), timeout=5) as stranger:
            stranger.sendall(data)
            stranger.settimeout(5)
            try:
                stranger.recv(4096)
            except ConnectionResetError:
                pass
    assert httpx.get(f"{local.url}/health").status_code == 200


def test_streamed_bytes_are_server_sent_events(local):
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 4,
        "stream": True,
    }
    with httpx.stream("POST", f"{local.url}/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        raw = b"".join(answer.iter_bytes()).decode()
    events = [event for event in raw.split("\n\n") if event and not event.startswith(":")]
    assert events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert len({chunk["id"] for chunk in chunks}) == 1
