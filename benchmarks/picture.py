"""The figures that are compared, as a picture: a panel for each, a bar for each subject."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.report import Report, Row, machine, shown
from wf.client.timeline.ink import FONT, line, paint, rect, style_sheet, text

WIDTH: Final = 1200
MARGIN: Final = 28
COLUMNS: Final = 3
GAP: Final = 24
HEAD: Final = 84
ROW: Final = 21
TITLE: Final = 46
"""Of a panel: its name, and what is better."""
NAMES: Final = 116
VALUES: Final = 62
PANELS: Final = {
    ("A", "runs"): "A  runs of one step",
    ("A", "runs, drained"): "A  runs of one step, drained",
    ("B", "steps"): "B  steps of 100 runs at once",
    ("C", "step, p50"): "C  one step after another",
    ("D", "result, other process, p50"): "D  trigger to result, other process",
    ("D", "result, same process, p50"): "D  trigger to result, same process",
    ("E", "children"): "E  500 children",
    ("F", "put to sleep, few"): "F  put to sleep",
    ("F", "idle CPU, few"): "F  idle CPU with sleepers",
    ("G", "new database"): "G  cold start, new database",
    ("H", "a run of one step"): "H  disk, a run of one step",
    ("H", "a step"): "H  disk, a step",
    ("I", "go on, new process"): "I  10,000 steps, going on after a kill",
    ("L", "triggers in batches"): "L  triggers in batches",
    ("L", "triggers, 1 client"): "L  triggers, one client",
}
_MORE: Final = ("/s",)
"""Units of which more is better."""
_UNITS: Final = {"/s": "per second", "s": "seconds", "B": "bytes", "%": "% of a core"}


def picture(report: Report) -> str:
    """One SVG element that stands by itself."""
    rows = report.rows()
    panels: list[tuple[str, list[Row]]] = []
    for key, title in PANELS.items():
        found = [row for row in rows if (row.workload, row.name) == key]
        if found:
            panels.append((title, found))
    grid = [panels[at : at + COLUMNS] for at in range(0, len(panels), COLUMNS)]
    body: list[str] = []
    y = float(HEAD)
    for band in grid:
        for place, (title, found) in enumerate(band):
            wide = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
            body += _panel(MARGIN + place * (wide + GAP), y, wide, title, found)
        y += TITLE + ROW * max(len(found) for _, found in band) + GAP
    height = round(y + 8)
    size = f'viewBox="0 0 {WIDTH} {height}" width="100%" style="max-width:{WIDTH}px"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="wf-timeline" {size} role="img" {FONT}>'
    rounds = max((row.rounds for row in rows), default=0)
    told = f"{machine()}; medians of {rounds} rounds, all in one run; the mark is what is asked"
    return "".join(
        [
            head,
            "<title>wf beside other engines and the floor of the machine</title>",
            style_sheet(),
            rect(0, 0, WIDTH, height, paint("paper"), 10),
            text(MARGIN, 42, "wf beside other engines and the floor", 22, "ink", weight=650),
            text(MARGIN, 64, told, 12.5, "mute"),
            *body,
            "</svg>",
        ]
    )


def _panel(x: float, y: float, wide: float, title: str, rows: Sequence[Row]) -> Iterator[str]:
    unit = rows[0].unit
    is_more = unit in _MORE
    better = "more is better" if is_more else "less is better"
    yield text(x, y + 14, title, 13.5, "ink", weight=600)
    yield text(x, y + 31, f"{_UNITS.get(unit, unit)}: {better}", 11, "mute")
    most = max([row.median for row in rows] + [row.asked or 0 for row in rows]) or 1
    room = wide - NAMES - VALUES
    for number, row in enumerate(sorted(rows, key=lambda row: _order(row, is_more))):
        top = y + TITLE + number * ROW
        is_own = row.subject.startswith("wf")
        colour = "step" if is_own else "wait" if row.subject.startswith("floor") else "run"
        name = "ink" if is_own else "mute"
        weight = 650 if is_own else 400
        long = max(room * row.median / most, 1.5)
        yield text(x, top + 12, row.subject, 12, name, weight=weight)
        yield rect(x + NAMES, top + 2, long, ROW - 8, paint(colour), 2)
        yield text(x + NAMES + long + 5, top + 12, shown(row.median), 11.5, name, is_over=True)
        if row.asked is not None:
            at = x + NAMES + room * row.asked / most
            yield line(at, top - 1, at, top + ROW - 3, paint(stroke="failed", width=1.8))


def _order(row: Row, is_more: bool) -> float:
    return -row.median if is_more else row.median
