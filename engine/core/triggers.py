"""Trigger options: checked where they are given, JSON inside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from wf.engine.core.durations import Duration, milliseconds, to_ms
from wf.engine.core.names import check_name as check_name
from wf.engine.core.names import is_text
from wf.engine.core.queues import Queue, queue_option
from wf.engine.core.values import Shape
from wf.history.errors import DeclarationError, PayloadTooLarge
from wf.history.limits import CANCEL_PRIORITY, MAX_METADATA_BYTES, MAX_TAGS

if TYPE_CHECKING:
    from wf.engine.core.runnable import Settings


@dataclass(frozen=True, slots=True)
class Debounce:
    """Triggers of a task with one `key`, each within `delay` of the one before, are one run. It
    starts `delay` after the last of them, but not later than `max_delay` after the first.

    `mode`: "trailing", the payload and options of the last trigger win; "leading", those of the
    first stay.
    """

    key: str
    delay: Duration
    mode: Literal["trailing", "leading"] = "trailing"
    max_delay: Duration | None = None


class BatchOptions(TypedDict, total=False):
    """What `batch_trigger` takes besides the items: for all of them."""

    idempotency_key_ttl: Duration
    scope: Literal["environment", "run"]
    on_conflict: Literal["return", "raise"]
    """Where an idempotency key is taken with another payload: the run that has it is returned, or
    IdempotencyConflict raised."""
    concurrency_key: str
    queue: str | Queue
    delay: Duration | datetime
    ttl: Duration
    tags: Iterable[str]
    priority: int
    metadata: Mapping[str, Any]
    max_attempts: int
    max_duration: Duration
    version: str
    connection: Any
    """Of a driver or of SQLAlchemy: the run exists if and only if its transaction commits."""


class TriggerOptions(BatchOptions, total=False):
    """What `trigger` takes besides the payload."""

    idempotency_key: str
    debounce: Debounce


MAX_PRIORITY: Final = CANCEL_PRIORITY - 1
"""As databases store it."""
MAX_TAG_LENGTH = 256


def trigger_options(given: dict[str, Any]) -> dict[str, Any]:
    """The options as JSON values: durations in ms, moments as {"at": ms}.

    Raises DeclarationError, naming the option.
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        match name:
            case "queue":
                checked[name] = queue_option(value)
            case "idempotency_key" | "concurrency_key" | "version":
                checked[name] = check_name(value, name)
            case "idempotency_key_ttl" | "ttl" | "max_duration":
                checked[name] = milliseconds(value, name)
            case "delay":
                checked[name] = (
                    {"at": to_ms(value, name)}
                    if isinstance(value, datetime)
                    else milliseconds(value, name)
                )
            case "tags":
                checked[name] = check_tags(value)
            case "metadata":
                checked[name] = check_metadata(value)
            case "priority" | "max_attempts":
                if (
                    not isinstance(value, int)
                    or isinstance(value, bool)
                    or (name == "max_attempts" and value < 1)
                    or abs(value) > MAX_PRIORITY
                ):
                    raise DeclarationError(f"{name}={value!r}: give a whole number of 32 bits")
                checked[name] = value
            case "scope":
                if value not in ("environment", "run"):
                    raise DeclarationError(f"scope={value!r}: give 'environment' or 'run'")
                checked[name] = value
            case "on_conflict":
                if value not in ("return", "raise"):
                    raise DeclarationError(f"on_conflict={value!r}: give 'return' or 'raise'")
                checked[name] = value
            case "debounce":
                checked[name] = _debounce(value)
            case "connection":
                checked[name] = value
            case _:
                raise DeclarationError(
                    f"trigger has no option {name!r}; "
                    f"there are {', '.join(sorted(TriggerOptions.__optional_keys__))}"
                )
    return check_together(checked)


def check_together(checked: dict[str, Any]) -> dict[str, Any]:
    """The same. Raises DeclarationError for options that say when a run starts, or which it is,
    twice."""
    if "debounce" in checked:
        for name in ("idempotency_key", "delay"):
            if name in checked:
                raise DeclarationError(
                    f"{name}= and debounce= are given: a debounce has a key and a delay of its own"
                )
    return checked


def _debounce(value: Any) -> dict[str, Any]:
    if not isinstance(value, Debounce):
        raise DeclarationError(f"debounce={value!r}: give wf.Debounce(key, delay)")
    if value.mode not in ("trailing", "leading"):
        raise DeclarationError(f"Debounce(mode={value.mode!r}): give 'trailing' or 'leading'")
    delay = milliseconds(value.delay, "Debounce(delay)")
    longest = 0
    if value.max_delay is not None:
        longest = milliseconds(value.max_delay, "Debounce(max_delay)")
    if delay == 0 or (value.max_delay is not None and longest < delay):
        raise DeclarationError(f"{value!r}: give a delay over 0, and a max_delay that is not less")
    key = check_name(value.key, "Debounce(key)")
    return {"key": key, "delay": delay, "mode": value.mode, "max_delay": longest}


def is_keyed(options: Mapping[str, Any]) -> bool:
    """A trigger with these may answer another run than the one it asks for."""
    return "idempotency_key" in options or "debounce" in options


def with_defaults(settings: Settings, options: dict[str, Any]) -> dict[str, Any]:
    """The trigger's options over those of the decorator."""
    merged = dict(options)
    if settings.tags:
        merged["tags"] = list(dict.fromkeys([*settings.tags, *options.get("tags", ())]))
    if settings.ttl_ms and "ttl" not in options:
        merged["ttl"] = settings.ttl_ms
    if settings.queue is not None and "queue" not in options:
        merged["queue"] = settings.queue
    return merged


def check_tags(value: Iterable[Any]) -> list[str]:
    """Tags as a list. Raises DeclarationError."""
    tags = [value] if isinstance(value, str) else list(value)
    if len(tags) > MAX_TAGS or not all(
        isinstance(tag, str) and 0 < len(tag) <= MAX_TAG_LENGTH and is_text(tag) for tag in tags
    ):
        raise DeclarationError(
            f"tags={value!r}: give at most {MAX_TAGS} strings of 1 to {MAX_TAG_LENGTH} characters, "
            "without NUL and lone surrogates"
        )
    return tags


_METADATA: Final = Shape(dict[str, Any], "metadata")


def check_metadata(value: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as plain JSON values. Raises PayloadError, PayloadTooLarge."""
    data = _METADATA.encode_plain(dict(value))
    if len(data) > MAX_METADATA_BYTES:
        raise PayloadTooLarge(
            f"metadata is {len(data):,} bytes, over the limit of {MAX_METADATA_BYTES:,}: "
            "store it elsewhere and pass a reference"
        )
    return json.loads(data)
