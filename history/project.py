"""The project that somebody works in: its root, and what its `wf_config.py` and `[tool.wf]` say.

The objects in `wf_config.py` are `wf.engine.config`'s; here only the database's name and the
codec are read.
"""

from __future__ import annotations

import sys
import tomllib
import traceback
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from wf.history.errors import ConfigError

if TYPE_CHECKING:
    from wf.history.sealing import Codec

CONFIG_FILE: Final = "wf_config.py"
_MARKS: Final = (CONFIG_FILE, "pyproject.toml", ".git")


def root() -> Path:
    """The nearest folder upwards with a wf_config.py, else with a pyproject.toml or .git, else the
    current one."""
    here = Path.cwd()
    folders = [here, *here.parents]
    for marks in (_MARKS[:1], _MARKS[1:]):
        for folder in folders:
            if any((folder / mark).exists() for mark in marks):
                return folder
    return here


def settings() -> dict[str, Any]:
    """`[tool.wf]` of the root's pyproject.toml. Raises ConfigError."""
    return _settings(root() / "pyproject.toml")


def configured() -> object | None:
    """What the root's wf_config.py calls `config`; None: there is no such file. Raises
    ConfigError."""
    return _configured(root() / CONFIG_FILE)


def database() -> str:
    """The URL that the project names, a relative path from its root (its folder is made); "": it
    names none. Raises ConfigError."""
    url = getattr(configured(), "database", "") or settings().get("database", "")
    if not isinstance(url, str):
        raise ConfigError(f"database={url!r}: give a URL or a path as a string")
    path = url.removeprefix("sqlite:///")
    if not url or "://" in path or path.startswith(("/", "~")):
        return url
    file = root() / path
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"database={url!r}: {error}") from error
    return f"sqlite:///{file}"


def codec() -> Codec | None:
    """What `config` in the root's wf_config.py seals values with. Raises ConfigError."""
    return getattr(configured(), "codec", None)


@cache
def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from error
    found = table.get("tool", {}).get("wf", {})
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: [tool.wf] is no table")
    return cast("dict[str, Any]", found)


@cache
def _configured(file: Path) -> object | None:
    if not file.is_file():
        return None
    spec = spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    module = sys.modules[file.stem] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[file.stem]
        raise ConfigError(f"{_place(error, file)}: {type(error).__name__}: {error}") from error
    config = getattr(module, "config", None)
    if config is None:
        raise ConfigError(f"{file} has no `config`: write `config = wf.Config(project=…)`")
    return config


def _place(error: Exception, file: Path) -> str:
    """The last line of the file that led to it."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(file)
    ]
    return f"{file}:{lines[-1]}" if lines else str(file)
