"""Marks on paper: SVG elements as text, in colours that follow light and dark.

Colours stand in the elements themselves, so that every program that draws SVG shows the light ones;
a style sheet that only browsers heed turns them to dark. All text goes through `escaped`.
"""

from __future__ import annotations

from html import escape
from typing import Final

COLOURS: Final = {
    "paper": ("#ffffff", "#10151d"),
    "ink": ("#1c2430", "#e8edf4"),
    "mute": ("#657184", "#94a1b4"),
    "line": ("#e4e8ee", "#242d3a"),
    "band": ("#f6f8fa", "#151c26"),
    "run": ("#8794a8", "#6b7a90"),
    "step": ("#2f6fde", "#5a94f5"),
    "on-step": ("#ffffff", "#0b1220"),
    "failed": ("#d3324a", "#f2647a"),
    "timed": ("#c2410c", "#fb8b4e"),
    "canceled": ("#98a2b3", "#667085"),
    "back-off": ("#d9860a", "#f3ac3c"),
    "wait": ("#d9e6f7", "#1f3350"),
    "wait-edge": ("#8fb0de", "#4a72ab"),
    "token": ("#e9def9", "#33264f"),
    "token-edge": ("#9a78d8", "#9a7bdc"),
    "message": ("#d3f0ea", "#173c38"),
    "message-edge": ("#4aa898", "#3f9688"),
    "ok": ("#16875a", "#3fbf88"),
    "ok-paper": ("#e2f5ec", "#133226"),
    "failed-paper": ("#fce8eb", "#3d1820"),
    "live-paper": ("#e3edfc", "#172b4a"),
    "idle-paper": ("#eef1f5", "#232c39"),
}
"""name: (light, dark)"""

FONT: Final = (
    "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', "
    'Arial, sans-serif"'
)
_LETTER: Final = 0.57
_BOLD: Final = 0.64
"""The width of a letter, in sizes of the font: an estimate that errs on the wide side."""


def style_sheet() -> str:
    """Dark, where who looks prefers it."""
    rules = "".join(
        f".wf-timeline .f-{name}{{fill:{dark}}}.wf-timeline .s-{name}{{stroke:{dark}}}"
        for name, (_, dark) in COLOURS.items()
    )
    return f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"


def paint(fill: str = "", stroke: str = "", width: float = 1) -> str:
    """Attributes: fill and stroke, each a name of COLOURS."""
    classes = " ".join(
        [*([f"f-{fill}"] if fill else []), *([f"s-{stroke}"] if stroke else [])],
    )
    filled = f'fill="{COLOURS[fill][0]}"' if fill else 'fill="none"'
    stroked = f' stroke="{COLOURS[stroke][0]}" stroke-width="{width:g}"' if stroke else ""
    return f'class="{classes}" {filled}{stroked}'


def escaped(text: str) -> str:
    """Safe between tags and in attributes; without what XML cannot hold."""
    return escape("".join(letter for letter in text if _is_legal(letter)))


def _is_legal(letter: str) -> bool:
    code = ord(letter)
    return (
        letter in "\t\n\r"
        or 0x20 <= code < 0xD800
        or 0xE000 <= code < 0xFFFE
        or 0x10000 <= code <= 0x10FFFF
    )


def rect(x: float, y: float, width: float, height: float, look: str, radius: float = 0) -> str:
    corner = f' rx="{radius:g}"' if radius else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{corner} {look}/>'
    )


def line(x1: float, y1: float, x2: float, y2: float, look: str, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"{dashed} {look}/>'


def text(
    x: float,
    y: float,
    words: str,
    size: float,
    colour: str,
    *,
    weight: int = 400,
    anchor: str = "",
    is_over: bool = False,
) -> str:
    """`is_over`: it may lie upon lines, and keeps them off."""
    halo = f'{paint(colour, "paper", 4)} paint-order="stroke" stroke-linejoin="round"'
    bold = f' font-weight="{weight}"' if weight != 400 else ""
    anchored = f' text-anchor="{anchor}"' if anchor else ""
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size:g}"'
    look = halo if is_over else paint(colour)
    return f"<text {place}{bold}{anchored} {look}>{escaped(words)}</text>"


def width_of(columns: int, size: float, *, is_bold: bool = False) -> float:
    """How wide so many letters are."""
    return columns * size * (_BOLD if is_bold else _LETTER)


def hatch(name: str, colour: str) -> str:
    """A pattern of thin diagonals, to fill with `url(#name)`."""
    stripe = f'<path d="M0 6L6 0M-1 1L1 -1M5 7L7 5" {paint(stroke=colour, width=1)}/>'
    size = 'width="6" height="6" patternUnits="userSpaceOnUse"'
    return f'<pattern id="{name}" {size}>{stripe}</pattern>'
