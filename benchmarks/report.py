"""All that was measured: medians and spreads over the rounds, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final, NamedTuple

from benchmarks.asked import Asked, Key, Medians, asked_of
from benchmarks.figures import Figure
from benchmarks.workloads import WORKLOADS, title_of

WIDTHS: Final = (36, 17, 10, 19, 10, 7)


class Row(NamedTuple):
    """One subject's median of one figure over the rounds. `ratio`: measured by asked, or asked by
    measured where less is better: at least 1 is reached."""

    workload: str
    name: str
    subject: str
    unit: str
    is_paranoid: bool
    median: float
    least: float
    most: float
    rounds: int
    asked: float | None
    said: str
    ratio: float | None


@dataclass
class Report:
    """`skipped`: what could not be measured, and why."""

    size: str
    figures: dict[Key, list[Figure]] = field(default_factory=dict[Key, list[Figure]])
    skipped: list[str] = field(default_factory=list[str])

    def add(self, subject: str, figures: Sequence[Figure]) -> None:
        for figure in figures:
            key = (subject, figure.workload, figure.name)
            self.figures.setdefault(key, []).append(figure)

    def rows(self) -> list[Row]:
        """By workload, figure, subject: what wf did comes first."""
        values = {
            key: median(figure.value for figure in found) for key, found in self.figures.items()
        }
        order = {name: place for place, name in enumerate(dict.fromkeys(k[2] for k in values))}
        keys = sorted(
            values, key=lambda key: (key[1], order[key[2]], not key[0].startswith("wf"), key[0])
        )
        return [self._row(key, values) for key in keys]

    def _row(self, key: Key, values: Mapping[Key, float]) -> Row:
        subject, workload, name = key
        found = self.figures[key]
        measured = values[key]
        all_values = [figure.value for figure in found]
        asked: Asked | None = None
        limit: float | None = None
        if subject.startswith("wf "):
            asked = asked_of(workload, name)
            limit = asked.limit(Medians(values, subject.removeprefix("wf "))) if asked else None
        ratio = None
        if asked is not None and limit is not None:
            ratio = _ratio(measured, limit, is_more_better=asked.is_more_better)
        return Row(
            *(workload, name, subject, found[0].unit, found[0].is_paranoid),
            *(measured, min(all_values), max(all_values), len(found)),
            *(limit, asked.said if asked else "", ratio),
        )

    def as_json(self) -> str:
        return json.dumps(
            {
                "machine": machine(),
                "size": self.size,
                "skipped": self.skipped,
                "rows": [row._asdict() for row in self.rows()],
                "figures": [
                    {"subject": subject, "workload": workload, "name": name, "values": values}
                    for (subject, workload, name), found in self.figures.items()
                    for values in [[figure.value for figure in found]]
                ],
            },
            indent=1,
        )

    def table(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{machine()}; sizes: {self.size}. A ratio of 1 or more: reached."
        yield "Paranoid mode is off but for those marked p."
        head = ("", "", "median", "spread", "asked", "ratio")
        last: tuple[str, str] = ("", "")
        for row in self.rows():
            if row.workload != last[0]:
                title = title_of(row.workload) if row.workload in WORKLOADS else ""
                yield ""
                yield f"{row.workload}  {title}"
                yield _cells(*head)
            mark = " p" if row.is_paranoid else ""
            yield _cells(
                f"   {row.name}, {row.unit}{mark}" if (row.workload, row.name) != last else "",
                row.subject,
                shown(row.median),
                f"{shown(row.least)} - {shown(row.most)}" if row.rounds > 1 else "",
                shown(row.asked) if row.asked is not None else "",
                f"{row.ratio:.2f}" if row.ratio is not None else "",
            )
            last = (row.workload, row.name)
        if self.skipped:
            yield ""
            yield from (f"skipped: {reason}" for reason in self.skipped)


def _ratio(measured: float, limit: float, *, is_more_better: bool) -> float:
    if is_more_better:
        return measured / limit
    return min(limit / measured, 99.0) if measured > 0 else 99.0


def _cells(*words: str) -> str:
    first, second, *numbers = words
    cells = [first.ljust(WIDTHS[0]), second.ljust(WIDTHS[1])]
    cells += [word.rjust(width) for word, width in zip(numbers, WIDTHS[2:], strict=True)]
    return " ".join(cells).rstrip()


def shown(value: float) -> str:
    """With three digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def machine() -> str:
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}"
    )
