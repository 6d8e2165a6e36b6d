"""Work for all cores: chunks are computed in processes of their own, the results put together.

    wf run examples/data_pipeline.py 200000

`executor="process"` keeps the worker free, and the worker alive: a chunk that takes its process
down (a segfault, out of memory) is tried again, and disturbs nobody else.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

import wf

CHUNK = 25_000


class Chunk(BaseModel):
    first: int
    last: int


class Primes(BaseModel):
    count: int
    largest: int


@wf.step(executor="process", retry=wf.Retry(max_attempts=3))
def find_primes(chunk: Chunk) -> Primes:
    """How many primes there are in a range, and the largest."""
    found = [
        number
        for number in range(max(chunk.first, 2), chunk.last + 1)
        if all(number % divisor for divisor in range(2, int(number**0.5) + 1))
    ]
    return Primes(count=len(found), largest=max(found, default=0))


@wf.task
async def data_pipeline(limit: int) -> Primes:
    chunks = [
        Chunk(first=first, last=min(first + CHUNK - 1, limit))
        for first in range(1, limit + 1, CHUNK)
    ]
    parts = await asyncio.gather(*(find_primes(chunk) for chunk in chunks))
    return Primes(
        count=sum(part.count for part in parts), largest=max(part.largest for part in parts)
    )
