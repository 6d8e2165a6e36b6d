"""What one commit of a worker writes, kept until it is known to have happened."""

from __future__ import annotations

from msgspec import Struct

from wf.engine.body import Body
from wf.history.model import Activation


class Group(Struct):
    bodies: list[Body]
    parked: list[Activation]

    def __bool__(self) -> bool:
        return bool(self.bodies or self.parked)

    @property
    def activations(self) -> list[Activation]:
        return [body.activation for body in self.bodies] + self.parked

    @property
    def halves(self) -> list[Group]:
        """What is left of it to be tried in parts, after the store has refused the whole."""
        middle = (len(self.bodies) + 1) // 2
        parts = [Group(self.bodies[:middle], []), Group(self.bodies[middle:], [])]
        return [part for part in [*parts, Group([], self.parked)] if part]

    @property
    def leaving(self) -> list[Body]:
        """Those whose runs are nobody's when it has happened."""
        return [body for body in self.bodies if body.leaves]

    @property
    def makes_work(self) -> bool:
        """It makes runs or marks that this worker may take at once, or frees a slot. (Where others
        wait for a run that is nobody's child, the store says so.)"""
        return any(
            body.leaves and (body.run.queue or body.run.parent_id) for body in self.bodies
        ) or any(
            a.children
            or a.waits
            or a.cancels
            or a.sends
            or a.listening
            or a.next_chapter is not None
            for a in self.activations
        )
