"""During office hours the fastest target answers, outside them the cheapest.

People wait for answers at their desks; at night batches run, and nobody minds a slower model of this house.
"""

from datetime import datetime, time, timedelta, timezone

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import catalog, clock, settings
from wit_world.imports.plan import Plan, Refusal
from wit_world.imports.request import Request
from wit_world.imports.types import Breaker, Locality_Local

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Of a target that no answer has been timed on yet: a cloud begins sooner than a model of this house.
UNTIMED_MS = {True: 1000.0, False: 500.0}


class Hours:
    """When people are at their desks, by the settings."""

    def __init__(self, setting: dict[str, str]) -> None:
        self.begin = time.fromisoformat(setting.get("begin", "08:00"))
        self.end = time.fromisoformat(setting.get("end", "18:00"))
        self.days = [DAYS.index(day.strip().lower()) for day in setting.get("days", "mon,tue,wed,thu,fri").split(",")]
        self.zone = timezone(timedelta(hours=float(setting.get("utc_offset", "0"))))

    def contain(self, now_ms: int) -> bool:
        now = datetime.fromtimestamp(now_ms / 1000, self.zone)
        # Night shifts end on the day after they began.
        if self.begin > self.end and now.time() < self.end:
            return (now.weekday() - 1) % 7 in self.days
        is_before_end = self.begin > self.end or now.time() < self.end
        return now.weekday() in self.days and self.begin <= now.time() and is_before_end


class Route(exports.Route):
    def route(self, request: Request) -> Plan:
        try:
            is_office = Hours(dict(settings.all())).contain(clock.now_ms())
        except ValueError as problem:
            raise Err(Refusal(f"the settings of office-hours are wrong: {problem}")) from None
        columns = zip(
            catalog.ids(), catalog.localities(), catalog.permitted(), catalog.breakers(), catalog.first_token_ms(),
            catalog.prices(), catalog.context_tokens(), strict=True,
        )
        tokens = request.estimate_tokens()
        order = []
        for name, place, permitted, breaker, first_token_ms, price, context in columns:
            if not permitted or (context is not None and context < tokens):
                continue
            is_local = isinstance(place, Locality_Local)
            delay = first_token_ms if first_token_ms is not None else UNTIMED_MS[is_local]
            # What no price is known of is dear, unless it is ours.
            usd = price.input + price.output if price else (0.0 if is_local else float("inf"))
            order.append((breaker == Breaker.OPEN, *((delay, usd) if is_office else (usd, delay)), name))
        if not order:
            raise Err(Refusal("no target is permitted and large enough"))
        plan = Plan()
        for *_, name in sorted(order)[:16]:
            plan.add_attempt(name)
        plan.set_reason("office hours: the fastest first" if is_office else "outside office hours: the cheapest first")
        return plan
