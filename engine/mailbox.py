"""The messages of a run that its worker holds and the body has not read, and what it listens to.

The store hands out the first few of every name that the run listens to. What the body does not ask
for now stays here as long as the body is in memory; in the store it is unread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from wf.history.events import Event, Kind
from wf.history.messages import Message
from wf.history.model import Activation


class Mailbox(Struct):
    """`heard`: the names that the store was told of; None: not known any more."""

    heard: set[str] | None = set()
    _unread: dict[str, dict[int, Message]] = {}

    def put(self, messages: Iterable[Message], activation: Activation) -> None:
        """What was handed out. Those that `activation` has read are handed out once more where it
        is not yet committed."""
        for message in messages:
            if message.id not in activation.received:
                self._unread.setdefault(message.name, {})[message.id] = message

    def take(self, listening: Mapping[int, str], activation: Activation) -> Event | None:
        """The fact of the first message that an operation waits for, the earliest of them."""
        if not self._unread:
            return None
        for ordinal in sorted(listening):
            unread = self._unread.get(listening[ordinal])
            if unread:
                message = unread.pop(min(unread))
                activation.received.append(message.id)
                return Event(
                    0,
                    Kind.MESSAGE_RECEIVED,
                    ordinal,
                    message.at,
                    message.name,
                    data=message.data,
                )
        return None

    def tell(self, listening: Mapping[int, str], activation: Activation) -> None:
        """Let the store know to what the run listens, where that has changed."""
        names = set(listening.values())
        if names != self.heard:
            activation.listening = sorted(names)
            self.heard = names
