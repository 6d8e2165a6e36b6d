"""A run of a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from wf.client.handles import Handle, output_of
from wf.client.views import RunErrorView, TokenView
from wf.engine.core.durations import Duration
from wf.history.events import Status
from wf.history.model import Triggered
from wf.testing.story import story_of

if TYPE_CHECKING:
    from wf.client.client import Client
    from wf.testing.environment import Env

T = TypeVar("T")


class Run(Handle[T]):
    """A Handle whose `result()` lets time pass until the run has ended. What is done with it is
    followed at once by all that comes of it."""

    def __init__(
        self,
        env: Env,
        client: Client,
        run_id: bytes,
        task: str,
        decode: Callable[[bytes | None], T],
        is_cached: bool,
    ) -> None:
        made = Triggered.CACHED if is_cached else Triggered.MADE
        super().__init__(client, run_id, task, decode, made)
        self._env = env

    def result(self, timeout: Duration | None = None) -> T:
        """The output. `timeout`: of virtual time; default 10 years.

        Raises RunFailed and its like; AssertionError where the run waits for what nobody gives it,
        saying for what.
        """
        return output_of(self._env.drive(self.raw_id, timeout), self.decode)

    def wait(self, timeout: Duration | None = None) -> Status:
        """How it ended. Raises AssertionError as `result` does."""
        return self._env.drive(self.raw_id, timeout).status

    @property
    def status(self) -> Status:
        return self.retrieve().status

    @property
    def output(self) -> Any:
        """As plain JSON; None while there is none."""
        return self.retrieve().output

    @property
    def error(self) -> RunErrorView | None:
        return self.retrieve().error

    @property
    def story(self) -> list[str]:
        """Its history in sentences, to be compared with: crashes are not in it."""
        return story_of(self.history(), self.retrieve().output)

    @property
    def tokens(self) -> Sequence[TokenView]:
        """Those that wait for an answer, oldest first."""
        return [token for token in self._env.tokens if token.run == self.id]

    def answer(self, data: Any = None, *, tag: str = "") -> None:
        """Complete the one token of the run that waits (and has that tag)."""
        self._env.answer(data, tag=tag, run=self.id)

    def send(self, name: str, data: Any = None) -> None:
        super().send(name, data)
        self._env.settle()

    def cancel(self) -> None:
        super().cancel()
        self._env.settle()

    def __repr__(self) -> str:
        lines = "".join(f"\n    {line}" for line in self.story)
        return f"<{self.task} {self.id} {self.status}>{lines}"
