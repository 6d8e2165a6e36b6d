"""What a person is told when a body does not fit its history any more."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from wf.history.errors import NonDeterminism
from wf.history.events import Event, Kind
from wf.history.ids import show

if TYPE_CHECKING:
    from wf.engine.core.info import RunInfo

_NEXT: Final = (
    "bring back the recorded order, or keep it for runs under way with "
    '`if wf.patched("…"):` around the new code, then restart the worker'
)
PYTHON_MINOR: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
"""What STARTED records."""
CONTEXT: Final = 3
"""Operations shown on either side of the place where history and body part."""


class Issued(Struct, frozen=True):
    """An operation that the body issued: what the history is compared with."""

    ordinal: int
    verb: str
    name: str
    digest: int
    where: str

    @property
    def what(self) -> tuple[str, str, int]:
        return self.verb, self.name, self.digest


class _Recorded(Struct, frozen=True):
    ordinal: int
    verb: str
    name: str
    digest: int
    at: int

    @property
    def what(self) -> tuple[str, str, int]:
        return self.verb, self.name, self.digest


VERBS: Final[dict[int, str]] = {
    Kind.STEP_STARTED: "step",
    Kind.STEP_FINISHED: "step",
    Kind.STEP_FAILED: "step",
    Kind.STEP_ATTEMPT_FAILED: "step",
    Kind.TIMER_FIRED: "timer",
    Kind.CHILD_TRIGGERED: "child",
    Kind.CHILD_AWAITED: "result",
    Kind.TOKEN_CREATED: "token",
    Kind.TOKEN_AWAITED: "wait for token",
    Kind.MESSAGE_AWAITED: "wait for message",
    Kind.MESSAGE_SENT: "send",
    Kind.BATCH_TRIGGERED: "batch",
    Kind.BATCH_AWAITED: "results",
}
"""What kind of operation a row belongs to."""


def explain(
    run: RunInfo, events: list[Event], ordinal: int, issued: Issued | None, trace: list[Issued]
) -> NonDeterminism:
    """The error for a run whose body parts from its history at `ordinal`. `issued`: what it does
    there instead (None: nothing); `trace`: what it did before."""
    recorded = {
        event.ordinal: _Recorded(
            event.ordinal, VERBS[event.kind], event.name, event.digest, event.at
        )
        for event in reversed(events)
        if event.ordinal and event.kind in VERBS
    }
    expected = recorded.get(ordinal)
    kind, cause = _judge(recorded, ordinal, expected, issued)
    place = issued.where if issued is not None else (trace[-1].where if trace else "")
    shown = show("run", run.id)
    lines = [
        f"WF1001 {run.task} {shown}: it does not fit its history at operation {ordinal}: {kind}",
        *_diff(recorded, ordinal, expected, issued, trace),
        f"  at {place}" if place else "  the body ended before it",
        f"  likely: {cause}",
        f"  next: {_NEXT}; `wf runs show {shown}` shows the run",
    ]
    diff = "\n".join(lines[1:-3])
    other = _other_python(events)
    if other:
        lines.insert(1, other)
    return NonDeterminism("\n".join(lines), ordinal=ordinal, diff=diff)


def _other_python(events: list[Event]) -> str:
    """asyncio schedules differently from minor to minor, so that comes first where it differs."""
    recorded = next((event.name for event in events if event.kind == Kind.STARTED), "")
    if recorded in ("", PYTHON_MINOR):
        return ""
    return (
        f"  the run began on Python {recorded} and this is {PYTHON_MINOR}, where asyncio schedules "
        f"otherwise: let a worker on {recorded} finish it, or read on"
    )


def _judge(
    recorded: dict[int, _Recorded], ordinal: int, expected: _Recorded | None, issued: Issued | None
) -> tuple[str, str]:
    """What kind of edit it looks like, and its likely cause."""
    if issued is None:
        return (
            "removed",
            "a call was taken out, or a branch depends on something that is not recorded",
        )
    if expected is None:
        return "inserted", "a call was added before what is recorded"
    if (issued.verb, issued.name) == (expected.verb, expected.name):
        return (
            "argument changed",
            "they come from edited code, or from a clock, chance or the environment in the body",
        )
    ahead = [recorded[n] for n in range(ordinal + 1, ordinal + 1 + CONTEXT) if n in recorded]
    matching = next((other for other in ahead if other.what == issued.what), None)
    if matching is not None and matching.ordinal == ordinal + 1:
        return (
            "removed or reordered",
            f"`{expected.verb} {expected.name}` was taken out, or moved behind",
        )
    if matching is not None:
        return "reordered", "calls changed places, or were taken out"
    if issued.verb == expected.verb and issued.digest == expected.digest:
        return (
            "renamed",
            f"`{expected.name}` is `{issued.name}` now; keep the old id: id={expected.name!r}",
        )
    return (
        "inserted",
        f"`{issued.verb} {issued.name}` was added before `{expected.verb} {expected.name}`",
    )


def _diff(
    recorded: dict[int, _Recorded],
    ordinal: int,
    expected: _Recorded | None,
    issued: Issued | None,
    trace: list[Issued],
) -> list[str]:
    """Three operations either side, aligned: `-` recorded, `+` what the code does now."""
    traced = {one.ordinal: one for one in trace}
    lines: list[str] = []
    for n in range(max(1, ordinal - CONTEXT), ordinal):
        one = traced.get(n) or recorded.get(n)
        if one is not None:
            lines.append(f"    {n:>4}  {one.verb} {one.name}".rstrip())
    if expected is not None:
        at = datetime.fromtimestamp(expected.at / 1_000, UTC).isoformat(timespec="seconds")
        lines.append(f"  - {ordinal:>4}  {_describe(expected, issued)}  (recorded {at})")
    if issued is not None:
        lines.append(f"  + {ordinal:>4}  {_describe(issued, expected)}  ({issued.where})")
    lines += [
        f"    {n:>4}  {recorded[n].verb} {recorded[n].name}".rstrip()
        for n in range(ordinal + 1, ordinal + 1 + CONTEXT)
        if n in recorded
    ]
    return lines


def _describe(one: Issued | _Recorded, other: Issued | _Recorded | None) -> str:
    text = f"{one.verb} {one.name}".rstrip()
    if other is not None and (one.verb, one.name) == (other.verb, other.name):
        if one.verb == "timer":
            return f"{text} of {one.digest} ms"
        return f"{text} with arguments #{one.digest & 0xFFFFFFFFFFFFFFFF:016x}"
    return text
