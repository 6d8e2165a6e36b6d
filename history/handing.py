"""What a claim hands out with its runs, as much as lies in memory at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from wf.history.blobs import size_of
from wf.history.limits import AHEAD_BYTES, NEWS_BYTES
from wf.history.messages import Message
from wf.history.model import Claimed, InboxKind, InboxRow


def hand_news(claimed: Mapping[bytes, Claimed], rows: Iterable[InboxRow]) -> bool:
    """Rows of inboxes, in order of id, go to their runs. True: there may be more, which are handed
    out when these are consumed. A cancel always goes: a run that is parked now reads nothing
    later."""
    size = 0
    for row in rows:
        if size < NEWS_BYTES or row.kind == InboxKind.CANCEL:
            claimed[row.run_id].inbox.append(row)
        size += size_of(row.data)
    return size >= NEWS_BYTES


def hand_messages(claimed: Mapping[bytes, Claimed], messages: Iterable[Message]) -> None:
    """The same of messages, in order of id: of each name one at least. A run is marked again when
    it has received what it was handed out."""
    sizes: Counter[tuple[bytes, str]] = Counter()
    for message in messages:
        place = message.run_id, message.name
        if sizes[place] < AHEAD_BYTES:
            claimed[message.run_id].messages.append(message)
        sizes[place] += size_of(message.data)
