"""The public face: complete, lazy, and nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

from msgspec import Struct

import wf
import wf.testing
from wf.engine.author import RunContext, StepContext, TaskContext

ROOT = Path(__file__).resolve().parent.parent


def test_what_editors_see_is_what_there_is() -> None:
    module = ast.parse((ROOT / "wf" / "__init__.py").read_text())
    [guarded] = [node for node in module.body if isinstance(node, ast.If)]
    seen = {
        alias.asname or alias.name
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == set(wf.__all__)


def test_every_public_name_resolves_and_has_a_docstring() -> None:
    aliases = {"Gen"}
    undocumented = [name for name in wf.__all__ if not getattr(wf, name).__doc__]
    assert set(undocumented) <= aliases


def test_importing_wf_imports_nothing_heavy() -> None:
    heavy = ["pydantic", "sqlalchemy", "alembic", "psycopg", "rich", "typer", "hypothesis"]
    code = f"import sys, wf; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_running_a_task_on_sqlite_imports_neither_sqlalchemy_nor_alembic(tmp_path: Path) -> None:
    code = (
        "import sys, wf\n"
        "@wf.task\nasync def hello(name: str) -> str:\n    return f'hi {name}'\n"
        f"assert wf.run(hello, 'x', database={str(tmp_path / 'wf.db')!r}) == 'hi x'\n"
        "print([name for name in ('sqlalchemy', 'alembic', 'psycopg') if name in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_every_error_has_a_code_of_its_own() -> None:
    errors = [
        value
        for name in wf.__all__
        if isinstance(value := getattr(wf, name), type) and issubclass(value, wf.Error)
    ]
    codes = {error.code for error in errors}
    assert len(codes) == len(errors)
    assert all(code.startswith("WF") for code in codes)


def test_classes_that_users_see_are_no_structs_of_the_engines() -> None:
    """They are asked with `dataclasses`, and carried by pydantic."""
    names = [*wf.__all__, *(f"testing.{name}" for name in wf.testing.__all__)]
    found = {name: attrgetter(name)(wf) for name in names}
    context = [TaskContext, RunContext, StepContext]
    classes = [*(one for one in found.values() if isinstance(one, type)), *context]
    assert [one for one in classes if issubclass(one, Struct)] == []
