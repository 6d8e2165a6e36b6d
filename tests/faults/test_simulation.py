"""The engine in the mill: as many seeds as fit into a minute, each other ones than last time.

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
from pathlib import Path
from typing import Final

import pytest

from tests.faults.mill import one_seed
from wf.engine.attempts import StepOutcome
from wf.engine.steps import StepOrder
from wf.engine.worker import Worker
from wf.testing.simulation import Report

PARTS: Final = 4
"""Tests that share the time, so that they run beside each other."""
SECONDS: Final = float(os.environ.get("WF_TEST_SECONDS", "25"))
"""Of each part."""
FIRST: Final = time.time_ns() // 1_000_000 % 10**9


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL + 1):
        yield


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_fails_all_runs_end_as_the_model_says(part: int, tmp_path: Path) -> None:
    seeds = iter(range(FIRST + part, FIRST + 10**9, PARTS))
    deadline = time.monotonic() + SECONDS
    faults: Counter[str] = Counter()
    count = 0
    while time.monotonic() < deadline:
        report = one_seed(next(seeds), tmp_path)
        assert report.breaches == [], again(report)
        faults += report.faults
        count += 1
    assert count > 3
    assert len(faults) >= 8, faults


def again(report: Report) -> str:
    told = "\n  ".join(report.breaches[:5])
    return f"seed {report.seed}: `make simulate SEED={report.seed} SEEDS=1`\n  {told}"


def test_a_seed_gives_the_same_trace_in_every_process(tmp_path: Path) -> None:
    traces: set[str] = set()
    for hash_seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.mill", "--traces", "7", "5"],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        traces.add(done.stdout)
    assert len(traces) == 1
    assert len(set(traces.pop().splitlines())) == 5


def test_what_goes_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mill sees a fault that is put into the engine: results of steps get lost at times."""
    deliver = Worker.deliver
    count = 0

    def lossy(worker: Worker, order: StepOrder, outcome: StepOutcome) -> None:
        nonlocal count
        count += 1
        if count % 20:
            deliver(worker, order, outcome)

    monkeypatch.setattr(Worker, "deliver", lossy)
    assert any(one_seed(seed, tmp_path).breaches for seed in range(1, 20))
