"""`client.queues`: how many runs are at work in each, and its limits, changed while they run."""

from __future__ import annotations

import builtins
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from wf.engine.core.queues import Queue, Rate
from wf.history.errors import NotFound
from wf.history.queues import QueueChange, QueueState

if TYPE_CHECKING:
    from wf.client.client import Client


class Same:
    """As it was."""


SAME: Final = Same()


@dataclass(frozen=True, slots=True)
class RateView:
    """At most `limit` first starts within any `per_ms`."""

    limit: int
    per_ms: int


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue, as it was when it was read. A limit of None: there is none."""

    name: str
    running: int
    """Runs that hold a slot."""
    waiting: int
    """Runs that would go on if they had one."""
    paused: bool
    concurrency_limit: int | None
    per_key_limit: int
    rate_limit: RateView | None
    per_key_rate_limit: RateView | None
    environment: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


class Queues:
    """`client.queues`. A queue is there from the first run or worker that names it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> builtins.list[QueueView]:
        """By name."""
        found = self._client.store.list_queues(self._client.environment)
        return [_view(state) for state in found]

    def retrieve(self, name: str) -> QueueView:
        """Raises NotFound."""
        return _view(self._get(name))

    def pause(self, name: str) -> QueueView:
        """Nothing starts there, and nothing goes on there after a wait. What has a slot goes on
        until it waits or ends. Raises NotFound."""
        return self._change(name, QueueChange(paused=True))

    def resume(self, name: str) -> QueueView:
        """Raises NotFound."""
        return self._change(name, QueueChange(paused=False))

    def set_limit(
        self,
        name: str,
        *,
        concurrency_limit: int | Same | None = SAME,
        per_key_limit: int | Same = SAME,
        rate_limit: Rate | Same | None = SAME,
        per_key_rate_limit: Rate | Same | None = SAME,
    ) -> QueueView:
        """Set what is given; None: no limit. It holds at once for what starts: nothing loses its
        slot. It stays until the code says something else than it says now.

        Raises NotFound, DeclarationError.
        """
        given = {
            "concurrency_limit": concurrency_limit,
            "per_key_limit": per_key_limit,
            "rate_limit": rate_limit,
            "per_key_rate_limit": per_key_rate_limit,
        }
        options: dict[str, Any] = {
            option: value for option, value in given.items() if not isinstance(value, Same)
        }
        wanted = Queue(**options).limits
        changes = {
            column: getattr(wanted, column) for option in options for column in _COLUMNS[option]
        }
        limits = replace(self._get(name).limits, **changes)
        return self._change(name, QueueChange(limits=limits))

    def _change(self, name: str, change: QueueChange) -> QueueView:
        self._client.store.change_queue(self._client.environment, name, change)
        return self.retrieve(name)

    def _get(self, name: str) -> QueueState:
        state = self._client.store.get_queue(self._client.environment, name)
        if state is None:
            raise NotFound(
                f"there is no queue {name!r} in {self._client.place}: "
                "`wf queues list` shows those that are there"
            )
        return state


_COLUMNS: Final = {
    "concurrency_limit": ("concurrency_limit",),
    "per_key_limit": ("per_key_limit",),
    "rate_limit": ("rate_limit", "rate_ms"),
    "per_key_rate_limit": ("key_rate_limit", "key_rate_ms"),
}


def _view(state: QueueState) -> QueueView:
    limits = state.limits
    return QueueView(
        name=state.name,
        running=state.running,
        waiting=state.waiting,
        paused=state.paused,
        concurrency_limit=limits.concurrency_limit,
        per_key_limit=limits.per_key_limit,
        rate_limit=_rate(limits.rate_limit, limits.rate_ms),
        per_key_rate_limit=_rate(limits.key_rate_limit, limits.key_rate_ms),
        environment=state.environment,
    )


def _rate(limit: int | None, per_ms: int) -> RateView | None:
    return RateView(limit, per_ms) if limit is not None else None
