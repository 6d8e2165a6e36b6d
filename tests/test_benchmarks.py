"""The benchmarks run, in their short form: that they do, and that what is asked of wf is measured
under the names by which it is asked. Never how fast."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import backlog, sustained
from benchmarks.asked import ASKED
from benchmarks.bench import Bench
from benchmarks.figures import Figure, told
from benchmarks.floor import on_postgres, on_sqlite
from benchmarks.picture import PANELS, picture
from benchmarks.report import Report
from benchmarks.sizes import SHORT
from benchmarks.subjects import EVERYTHING, PEERS, Wf
from benchmarks.subjects import run as run_program
from benchmarks.workloads import WORKLOADS

HALVES = {"sqlite": "ACGIKF", "postgres": "BDEHLJ"}
"""Each workload on one store: what differs between stores is not the benchmarks' business."""
OF_MANY = {("L", "triggers, 16 clients")}
"""Sixteen processes are no short form."""


@pytest.mark.parametrize("store", HALVES)
def test_the_short_form_measures_all_that_is_asked(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/bench.db"
    if store == "postgres":
        url = request.getfixturevalue("fresh_postgres_url")
    letters = HALVES[store]
    command = Wf("wf", store, letters).command(",".join(letters), url, "short", str(tmp_path))
    figures = told(run_program(command).splitlines())
    assert all(figure.value >= 0 or figure.unit == "%" for figure in figures)
    measured = {(figure.workload, figure.name) for figure in figures}
    asked = {key for key in ASKED if key[0] in letters} - OF_MANY
    assert asked <= measured
    assert {workload for workload, _ in measured} == set(letters)


def test_every_workload_is_run_by_these_tests_and_says_what_it_measures() -> None:
    assert sorted("".join(HALVES.values())) == sorted(EVERYTHING)
    for measure in WORKLOADS.values():
        title, _, more = (measure.__doc__ or "").partition("\n\n")
        assert title.endswith((".", ":"))
        assert more


def test_the_floor_is_measured_on_both_stores(fresh_postgres_url: str, tmp_path: Path) -> None:
    for workload in "BCL":
        path = str(tmp_path / f"{workload}.db")
        assert asyncio.run(on_sqlite(path, workload, SHORT.seconds))
    assert asyncio.run(on_postgres(fresh_postgres_url, "C", SHORT.seconds))


def test_a_report_compares_medians_with_what_is_asked_in_the_same_run() -> None:
    report = Report("usual", skipped=["restate: npm is not there"])
    for runs in (900.0, 1_100.0, 2_000.0):
        report.add("absurd postgres", [Figure("A", "runs", runs, "/s")])
    report.add("wf postgres", [Figure("A", "runs", 2_750, "/s")])
    report.add("wf postgres", [Figure("C", "step, p50", 2.0, "ms")])
    report.add("floor postgres", [Figure("C", "step, p50", 0.7, "ms")])
    rows = {(row.subject, row.workload): row for row in report.rows()}
    peer = rows["absurd postgres", "A"]
    assert (peer.least, peer.median, peer.most) == (900, 1_100, 2_000)
    assert (rows["wf postgres", "A"].asked, rows["wf postgres", "A"].ratio) == (5_500, 0.5)
    assert (rows["wf postgres", "C"].asked, rows["wf postgres", "C"].ratio) == (1.0, 0.5)
    assert "skipped: restate: npm is not there" in report.table()
    assert json.loads(report.as_json())["size"] == "usual"
    svg = ET.fromstring(picture(report))
    words = {element.text for element in svg.iter() if element.text}
    assert PANELS["A", "runs"] in words


def test_every_peer_is_a_program_and_does_workloads_that_there_are() -> None:
    for peer in PEERS:
        assert Path(f"benchmarks/peers/{peer.module}.py").exists()
        assert set(peer.workloads) <= set(EVERYTHING)


@pytest.mark.usefixtures("postgres_url")
@pytest.mark.parametrize("store", HALVES)
@pytest.mark.parametrize("shape", backlog.SHAPES, ids=lambda shape: shape.name)
def test_what_is_done_beside_a_backlog_is_measured(store: str, shape: backlog.Shape) -> None:
    with backlog.two_databases(store) as urls:
        costs = backlog.measure(urls, shape, (20, 40), rounds=1)
    assert {cost.name for cost in costs} >= {"trigger", "claim", "group commit", "page"}
    assert all(cost.few > 0 and cost.many > 0 for cost in costs)
    assert any("prune" in cost.name for cost in costs) is shape.is_pruned


def test_runs_go_on_while_old_ones_are_removed(fresh_postgres_url: str, tmp_path: Path) -> None:
    with (
        closing(Bench(fresh_postgres_url, SHORT, tmp_path)) as bench,
        closing(sustained.go_on(bench, seconds=60, keep_s=2, window_s=1)) as windows,
    ):
        window = next(window for window in windows if window.removed)
    assert window.runs > 0
    assert window.cpu_us > 0
    assert "dead" in window.state
