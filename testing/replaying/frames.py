"""Where a suspended body stands: the frames of the user's code, outermost first."""

from __future__ import annotations

import asyncio
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from wf.engine.core.execution import Execution

_WF: Final = Path(__file__).resolve().parents[2]
_OURS: Final = tuple(f"{_WF / name}/" for name in ("engine", "history", "client", "testing", "wf"))
_PYTHONS: Final = f"{sysconfig.get_paths()['stdlib']}/"


def _is_users(file: str) -> bool:
    """Not of wf, nor of Python itself (whose folder holds what was installed, too)."""
    is_pythons = file.startswith(_PYTHONS) and "/site-packages/" not in file
    return not is_pythons and not file.startswith(_OURS)


def frames_of(execution: Execution) -> list[list[FrameType]]:
    """Of each asyncio task of the body that is suspended, the body itself first."""
    tasks = sorted(execution.loop.tasks(), key=lambda task: task.get_name() != "body")
    found = [[*_user_frames(task)] for task in tasks if not task.done()]
    return [frames for frames in found if frames]


def _user_frames(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    at: Any = task.get_coro()
    while at is not None:
        frame = next(
            (found for name in _FRAMES if (found := getattr(at, name, None)) is not None), None
        )
        if frame is not None and _is_users(frame.f_code.co_filename):
            yield frame
        at = next((found for name in _NEXT if (found := getattr(at, name, None)) is not None), None)


_FRAMES: Final = ("cr_frame", "gi_frame", "ag_frame")
_NEXT: Final = ("cr_await", "gi_yieldfrom", "ag_await")
