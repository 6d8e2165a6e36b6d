"""The plain model of what must come of a plan: it knows no engine."""

from __future__ import annotations

from typing import Any, cast

from wf.testing.programs import STARTS

Op = list[Any]
Plan = list[Op]


def fits(plan: Plan, output: Any) -> bool:
    """Can a run of this plan have given this?"""
    if not isinstance(output, list):
        return False
    given = cast("list[Any]", output)
    return len(plan) == len(given) and all(map(_fits, plan, given))


def _fits(op: Op, given: Any) -> bool:
    match op:
        case ["work" | "sync", value, _]:
            return given == value * 2
        case ["say", value, _]:
            return given == value
        case ["tell", _]:
            return given == "told"
        case ["once", value]:
            return given in (value * 2, "interrupted")
        case ["slow", seconds]:
            return given == "late" or (given == "in time" and seconds < 4)  # time may stand still
        case ["start", *_]:
            return given in (f"started {STARTS}", "StoreUnavailable")
        case ["doomed"]:
            return given == "Abort"
        case ["sleep" | "nap", _]:
            return given == "slept"
        case ["all" | "group", plans]:
            return len(given) == len(plans) and all(map(fits, plans, given))
        case ["race", plans]:
            return fits(plans[given[0]], given[1])
        case ["within", _, plan]:
            return given == "timeout" or fits(plan, given)
        case ["undo", plan, _]:
            return fits(plan, given)
        case (
            ["child" | "generator", plan]
            | ["keyed" | "handle", _, plan]
            | ["flaky" | "lined", _, _, plan]
        ):
            return given == "canceled" or fits_child(op, plan, given)
        case ["batch", items]:
            return _fits_batch([plan for _, plan in items], given)
        case ["batch_later", plans]:
            return _fits_batch(plans, given)
        case ["spawn", _]:
            return given == "spawned"
        case ["token", timeout]:
            return given == 7 or given == "canceled" or bool(timeout and given == "nobody")
        case ["hear", _, _]:
            return given == "nobody" or isinstance(given, int)
        case ["write", _, _, _]:
            return given in ("told", "ended")
        case ["again", _, plan]:
            return given == "canceled" or fits(plan, given)
        case ["broken", _]:
            return given in ("KeyError", "canceled")
        case ["ids"]:
            return given[2] is True and given[3] is True
        case _:
            return False


def _fits_batch(plans: list[Plan], given: list[Any]) -> bool:
    pairs = zip(plans, given, strict=True)
    return all(end == "canceled" or fits(plan, end) for plan, end in pairs)


def fits_child(op: Op, plan: Plan, given: Any) -> bool:
    if op[0] == "generator":
        plan = [[name, value, 0] if name == "work" else [name, value] for name, value in plan]
    return fits(plan, given)
