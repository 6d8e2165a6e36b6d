"""The engine in the mill: some seeds, each time other ones; `make simulate` tries as many as asked.

A seed that fails says how it is run again.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest
from msgspec.structs import replace

from tests.faults.mill import one_seed
from wf.engine.attempts import StepOutcome
from wf.engine.steps import StepOrder
from wf.engine.worker import Worker
from wf.testing.simulation import Report

PARTS: Final = 2
"""Tests that share the seeds, so that they run beside each other."""
SEEDS: Final = int(os.environ.get("WF_TEST_SEEDS", "4"))
"""Of each part."""
FIRST: Final = time.time_ns() // 1_000_000 % 10**9


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL + 1):
        yield


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_fails_all_runs_end_as_the_model_says(part: int) -> None:
    faults: Counter[str] = Counter()
    for number in range(SEEDS):
        report = one_seed(FIRST + number * PARTS + part)
        assert report.breaches == [], again(report)
        faults += report.faults
    assert len(faults) >= 5, faults


def again(report: Report) -> str:
    told = "\n  ".join(report.breaches[:5])
    return f"seed {report.seed}: `make simulate SEED={report.seed} SEEDS=1`\n  {told}"


def test_a_seed_gives_the_same_trace_in_every_process() -> None:
    traces: set[str] = set()
    for hash_seed in ("0", "4242"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.mill", "--traces", "510", "3"],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        traces.add(done.stdout)
    assert len(traces) == 1
    assert len(set(traces.pop().splitlines())) == 3


def test_what_goes_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mill sees a fault in the engine: at times a step has the result of another one."""
    deliver = Worker.deliver
    before = StepOutcome(0, b"null", None, 0)
    count = 0

    def mixed_up(worker: Worker, order: StepOrder, outcome: StepOutcome) -> None:
        nonlocal before, count
        count += 1
        before, given = outcome, outcome if count % 5 else replace(outcome, data=before.data)
        deliver(worker, order, given)

    monkeypatch.setattr(Worker, "deliver", mixed_up)
    assert any(one_seed(seed).breaches for seed in range(1, 20))
