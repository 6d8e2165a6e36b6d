"""What commands print: JSON, or tables and fields for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

STATUS_STYLES: Final = {
    "COMPLETED": "green",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "CANCELED": "yellow",
    "EXPIRED": "yellow",
    "EXECUTING": "cyan",
    "WAITING": "blue",
}


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """In a pipe: aligned, and nothing cut off. On a terminal: the same, with quiet colours."""
    cells = [[_cell(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(headers, cells)
        return
    widths = [max(len(row[n]) for row in [list(headers), *cells]) for n in range(len(headers))]
    for row in [[header.upper() for header in headers], *cells]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def _print_rich(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, header in enumerate(headers):
        table.add_column(header, no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, STATUS_STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """`name  value`, those with a value."""
    shown = [(name, value) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        first, *rest = value.splitlines()
        print(f"{name.ljust(width)}  {first}")
        for line in rest:
            print(f"{' ' * width}  {line}")


def moment(when: datetime | None) -> str:
    """In the zone of who looks."""
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}" if when is not None else ""


def value(data: Any, limit: int = 0) -> str:
    """JSON in one line; at most so many characters."""
    text = json.dumps(data, ensure_ascii=False)
    return text if not limit or len(text) <= limit else text[: limit - 1] + "…"


def _cell(text: str) -> str:
    return " ".join(text.split())
