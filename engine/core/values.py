"""Values: Python ↔ JSON by annotation, with pydantic.

What a body, a step or a caller receives is always decoded from the JSON that was stored, live as on
replay. A value that does not survive the way there and back is refused where it is given, with the
name of the field.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import isfinite
from typing import Annotated, Any, Final, Literal, NotRequired, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError
from typing_extensions import TypedDict

from wf.engine.core import sure
from wf.history.errors import (
    DeclarationError,
    HistoryUnreadable,
    PayloadError,
    PayloadTooLarge,
)
from wf.history.events import Event
from wf.history.limits import MAX_PAYLOAD_BYTES
from wf.history.sealing import check_open

_CONFIG: Final = ConfigDict(
    ser_json_bytes="base64", val_json_bytes="base64", arbitrary_types_allowed=False
)
_ARGUMENTS_CONFIG: Final = ConfigDict(
    ser_json_bytes="base64", val_json_bytes="base64", extra="forbid"
)
_WRAPPED: Final = "wf.arguments"
"""Key of the object that holds a call's arguments where the payload is bare but optional arguments
were given too."""


_MISFIT: Final = (PydanticSerializationError, ValueError, TypeError, RecursionError)
"""What pydantic raises for a value that is not of its annotation."""


class Shape:
    """One annotation: encodes, decodes and checks values of it.

    `where` names it in errors ("payload of onboarding").
    """

    def __init__(self, annotation: Any, where: str) -> None:
        self.where = where
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(
                annotation, config=None if _has_own_config(annotation) else _CONFIG
            )
        except Exception as error:
            raise DeclarationError(
                f"{where}: {annotation!r} is no type that JSON can carry ({_first_line(error)}); "
                "use pydantic models, dataclasses, TypedDicts or builtins"
            ) from error
        self._is_sure = sure.certainty_of(self._adapter.core_schema)
        self._dump = self._adapter.serializer.to_json
        self._load = self._adapter.validator.validate_json

    def encode(self, value: Any) -> bytes:
        """JSON of a value.

        Raises PayloadError where the value does not fit or would not come back the same.
        """
        data = self.encode_unchecked(value)
        if len(data) > sure.SURE_BYTES or not self._is_sure(value):
            self.check(value, data)
        return data

    def encode_unchecked(self, value: Any) -> bytes:
        """JSON of a value, without the look at what would come back of it."""
        try:
            data = self._dump(value, warnings=False)
        except _MISFIT as error:
            raise self._misfit(value, error) from error
        if len(data) > MAX_PAYLOAD_BYTES:
            raise PayloadTooLarge(
                f"{self.where} is {len(data):,} bytes, over the limit of {MAX_PAYLOAD_BYTES:,}: "
                "store it elsewhere and pass a reference"
            )
        return data

    def encode_plain(self, value: Any) -> bytes:
        """JSON of a value that is read under another annotation, or none: it may come back as
        plain values. Raises PayloadError for numbers that JSON does not have."""
        data = self.encode_unchecked(value)
        if b"null" in data and (lost := _not_finite(self._adapter.dump_python(value))) is not None:
            raise PayloadError(f"{self.where}: {lost!r} is no number of JSON, write None or a text")
        return data

    def check(self, value: Any, data: bytes) -> None:
        """Raise PayloadError, naming the field, where `data` does not come back as `value`.

        This is quicker than to have pydantic warn of values that do not fit (it takes ten times as
        long as to encode them), and sees those too; its words are asked for only then.
        """
        try:
            back = self._load(data)
        except ValueError as error:
            place = _no_number(value, "") or f": {describe(error)}"
        else:
            if _are_same(back, value):
                return
            place = _difference(value, back, "")
            if place is None:
                return
        try:
            self._dump(value, warnings="error")
        except _MISFIT as error:
            raise self._misfit(value, error) from error
        raise PayloadError(f"{self.where}{place}")

    def _misfit(self, value: Any, error: Exception) -> PayloadError:
        try:
            self._adapter.validate_python(value)
        except ValidationError as unfit:
            reason = describe(unfit)
        else:
            reason = _reason(error)
        return PayloadError(f"{self.where}: {_short(value)} does not fit its annotation: {reason}")

    def decode(self, data: bytes) -> Any:
        """The value of stored JSON.

        Raises PayloadError, naming the field, where it does not fit; CodecError where it is sealed.
        """
        try:
            return self._load(data)
        except (ValidationError, ValueError) as error:
            check_open(data, self.where)
            raise PayloadError(f"{self.where}: {describe(error)}") from error

    def json_schema(self) -> dict[str, Any]:
        return self._adapter.json_schema()


def check_json(event: Event) -> None:
    """Of a fact whose data could not be decoded: no code ever wrote what is no JSON. Raises
    HistoryUnreadable."""
    try:
        json.loads(event.data or b"null")
    except ValueError as error:
        raise HistoryUnreadable(
            f"WF2010 the data of event {event.seq} is no JSON ({error}): restore the database "
            "from before it was damaged, or cancel the run"
        ) from error


def _has_own_config(annotation: Any) -> bool:
    """True for classes that carry their pydantic config; another one is refused by pydantic."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return isinstance(annotation, type) and (
        issubclass(annotation, BaseModel)
        or dataclasses.is_dataclass(cast("type[Any]", annotation))
        or hasattr(cast("type[Any]", annotation), "__total__")
    )


def describe(error: Exception) -> str:
    """A validation error in one line: field and reason of its first problem."""
    if not isinstance(error, ValidationError):
        return _first_line(error)
    problem = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    more = error.error_count() - 1
    return (
        (f"{place}: " if place else "")
        + problem["msg"]
        + f" (got {_short(problem['input'])})"
        + (f", and {more} more" if more else "")
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _reason(error: BaseException) -> str:
    """pydantic's own words, without its heading and its codes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition(" - ")[2] or lines[-1] if lines else type(error).__name__


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "…"


def _difference(a: Any, b: Any, place: str) -> str | None:
    """Where a value and what came back of it differ, as ".field: reason"; None where they agree.

    Sequences are compared by their items: JSON has one kind only, and the annotation says which one
    comes back.
    """
    if isinstance(a, BaseModel) or dataclasses.is_dataclass(a):
        if type(a) is not type(b):
            name = type(a).__name__
            return f"{place}: a {name} comes back as {type(b).__name__}; annotate it as {name}"
        return _first(_fields(a), lambda name: getattr(b, name), place + ".")
    if isinstance(a, Mapping):
        if not isinstance(b, Mapping):
            return f"{place}: a mapping comes back as {type(b).__name__}"
        source, back = cast("Mapping[Any, Any]", a), cast("Mapping[Any, Any]", b)
        for key in source:
            if key not in back:
                return (
                    f"{place}: the key {key!r} does not come back; "
                    "JSON keys are strings, annotate the mapping"
                )
        return _first(source, lambda key: back[key], place + ".")
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        items, others = cast("Sequence[Any]", a), cast("Sequence[Any]", b)
        if len(items) != len(others):
            return f"{place}: {len(items)} items come back as {len(others)}"
        return _first(dict(enumerate(items)), lambda index: others[index], place + ".")
    return _leaf_difference(a, b, place)


def _leaf_difference(a: Any, b: Any, place: str) -> str | None:
    if _is_number(a) and _is_number(b) and a == b:
        return None
    if a == b and isinstance(b, type(a)):
        return None
    return (
        f"{place}: {_short(a)} comes back as {_short(b)}; "
        "JSON cannot carry it under this annotation"
    )


def _no_number(value: Any, place: str) -> str | None:
    """Where NaN or an infinity stands, of which JSON makes a null."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place}: {value} is no number that JSON can carry"
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        parts: Mapping[Any, Any] = _fields(value)
    elif isinstance(value, Mapping):
        parts = cast("Mapping[Any, Any]", value)
    elif isinstance(value, list | tuple):
        parts = dict(enumerate(cast("Sequence[Any]", value)))
    else:
        return None
    found = (
        _no_number(part, f"{place}{'.' if place else ': '}{name}") for name, part in parts.items()
    )
    return next((one for one in found if one is not None), None)


def _is_number(value: Any) -> bool:
    """int and float are one: which of them comes back is the annotation's choice."""
    return type(value) in (int, float)


def _first(parts: Mapping[Any, Any], other: Callable[[Any], Any], place: str) -> str | None:
    for key, value in parts.items():
        found = _difference(value, other(key), f"{place}{key}")
        if found is not None:
            return found
    return None


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        excluded = {name for name, info in type(value).model_fields.items() if info.exclude}
        return {
            name: getattr(value, name) for name in type(value).model_fields if name not in excluded
        }
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _not_finite(plain: Any) -> float | None:
    """A number in it that is not finite."""
    rest: list[Any] = [plain]
    while rest:
        one: Any = rest.pop()
        if isinstance(one, float) and not isfinite(one):
            return one
        if isinstance(one, dict):
            rest += cast("dict[Any, Any]", one).values()
        elif isinstance(one, list | tuple | set | frozenset):
            rest += cast("list[Any]", one)
    return None


def _are_same(back: Any, value: Any) -> bool:
    """Of one type, and equal. Two models of pydantic are asked by their fields first: its own
    comparison takes as long as to read the model from JSON."""
    if type(back) is not type(value):
        return False
    if (
        type(value).__eq__ is BaseModel.__eq__
        and back.__dict__ == value.__dict__
        and value.__pydantic_extra__ is None
        and value.__pydantic_private__ is None
    ):
        return True
    return bool(back == value)


PayloadForm = Literal["none", "bare", "object"]


class Signature:
    """How the arguments of a function become one payload, and its return value an output.

    One required parameter (or one parameter at all): the payload is that value, bare. Several: an
    object of them. None: null. Annotations are resolved at first use, so that they may name what is
    defined later.
    """

    def __init__(self, fn: Callable[..., Any], name: str) -> None:
        self.fn = fn
        self.name = name
        self.parameters = list(inspect.signature(fn).parameters.values())
        for parameter in self.parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise DeclarationError(
                    f"{name}: *{parameter.name} has no place in a payload; "
                    f"write `def {fn.__name__}(items: list[Item])` or a pydantic model"
                )
        self._positional = [p.name for p in self.parameters if p.kind is p.POSITIONAL_ONLY]
        self.names = [parameter.name for parameter in self.parameters]
        required = [p for p in self.parameters if p.default is p.empty]
        self.form: PayloadForm
        if not self.parameters:
            self.form = "none"
        elif len(required) == 1 or (not required and len(self.parameters) == 1):
            self.form = "bare"
            self.bare = required[0] if required else self.parameters[0]
        else:
            self.form = "object"
        self._takes_one = self.form == "bare" and self.bare is self.parameters[0]
        default = self.bare.default if self.form == "bare" else None
        self._null_is_default = default is not None and default is not inspect.Parameter.empty

    # -- calls: arguments ↔ payload

    def encode_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The payload of a call.

        On a replay as thorough as live: what was refused then has to be refused again.
        """
        if self._takes_one and len(args) == 1 and not kwargs:
            data = self._bare_shape.encode(args[0])
            if data != b"null" or not self._null_is_default:
                return data
        if not kwargs and len(args) == len(self.names):
            bound = dict(zip(self.names, args, strict=True))
        else:
            bound = self._bind(args, kwargs)
        if self.form == "none":
            return b"null"
        if self.form == "bare":
            if not bound:
                return b"null"
            if list(bound) == [self.bare.name]:
                data = self._bare_shape.encode(bound[self.bare.name])
                if data != b"null" or not self._null_is_default:
                    return data
            return b'{"%s":%s}' % (_WRAPPED.encode(), self._object_shape.encode(bound))
        return self._object_shape.encode(bound)

    def encode_payload(self, payload: Any) -> bytes:
        """The payload that `trigger(payload)` was given."""
        if self.form == "none":
            if payload is not None:
                raise PayloadError(f"{self.name} takes no payload, but got {_short(payload)}")
            return b"null"
        if self.form == "bare":
            if payload is None and self.bare.default is not self.bare.empty:
                return b"null"
            return self._bare_shape.encode(payload)
        if not isinstance(payload, Mapping):
            raise PayloadError(
                f"{self.name} takes several parameters ({', '.join(self.names)}): "
                f"give an object of them, or "
                f"{self.fn.__name__}.options().trigger({', '.join(self.names)})"
            )
        return self._object_shape.encode(dict(cast("Mapping[str, Any]", payload)))

    def decode_call(self, payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that a payload stands for. Raises PayloadError, naming the field."""
        match self.form:
            case "none":
                return (), {}
            case "bare":
                if payload == b"null" and self.bare.default is not self.bare.empty:
                    return (), {}
                if payload.startswith(b'{"wf.arguments":'):
                    inner = json.dumps(json.loads(payload)[_WRAPPED]).encode()
                    return self._by_name(self._object_shape.decode(inner))
                value = self._bare_shape.decode(payload)
                if self.bare.kind is inspect.Parameter.KEYWORD_ONLY:
                    return (), {self.bare.name: value}
                return (value,), {}
            case "object":
                decoded = self._object_shape.decode(payload if payload != b"null" else b"{}")
                return self._by_name(decoded)

    def validate(self, payload: bytes) -> bytes:
        """A payload that came as JSON (command line, client by name), in the form in which it is
        stored."""
        args, kwargs = self.decode_call(payload)
        return self.encode_call(args, kwargs)

    # -- results

    def encode_result(self, value: Any) -> bytes:
        return self.result.encode(value)

    def decode_result(self, data: bytes | None) -> Any:
        return self.result.decode(data if data is not None else b"null")

    @cached_property
    def result(self) -> Shape:
        annotation = self._hints.get("return", Any)
        if inspect.isgeneratorfunction(self.fn):
            arguments = typing.get_args(annotation)
            annotation = arguments[-1] if arguments else Any
        return Shape(annotation, f"result of {self.name}")

    # -- inside

    def _by_name(self, values: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args = tuple(values.pop(name) for name in self._positional if name in values)
        return args, values

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            return inspect.Signature(self.parameters).bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self.fn, include_extras=True)
        except NameError as error:
            raise DeclarationError(
                f"{self.name}: an annotation cannot be resolved ({error}); "
                "import that name at the module's top, not under TYPE_CHECKING"
            ) from error

    @cached_property
    def _bare_shape(self) -> Shape:
        return Shape(self._hints.get(self.bare.name, Any), f"payload of {self.name}")

    @cached_property
    def _object_shape(self) -> Shape:
        fields: dict[str, Any] = {}
        for parameter in self.parameters:
            annotation = self._hints.get(parameter.name, Any)
            optional = parameter.default is not parameter.empty
            fields[parameter.name] = NotRequired[annotation] if optional else annotation
        shape = types.new_class(
            f"{self.fn.__name__}_arguments", (TypedDict,), {}, _annotate(fields)
        )
        return Shape(shape, f"payload of {self.name}")


def _annotate(fields: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    def body(namespace: dict[str, Any]) -> None:
        namespace["__annotations__"] = fields
        namespace["__module__"] = __name__
        namespace["__pydantic_config__"] = _ARGUMENTS_CONFIG

    return body
