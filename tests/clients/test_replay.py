"""What the server takes down is decided again by the same policy, and compared with another; tables are evaluated."""

import csv
import json
import stat
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import openai
import pytest
from conftest import lockgate
from upstream import Upstream

PLUGINS = Path(__file__).resolve().parents[2] / "target" / "plugins"
PRICE = "{ input = 3.0, output = 15.0 }"
SECRET = "My IBAN is DE89 3704 0044 0532 0130 00."
HARD = "Prove that the halting problem is undecidable, step by step, and derive the consequences in detail."


@pytest.fixture(scope="module")
def log(start, model_path, tmp_path_factory):
    """A log of some requests: easy, hard, personal, labelled, named, refused, abandoned."""
    cloud = Upstream(deltas=[{"content": "from"}, {"content": " afar"}])
    path = tmp_path_factory.mktemp("log") / "requests.jsonl"
    server = start(
        f'[server]\nlog_requests = "{path}"\n[[model]]\nid = "small"\npath = "{model_path}"\n'
        + cloud.target(price=PRICE)
        + f'[[plugin]]\nid = "cost-saver"\npath = "{PLUGINS / "cost-saver.wasm"}"\nworld = "router"\n'
        + f'[[plugin]]\nid = "personal-data"\npath = "{PLUGINS / "personal-data.wasm"}"\nworld = "preprocessor"\n'
    )
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)

    def ask(text: str, model: str = "auto", **more):
        messages = [{"role": "user", "content": text}]
        return client.chat.completions.create(model=model, messages=messages, max_tokens=4, temperature=0, **more)

    for text in ("What is the capital of France?", HARD, SECRET):
        ask(text)
    ask("This stays here.", extra_headers={"x-lockgate-labels": "local-only"})
    ask("Hello", model="small")
    for _ in ask("Count to three.", stream=True):
        pass
    with pytest.raises(openai.NotFoundError):
        ask("Hello", model="nobody")
    deadline = time.monotonic() + 10
    while len(lines(path)) < 7:
        assert time.monotonic() < deadline, lines(path)
        time.sleep(0.05)
    yield path
    cloud.close()


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def replay(log: Path, policy: str, *more: str) -> tuple[int, dict]:
    done = lockgate("policy", "replay", "--log", str(log), "--policy", str(PLUGINS / policy), *more, "--json")
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_line_has_the_facts_and_content_only_where_labels_allow(log):
    found = lines(log)
    assert [line["end"]["end"] for line in found] == ["answered"] * 6 + ["unknown_model"]
    assert [line["content"] is None for line in found] == [False, False, True, True, False, False, False]
    assert [line["routing"] is None for line in found] == [False, False, False, False, True, False, True]
    # With the spaces: digits alone could stand in a time or a request's number by chance.
    assert "DE89 3704" not in log.read_text() and "0044 0532" not in log.read_text()
    assert "stays here" not in log.read_text()
    assert found[0]["end"]["usage"]["input"] + found[0]["end"]["usage"]["cache_read"] > 0
    assert found[0]["routing"]["policy"] == "cost-saver"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_the_policy_that_made_the_log_decides_as_it_did(log):
    code, report = replay(log, "cost-saver.wasm")
    assert code == 0
    assert (report["requests"], report["not_routed"], report["content_withheld"]) == (7, 2, 2)
    assert (report["replayed"], report["identical"], report["moved"]) == (3, 3, 0)
    assert report["before"] == report["after"] and report["after"]["label_violations"] == 0


def test_another_policy_is_compared(log):
    _, report = replay(log, "failover.wasm")
    assert report["replayed"] == 3 and report["identical"] == 0, "the reasons differ at least"
    done = lockgate("policy", "replay", "--log", str(log), "--policy", str(PLUGINS / "failover.wasm"),
                    "--against", str(PLUGINS / "cost-saver.wasm"))
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert "7 requests: 3 decided again, 2 never routed, 2 with their content withheld" in text
    assert "label violations" in text


def test_a_bad_log_is_told_with_its_line(log, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text(log.read_text().splitlines()[0] + "\n{}\n")
    done = lockgate("policy", "replay", "--log", str(bad), "--policy", str(PLUGINS / "failover.wasm"))
    assert done.returncode == 2
    assert b"bad.jsonl: line 2: it is no line of a request log" in done.stderr
    done = lockgate("policy", "replay", "--log", str(log), "--policy", str(PLUGINS / "redactor.wasm"))
    # It is the component that is wrong, not the log.
    assert done.returncode == 2 and str(PLUGINS / "redactor.wasm") in done.stderr.decode().split("not a component")[0]
    assert str(log).encode() not in done.stderr
    done = lockgate("policy", "replay", "--log", str(tmp_path / "none"), "--policy", str(PLUGINS / "failover.wasm"))
    assert done.returncode == 2 and b"none" in done.stderr


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "outcomes.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["prompt", "small|score", "small|cost", "large|score", "large|cost", "category"])
        for number in range(30):
            rows.writerow([f"What is {number} and {number}?", 1.0, 0.0, 1.0, 0.002, "easy"])
            rows.writerow([f"{HARD} Case {number}.", 0.1, 0.0, 0.9, 0.004, "hard"])
    return path


def test_a_policy_is_evaluated_on_a_table(table, tmp_path):
    plot = tmp_path / "out.svg"
    done = lockgate("policy", "evaluate", "--table", str(table), "--policy", str(PLUGINS / "cost-saver.wasm"),
                    "--sweep", "tokens_hard=1:2001:500", "--plot", str(plot), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["rows"] == 60 and set(report["categories"]) == {"easy", "hard"}
    assert report["best_fixed"]["name"] == "large" and abs(report["best_fixed"]["score"] - 0.95) < 1e-9
    assert abs(report["oracle"]["score"] - 0.95) < 1e-9 and report["oracle"]["cost"] < report["best_fixed"]["cost"]
    assert [point["value"] for point in report["curve"]["points"]] == ["1", "501", "1001", "1501", "2001"]
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")


def test_a_value_that_decides_nothing_is_no_point_of_a_curve(table):
    done = lockgate("policy", "evaluate", "--table", str(table), "--policy", str(PLUGINS / "cost-saver.wasm"),
                    "--sweep", "no_such_setting=0:1:0.5")
    assert done.returncode == 2 and not done.stdout
    assert b"with `no_such_setting` set to `0` the policy decides nothing" in done.stderr, done.stderr


def test_a_fixed_target_that_wins_is_named(table):
    done = lockgate("policy", "evaluate", "--table", str(table), "--policy", str(PLUGINS / "failover.wasm"))
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert "always small" in text and "oracle" in text and "nearest neighbours" in text
    assert "60 prompts" in text


def test_a_bad_table_is_told_with_its_line(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("prompt,a|score,a|cost\nx,1,0\ny,much,0\n")
    done = lockgate("policy", "evaluate", "--table", str(path), "--policy", str(PLUGINS / "failover.wasm"))
    assert done.returncode == 2
    assert b"bad.csv: line 3: `a|score` is `much`, which is no number" in done.stderr


def test_a_log_that_breaks_off_goes_on_and_is_replayed(start, model_path, tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text('{"version":1,"at_ms":17')
    server = start(f'[server]\nlog_requests = "{path}"\n[[model]]\nid = "small"\npath = "{model_path}"\n')
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)
    client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hi"}], max_tokens=2)
    assert server.stop() == 0
    assert len(path.read_text().splitlines()) == 2
    with path.open("a") as log:
        log.write('{"version":1')
    done = lockgate("policy", "replay", "--log", str(path), "--policy", str(PLUGINS / "privacy-first.wasm"), "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["requests"], report["torn"]) == (0, 1, 2), done.stderr
    assert b"2 lines break off" in done.stderr
