"""What a store does in a second, without any engine: `python benchmarks/store.py [URL] [--runs N]`.

Without a URL: a new SQLite file beside this program's working directory, removed afterwards.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from wf.history.events import Event, Kind, Status
from wf.history.ids import new_id
from wf.history.model import Activation, Claim, Lease, NewRun, WorkerInfo
from wf.history.open import open_store
from wf.history.store import Store
from wf.history.turns import Ending

ENVIRONMENT = "bench"
TASK = "one-step"
GROUP = 500


def new_runs(at: int, count: int, task: str = TASK) -> list[NewRun]:
    return [
        NewRun(new_id(at), ENVIRONMENT, task, b'{"user_id":"u1"}', created_at=at)
        for _ in range(count)
    ]


def one_step(run_id: bytes, at: int) -> Activation:
    """A run of one step, from its start to its end."""
    return Activation(
        run_id,
        1,
        events=[
            Event(2, Kind.STEP_FINISHED, 1, at, "send-welcome-email", 77, 1, 3, b'{"id":"em_1"}'),
        ],
        ending=Ending(Status.COMPLETED, b'"ok"', None, at),
    )


def join(store: Store) -> Lease:
    return store.join(ENVIRONMENT, WorkerInfo(host="bench", tasks=[TASK], code="c"))


def grouped(count: int, size: int = GROUP) -> Iterator[int]:
    for start in range(0, count, size):
        yield min(size, count - start)


def trigger(store: Store, count: int) -> float:
    batches = [new_runs(store.now(), size) for size in grouped(count)]
    start = time.perf_counter()
    for batch in batches:
        store.trigger(batch)
    return time.perf_counter() - start


def work(store: Store, size: int) -> tuple[float, int]:
    """Claim and end whatever there is, in groups: what was claimed ends in the next commit."""
    lease = join(store)
    claim = Claim(size, [TASK], "3.11")
    activations: list[Activation] = []
    runs = 0
    start = time.perf_counter()
    while True:
        now = store.now()
        claimed = store.commit(lease, activations, claim, now).claimed
        if not claimed:
            break
        activations = [one_step(each.run.id, now) for each in claimed]
        runs += len(activations)
    elapsed = time.perf_counter() - start
    store.leave(lease, store.now())
    return elapsed, runs


def append(store: Store, group: int, commits: int) -> tuple[float, int]:
    """Events of runs that go on: `group` runs, one step each per commit."""
    task = f"steps-{group}"
    store.trigger(new_runs(store.now(), group, task))
    lease = join(store)
    claimed = store.commit(lease, [], Claim(group, [task], "3.11"), store.now()).claimed
    ids: Sequence[bytes] = [each.run.id for each in claimed]
    now = store.now()
    start = time.perf_counter()
    for seq in range(2, commits + 2):
        event = Event(seq, Kind.STEP_FINISHED, seq - 1, now, "a-step", 77, 1, 3, b'{"id":1}')
        store.commit(lease, [Activation(run_id, 1, [event]) for run_id in ids], None, now)
    elapsed = time.perf_counter() - start
    store.leave(lease, store.now())
    return elapsed, len(ids) * commits


def bench(store: Store, runs: int) -> None:
    made = trigger(store, runs)
    worked, ended = work(store, GROUP)
    print(f"trigger, {GROUP} at a time       {runs / made:>10,.0f} runs/s")
    print(f"claim and end, {GROUP} at a time {ended / worked:>10,.0f} runs/s")
    print(f"a one-step run, all of it     {runs / (made + worked):>10,.0f} runs/s")
    for group in (1, 100, 500):
        elapsed, events = append(store, group, 400 if group == 1 else 100)
        print(f"events, {group:>3} per commit        {events / elapsed:>10,.0f} rows/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", default="")
    parser.add_argument("--runs", type=int, default=20_000)
    options = parser.parse_args()
    with TemporaryDirectory(dir=Path.cwd()) as directory:
        store = open_store(options.url or f"sqlite:///{directory}/bench.db")
        try:
            bench(store, options.runs)
        finally:
            store.close()


if __name__ == "__main__":
    main()
