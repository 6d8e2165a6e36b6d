"""The harness for workflows of one's own. Names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wf.testing.environment import Call as Call
    from wf.testing.environment import Env as Env
    from wf.testing.environment import Run as Run
    from wf.testing.everywhere import crash_everywhere as crash_everywhere

_HOMES = {
    "wf.testing.environment": ("Call", "Env", "Run"),
    "wf.testing.everywhere": ("crash_everywhere",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'wf.testing' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
