"""`wf.step(callable, id=…)`: what is no function of one's own, as a step."""

from __future__ import annotations

import functools
import inspect
import json
import math
import operator
import textwrap
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from tests.core.stage import play
from wf.engine.core.runnable import Runnable, step, task


class City(BaseModel):
    name: str


def weather(city: City, days: int = 1, *, unit: str = "C") -> str:
    """The weather of a city."""
    return f"{city.name} {days} {unit}"


async def weather_soon(days: int, city: City) -> list[City]:
    return [city] * days


@dataclass
class Vendor:
    """Its key is of the process; no step stores it."""

    key: str

    def charge(self, city: City, cents: int) -> str:
        return f"{self.key} {city.name} {cents}"

    async def refund(self, city: City) -> City:
        return city

    def __call__(self, cents: int) -> str:
        return f"{self.key} {cents}"


class Slow:
    async def __call__(self, cents: int) -> int:
        return cents


OSLO = City(name="Oslo")
vendor = Vendor("secret")

CALLS: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = [
    (weather, (OSLO,), {"unit": "F"}, "Oslo 1 F"),
    (functools.partial(weather, days=3), (OSLO,), {}, "Oslo 3 C"),
    (functools.partial(weather, days=3), (OSLO,), {"days": 4, "unit": "F"}, "Oslo 4 F"),
    (functools.partial(weather_soon, 2), (OSLO,), {}, [OSLO, OSLO]),
    (functools.partial(vendor.charge, cents=5), (OSLO,), {}, "secret Oslo 5"),
    (vendor.charge, (OSLO, 7), {}, "secret Oslo 7"),
    (vendor.refund, (OSLO,), {}, OSLO),
    (vendor, (9,), {}, "secret 9"),
    (Slow(), (9,), {}, 9),
    (len, ([1, 2],), {}, 2),
    (math.isqrt, (17,), {}, 4),
    (operator.add, (2, 3), {}, 5),
    (round, (2.345, 2), {}, 2.35),
    (textwrap.dedent, (" text",), {}, "text"),
]


@pytest.mark.parametrize(("fn", "args", "kwargs", "result"), CALLS)
def test_it_runs_with_its_own_arguments(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
) -> None:
    wrapped: Any = step(fn, id="wrapped")
    seen: list[Any] = []

    @task
    async def body() -> None:
        seen.append(await wrapped(*args, **kwargs))

    stage = play(body)
    assert stage.output is None
    assert stage.calls == ["wrapped"]
    assert seen
    assert all(one == result for one in seen)
    assert b"secret" not in wrapped.signature.encode_call(args, kwargs)


def test_types_are_those_of_what_is_called() -> None:
    charge = step(functools.partial(vendor.charge, cents=5), id="charge")
    assert charge.signature.encode_payload(OSLO) == b'{"name":"Oslo"}'
    refund = step(vendor.refund, id="refund")
    assert refund.signature.decode_result(b'{"name":"Oslo"}') == OSLO
    assert json.loads(step(vendor.charge, id="c").signature.encode_call((OSLO, 3), {})) == {
        "city": {"name": "Oslo"},
        "cents": 3,
    }


@pytest.mark.parametrize("fn", [one[0] for one in CALLS])
def test_to_inspect_it_looks_like_what_it_wraps(fn: Any) -> None:
    one: Runnable[..., Any] = step(fn, id="wrapped")
    assert inspect.iscoroutinefunction(one)
    assert inspect.signature(one) == inspect.signature(fn)
    assert inspect.getdoc(one) == inspect.getdoc(fn)
    assert one.location


def test_its_place_is_that_of_what_is_called() -> None:
    line = inspect.getsourcelines(Vendor.charge)[1]
    charge = step(functools.partial(vendor.charge, cents=5), id="charge")
    assert charge.location.endswith(f"test_callables.py:{line}")
    assert step(len, id="len").location == "builtins.len"


async def test_its_plain_function_and_outside_any_body() -> None:
    charge = step(vendor.charge, id="charge")
    assert charge.fn(OSLO, 1) == await charge(OSLO, 1) == "secret Oslo 1"
    assert await step(Slow(), id="slow")(3) == 3
