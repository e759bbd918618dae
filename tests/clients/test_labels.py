"""The promise, end to end: what is labelled local-only never leaves, whatever is tried."""

import time

import httpx
import pytest
from upstream import Upstream

SECRET = "my diagnosis is nobody's business"


def config(model_path, cloud_url, locality="cloud"):
    return f"""
[[model]]
id = "here"
path = "{model_path}"
[[provider]]
id = "elsewhere"
kind = "openai-compatible"
endpoint = "{cloud_url}/v1"
locality = "{locality}"
[[target]]
id = "big"
provider = "elsewhere"
model = "big"
price = {{ input = 1.0, output = 2.0 }}
"""


@pytest.fixture(scope="module")
def cloud():
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def server(start, model_path, cloud):
    return start(config(model_path, cloud.url))


def ask(server, model, content, **headers):
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 8}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def reached(cloud):
    seen = b"".join(body for _, _, body in cloud.requests)
    cloud.requests.clear()
    return seen


def test_hard_work_goes_to_the_cloud(server, cloud):
    answer = ask(server, "auto", "Prove step by step, with full derivations, " * 400)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "from the cloud"
    assert answer.headers["x-lockgate-locality"] == "cloud"
    assert reached(cloud)


@pytest.mark.parametrize("label", ["local-only", "no-cloud"])
def test_a_labelled_request_stays(server, cloud, label):
    answer = ask(server, "auto", f"{SECRET}. Prove step by step, " * 300, **{"x-lockgate-labels": label})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-lockgate-locality"] == "local"
    assert label in answer.headers["x-lockgate-labels"].split(",")
    assert not reached(cloud)


def test_naming_the_cloud_does_not_help(server, cloud):
    answer = ask(server, "big", SECRET, **{"x-lockgate-labels": "local-only"})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "locality_forbidden"
    assert answer.headers["x-lockgate-attempts"] == "0"
    assert "x-lockgate-target" not in answer.headers
    assert not reached(cloud)


def test_personal_data_stays(server, cloud):
    answer = ask(server, "auto", "My IBAN is DE89 3704 0044 0532 0130 00. " + "Prove step by step, " * 500)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-lockgate-labels"] == "local-only"
    assert not reached(cloud)


def test_no_failover_crosses_a_label(start, model_path, cloud):
    """The only local target refuses the request (too long for its context); the cloud would take it."""
    server = start(config(model_path, cloud.url))
    answer = ask(server, "auto", f"{SECRET} " * 3000, **{"x-lockgate-labels": "local-only"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert not reached(cloud)


def test_without_a_permitted_target_the_request_is_refused(start, cloud):
    text = config("none", cloud.url).split("[[provider]]", 1)[1]
    server = start("[[provider]]" + text)
    answer = ask(server, "auto", SECRET, **{"x-lockgate-labels": "local-only"})
    assert answer.status_code == 403 and answer.json()["error"]["code"] == "locality_forbidden"
    assert not reached(cloud)


def test_a_redirect_is_not_followed(start, model_path, cloud):
    redirecting = Upstream(redirect=f"{cloud.url}/v1/chat/completions")
    server = start(config(model_path, redirecting.url, locality="local"))
    answer = ask(server, "big", SECRET, **{"x-lockgate-labels": "local-only"})
    assert answer.status_code == 502
    assert redirecting.requests and not reached(cloud)
    redirecting.close()


def test_proxy_variables_do_not_serve_local_targets(start, model_path, cloud):
    near = Upstream("from next door")
    proxies = {name: cloud.url for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")}
    server = start(config(model_path, near.url, locality="local"), **proxies, NO_PROXY="", no_proxy="")
    answer = ask(server, "big", SECRET, **{"x-lockgate-labels": "local-only"})
    assert answer.json()["choices"][0]["message"]["content"] == "from next door"
    assert near.requests and not reached(cloud)
    near.close()


def test_a_dead_cloud_fails_over_before_the_first_event(start, model_path):
    dead = Upstream(status=503)
    server = start(config(model_path, dead.url))
    answer = ask(server, "auto", "Prove step by step, with full derivations, " * 300)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-lockgate-target"] == "here"
    assert int(answer.headers["x-lockgate-attempts"]) >= 2
    dead.close()


def test_a_dead_target_named_is_a_502(start, model_path):
    server = start(config(model_path, "http://127.0.0.1:9"))
    answer = ask(server, "big", "hello")
    assert answer.status_code == 502 and "big" in answer.json()["error"]["message"]


def behind(inner, model_path):
    """A Lockgate that has another one on this machine for a `local` server: its cloud, and its router."""
    return f"""
[[model]]
id = "here"
path = "{model_path}"
[[provider]]
id = "inner"
kind = "openai-compatible"
endpoint = "{inner.url}/v1"
locality = "local"
[[target]]
id = "big"
provider = "inner"
model = "big"
[[target]]
id = "inner-auto"
provider = "inner"
model = "auto"
"""


def test_a_lockgate_behind_another_keeps_the_labels(start, server, model_path, cloud):
    outer = start(behind(server, model_path))
    label = {"x-lockgate-labels": "local-only"}
    reached(cloud)
    # Before anybody could have seen where its answers come from.
    answer = ask(outer, "big", SECRET, **label)
    assert answer.status_code == 403, answer.text
    assert answer.json()["error"]["code"] == "locality_forbidden"
    answer = ask(outer, "inner-auto", f"{SECRET}. Prove step by step, " * 300, **label)
    assert answer.status_code == 200, answer.text
    assert not reached(cloud)
    # Without the label it may go on.
    assert ask(outer, "big", "Hello").status_code == 200
    assert reached(cloud)


def test_what_passes_requests_on_counts_as_cloud_from_the_start(start, server, model_path):
    outer = start(behind(server, model_path))
    deadline = time.monotonic() + 30
    while True:
        models = httpx.get(f"{outer.url}/v1/models").json()["data"]
        locality = {model["id"]: model.get("locality") for model in models}
        if locality["big"] == "cloud" or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert (locality["big"], locality["inner-auto"], locality["here"]) == ("cloud", "local", "local")


def test_air_gapped_refuses_a_cloud(tmp_path, model_path, cloud):
    from conftest import lockgate

    path = tmp_path / "lockgate.toml"
    path.write_text("[server]\nair_gapped = true\n" + config(model_path, "https://api.example.com"))
    result = lockgate("check", "--config", str(path))
    assert result.returncode == 2 and b"air-gapped" in result.stderr
