"""The plugin support-triage does its job: examined on messages that it was not trained on, through the whole host."""

import datetime
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

import httpx
import pytest
from conftest import ROOT

PLUGIN = ROOT / "plugins/support-triage"
sys.path.insert(0, str(PLUGIN))

from generate import CLASSIFY, EXTRACT, Message, amount_forms, date_forms, messages  # noqa: E402
from held_out import HELD_OUT  # noqa: E402
from phrases import CATEGORIES, Phrases  # noqa: E402
from training import TRAINING  # noqa: E402

MESSAGES = 120
SEED = 4
THREADS = 8
CLASSES_MIN, EXTRACTIONS_MIN = 0.95, 0.90
TOKENS_MAX = {CLASSIFY: 8, EXTRACT: 60}
MODELS = ("smollm2", "smollm2:support-triage")
WORDS_SHARED_MAX = 3
ADAPTER_BYTES_MAX = 6_000_000


class Score(NamedTuple):
    """Right answers, of a model to a task."""

    exact: int  # As specified, nothing around it.
    forgiven: int  # Right with words around it, or in other letters.

    def __str__(self) -> str:
        return f"{self.exact} of {MESSAGES} ({self.forgiven} with words around it)"


@pytest.fixture(scope="module")
def server(start, model_path):
    component = ROOT / "target/plugins/support-triage.wasm"
    plugin = f'[[plugin]]\nid = "support-triage"\npath = "{component}"\nworld = "adapter"\nmodel = "smollm2"\n'
    return start(f'[[model]]\nid = "smollm2"\npath = "{model_path}"\n{plugin}')


def ask(client: httpx.Client, url: str, model: str, system: str, text: str) -> str:
    turns = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    body = {"model": model, "messages": turns, "temperature": 0, "max_tokens": TOKENS_MAX[system]}
    answer = client.post(f"{url}/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-lockgate-target"] == model
    return answer.json()["choices"][0]["message"]["content"]


def is_right(system: str, one: Message, answer: str) -> bool:
    return answer == one.category if system == CLASSIFY else one.is_extracted_by(answer)


def is_nearly_right(system: str, one: Message, answer: str) -> bool:
    """Whether a reader could make out the right answer, and no other."""
    if system == CLASSIFY:
        return [name for name in CATEGORIES if name in answer.lower()] == [one.category]
    return any(one.is_extracted_by(found) for found in re.findall(r"\{[^{}]*\}", answer))


def scores(url: str, held_out: list[Message]) -> dict[tuple[str, str], Score]:
    """The score of each model in each task; prints what the adapter gets wrong."""
    found = {}
    with httpx.Client(timeout=120) as client, ThreadPoolExecutor(THREADS) as threads:
        for model, system in product(MODELS, (CLASSIFY, EXTRACT)):
            answers = list(threads.map(lambda one: ask(client, url, model, system, one.text), held_out))
            pairs = list(zip(held_out, answers, strict=True))
            wrong = [(one, answer) for one, answer in pairs if not is_right(system, one, answer)]
            nearly = sum(is_nearly_right(system, one, answer) for one, answer in wrong)
            found[model, system] = Score(len(pairs) - len(wrong), len(pairs) - len(wrong) + nearly)
            for one, answer in wrong if model == MODELS[1] else wrong[:2]:
                print(f"{model} wrong: {one.text}\n    {one.category} {one.facts()}\n    {answer!r}")
    return found


def test_the_adapter_does_what_the_base_model_cannot(server, capsys):
    found = scores(server.url, messages(HELD_OUT, MESSAGES, SEED))
    with capsys.disabled():
        for (model, system), score in found.items():
            print(f"\n{model}: {'classes' if system == CLASSIFY else 'extractions'} {score}", end="")
        print()
    base, adapted = MODELS
    assert found[adapted, CLASSIFY].exact >= CLASSES_MIN * MESSAGES
    assert found[adapted, EXTRACT].exact >= EXTRACTIONS_MIN * MESSAGES
    for system in (CLASSIFY, EXTRACT):
        assert found[base, system].forgiven < found[adapted, system].exact, "then there is no need of an adapter"


def sentences(phrases: Phrases) -> list[str]:
    kinds = ("greetings", "introductions", "farewells", "both", "dates", "amounts", "asides", "requests")
    return [text for kind in kinds for text in getattr(phrases, kind)] + [
        text for texts in phrases.problems.values() for text in texts
    ]


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    """All runs of so many words."""
    found = re.findall(r"[\w{}'-]+", text.lower())
    return {tuple(found[start : start + length]) for start in range(len(found) - length + 1)}


def test_nothing_that_is_examined_was_trained_on():
    for kind in ("first_names", "last_names", "products", "devices", "plans"):
        shared = {name.lower() for name in getattr(TRAINING, kind)} & {name.lower() for name in getattr(HELD_OUT, kind)}
        assert not shared, kind
    assert not set(sentences(TRAINING)) & set(sentences(HELD_OUT))
    seen = set().union(*(runs(text, WORDS_SHARED_MAX + 1) for text in sentences(TRAINING)))
    for text in sentences(HELD_OUT):
        assert not runs(text, WORDS_SHARED_MAX + 1) & seen, text
    for phrases in (TRAINING, HELD_OUT):
        assert tuple(phrases.problems) == CATEGORIES and all(phrases.problems.values())


def test_the_generator_follows_its_seed_and_tells_the_truth():
    made = messages(HELD_OUT, MESSAGES, SEED)
    assert made == messages(HELD_OUT, MESSAGES, SEED) != messages(HELD_OUT, MESSAGES, SEED + 1)
    assert len({one.text for one in made}) == MESSAGES
    assert [one.category for one in made[: len(CATEGORIES)]] == list(CATEGORIES)
    for one in made:
        assert one.sender in one.text and one.is_extracted_by(one.facts())
        # What is said is in the message in one of the known forms; what is not said is null.
        assert one.date is None or any(form in one.text for form in date_forms(one.date)), one
        assert one.cents is None or any(form in one.text for form in amount_forms(one.cents)), one
    assert {one.date is None for one in made} == {one.cents is None for one in made} == {True, False}


def test_a_judge_takes_facts_and_no_words():
    one = Message("", "billing", "Ada Byron", datetime.date(2024, 3, 5), 129_950)
    right = '{"sender":"Ada Byron","date":"2024-03-05","amount":1299.50}'
    assert one.facts() == right
    assert one.is_extracted_by('{"amount": 1299.5, "date": "2024-03-05", "sender": "Ada Byron"}')
    for wrong in ("", "null", "[]", f"It is {right}", right.replace("1299.50", '"1299.50"'), right.replace("50}", "51}"),
                  right.replace("1299.50", "null"), right.replace("Ada ", ""), right.replace("03-05", "05-03"),
                  right.replace("1299.50", "NaN"), right[:-1] + ',"currency":"EUR"}'):
        assert not one.is_extracted_by(wrong), wrong
    nothing = Message("", "billing", "Ada Byron", None, None)
    assert nothing.facts() == '{"sender":"Ada Byron","date":null,"amount":null}'
    assert nothing.is_extracted_by(nothing.facts()) and not nothing.is_extracted_by(right)


def test_the_adapter_is_small_and_says_what_was_trained():
    assert (PLUGIN / "adapter/adapter_model.safetensors").stat().st_size <= ADAPTER_BYTES_MAX
    settings = json.loads((PLUGIN / "adapter/adapter_config.json").read_text())
    assert (settings["peft_type"], settings["r"], settings["bias"]) == ("LORA", 8, "none")


def test_the_prompts_are_documented():
    text = (PLUGIN / "README.md").read_text()
    assert CLASSIFY in text and EXTRACT in text and all(f"`{name}`" in text for name in CATEGORIES)
