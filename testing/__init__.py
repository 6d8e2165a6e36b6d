"""The harness for workflows of one's own. Names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wf.testing.effects import effect as effect
    from wf.testing.environment import Call as Call
    from wf.testing.environment import Env as Env
    from wf.testing.environment import Run as Run
    from wf.testing.everywhere import crash_everywhere as crash_everywhere
    from wf.testing.properties import always as always
    from wf.testing.replaying.fixture import replay as replay
    from wf.testing.replaying.playback import Playback as Playback
    from wf.testing.simulated import Simulated as Simulated
    from wf.testing.simulated import simulate as simulate
    from wf.testing.stories import Story as Story
    from wf.testing.telling import Failure as Failure

_HOMES = {
    "wf.testing.properties": ("always",),
    "wf.testing.effects": ("effect",),
    "wf.testing.environment": ("Call", "Env", "Run"),
    "wf.testing.everywhere": ("crash_everywhere",),
    "wf.testing.simulated": ("Simulated", "simulate"),
    "wf.testing.stories": ("Story",),
    "wf.testing.telling": ("Failure",),
    "wf.testing.replaying.fixture": ("replay",),
    "wf.testing.replaying.playback": ("Playback",),
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
