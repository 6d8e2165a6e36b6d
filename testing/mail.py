"""Messages that a simulation's clients send, and whether they were read as they must be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

from wf.history.events import Event, Kind
from wf.testing.nodes import Message, Node, Program

FIRST_MESSAGE: Final = 1_000
"""Clients' messages are numbered from here; bodies send smaller ones."""


def misread(history: Iterable[tuple[int, Event]]) -> Iterator[str]:
    """I8: a client's messages of one name are read in the order in which they were sent, each once;
    a later chapter may have kept what an earlier one read."""
    last: dict[tuple[int, str], int] = {}
    since = 0
    for chapter, event in history:
        if event.kind == Kind.RESTARTED:
            since = chapter + 1
        if event.kind != Kind.MESSAGE_RECEIVED or int(event.data or b"0") < FIRST_MESSAGE:
            continue
        number = int(event.data or b"0")
        before = [n for (at, name), n in last.items() if name == event.name and at < since]
        if number <= max([last.get((chapter, event.name), 0), *before]):
            yield f"message {number} {event.name!r} was read again, or too late"
        last[chapter, event.name] = number


def letters(program: Program) -> list[tuple[int, str, int]]:
    """The messages that a program waits for: (ms after the run was made, name, what), each another
    one, in order of time."""
    sent = [(one.ms, str(one.name), number) for number, one in enumerate(_messages(program))]
    return sorted(sent)


def _messages(node: Any) -> Iterator[Message]:
    if isinstance(node, Message):
        yield node
    elif isinstance(node, Node):
        for value in vars(node).values():
            yield from _messages(value)
    elif isinstance(node, tuple):
        for part in cast("tuple[Any, ...]", node):
            yield from _messages(part)
