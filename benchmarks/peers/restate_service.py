"""The service that Restate calls: an ASGI application."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any

import restate

bench = restate.Service("bench")
asleep = restate.Service("asleep", inactivity_timeout=timedelta(seconds=1))
"""Its runs leave this process when they sleep."""


def mark(word: str) -> None:
    with open(os.environ["BENCH_MARKS"], "a") as file:  # noqa: PTH123
        print(word, file=file, flush=True)


async def charge(order: int) -> dict[str, Any]:
    return {"order": order, "ok": True}


async def charge_now() -> float:
    return time.perf_counter()


@bench.handler()
async def one_step(ctx: restate.Context, order: int) -> dict[str, Any]:
    return await ctx.run_typed("charge", charge, order=order)


@bench.handler()
async def many_steps(ctx: restate.Context, count: int) -> int:
    for number in range(count):
        await ctx.run_typed("charge", charge, order=number)
    return count


@bench.handler()
async def one_step_now(ctx: restate.Context, order: int) -> float:
    return await ctx.run_typed("charge", charge_now)


@bench.handler()
async def many_steps_now(ctx: restate.Context, count: int) -> list[float]:
    return [await ctx.run_typed("charge", charge_now) for _ in range(count)]


@bench.handler()
async def many_children(ctx: restate.Context, count: int) -> int:
    calls = [ctx.service_call(one_step, arg=number) for number in range(count)]
    return sum([(await call)["ok"] for call in calls])


@bench.handler()
async def nap(ctx: restate.Context, seconds: float) -> float:
    await ctx.sleep(timedelta(seconds=seconds))
    return time.time()


@asleep.handler()
async def sleeper(ctx: restate.Context, seconds: float) -> float:
    await ctx.sleep(timedelta(seconds=seconds))
    return time.time()


@bench.handler()
async def long(ctx: restate.Context, count: int) -> None:
    for number in range(count):
        await ctx.run_typed("charge", charge, order=number)
    mark("CONTINUED")
    await ctx.sleep(timedelta(hours=1))


app = restate.app(services=[bench, asleep])
