"""What is typed as a payload, as JSON: a JSON text, `@file`, `-`, a bare word, or fields after
`--`, each converted by the annotation of the task."""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from pydantic import BaseModel, TypeAdapter

from wf.engine.core.runnable import Runnable
from wf.history.errors import PayloadError

_STRUCTURES: Final = ("{", "[", '"')


def payload_for(task: Runnable[..., Any], given: str | None, fields: Sequence[str]) -> bytes:
    """The payload as it is stored, checked. Raises PayloadError, naming the field."""
    if given is not None and fields:
        raise PayloadError(f"{task.id} was given a payload and fields after `--`: give one of them")
    if fields:
        return task.signature.validate(_of_fields(task, fields))
    if given is None:
        return _nothing(task)
    return _of_text(task, _read(given))


def any_payload(given: str | None, fields: Sequence[str]) -> Any:
    """A payload for a task of which only the name is known: JSON, or else a word."""
    if fields:
        pairs = _pairs(fields)
        return {name.replace("-", "_"): json_or_word(values[-1]) for name, values in pairs.items()}
    if given is None:
        return None
    text = _read(given)
    if text.lstrip().startswith(_STRUCTURES):
        return json.loads(_checked(text, "the payload"))
    return json_or_word(text)


def json_data(given: str) -> Any:
    """JSON, `@file` or `-`; a bare word is a string."""
    return any_payload(given, ())


def json_or_word(text: str) -> Any:
    """JSON; what is none is a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read(given: str) -> str:
    if given == "-":
        return sys.stdin.read()
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise PayloadError(f"{given[1:]} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PayloadError(f"{given[1:]} is not UTF-8 text: {error.reason}") from error


def _nothing(task: Runnable[..., Any]) -> bytes:
    signature = task.signature
    required = [one.name for one in signature.parameters if one.default is one.empty]
    if required:
        raise PayloadError(f"{task.id} takes a payload ({', '.join(required)}): {_usage(task)}")
    return b"null" if signature.form != "object" else signature.validate(b"{}")


def _usage(task: Runnable[..., Any]) -> str:
    names = list(_annotations(task)[1])
    if not names:
        return "give JSON, @file, or - for standard input"
    return "give JSON, @file, -, or fields: -- " + " ".join(f"{_option(name)} …" for name in names)


def _of_text(task: Runnable[..., Any], text: str) -> bytes:
    """JSON where it fits, else the text itself as a string where that fits."""
    signature = task.signature
    refused: PayloadError | None = None
    is_json = True
    try:
        json.loads(text)
    except ValueError:
        is_json = False
    if is_json:
        if signature.form == "none" and text.strip() != "null":
            raise PayloadError(f"{task.id} takes no payload: leave it out")
        try:
            return signature.validate(text.encode())
        except PayloadError as error:
            refused = error
    if signature.form == "bare":
        is_text = _annotations(task)[0] is str
        if is_text or not text.lstrip().startswith(_STRUCTURES):
            try:
                return signature.validate(json.dumps(text).encode())
            except PayloadError as error:
                refused = refused or error
    if refused is not None:
        raise refused
    _checked(text, f"payload of {task.id}")
    raise PayloadError(f"{text!r} does not fit {task.id}: {_usage(task)}")


def _checked(text: str, what: str) -> str:
    """Raises PayloadError where the text is no JSON, with the place."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise PayloadError(
            f"{what} is no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    return text


# --- fields ---------------------------------------------------------------------------------------


def _annotations(task: Runnable[..., Any]) -> tuple[Any, dict[str, Any]]:
    """(annotation of a bare payload, the fields that may be given, by name)."""
    signature = task.signature
    hints = typing.get_type_hints(task.fn, include_extras=True)
    parameters = {one.name: hints.get(one.name, Any) for one in signature.parameters}
    if signature.form != "bare":
        return Any, parameters
    name = signature.bare.name
    annotation = parameters.pop(name)
    inner = _fields_of(annotation)
    return annotation, (inner if inner is not None else {name: annotation}) | parameters


def _fields_of(annotation: Any) -> dict[str, Any] | None:
    """The fields of a model, a dataclass or a TypedDict; None for anything else."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {
            info.alias or name: info.rebuild_annotation()
            for name, info in annotation.model_fields.items()
        }
    if _has_fields(annotation):
        return typing.get_type_hints(cast("type", annotation))
    return None


def _has_fields(annotation: Any) -> bool:
    return isinstance(annotation, type) and (
        dataclasses.is_dataclass(annotation) or hasattr(annotation, "__total__")  # pyright: ignore[reportUnknownArgumentType]
    )


def _of_fields(task: Runnable[..., Any], words: Sequence[str]) -> bytes:
    bare, fields = _annotations(task)
    given: dict[str, Any] = {}
    for option, values in _pairs(words).items():
        name = _match(option, fields)
        if name is None:
            options = ", ".join(_option(one) for one in fields) or "none"
            raise PayloadError(f"{task.id} has no field --{option}; there are {options}")
        given[name] = _value(task, name, fields[name], values)
    signature = task.signature
    if signature.form != "bare":
        return json.dumps(given).encode()
    beside = {one.name for one in signature.parameters} - {signature.bare.name}
    inner = {name: value for name, value in given.items() if name not in beside}
    outer = {name: value for name, value in given.items() if name in beside}
    payload: Any = inner if _fields_of(bare) is not None else inner.get(signature.bare.name)
    if not outer:
        return json.dumps(payload).encode()
    return json.dumps({"wf.arguments": {signature.bare.name: payload} | outer}).encode()


def _pairs(words: Sequence[str]) -> dict[str, list[str]]:
    """`--a 1 --b=2 --flag`: a flag without a value is true, or false with `no-` before it."""
    pairs: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise PayloadError(f"{word!r} is no field: write -- --name value")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if rest and not rest[0].startswith("--"):
                value = rest.pop(0)
            else:
                value = "false" if name.startswith("no-") else "true"
                name = name.removeprefix("no-")
        pairs.setdefault(name, []).append(value)
    return pairs


def _match(option: str, fields: Mapping[str, Any]) -> str | None:
    return next((name for name in fields if _option(name) == f"--{option.replace('_', '-')}"), None)


def _option(name: str) -> str:
    return f"--{name.strip('_').replace('_', '-')}"


def _value(task: Runnable[..., Any], name: str, annotation: Any, words: Sequence[str]) -> Any:
    """A word, or several of one name, as the plain JSON value of an annotation."""
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    problem = ""
    for form in _forms(annotation, words):
        try:
            value = adapter.validate_json(json.dumps(form), strict=False)
        except ValueError as error:
            problem = problem or _problem(error)
        else:
            return json.loads(adapter.dump_json(value, by_alias=True))
    raise PayloadError(f"payload of {task.id}: {_option(name)}: {problem} (got {words[-1]!r})")


def _forms(annotation: Any, words: Sequence[str]) -> list[Any]:
    """What the words may mean, likeliest first."""
    parsed: list[Any] = []
    for word in words:
        try:
            parsed.append(json.loads(word))
        except ValueError:
            parsed.append(word)
    if len(words) > 1:
        return [list(words), parsed]
    forms = [words[0], parsed[0], [words[0]], parsed]
    return [parsed[0], words[0]] if annotation is Any else forms


def _problem(error: ValueError) -> str:
    problems = getattr(error, "errors", None)
    return str(problems()[0]["msg"]) if problems is not None else str(error)
