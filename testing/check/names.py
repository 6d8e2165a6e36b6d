"""What the names in a function stand for: resolved to the objects themselves, as far as that can be
known without running it."""

from __future__ import annotations

import ast
import builtins
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any, Final

from wf.engine.core.runnable import Runnable


@dataclass(frozen=True, slots=True)
class Known:
    """This very object."""

    value: object


@dataclass(frozen=True, slots=True)
class Instance:
    """Some object of this class."""

    kind: type


Meaning = Known | Instance | None
"""None: not known."""

SETS: Final = (set, frozenset)
_SET_OPERATORS: Final = (ast.BitOr, ast.BitAnd, ast.BitXor, ast.Sub)
_SET_METHODS: Final = frozenset(
    {"union", "intersection", "difference", "symmetric_difference", "copy"}
)
_VIEWS: Final = frozenset({"keys", "items"})
"""Of a dict: combined with others they make a set."""
_LITERALS: Final[dict[type[ast.expr], type]] = {
    ast.Set: set,
    ast.SetComp: set,
    ast.List: list,
    ast.ListComp: list,
    ast.Dict: dict,
    ast.DictComp: dict,
    ast.Tuple: tuple,
    ast.JoinedStr: str,
}


class Scope:
    """The names of one function: its own, those it closes over, its module's, the builtins."""

    def __init__(self, fn: FunctionType, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.fn = fn
        cells = zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True)
        self._around = dict(cells)
        self._given: dict[str, list[ast.expr | None]] = {}
        self._imported: dict[str, Known] = {}
        self._parameters = _parameters(fn, node)
        self._asked: set[str] = set()
        for name, value in _bindings(node):
            self._given.setdefault(name, []).append(value)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                self._import(inner)

    def is_local(self, name: str) -> bool:
        return name in self._given or name in self._parameters or name in self._imported

    def meaning(self, node: ast.expr) -> Meaning:
        """What an expression stands for."""
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.Attribute):
            return _attribute(self.meaning(node.value), node.attr)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Await | ast.YieldFrom):
            return self._awaited(node.value)
        if isinstance(node, ast.Subscript):
            base = self.meaning(node.value)
            return base if isinstance(base, Known) and isinstance(base.value, type) else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, _SET_OPERATORS):
            sides = (node.left, node.right)
            return Instance(set) if any(self.is_set(side, views=True) for side in sides) else None
        if isinstance(node, ast.Constant):
            return Instance(type(node.value))
        if isinstance(node, ast.IfExp):
            one, other = self.meaning(node.body), self.meaning(node.orelse)
            return one if one == other else None
        kind = _LITERALS.get(type(node))
        return Instance(kind) if kind is not None else None

    def is_set(self, node: ast.expr, *, views: bool = False) -> bool:
        meaning = self.meaning(node)
        if isinstance(meaning, Known) and isinstance(meaning.value, SETS):
            return True
        if isinstance(meaning, Instance):
            return issubclass(meaning.kind, SETS)
        is_view = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        return views and is_view and node.func.attr in _VIEWS and not node.args  # type: ignore[attr-defined]

    # -- inside

    def _name(self, name: str) -> Meaning:
        if name in self._imported:
            return self._imported[name]
        if name in self._given:
            return self._assigned(name)
        if name in self._parameters:
            return self._parameters[name]
        if name in self._around:
            try:
                return Known(self._around[name].cell_contents)
            except ValueError:
                return None
        if name in self.fn.__globals__:
            return Known(self.fn.__globals__[name])
        return Known(getattr(builtins, name)) if hasattr(builtins, name) else None

    def _assigned(self, name: str) -> Meaning:
        """What all that is assigned to it agree on."""
        if name in self._asked:
            return None
        self._asked.add(name)
        try:
            found = {value and self.meaning(value) for value in self._given[name]}
        except TypeError:  # what has no hash is no class and no function
            return None
        finally:
            self._asked.discard(name)
        return found.pop() if len(found) == 1 else None

    def _call(self, node: ast.Call) -> Meaning:
        func = node.func
        if (
            isinstance(func, ast.Attribute)
            and func.attr in _SET_METHODS
            and self.is_set(func.value)
        ):
            return Instance(set)
        called = self.meaning(func)
        if not isinstance(called, Known):
            return None
        if isinstance(called.value, type):
            return Instance(called.value)
        if isinstance(called.value, FunctionType):
            return _returned(called.value)
        return None

    def _awaited(self, node: ast.expr) -> Meaning:
        if not isinstance(node, ast.Call):
            return None
        called = self.meaning(node.func)
        if isinstance(called, Known) and isinstance(called.value, Runnable):
            return _returned(called.value.fn)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        return None

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            module = node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
            found = _module(module)
            if found is not None and isinstance(node, ast.ImportFrom):
                found = getattr(found, alias.name, None)
            elif found is not None and not alias.asname:
                found = sys.modules.get(name)
            if found is not None:
                self._imported[name] = Known(found)


def _module(name: str) -> object:
    """What is imported already, or belongs to Python: others are not run for this."""
    if name in sys.modules:
        return sys.modules[name]
    return import_module(name) if name.partition(".")[0] in sys.stdlib_module_names else None


def _attribute(base: Meaning, name: str) -> Meaning:
    if base is None:
        return None
    if isinstance(base, Instance):
        hint = _hints(base.kind).get(name)
        if hint is not None:
            return _of_annotation(hint)
        found = getattr(base.kind, name, None)
    elif isinstance(base.value, ModuleType | type):
        found = getattr(base.value, name, None)
    elif name in dir(type(base.value)):
        found = getattr(type(base.value), name, None)
    else:
        # no property is run
        found = vars(base.value).get(name) if hasattr(base.value, "__dict__") else None
    return Known(found) if found is not None else None


def _hints(of: Any) -> dict[str, Any]:
    """Its annotations; none where they cannot be resolved."""
    try:
        return typing.get_type_hints(of)
    except Exception:
        return {}


def _returned(fn: Any) -> Meaning:
    return _of_annotation(_hints(fn).get("return"))


def _parameters(
    fn: FunctionType, node: ast.FunctionDef | ast.AsyncFunctionDef
) -> dict[str, Meaning]:
    hints = _hints(fn)
    given = node.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    found = {one.arg: _of_annotation(hints.get(one.arg)) for one in arguments}
    rest = [one.arg for one in (given.vararg, given.kwarg) if one is not None]
    return {**found, **dict.fromkeys(rest)}


def _of_annotation(annotation: Any) -> Meaning:
    kind = typing.get_origin(annotation) or annotation
    if isinstance(kind, type):
        return Instance(kind)
    return None


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """What is bound in a function, and to what; None where that is not a plain assignment."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assign):
            for target in inner.targets:
                yield from _targets(target, inner.value)
        elif isinstance(inner, ast.AnnAssign):
            yield from _targets(inner.target, ast.Call(inner.annotation, [], []))
        elif isinstance(inner, ast.NamedExpr):
            yield from _targets(inner.target, inner.value)
        elif isinstance(inner, ast.For | ast.AsyncFor | ast.comprehension):
            yield from _targets(inner.target, None)
        elif isinstance(inner, ast.withitem) and inner.optional_vars is not None:
            yield from _targets(inner.optional_vars, None)
        elif isinstance(inner, ast.ExceptHandler) and inner.name:
            yield inner.name, None
        elif inner is not node and isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            yield inner.name, None
            yield from ((one.arg, None) for one in inner.args.args)
        elif isinstance(inner, ast.Lambda):
            yield from ((one.arg, None) for one in inner.args.args)


def _targets(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple | ast.List):
        for one in target.elts:
            yield from _targets(one, None)
    elif isinstance(target, ast.Starred):
        yield from _targets(target.value, None)
