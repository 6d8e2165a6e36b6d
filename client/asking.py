"""What callers give, checked and encoded before the store hears of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from wf.engine.core.batches import members_of
from wf.engine.core.decisions import Member
from wf.engine.core.names import check_name
from wf.engine.core.runnable import Runnable
from wf.engine.core.triggers import trigger_options, with_defaults
from wf.engine.core.values import Shape
from wf.history.errors import NotFound
from wf.history.ids import parse

any_json: Final = Shape(Any, "payload")


def parse_id(prefix: str, shown: str) -> bytes:
    """The id behind what somebody gave. Raises NotFound with what it should look like."""
    try:
        return parse(prefix, shown)
    except ValueError as error:
        raise NotFound(str(error)) from None


def batch_asked(
    task: Any, items: Iterable[Any], checked: dict[str, Any]
) -> tuple[str, list[Member], Callable[[bytes | None], Any]]:
    """What `batch_trigger` was given, encoded: task, members, how to read an output."""
    if isinstance(task, Runnable):
        runnable = cast("Runnable[..., Any]", task)
        signature, settings = runnable.signature, runnable.settings
        shared = with_defaults(settings, checked)
        members = [
            (payload, shared if options is checked else with_defaults(settings, options))
            for payload, options in members_of(signature.encode_payload, items, checked)
        ]
        return runnable.id, members, signature.decode_result
    return check_name(task, "task"), members_of(any_json.encode, items, checked), plain


def asked(
    task: Any, payload: Any, options: dict[str, Any]
) -> tuple[str, bytes, dict[str, Any], Callable[[bytes | None], Any]]:
    """What `trigger` was given, checked and encoded: task, payload, options, how to read the
    output."""
    checked = trigger_options(options)
    if isinstance(task, Runnable):
        runnable = cast("Runnable[..., Any]", task)
        signature = runnable.signature
        encoded = signature.encode_payload(payload)
        merged = with_defaults(runnable.settings, checked)
        return runnable.id, encoded, merged, signature.decode_result
    return check_name(task, "task"), any_json.encode(payload), checked, plain


def plain(data: bytes | None) -> Any:
    return json.loads(data) if data is not None else None
