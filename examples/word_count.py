"""Plain `def` steps only: each runs in a thread, so any blocking library will do.

    wf run examples/word_count.py README.md

Kill it between two files and `--resume` it: files that were counted are not read again.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

import wf


@wf.step
def find_texts(path: str) -> list[str]:
    """The files to read: one, or all Markdown below a folder."""
    place = Path(path)
    return [str(file) for file in sorted(place.rglob("*.md"))] if place.is_dir() else [path]


@wf.step
def count_words(file: str) -> dict[str, int]:
    words = re.findall(r"[a-z']{4,}", Path(file).read_text(encoding="utf-8").lower())
    return dict(Counter(words).most_common(100))


@wf.task
async def word_count(path: str) -> dict[str, int]:
    """The ten most frequent words. Files are read side by side."""
    files = await find_texts(path)
    total: Counter[str] = Counter()
    for counts in await asyncio.gather(*(count_words(file) for file in files)):
        total.update(counts)
    return dict(total.most_common(10))
