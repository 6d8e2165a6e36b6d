"""The documentation as a program: its blocks, run in the order in which they stand.

- ```python whose first line is `# name.py` is that file in the reader's folder; any other is typed
  into one interpreter per page (`await` at the top is fine there);
- ```text after it is what it prints;
- ```console is what is typed into a shell (`$ …`), with lines that come back, in this order and
  perhaps with others between; `…` stands for anything; where the last one begins with `wf: ` the
  command fails; a command that ends in `&` goes on until the
  page ends;
- ```python other is another engine's code: it only has to be Python;
- all else (```sh, ```ts, …) is not run.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)\n")
COMMAND_SECONDS = 60


@dataclass(frozen=True)
class Block:
    """`line`: where it stands in its page."""

    language: str
    note: str
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    source = page.read_text(encoding="utf-8")
    return [
        Block(found[1], found[2].strip(), found[3], source.count("\n", 0, found.start()) + 1)
        for found in _FENCE.finditer(source)
    ]


@dataclass
class Reader:
    """Somebody who types a page into a new folder. `close` ends what still runs."""

    page: Path
    folder: Path
    printed: str = ""
    module: types.ModuleType = field(default_factory=lambda: types.ModuleType("page"))
    left: list[subprocess.Popen[str]] = field(default_factory=list[subprocess.Popen[str]])

    def read(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            for block in blocks_of(self.page):
                where = f"{self.page.name}:{block.line}"
                match block.language, block.note:
                    case "python", "other":
                        ast.parse(block.text)
                    case "python", _:
                        self._type(block, loop)
                    case "text", _:
                        assert matches(block.text, self.printed), f"{where}\n{self.printed}"
                    case "console", _:
                        for command, expected in commands_of(block.text):
                            self._run(command, expected, where)
                    case _:
                        pass
        finally:
            loop.close()

    def _type(self, block: Block, loop: asyncio.AbstractEventLoop) -> None:
        named = _FILE.match(block.text)
        if named:
            (self.folder / named[1]).write_text(block.text, encoding="utf-8")
            return
        text = "\n" * block.line + block.text
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(text, str(self.page), "exec", flags=flags, dont_inherit=True)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            if code.co_flags & inspect.CO_COROUTINE:
                loop.run_until_complete(eval(code, vars(self.module)))
            else:
                exec(code, vars(self.module))  # noqa: S102
        self.printed = out.getvalue()

    def _run(self, command: str, expected: str, where: str) -> None:
        fails = expected.strip().rpartition("\n")[2].startswith("wf: ")
        if command.endswith("&"):
            self.left.append(self._shell(f"exec {command.removesuffix('&').strip()}"))
            return
        process = self._shell(command)
        printed, _ = process.communicate(timeout=COMMAND_SECONDS)
        assert matches(expected, printed), f"{where} $ {command}\n{printed}"
        assert (process.returncode != 0) is fails, f"{where} $ {command}\n{printed}"

    def _shell(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=_environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def close(self) -> None:
        for process in self.left:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(str(self.folder)):
                del sys.modules[name]


def commands_of(text: str) -> Iterator[tuple[str, str]]:
    """Each `$ command`, with the lines that follow it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def matches(expected: str, printed: str) -> bool:
    """Every expected line comes, in this order; `…` is anything."""
    lines = iter(line.strip() for line in printed.splitlines())
    for wanted in expected.splitlines():
        pattern = re.compile(".*".join(map(re.escape, wanted.strip().split("…"))))
        if wanted.strip() and not any(pattern.fullmatch(line) for line in lines):
            return False
    return True


def _environment() -> dict[str, str]:
    folder = Path(sys.executable).parent
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WF_")}
    return kept | {"PATH": f"{folder}:{os.environ['PATH']}", "COLUMNS": "200"}
