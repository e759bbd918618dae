"""What messages are made of. The words are in `training.py` and `held_out.py`, which have nothing in common.

`generate.py` puts them together. `{product}`, `{device}`, `{plan}`, `{date}`, `{amount}`,
`{order}`, `{sender}` and `{other}` (a person who is not the sender) are filled there.
"""

from dataclasses import dataclass

CATEGORIES = ("billing", "delivery", "returns", "account access", "technical fault", "cancellation")


@dataclass(frozen=True)
class Phrases:
    """The parts of a message, each with its alternatives."""

    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    products: tuple[str, ...]
    devices: tuple[str, ...]
    plans: tuple[str, ...]
    greetings: tuple[str, ...]
    introductions: tuple[str, ...]  # Name the sender at the start.
    farewells: tuple[str, ...]  # Name the sender at the end.
    problems: dict[str, tuple[str, ...]]  # By category: what alone tells the category.
    both: tuple[str, ...]  # Give date and amount where the problem has neither.
    dates: tuple[str, ...]
    amounts: tuple[str, ...]
    invented: float  # The share of names made of syllables: who has seen them cannot know them and has to copy.
    given: float  # How often a date, and how often an amount, is told where the problem does not.
    asides: tuple[str, ...]  # Numbers and people that are none of the answer.
    requests: tuple[str, ...]


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())
