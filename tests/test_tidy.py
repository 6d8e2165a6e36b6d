"""What keeps the code readable, checked on every file: sizes, bans, nothing of one machine's."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_FUNCTION_LINES = 70
MAX_MODULE_LINES = 500
MAY_SLEEP = {"tests/postgres_server.py"}
"""Waits for processes that are not its children, for which the system has no signal."""
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+)/")
SKIPS = {"pytest.skip", "pytest.importorskip", "pytest.mark.skip", "pytest.mark.skipif"}


def files(*suffixes: str) -> list[Path]:
    """The repository's files, those not yet committed included, those ignored not."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    paths = [ROOT / name for name in listed.decode().split("\0") if name.endswith(suffixes)]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def modules(folder: str = "") -> Iterator[tuple[str, ast.Module]]:
    for path in files(".py"):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(folder):
            yield name, ast.parse(path.read_text())


def test_no_module_is_longer_than_500_lines() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in files(".py")}
    assert lengths
    assert [f"{path}: {n} lines" for path, n in lengths.items() if n > MAX_MODULE_LINES] == []


def test_no_function_is_longer_than_70_lines() -> None:
    too_long: list[str] = []
    for name, module in modules():
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    too_long.append(f"{name}:{node.lineno} {node.name}: {lines} lines")
    assert too_long == []


def test_no_test_sleeps_or_skips() -> None:
    found: list[str] = []
    for name, module in modules("tests/"):
        for node in ast.walk(module):
            match node:
                case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
                    if name not in MAY_SLEEP:
                        found.append(f"{name}:{node.lineno} time.sleep")
                case ast.ImportFrom(module="time", names=names):
                    if any(alias.name == "sleep" for alias in names):
                        found.append(f"{name}:{node.lineno} from time import sleep")
                case ast.Attribute() if ast.unparse(node) in SKIPS:
                    found.append(f"{name}:{node.lineno} {ast.unparse(node)}")
                case _:
                    pass
    assert found == []


def test_nothing_names_a_path_of_one_machine() -> None:
    found: list[str] = []
    for path in files(""):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []
