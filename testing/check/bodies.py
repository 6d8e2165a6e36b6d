"""A static look at task bodies: what is not deterministic in them, and what never happens.

Names are resolved to objects (`names`), so that `from datetime import datetime as when` hides
nothing and a method of one's own called `now` is nobody's clock. Functions of the project that a
body calls are a part of it; libraries are trusted.
"""

from __future__ import annotations

import ast
import inspect
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

from wf.engine.core.runnable import Runnable
from wf.testing.check import rules
from wf.testing.check.names import Known, Scope
from wf.testing.check.rules import Rule

IGNORE: Final = "# wf: ignore"
"""At the end of a line: nothing is said of it. `# wf: ignore[clock]`: nothing of that rule."""

_WALKERS: Final = frozenset({list, tuple, enumerate, iter, zip, map, reversed, dict})
"""What walks a set in its order. (`sorted`, `len`, `sum` and the like do not care.)"""
_MUTATORS: Final = frozenset(
    {
        *("append", "extend", "insert", "pop", "popitem", "remove", "clear", "add", "discard"),
        *("update", "setdefault", "appendleft", "popleft"),
    }
)
_VERBS: Final = frozenset(
    {"trigger", "trigger_and_wait", "batch_trigger", "batch_trigger_and_wait", "__call__"}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a body, or of a function that it calls. `file`: as Python knows it; lines and
    columns count from 1."""

    rule: Rule
    file: str
    line: int
    column: int
    task: str
    what: str
    """The code that it is about."""

    @property
    def message(self) -> str:
        return f"`{self.what}` {self.rule.why}; write instead: {self.rule.instead}"


def check_bodies(runnables: Iterable[Runnable[..., Any]]) -> list[Finding]:
    """Look at the bodies of these tasks, and at what they call. In the order of files and lines,
    each line once for each rule."""
    found: dict[tuple[str, int, int, str], Finding] = {}
    for runnable in runnables:
        if runnable.kind == "task":
            for one in _Body(runnable.id).look(runnable.fn):
                found.setdefault((one.file, one.line, one.column, one.rule.name), one)
    return [found[place] for place in sorted(found)]


class _Body:
    """A task, with all functions of the project that it calls."""

    def __init__(self, task: str) -> None:
        self.task = task
        self._seen: set[object] = set()

    def look(self, fn: Any) -> Iterator[Finding]:
        fn = inspect.unwrap(fn)
        if fn in self._seen or not isinstance(fn, FunctionType):
            return
        self._seen.add(fn)
        source = _source(fn)
        if source is None:
            return
        node, lines = source
        look = _Look(self.task, fn, node, lines)
        look.visit_all()
        yield from look.found
        for called in look.calls:
            if _is_own(called):
                yield from self.look(called)


class _Look(ast.NodeVisitor):
    """One function."""

    def __init__(
        self,
        task: str,
        fn: FunctionType,
        node: ast.FunctionDef | ast.AsyncFunctionDef,
        lines: list[str],
    ) -> None:
        self.found: list[Finding] = []
        self.calls: list[Any] = []
        """Functions that it calls."""
        self._task = task
        self._file = fn.__code__.co_filename
        self._first = fn.__code__.co_firstlineno
        self._node = node
        self._lines = lines
        self._scope = Scope(fn, node)
        self._is_async = isinstance(node, ast.AsyncFunctionDef)
        self._unordered = {one for call in ast.walk(node) for one in self._given_whole(call)}

    def _given_whole(self, node: ast.AST) -> Iterable[ast.expr]:
        """What is given to somebody who does not care for its order."""
        if not isinstance(node, ast.Call):
            return ()
        meaning = self._scope.meaning(node.func)
        return node.args if isinstance(meaning, Known) and _in(meaning.value, _CAREFREE) else ()

    def visit_all(self) -> None:
        for statement in self._node.body:
            self.visit(statement)

    def _tell(self, rule: Rule, node: ast.expr | ast.stmt, what: str = "") -> None:
        line = self._lines[node.lineno - 1]
        _, marker, names = line.partition(IGNORE)
        if marker and (not names.startswith("[") or rule.name in names):
            return
        text = " ".join((what or ast.unparse(node)).split())
        shown = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
        at = self._first + node.lineno - 1
        place = (self._file, at, _column(line, node) + 1)
        self.found.append(Finding(rule, *place, self._task, shown))

    # -- calls

    def visit_Call(self, node: ast.Call) -> None:
        meaning = self._scope.meaning(node.func)
        if self._is_plain_function(node.func):
            self._tell(rules.FN, node)
        elif isinstance(meaning, Known):
            self._called(meaning.value, node)
        self._mutated(node)
        self._walked(node, meaning)
        self.generic_visit(node)

    def _is_plain_function(self, func: ast.expr) -> bool:
        """`charge.fn`."""
        if not isinstance(func, ast.Attribute) or func.attr != "fn":
            return False
        owner = self._scope.meaning(func.value)
        return isinstance(owner, Known) and isinstance(owner.value, Runnable)

    def _called(self, called: object, node: ast.Call) -> None:
        rule = rules.rule_of_call(called)
        if rule is not None:
            self._tell(rule, node)
        elif isinstance(called, FunctionType):
            self.calls.append(called)
        elif isinstance(called, type):
            default = rules.default_rule(called)
            given = {keyword.arg for keyword in node.keywords}
            if default is not None and default[0] not in given and None not in given:
                self._tell(default[1], node, f"{called.__name__}.{default[0]}")
            self.calls.append(getattr(called, "__init__", None))

    def _mutated(self, node: ast.Call) -> None:
        """A method that changes a list or dict of the module."""
        func = node.func
        if isinstance(func, ast.Attribute) and func.attr in _MUTATORS:
            owner = self._scope.meaning(func.value)
            if isinstance(owner, Known) and not isinstance(owner.value, ModuleType):
                self._stored(func.value, node)

    def _walked(self, node: ast.Call, meaning: object) -> None:
        func = node.func
        method, owner = (
            (func.attr, func.value) if isinstance(func, ast.Attribute) else ("", node.func)
        )
        if method == "pop" and not node.args and self._scope.is_set(owner):
            self._tell(rules.SET_ORDER, node)
        walks = isinstance(meaning, Known) and _in(meaning.value, _WALKERS)
        joins = method in ("join", "extend")
        for argument in node.args:
            inner = argument.value if isinstance(argument, ast.Starred) else argument
            walks = walks or isinstance(argument, ast.Starred)
            if (walks or joins) and self._scope.is_set(inner):
                self._tell(rules.SET_ORDER, inner)

    # -- values

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._looked_at(node)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self._looked_at(node)

    def _looked_at(self, node: ast.Attribute | ast.Name) -> None:
        meaning = self._scope.meaning(node)
        rule = rules.rule_of_value(meaning.value) if isinstance(meaning, Known) else None
        if rule is not None:
            self._tell(rule, node)

    # -- sets

    def visit_For(self, node: ast.For) -> None:
        if self._scope.is_set(node.iter):
            self._tell(rules.SET_ORDER, node.iter)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehended(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehended(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehended(node)

    def _comprehended(self, node: ast.ListComp | ast.DictComp | ast.GeneratorExp) -> None:
        for one in node.generators:
            if self._scope.is_set(one.iter) and node not in self._unordered:
                self._tell(rules.SET_ORDER, one.iter)
        self.generic_visit(node)

    # -- state of the process

    def visit_Global(self, node: ast.Global) -> None:
        self._tell(rules.STATE, node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._assigned(target, node)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._assigned(node.target, node)
        self.generic_visit(node)

    def _assigned(self, target: ast.expr, node: ast.stmt) -> None:
        if isinstance(target, ast.Attribute | ast.Subscript):
            self._stored(target.value, node)

    def _stored(self, owner: ast.expr, node: ast.stmt | ast.expr) -> None:
        root = owner
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        if not isinstance(root, ast.Name) or self._scope.is_local(root.id):
            return
        meaning = self._scope.meaning(owner)
        if isinstance(meaning, Known) and not isinstance(meaning.value, Runnable):
            module = getattr(type(meaning.value), "__module__", "")
            if not module.startswith("wf."):
                self._tell(rules.STATE, node)

    # -- what never happens

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Call) and self._is_operation(call):
            rule = rules.NEVER_AWAITED if self._is_async else rules.NEVER_YIELDED
            self._tell(rule, call)
        self.generic_visit(node)

    def _is_operation(self, call: ast.Call) -> bool:
        """Does it only make something that has to be awaited?"""
        meaning = self._scope.meaning(call.func)
        if isinstance(meaning, Known) and isinstance(meaning.value, Runnable):
            return True
        if isinstance(call.func, ast.Attribute):
            owner = self._scope.meaning(call.func.value)
            if isinstance(owner, Known) and isinstance(owner.value, Runnable):
                return call.func.attr in _VERBS
        if isinstance(meaning, Known) and inspect.isfunction(meaning.value):
            hint = meaning.value.__annotations__.get("return", "")
            return inspect.iscoroutinefunction(meaning.value) or "Operation[" in str(hint)
        return False


SHOWN: Final = 80
"""Characters of the code in a message."""
_CAREFREE: Final = frozenset({sorted, len, sum, min, max, any, all, set, frozenset})


def _in(value: object, known: frozenset[Any]) -> bool:
    try:
        return value in known
    except TypeError:  # it has no hash
        return False


def _column(line: str, node: ast.expr | ast.stmt) -> int:
    """In characters, where the parser counts bytes."""
    return len(line.encode()[: node.col_offset].decode(errors="replace"))


def _source(
    fn: FunctionType,
) -> tuple[ast.FunctionDef | ast.AsyncFunctionDef, list[str]] | None:
    """Its tree and its lines; None: there is no source."""
    try:
        lines, _ = inspect.getsourcelines(fn)
    except (OSError, TypeError):
        return None
    text = textwrap.dedent("".join(lines))
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    node = tree.body[0] if tree.body else None
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node, text.splitlines()
    return None


@cache
def _foreign() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    ours = Path(inspect.getfile(Runnable)).resolve().parents[2]
    here = {Path(paths[name]).resolve() for name in ("stdlib", "purelib", "platlib")}
    return (*here, *(ours / name for name in ("engine", "history", "client", "cli", "testing")))


def _is_own(fn: Any) -> bool:
    """Of the project, and no library's."""
    fn = inspect.unwrap(fn) if callable(fn) else fn
    if not isinstance(fn, FunctionType):
        return False
    file = Path(fn.__code__.co_filename).resolve()
    return file.is_file() and not any(root in file.parents for root in _foreign())
