"""What runs tell while they run."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench, finish, orders
from benchmarks.figures import Figure, rate
from benchmarks.tasks import Writing, one_step, writer

A_SECOND = 100
"""Rows of metadata and streams, while the runs go on."""


def live_writes(bench: Bench) -> Iterator[Figure]:
    """Metadata and chunks of streams that steps write: rows in a second, and what they cost others.

    Half of the rows are chunks, half are changes of metadata. Then workload A without and with a
    step that writes 100 rows a second."""
    sizes = bench.sizes
    payloads = orders(sizes.runs)
    with bench.client() as client, bench.worker():
        row = Writing(count=sizes.rows)
        yield rate("K", "rows", sizes.rows, lambda: client.trigger(writer, row).result())
        quiet = rate("K", "", sizes.runs, lambda: finish(client, one_step, payloads)).value
        estimate_s = 0.1 if bench.is_short else 3 * sizes.runs / quiet + 1
        beside = client.trigger(writer, Writing(a_second=A_SECOND, seconds=estimate_s))
        loud = rate("K", "", sizes.runs, lambda: finish(client, one_step, payloads)).value
        beside.result()
        again = rate("K", "", sizes.runs, lambda: finish(client, one_step, payloads)).value
    yield Figure("K", "cost to A", 100 * (1 - loud / ((quiet + again) / 2)), "%")
