"""Odd and large values go all ways and come back, or are refused by the name of their field."""

from __future__ import annotations

import math
from typing import Any

import pytest

import wf
from tests.mission import odd
from tests.observing import until

MB = 1024 * 1024
ODD = {
    "NUL": "a\0b",
    "NUL in a key": {"a\0": 1},
    "2^63": 2**63,
    "-2^63 - 1": -(2**63) - 1,
    "nothing": "",
    "null": None,
    "an emoji": "\N{SNOWMAN}\U0001f600",
    "like a seal": "\xff\x01",
}


async def through(database: str, value: Any) -> Any:
    """Live, and again by a worker that replays it."""
    with wf.Client(database) as client:
        async with wf.Engine(database, [odd]):
            handle = client.trigger(odd.through, value)
            token = str(until(lambda: handle.retrieve().metadata.get("token")))
            client.tokens.complete(token, value)
        async with wf.Engine(database, [odd]):
            handle.send("odd", value)
            return handle.result(timeout="60s")


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_value_comes_back_as_it_was(database: str, name: str) -> None:
    assert await through(database, ODD[name]) == [ODD[name]] * 5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_of_json_is_refused_by_the_name_of_its_field(
    database: str, value: float
) -> None:
    with wf.Client(database) as client:
        with pytest.raises(wf.PayloadError, match=r"payload of numbers: 1: (nan|-?inf) is no num"):
            client.trigger(odd.numbers, [1.0, value])
        with pytest.raises(wf.PayloadError, match=r"payload of through\.deep\.0"):
            client.trigger(odd.through, {"deep": [value]})
        assert client.runs.list() == []


def test_a_lone_surrogate_and_what_is_too_deep_or_large_are_refused(database: str) -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    with wf.Client(database) as client:
        for value in ("\ud800", {"a": "\udfff"}, deep):
            with pytest.raises(wf.PayloadError, match="payload of through"):
                client.trigger(odd.through, value)
        with pytest.raises(wf.PayloadTooLarge, match="over the limit of 10,485,760"):
            client.trigger(odd.through, "x" * (10 * MB))
        assert client.runs.list() == []


def test_a_nul_in_a_filter_finds_nothing(database: str) -> None:
    with wf.Client(database) as client:
        client.trigger(odd.child, 1, tags=["a"])
        for given in ({"task": "a\0"}, {"tag": "a\0"}, {"version": "\0"}, {"metadata": {"\0": 1}}):
            filters: Any = given
            assert client.runs.list(**filters) == []


def test_a_nul_in_a_name_is_refused_in_one_line_and_nothing_is_made(database: str) -> None:
    with wf.Client(database) as client:
        for given in (
            {"tags": ["a\0"]},
            {"queue": "a\0"},
            {"queue": wf.Queue("a\0")},
            {"concurrency_key": "a\0"},
            {"idempotency_key": "a\0"},
            {"version": "a\0"},
        ):
            options: Any = given
            with pytest.raises(wf.DeclarationError, match=r"^.*=.*a\\x00.*NUL.*$"):
                client.trigger(odd.child, 1, **options)
            with pytest.raises(wf.DeclarationError, match="NUL"):
                client.batch_trigger(odd.child, [wf.Item(1), wf.Item(2, **options)])
        with pytest.raises(wf.DeclarationError, match="NUL"):
            client.trigger("a\0", 1)
        assert client.runs.list() == []


async def test_ten_megabytes_go_all_ways(database: str) -> None:
    value = "x" * (10 * MB - 2)
    with wf.Client(database) as client:
        async with wf.Engine(database, [odd]):
            handle = client.trigger(odd.counted, value)
            token = str(until(lambda: handle.retrieve().metadata.get("token")))
            client.tokens.complete(token, value)
        async with wf.Engine(database, [odd]):
            handle.send("odd", value)
            assert handle.result(timeout="60s") == [len(value)] * 5
            assert client.trigger(odd.child, value).result(timeout="60s") == value
