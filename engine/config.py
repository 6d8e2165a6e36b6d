"""`wf_config.py`: one object that says what holds in a project."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, cast

from wf.engine.core.durations import Duration, milliseconds
from wf.engine.core.hooks import HOOK_NAMES, GivenHooks, GivenInits, Hooks, hooks_of
from wf.engine.core.retry import DEFAULT_STEP_RETRY, Retry
from wf.engine.middleware import Middleware, check_middleware
from wf.engine.policies import Policies
from wf.history import project
from wf.history.connections import DEFAULT_ENVIRONMENT
from wf.history.errors import ConfigError, DeclarationError
from wf.history.sealing import Codec, check_codec


@dataclass(frozen=True, slots=True)
class Retries:
    """default: the policy of steps without one of their own. enabled_in_dev: False makes every
    attempt the last one in the environment "dev", so that errors show at once."""

    default: Retry = DEFAULT_STEP_RETRY
    enabled_in_dev: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What holds in a project: `config = wf.Config(…)` in wf_config.py at its root.

    project: its name (default: its folder's). database: a URL or a path from the root. dirs:
    folders with tasks, from the root. retries: see `wf.Retries`. max_duration: how long a run may
    be active where nothing else is said. log_level: of the loggers `wf.*` in workers. executors: by
    the name that steps give. codec: seals values in the database (`wf.Codec`). Plain values
    may stand under `[tool.wf]` in pyproject.toml instead. on_start, on_wait, on_resume, on_success,
    on_failure, on_cancel, on_complete: hooks of all runs, a function or a list of them; those of a
    run's own task come after them. init: called once in each worker before its first run.
    middleware: context managers around bodies and steps (see `wf.engine.middleware`). Raises
    DeclarationError.
    """

    project: str = ""
    database: str = ""
    dirs: Iterable[str] = ("tasks",)
    retries: Retries = Retries()
    max_duration: Duration | None = None
    log_level: str = "INFO"
    executors: Mapping[str, Executor] = field(default_factory=dict[str, Executor])
    codec: Codec | None = None
    init: GivenInits = ()
    middleware: Sequence[Middleware] = ()
    on_start: GivenHooks = ()
    on_wait: GivenHooks = ()
    on_resume: GivenHooks = ()
    on_success: GivenHooks = ()
    on_failure: GivenHooks = ()
    on_cancel: GivenHooks = ()
    on_complete: GivenHooks = ()

    def __post_init__(self) -> None:
        if isinstance(self.dirs, str):
            raise DeclarationError(f"dirs={self.dirs!r}: give a list of folders, ['tasks']")
        object.__setattr__(self, "dirs", tuple(self.dirs))
        given = cast("object", self.retries)
        if not isinstance(given, Retries):
            raise DeclarationError(f"retries={given!r}: give wf.Retries(default=wf.Retry(…))")
        if self.codec is not None:
            check_codec(self.codec)
        if self.max_duration is not None:
            milliseconds(self.max_duration, "max_duration")
        if self.log_level.upper() not in logging.getLevelNamesMapping():
            raise DeclarationError(f"log_level={self.log_level!r}: give DEBUG, INFO, WARNING, …")
        _ = self.hooks
        object.__setattr__(self, "middleware", check_middleware(self.middleware))

    @property
    def hooks(self) -> Hooks:
        return hooks_of({name: getattr(self, name) for name in HOOK_NAMES}, "wf.Config")

    def policies(self, environment: str) -> Policies:
        """What holds in an environment for runnables that say nothing themselves."""
        return Policies(
            step_retry=self.retries.default,
            tries_again=self.retries.enabled_in_dev or environment != DEFAULT_ENVIRONMENT,
            max_duration_ms=milliseconds(self.max_duration, "max_duration")
            if self.max_duration is not None
            else 0,
        )


_PLAIN: Final = ("project", "database", "dirs", "max_duration", "log_level")
"""What may stand in pyproject.toml."""


def load_config() -> Config:
    """Of the project that the current folder is in; the defaults where it says nothing. Raises
    ConfigError."""
    given = project.settings()
    unknown = [name for name in given if name not in (*_PLAIN, "retries")]
    if unknown:
        raise ConfigError(
            f"[tool.wf] has no {unknown[0]!r}: there are {', '.join(_PLAIN)}, retries"
        )
    found = project.configured()
    if found is not None and not isinstance(found, Config):
        raise ConfigError(f"`config` in {project.CONFIG_FILE} is {found!r}: write wf.Config(…)")
    try:
        base = Config(**{name: _value(name, value) for name, value in given.items()})
        if found is None:
            return base
        own = {one.name: getattr(found, one.name) for one in fields(Config)}
        said = {name: value for name, value in own.items() if value != getattr(_DEFAULT, name)}
        merged = {one.name: getattr(base, one.name) for one in fields(Config)} | said
        return Config(**merged)
    except (DeclarationError, TypeError) as error:
        raise ConfigError(f"the project's settings: {error}") from error


def _value(name: str, value: Any) -> Any:
    if name != "retries":
        return value
    if not isinstance(value, dict):
        raise DeclarationError(f"retries={value!r}: write a table, [tool.wf.retries]")
    table: dict[str, Any] = dict(value)  # pyright: ignore[reportUnknownArgumentType]
    default = table.pop("default", None)
    return Retries(**table) if default is None else Retries(default=Retry(**default), **table)


_DEFAULT: Final = Config()


def task_folders(config: Config) -> list[Path]:
    """The folders of `dirs` that are there."""
    root = project.root()
    return [folder for name in config.dirs if (folder := root / name).is_dir()]
