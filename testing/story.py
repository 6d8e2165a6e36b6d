"""A run's history as a list of short sentences: what a test compares, and what people read.

What a lost worker leaves in a history is not told: a story is the same whether there was a crash
or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from wf.client.views import EventView
from wf.engine.core.durations import show_duration

MAX_VALUE: Final = 120
"""Characters of a value in a sentence."""


def story_of(events: Iterable[EventView], output: Any = None) -> list[str]:
    """Of the rows of one run, which came to that output."""
    lines = [line for _, line in timed_story(events)]
    if lines and lines[-1] == "COMPLETED" and output is not None:
        lines[-1] = f"COMPLETED -> {value(output)}"
    return lines


def timed_story(events: Iterable[EventView]) -> list[tuple[datetime, str]]:
    """The same, with the time of each."""
    names: dict[tuple[int, int], str] = {}
    told: list[tuple[datetime, str]] = []
    seen: set[tuple[str, int, datetime, str]] = set()
    for event in events:
        if event.name:
            names.setdefault((event.chapter, event.ordinal), event.name)
        copied = (event.kind, event.ordinal, event.at, event.name)
        if event.chapter > 1 and copied in seen:
            continue  # kept of the chapter before
        seen.add(copied)
        line = sentence(event, names.get((event.chapter, event.ordinal), ""))
        if line:
            told.append((event.at, line))
    return told


def sentence(event: EventView, name: str) -> str:
    """Of one row; `name`: what its operation is called. "": it is not worth telling."""
    data, what = event.data, event.name or name
    match event.kind:
        case "STARTED":
            return "started" if not event.attempt else f"started again with {value(data)}"
        case "STEP_FINISHED":
            return f"{what} -> {value(data)}"
        case "STEP_FAILED":
            return f"{what} failed: {failure(data)}"
        case "STEP_ATTEMPT_FAILED":
            after = show_duration(event.delay_ms)
            return f"{what} failed, tried again after {after}: {failure(data)}"
        case "TIMER_FIRED":
            return f"waited {show_duration(event.delay_ms)}" if event.delay_ms else "waited"
        case "CHILD_TRIGGERED":
            return f"triggered {what}"
        case "BATCH_TRIGGERED":
            return f"triggered a batch of {what}"
        case "CHILD_ENDED":
            if event.name == "COMPLETED":
                return f"{_other(name)} -> {value(data)}"
            return f"{_other(name)} ended {event.name}: {failure(data)}"
        case "BATCH_ENDED":
            return f"the batch ended: {value(data)}"
        case "TOKEN_CREATED":
            return "made a token"
        case "TOKEN_ENDED":
            if event.name == "COMPLETED":
                return f"the token was answered: {value(data)}"
            return "the token timed out" if event.name == "TIMED_OUT" else "the token was canceled"
        case "MESSAGE_RECEIVED":
            return f"message {what!r}: {value(data)}"
        case "MESSAGE_TIMED_OUT":
            return f"no message {what!r} came in time"
        case "MESSAGE_SENT":
            return f"sent message {what!r}"
        case "CANCEL_REQUESTED":
            return "was canceled"
        case "TIME_OUT":
            return "was active for too long"
        case "PATCHED":
            return f"patched {what!r}"
        case "ATTEMPT_FAILED":
            return f"failed, tried again after {show_duration(event.delay_ms)}: {failure(data)}"
        case "RESTARTED":
            return "restarted"
        case "ENDED":
            return f"FAILED {failure(data)}" if event.name == "FAILED" else event.name
        case _:
            return ""


def _other(name: str) -> str:
    return name or "the run"


def value(data: Any) -> str:
    """As JSON, cut."""
    text = json.dumps(data, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def failure(data: Any) -> str:
    if not isinstance(data, dict) or "type" not in data:
        return value(data)
    told: dict[str, Any] = data  # pyright: ignore[reportUnknownVariableType]
    lines = str(told.get("message", "")).strip().splitlines()
    return f"{told['type']}: {lines[0]}" if lines else str(told["type"])
