"""What happened in the world outside, as fakes of a test tell it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from wf.engine.author import current
from wf.history.errors import Error


@dataclass(frozen=True, slots=True)
class Effect:
    """`key`: the idempotency key under which it was asked for; "": none. `run`: in which run."""

    what: str
    value: Any = None
    key: str = ""
    run: str = ""


@dataclass
class Effects:
    """In the order in which they happened. `told`: called with each that counts."""

    all: list[Effect] = field(default_factory=list[Effect])
    told: Callable[[Effect], object] = lambda effect: None

    def of(self, what: str) -> Sequence[Effect]:
        """Those of this name; of those with one key only the first, as a vendor does it."""
        found: dict[object, Effect] = {}
        for number, effect in enumerate(self.all):
            if effect.what == what:
                found.setdefault(effect.key or number, effect)
        return list(found.values())


_open: Final[list[Effects]] = []


def effect(what: str, value: Any = None, *, key: str = "") -> None:
    """Something happened outside: a fake in a test says so. `key`: under which the vendor was asked
    (`wf.current().step.idempotency_key`); the same one counts once. Outside of stories nothing is
    kept."""
    if _open:
        made = Effect(what, value, key, _run())
        _open[-1].all.append(made)
        _open[-1].told(made)


def _run() -> str:
    try:
        return current().run.id
    except Error:
        return ""  # of code that is in no run


@contextmanager
def noting(effects: Effects) -> Generator[Effects]:
    """`effect` writes here."""
    _open.append(effects)
    try:
        yield effects
    finally:
        _open.remove(effects)
