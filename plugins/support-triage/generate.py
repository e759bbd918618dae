"""Makes support messages with what is to be said about each: to train on, or to be examined with.

Everything follows from the seed. What both kinds share is this file: how a message is put together, and how dates and
amounts are written. Words, names and products are in files of
their own and have nothing in common. This file also owns the
prompts and the form of the answers, for training and use alike.

    python3 generate.py [--held-out] [--seed N] [COUNT]      prints messages as JSON lines
"""

import argparse
import datetime
import json
import math
import random
from dataclasses import dataclass

from held_out import HELD_OUT
from phrases import CATEGORIES, Phrases
from training import TRAINING

CLASSIFY = f"Classify the message: {', '.join(CATEGORIES)}."
EXTRACT = "Extract as JSON: sender, date (YYYY-MM-DD), amount."

FIRST_DAY = datetime.date(2023, 1, 1)
DAYS = 4 * 365
MONTHS = (
    "January February March April May June July August September October November December".split()
)  # Not of the locale.
ONSETS = "b br c ch d dr e f fl g gr h i j k kr l m n o p pr qu r s sch st t th tr u v w y z".split()
VOWELS = "a a a e e e i i o o u u ai ea ei ou".split()  # Twice what is frequent.
ENDINGS = ("", "d", "k", "l", "ler", "lett", "m", "n", "na", "nd", "ne", "ng", "r", "ra", "rd", "s", "ska", "son", "t", "th", "v", "x")
AMOUNT_MIN, AMOUNT_MAX = 2, 5000


@dataclass(frozen=True)
class Message:
    """A support message and the truth about it."""

    text: str
    category: str
    sender: str
    date: datetime.date | None
    cents: int | None

    def facts(self) -> str:
        """The answer to EXTRACT: compact JSON, amounts with two decimals."""
        date = "null" if self.date is None else f'"{self.date.isoformat()}"'
        amount = "null" if self.cents is None else f"{self.cents // 100}.{self.cents % 100:02}"
        return f'{{"sender":{json.dumps(self.sender)},"date":{date},"amount":{amount}}}'

    def is_extracted_by(self, answer: str) -> bool:
        """Whether an answer is the JSON object with these facts, however it is written."""
        try:
            found = json.loads(answer)
        except ValueError:
            return False
        if not isinstance(found, dict) or set(found) != {"sender", "date", "amount"}:
            return False
        amount = found["amount"]
        if isinstance(amount, float | int) and not isinstance(amount, bool) and math.isfinite(amount):
            amount = round(amount * 100)
        date = None if self.date is None else self.date.isoformat()
        return (found["sender"], found["date"], amount) == (self.sender, date, self.cents)


def ordinal(day: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{'th' if 11 <= day <= 13 else ending}"


def date_forms(date: datetime.date) -> list[str]:
    """Ways to write a date that leave no doubt; with dots the day is first."""
    year, day, month = date.year, date.day, MONTHS[date.month - 1]
    return [
        date.isoformat(),
        f"{year}/{date.month:02}/{day:02}",
        f"{day:02}.{date.month:02}.{year}",
        f"{day}.{date.month}.{year}",
        f"{day} {month} {year}",
        f"{day} {month[:3]} {year}",
        f"{month} {day}, {year}",
        f"{month[:3]} {day}, {year}",
        f"{month} {ordinal(day)}, {year}",
        f"the {ordinal(day)} of {month} {year}",
    ]


def amount_forms(cents: int) -> list[str]:
    """Ways to write an amount of money."""
    whole, rest = divmod(cents, 100)
    plain, grouped = f"{whole}.{rest:02}", f"{whole:,}.{rest:02}"
    comma = f"{whole:,}".replace(",", ".") + f",{rest:02}"
    forms = [f"€{grouped}", f"${grouped}", f"£{plain}", f"{plain} EUR", f"USD {grouped}", f"CHF {plain}"]
    forms += [f"{comma} €", f"{comma} EUR", f"{plain} euros", f"{plain} dollars"]
    if rest == 0:
        forms += [f"€{whole}", f"${whole:,}", f"£{whole}", f"{whole} EUR", f"{whole} euros", f"{whole:,} dollars"]
    return forms


def cents_of(chance: random.Random) -> int:
    """An amount: small ones as likely as large ones, a third of them whole."""
    cents = round(100 * math.exp(chance.uniform(math.log(AMOUNT_MIN), math.log(AMOUNT_MAX))))
    return cents // 100 * 100 if chance.random() < 0.3 else cents


def details(chance: random.Random, phrases: Phrases, problem: str) -> str:
    """A sentence with what the problem leaves out: mostly all of it, sometimes less."""
    date = "{date}" not in problem and chance.random() < phrases.given
    amount = "{amount}" not in problem and chance.random() < phrases.given
    if date and amount:
        return chance.choice(phrases.both)
    return chance.choice(phrases.dates) if date else chance.choice(phrases.amounts) if amount else ""


def invented(chance: random.Random) -> str:
    """A name that nobody bears."""
    return "".join(chance.choice(ONSETS) + chance.choice(VOWELS) for _ in range(chance.randint(1, 3))).capitalize() + chance.choice(ENDINGS)


def message(chance: random.Random, phrases: Phrases, category: str) -> Message:
    """One message of a category."""

    def maybe(share: float, parts: tuple[str, ...]) -> str:
        return chance.choice(parts) if chance.random() < share else ""

    def person() -> str:
        names = phrases.first_names, phrases.last_names
        return " ".join(invented(chance) if chance.random() < phrases.invented else chance.choice(some) for some in names)

    sender, other = person(), person()
    at_start = chance.random() < 0.4
    problem = chance.choice(phrases.problems[category])
    middle = [problem, details(chance, phrases, problem)]
    if chance.random() < 0.25:
        middle.reverse()
    parts = [maybe(0.5, phrases.greetings), chance.choice(phrases.introductions) if at_start else "", *middle]
    parts += [maybe(0.25, phrases.asides), maybe(0.35, phrases.requests)]
    parts += ["" if at_start else chance.choice(phrases.farewells)]
    template = " ".join(part for part in parts if part)
    date = FIRST_DAY + datetime.timedelta(chance.randrange(DAYS))
    cents = cents_of(chance)
    text = template.format(
        sender=sender,
        other=other,
        product=chance.choice(phrases.products),
        device=chance.choice(phrases.devices),
        plan=chance.choice(phrases.plans),
        order=chance.randrange(10_000, 1_000_000),
        date=chance.choice(date_forms(date)),
        amount=chance.choice(amount_forms(cents)),
    )
    return Message(
        text, category, sender, date if "{date}" in template else None, cents if "{amount}" in template else None
    )


def messages(phrases: Phrases, count: int, seed: int) -> list[Message]:
    """Messages of all categories in turn."""
    chance = random.Random(seed)
    return [message(chance, phrases, CATEGORIES[index % len(CATEGORIES)]) for index in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description="print messages as JSON lines")
    parser.add_argument("count", type=int, nargs="?", default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", action="store_true", help="from the collection to be examined with")
    options = parser.parse_args()
    for one in messages(HELD_OUT if options.held_out else TRAINING, options.count, options.seed):
        print(json.dumps({"text": one.text, "category": one.category, "facts": json.loads(one.facts())}))


if __name__ == "__main__":
    main()
