"""What holds for a runnable: what it says itself, else what its project says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from msgspec import Struct

from wf.engine.core.retry import Retry
from wf.engine.core.runnable import Runnable


class Policies(Struct, frozen=True):
    """`step_retry`: of steps without a policy; None: wf's own. `tries_again`: False makes every
    attempt the last one."""

    step_retry: Retry | None = None
    tries_again: bool = True
    max_duration_ms: int = 0
    """0: none."""

    def retry_of(self, runnable: Runnable[..., Any]) -> Retry:
        settings = runnable.settings
        retry = settings.retry
        if self.step_retry is not None and settings.retry_is_default:
            retry = self.step_retry
        return retry if self.tries_again else replace(retry, max_attempts=1)

    def max_duration_of(self, runnable: Runnable[..., Any]) -> int:
        return runnable.settings.max_duration_ms or self.max_duration_ms


NO_POLICIES: Final = Policies()
"""Without a project."""
