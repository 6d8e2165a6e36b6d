"""`@step` and `@task`: what they refuse, with the line to write; runnables before inspect."""

from __future__ import annotations

import asyncio
import functools
import inspect
import typing
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from wf.engine.core.operation import Gen
from wf.engine.core.retry import DEFAULT_STEP_RETRY, NO_RETRY, Retry
from wf.engine.core.runnable import Runnable, step, task
from wf.history.errors import DeclarationError

task_: Any = task
step_: Any = step
"""The decorators as somebody without a type checker has them."""


def plain(n: int) -> int:
    return n


async def async_plain(n: int) -> int:
    return n


def generator(n: int) -> Gen[int]:
    yield from ()
    return n


async def async_generator(n: int) -> AsyncIterator[int]:
    yield n


async def many(*items: int) -> None: ...
async def options(**options: int) -> None: ...


class Service:
    async def send(self, n: int) -> None: ...

    async def call(self) -> None: ...


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: task_(plain), r"plain is a plain def: .*write `async def plain\(…\)`, or `@wf.step`"),
    (lambda: task_(async_generator), r"async_generator is an async generator: .*`async def`"),
    (lambda: step_(generator), r"generator is a generator: .*write `@wf.task`"),
    (lambda: step_(async_generator), r"async_generator is a generator"),
    (
        lambda: task_(many),
        r"\*items has no place in a payload; write `def many\(items: list\[Item\]\)",
    ),
    (lambda: task_(options), r"\*options has no place"),
    (lambda: step_(Service.send), r"send is a method: .*`@wf.step` and `async def send\(payload"),
    (lambda: task_(Service.send), r"`@wf.task` and `async def send"),
    (lambda: step_(Service().call), r"call is no function .* name the step: wf.step\(…, id='…'\)"),
    (lambda: step_(functools.partial(plain, 1)), r"is no function .* name the step"),
    (lambda: task_(functools.partial(async_plain, 1), id="p"), r"@wf.task takes a function"),
    (lambda: step_(max, id="max"), r"max says no signature: write a function that calls it"),
    (lambda: step_(Service, id="s"), r"Service returns no result: write a function"),
    (
        lambda: step_(functools.partial(generator, 1), id="g"),
        r"generator.* returns no result: write a function that calls it",
    ),
    (
        lambda: step_(Service().call, id="call", executor="process"),
        r"cannot be found by its name where executor='process' runs it",
    ),
    (lambda: step_(3), r"@wf.step takes a function, not '3'"),
    (lambda: step_(lambda: 1), r"id='<lambda>': use letters"),
    (lambda: step_(id="has spaces")(plain), r"id='has spaces': use letters"),
    (lambda: step_(id="x" * 129)(plain), r"at most 128"),
    (lambda: step_(retries=3)(plain), r"there is no option 'retries'; there are at_most_once, "),
    (lambda: task_(timeout=3)(many), r"there is no option 'timeout'"),
    (lambda: step_(retry=3)(plain), r"retry=3: give wf.Retry\(max_attempts=…\)"),
    (
        lambda: step_(at_most_once=True, retry=Retry(max_attempts=2))(plain),
        r"at_most_once and a retry exclude each other",
    ),
    (lambda: step_(timeout="soon")(plain), r"timeout='soon': give a timedelta"),
    (lambda: Retry(max_attempts=0), r"max_attempts=0: the first attempt counts"),
    (lambda: Retry(factor=0.5), r"factor=0.5: give 1"),
    (lambda: Retry(min_delay="-1s"), r"min_delay='-1s'"),
]


@pytest.mark.parametrize(("declare", "told"), REFUSED)
def test_it_is_refused_with_the_line_to_write(declare: Callable[[], Any], told: str) -> None:
    with pytest.raises(DeclarationError, match=told):
        declare()


def test_ids_are_names_in_kebab_case_unless_given() -> None:
    @step
    async def send_welcome_email() -> None: ...

    @task(id="billing/charge.v2")
    async def charge() -> None: ...

    assert (send_welcome_email.id, charge.id) == ("send-welcome-email", "billing/charge.v2")
    assert step_(send_welcome_email, id="again").fn is send_welcome_email.fn


def test_steps_are_retried_by_default_and_tasks_are_not() -> None:
    @step
    async def work() -> None: ...

    @task
    async def body() -> None: ...

    assert work.settings.retry == DEFAULT_STEP_RETRY
    assert body.settings.retry == NO_RETRY
    assert step_(plain, at_most_once=True).settings.retry == NO_RETRY
    assert step_(plain, timeout="2s", ttl="1h", tags=["a"]).settings.timeout_ms == 2_000


@step
def sync_step(city: str, days: int = 1) -> str:
    """The weather of a city."""
    return city * days


@step
async def async_step(city: str, days: int = 1) -> str:
    """The weather of a city."""
    return city * days


@task
async def async_task(city: str, days: int = 1) -> str:
    """The weather of a city."""
    return city * days


@task
def generator_task(city: str, days: int = 1) -> Gen[str]:
    """The weather of a city."""
    yield from ()
    return city * days


@pytest.mark.parametrize("one", [sync_step, async_step, async_task, generator_task])
def test_to_inspect_it_is_a_coroutine_function_like_the_one_it_wraps(
    one: Runnable[..., Any],
) -> None:
    assert inspect.iscoroutinefunction(one)
    assert not inspect.isgeneratorfunction(one)
    assert not inspect.isasyncgenfunction(one)
    assert inspect.signature(one) == inspect.signature(one.fn)
    assert list(inspect.signature(one).parameters) == ["city", "days"]
    assert inspect.getdoc(one) == "The weather of a city."
    assert typing.get_type_hints(one)["city"] is str
    assert (one.__name__, one.__module__) == (one.fn.__name__, __name__)
    assert inspect.unwrap(one) is one.fn  # pyright: ignore[reportArgumentType]
    assert callable(one)
    assert f"test_declarations.py:{one.fn.__code__.co_firstlineno}" in one.location


def test_to_inspect_a_call_of_it_is_a_coroutine() -> None:
    call = sync_step("Oslo")
    assert asyncio.iscoroutine(call)
    assert inspect.isawaitable(call)
    call.close()
