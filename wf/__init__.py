"""The public face: re-exports, nothing else.

Names are imported when they are first used, so that `import wf` and `wf --help` cost next to
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wf import testing as testing
    from wf.client.ambient import client as client
    from wf.client.ambient import connect as connect
    from wf.client.asynchronous import AsyncClient as AsyncClient
    from wf.client.batches import Batch as Batch
    from wf.client.client import Client as Client
    from wf.client.filters import RunFilters as RunFilters
    from wf.client.handles import Handle as Handle
    from wf.client.outside import AsyncHandle as AsyncHandle
    from wf.client.prune import Pruned as Pruned
    from wf.client.queues import QueueView as QueueView
    from wf.client.schedules import ScheduleView as ScheduleView
    from wf.client.timeline.model import Timeline as Timeline
    from wf.client.views import ChunkView as ChunkView
    from wf.client.views import EventView as EventView
    from wf.client.views import RunView as RunView
    from wf.client.views import TokenView as TokenView
    from wf.client.why import Why as Why
    from wf.engine.author import Context as Context
    from wf.engine.author import current as current
    from wf.engine.author import logger as logger
    from wf.engine.author import now as now
    from wf.engine.author import patched as patched
    from wf.engine.author import random as random
    from wf.engine.author import uuid4 as uuid4
    from wf.engine.config import Config as Config
    from wf.engine.config import Retries as Retries
    from wf.engine.core.batches import BatchHandle as BatchHandle
    from wf.engine.core.batches import Item as Item
    from wf.engine.core.handles import RunHandle as RunHandle
    from wf.engine.core.handles import Token as Token
    from wf.engine.core.operation import Gen as Gen
    from wf.engine.core.operation import Operation as Operation
    from wf.engine.core.queues import Queue as Queue
    from wf.engine.core.queues import Rate as Rate
    from wf.engine.core.restart import restart as restart
    from wf.engine.core.retry import Retry as Retry
    from wf.engine.core.runnable import Runnable as Runnable
    from wf.engine.core.runnable import step as step
    from wf.engine.core.runnable import task as task
    from wf.engine.core.schedules import schedules as schedules
    from wf.engine.core.ticks import ScheduleTick as ScheduleTick
    from wf.engine.core.triggers import BatchOptions as BatchOptions
    from wf.engine.core.triggers import Debounce as Debounce
    from wf.engine.core.triggers import TriggerOptions as TriggerOptions
    from wf.engine.core.waits import wait as wait
    from wf.engine.engine import Engine as Engine
    from wf.engine.engine import run as run
    from wf.engine.notes import metadata as metadata
    from wf.engine.notes import stream as stream
    from wf.engine.notes import tags as tags
    from wf.engine.telling import Canceled as Canceled
    from wf.engine.telling import Completed as Completed
    from wf.engine.telling import Failed as Failed
    from wf.engine.telling import Resumed as Resumed
    from wf.engine.telling import Started as Started
    from wf.engine.telling import Succeeded as Succeeded
    from wf.engine.telling import Waiting as Waiting
    from wf.engine.transaction import transaction as transaction
    from wf.history.errors import Abort as Abort
    from wf.history.errors import AlreadyEnded as AlreadyEnded
    from wf.history.errors import AuthorError as AuthorError
    from wf.history.errors import BadURL as BadURL
    from wf.history.errors import CannotFork as CannotFork
    from wf.history.errors import CannotJoin as CannotJoin
    from wf.history.errors import CannotPromote as CannotPromote
    from wf.history.errors import CodecError as CodecError
    from wf.history.errors import ConfigError as ConfigError
    from wf.history.errors import DeclarationError as DeclarationError
    from wf.history.errors import Error as Error
    from wf.history.errors import IdempotencyConflict as IdempotencyConflict
    from wf.history.errors import InitFailed as InitFailed
    from wf.history.errors import MessageTimedOut as MessageTimedOut
    from wf.history.errors import NonDeterminism as NonDeterminism
    from wf.history.errors import NotConnected as NotConnected
    from wf.history.errors import NotDeterministic as NotDeterministic
    from wf.history.errors import NotFound as NotFound
    from wf.history.errors import NotInRun as NotInRun
    from wf.history.errors import NotInStep as NotInStep
    from wf.history.errors import OperationError as OperationError
    from wf.history.errors import OperationNeverAwaited as OperationNeverAwaited
    from wf.history.errors import OperatorError as OperatorError
    from wf.history.errors import PayloadError as PayloadError
    from wf.history.errors import PayloadTooLarge as PayloadTooLarge
    from wf.history.errors import ProcessDied as ProcessDied
    from wf.history.errors import RetryAfter as RetryAfter
    from wf.history.errors import RunCanceled as RunCanceled
    from wf.history.errors import RunError as RunError
    from wf.history.errors import RunExpired as RunExpired
    from wf.history.errors import RunFailed as RunFailed
    from wf.history.errors import RunTimedOut as RunTimedOut
    from wf.history.errors import StepFailed as StepFailed
    from wf.history.errors import StepInterrupted as StepInterrupted
    from wf.history.errors import StepTimedOut as StepTimedOut
    from wf.history.errors import StoreMoved as StoreMoved
    from wf.history.errors import StoreNewer as StoreNewer
    from wf.history.errors import StoreUnavailable as StoreUnavailable
    from wf.history.errors import TokenCanceled as TokenCanceled
    from wf.history.errors import TokenTimedOut as TokenTimedOut
    from wf.history.errors import TransactionTooLong as TransactionTooLong
    from wf.history.errors import UnknownExecutor as UnknownExecutor
    from wf.history.errors import UnknownTask as UnknownTask
    from wf.history.errors import WrongStatus as WrongStatus
    from wf.history.events import Status as Status
    from wf.history.sealing import Codec as Codec

_HOMES = {
    "wf.client.ambient": ("client", "connect"),
    "wf.client.asynchronous": ("AsyncClient",),
    "wf.client.batches": ("Batch",),
    "wf.client.client": ("Client",),
    "wf.client.filters": ("RunFilters",),
    "wf.client.handles": ("Handle",),
    "wf.client.outside": ("AsyncHandle",),
    "wf.client.prune": ("Pruned",),
    "wf.client.queues": ("QueueView",),
    "wf.client.schedules": ("ScheduleView",),
    "wf.client.timeline.model": ("Timeline",),
    "wf.client.views": ("ChunkView", "EventView", "RunView", "TokenView"),
    "wf.client.why": ("Why",),
    "wf.engine.author": ("Context", "current", "logger", "now", "patched", "random", "uuid4"),
    "wf.engine.config": ("Config", "Retries"),
    "wf.engine.core.batches": ("BatchHandle", "Item"),
    "wf.engine.core.handles": ("RunHandle", "Token"),
    "wf.engine.core.operation": ("Gen", "Operation"),
    "wf.engine.core.queues": ("Queue", "Rate"),
    "wf.engine.core.restart": ("restart",),
    "wf.engine.core.retry": ("Retry",),
    "wf.engine.core.runnable": ("Runnable", "step", "task"),
    "wf.engine.core.schedules": ("schedules",),
    "wf.engine.core.ticks": ("ScheduleTick",),
    "wf.engine.core.triggers": ("BatchOptions", "Debounce", "TriggerOptions"),
    "wf.engine.core.waits": ("wait",),
    "wf.engine.engine": ("Engine", "run"),
    "wf.engine.notes": ("metadata", "stream", "tags"),
    "wf.engine.telling": (
        *("Canceled", "Completed", "Failed", "Resumed", "Started", "Succeeded", "Waiting"),
    ),
    "wf.engine.transaction": ("transaction",),
    "wf.history.errors": (
        *(
            "Abort",
            "AlreadyEnded",
            "AuthorError",
            "BadURL",
            "CannotFork",
            "CannotJoin",
            "CodecError",
        ),
        *("ConfigError", "DeclarationError", "Error", "InitFailed", "TransactionTooLong"),
        *(
            "MessageTimedOut",
            "NonDeterminism",
            "NotConnected",
            "NotDeterministic",
            "NotFound",
            "NotInRun",
            "NotInStep",
        ),
        *("OperationError", "OperationNeverAwaited", "OperatorError", "PayloadError"),
        *(
            "PayloadTooLarge",
            "ProcessDied",
            "RetryAfter",
            "RunCanceled",
            "RunError",
            "RunExpired",
            "RunFailed",
        ),
        *("RunTimedOut", "StepFailed", "StepInterrupted", "StepTimedOut", "StoreNewer"),
        *("CannotPromote", "StoreMoved"),
        *("StoreUnavailable", "TokenCanceled", "TokenTimedOut", "UnknownExecutor", "UnknownTask"),
        *("IdempotencyConflict", "WrongStatus"),
    ),
    "wf.history.events": ("Status",),
    "wf.history.sealing": ("Codec",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME, "testing"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "testing":
        return import_module("wf.testing")
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'wf' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
