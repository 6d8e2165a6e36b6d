"""From what somebody types (`FILE`, `FILE:TASK`, `package.module`) to the runnables in it."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from wf.engine.config import load_config, task_folders
from wf.engine.core.runnable import Runnable
from wf.engine.registry import Registry
from wf.engine.source import spec_of
from wf.history import project
from wf.history.errors import CannotLoad, Error, UnknownTask

_TASK: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HERE: Final = Path(__file__).resolve().parent
_IMPORTS_WF: Final = re.compile(r"^\s*(import|from) wf\b", re.MULTILINE)
_DOTTED: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def split_target(target: str) -> tuple[str, str]:
    """`FILE:TASK` as (FILE, TASK); TASK is "" where it is left out."""
    head, colon, tail = target.rpartition(":")
    if colon and head and _TASK.fullmatch(tail) and not Path(target).exists():
        return head, tail
    return target, ""


def load(target: str) -> tuple[ModuleType, Registry]:
    """Import a file or a module; answer it with the runnables that it and its imports define.

    Raises CannotLoad, naming the line, and DeclarationError.
    """
    before = set(sys.modules)
    module = _import(target)
    fresh = [found for name, found in list(sys.modules.items()) if name not in before]
    return module, Registry([module, *(one for one in fresh if _is_module(one))])


def load_all(targets: Iterable[str]) -> Registry:
    """The runnables of several files and modules. Raises CannotLoad, DeclarationError."""
    together = Registry()
    targets = list(targets)
    for target in targets:
        for runnable in load(target)[1]:
            together.add(runnable)
    if not together.ids:
        raise CannotLoad(
            f"no task in {', '.join(targets)}: write `@wf.task` above an `async def` at the top"
        )
    return together


def discover() -> Registry:
    """The runnables of the project here: all modules below the folders that its config names, by
    their dotted names from its root. Raises CannotLoad, DeclarationError, ConfigError."""
    config, root = load_config(), project.root()
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    found = Registry()
    for file in (file for folder in task_folders(config) for file in sorted(folder.rglob("*.py"))):
        parts = file.relative_to(root).with_suffix("").parts
        if all(part.isidentifier() for part in parts):
            name = ".".join(parts).removesuffix(".__init__")
            found.add_module(_executed(name, partial(import_module, name)))
    if not found.ids:
        named = ", ".join(config.dirs)
        raise CannotLoad(
            f"no task below {root} in {named}: name a file, or write `wf init` for a first one"
        )
    return found


def registry_of(targets: Sequence[str]) -> Registry:
    """The runnables of these files and modules; of the project, where none is named."""
    return load_all(targets) if targets else discover()


def load_project(path: str) -> Registry:
    """The runnables of a file, a module, or of all files below a folder that name `wf`."""
    folder = Path(path)
    if not folder.is_dir():
        return load_all([path])
    files = [file for file in sorted(folder.rglob("*.py")) if _is_of_project(file, folder)]
    if not files:
        raise CannotLoad(f"no file below {path} imports wf: name the folder with the tasks")
    return load_all(map(str, files))


def _is_of_project(file: Path, folder: Path) -> bool:
    parts = file.relative_to(folder).parts
    if any(part.startswith((".", "__pycache__")) or part == "site-packages" for part in parts):
        return False
    return _IMPORTS_WF.search(file.read_text(encoding="utf-8", errors="replace")) is not None


def find(target: str) -> tuple[Registry, Callable[[], Runnable[..., Any]]]:
    """What somebody wants to run: FILE, FILE:TASK, a module, or the id of a task of the project
    here. Answers what is known beside it, and how to choose it (which raises UnknownTask)."""
    file, name = split_target(target)
    if _TASK.fullmatch(target) and not Path(target).exists() and task_folders(load_config()):
        registry = discover()
        if target in registry:
            return registry, lambda: registry.get(target)
    module, registry = load(file)
    return registry, lambda: choose(module, name, file)


def choose(module: ModuleType, name: str, target: str) -> Runnable[..., Any]:
    """The task of that id (or function name). Without a name: the one named like the file, else
    `main`, else the only one. Raises UnknownTask, listing what there is."""
    runnables = runnables_of(module)
    if name:
        found = _named(runnables, name)
        if found is None:
            raise UnknownTask(f"{target} has no task {name!r}: {_listed(runnables)}")
        return found
    tasks = [one for one in runnables if one.kind == "task"] or runnables
    stem = Path(module.__file__ or module.__name__).stem
    for wanted in (stem, "main"):
        found = _named(tasks, wanted)
        if found is not None:
            return found
    defined_here = [one for one in tasks if one.__module__ == module.__name__] or tasks
    if len(defined_here) == 1:
        return defined_here[0]
    if not tasks:
        raise UnknownTask(f"{target} has no task: write `@wf.task` above an `async def` at the top")
    raise UnknownTask(f"which task of {target}? {_listed(tasks)}: name one, `{target}:TASK`")


def runnables_of(module: ModuleType) -> list[Runnable[..., Any]]:
    """What a module's globals define and import, each once."""
    found: dict[int, Runnable[..., Any]] = {}
    for value in list(vars(module).values()):
        if isinstance(value, Runnable):
            found[id(value)] = value  # pyright: ignore[reportUnknownArgumentType]
    return list(found.values())


def _named(runnables: Sequence[Runnable[..., Any]], name: str) -> Runnable[..., Any] | None:
    kebab = name.strip("_").replace("_", "-")
    by_id = (one for one in runnables if one.id in (name, kebab))
    by_function = (one for one in runnables if one.__name__ == name)
    return next(by_id, None) or next(by_function, None)


def _listed(runnables: Sequence[Runnable[..., Any]]) -> str:
    ids = sorted(one.id for one in runnables)
    return f"there {'is' if len(ids) == 1 else 'are'} {', '.join(ids)}" if ids else "there is none"


# --- importing ------------------------------------------------------------------------------------


def _import(target: str) -> ModuleType:
    path = Path(target)
    if path.is_dir():
        raise CannotLoad(f"{target} is a directory: name a Python file in it")
    if path.is_file():
        return _import_file(path, target)
    if _DOTTED.fullmatch(target) and path.suffix != ".py":
        if path.with_suffix(".py").is_file() and "." not in target:
            raise CannotLoad(f"there is no file {target}: did you mean {target}.py?")
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        return _executed(target, lambda: import_module(target))
    raise CannotLoad(f"there is no file {target}: name a Python file with a `@wf.task` in it")


def _import_file(path: Path, target: str) -> ModuleType:
    """Under its real dotted name, as its own imports would find it; what a script may import,
    it may."""
    if path.suffix != ".py":
        raise CannotLoad(f"{target} is no Python file: its name has to end in .py")
    path = path.resolve()
    root, name = path.parent, path.stem
    while (root / "__init__.py").is_file():
        root, name = root.parent, f"{root.name}.{name}"
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    known = sys.modules.get(name)
    if known is not None and _same_file(known, path):
        return known
    if _DOTTED.fullmatch(name) and known is None and name not in sys.stdlib_module_names:
        if "." in name:
            return _executed(target, lambda: import_module(name))
    else:
        name = "wf_file_" + re.sub(r"\W", "_", path.stem)
    spec = spec_of(name, path)
    if spec is None or spec.loader is None:
        raise CannotLoad(f"{target} cannot be imported: its name has to end in .py")
    module = module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader

    def execute() -> ModuleType:
        try:
            loader.exec_module(module)
        except BaseException:
            sys.modules.pop(name, None)
            raise
        return module

    return _executed(target, execute)


def _executed(target: str, execute: Any) -> ModuleType:
    """What it raises on import is the author's, told with its line."""
    try:
        module: ModuleType = execute()
    except SyntaxError as error:
        raise CannotLoad(f"{error.filename}:{error.lineno}: {error.msg}") from error
    except Error as error:
        raise CannotLoad(f"{_place(error, target)}: {error}") from error
    except SystemExit as error:
        raise CannotLoad(f"{target} ended the program when it was imported: {error}") from error
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise CannotLoad(f"{_place(error, target)}: {told}") from error
    return module


def _place(error: Exception, target: str) -> str:
    """The last line of the author's code that led to it."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and _HERE not in Path(frame.filename).resolve().parents
    ]
    own = [frame for frame in frames if "site-packages" not in frame.filename]
    for frame in reversed(own or frames):
        return f"{_short(frame.filename)}:{frame.lineno}"
    return target


def _short(filename: str) -> str:
    """Relative to here, where it is below."""
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except ValueError:
        return filename


def _same_file(module: ModuleType, path: Path) -> bool:
    return bool(module.__file__) and Path(module.__file__ or "").resolve() == path


def _is_module(value: Any) -> bool:
    return type(value) is ModuleType and not value.__name__.startswith("wf.")
