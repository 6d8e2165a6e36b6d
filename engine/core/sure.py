"""Values that surely come back from their JSON as they were, so that nobody has to look.

Whole numbers, texts and bools do; so do lists, models and typed dicts of such, where nothing of an
author's stands between: a validator, a serializer, an alias, an `__eq__`. The schema that pydantic
made of the annotation tells, and only where each of its words is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Final, cast

from pydantic import BaseModel

Test = Callable[[Any], bool]
Schema = Mapping[str, Any]

SURE_BYTES: Final = 4_000
"""Of JSON: a number of more than 4,300 digits does not come back."""

_PLAIN: Final[dict[str, type]] = {"int": int, "str": str, "bool": bool}
_MODEL: Final = {"type", "cls", "schema", "config", "metadata", "ref"}
_DICT: Final = {"type", "cls", "fields", "config", "extra_behavior", "metadata", "ref"}
_FIELDS: Final = {"type", "fields", "model_name", "extra_behavior"}
_FIELD: Final = {"type", "schema", "required", "metadata"}
_DEFAULT: Final = {"type", "schema", "default", "default_factory", "default_factory_takes_data"}
_CONFIG: Final = {"title", "ser_json_bytes", "val_json_bytes", "extra_fields_behavior"}


def never(value: Any) -> bool:
    """Of an annotation of which not all is known."""
    return False


def certainty_of(schema: Schema) -> Test:
    """Answers what tells of a value whether it surely comes back. `schema`: of its annotation."""
    kinds = _kinds(schema)
    if kinds:
        return lambda value: type(value) in kinds
    match schema["type"]:
        case "default" if schema.keys() <= _DEFAULT:
            return certainty_of(schema["schema"])
        case "list" if set(schema) == {"type", "items_schema"}:
            return _of_list(certainty_of(schema["items_schema"]))
        case "model" if _says(schema) <= _MODEL and _is_plain(schema["cls"], schema):
            return _of_model(schema["cls"], schema["schema"])
        case "typed-dict" if _says(schema) <= _DICT and _has_plain_config(schema):
            return _of_dict(schema)
        case _:
            return never


def _says(schema: Schema) -> set[str]:
    """Its words, but for those that say no, or of nothing."""
    return {word for word, said in schema.items() if said is not False and said not in ([], ())}


def _kinds(schema: Schema) -> frozenset[type]:
    """The types of which a value has to be; none: they do not tell."""
    if schema["type"] == "nullable" and set(schema) == {"type", "schema"}:
        inner = _kinds(schema["schema"])
        return inner | {NoneType} if inner else inner
    if schema["type"] == "default" and schema.keys() <= _DEFAULT:
        return _kinds(schema["schema"])
    if schema["type"] in _PLAIN and set(schema) == {"type"}:
        return frozenset({_PLAIN[schema["type"]]})
    return frozenset()


def _of_list(is_sure: Test) -> Test:
    if is_sure is never:
        return never
    return lambda value: type(value) is list and all(map(is_sure, cast("list[Any]", value)))


def _of_dict(schema: Schema) -> Test:
    has = _having(schema["fields"])
    return has if has is never else lambda value: type(value) is dict and has(value)


def _of_model(cls: type, schema: Schema) -> Test:
    has = _having(schema["fields"])
    return has if has is never else lambda value: type(value) is cls and has(value.__dict__)


def _is_plain(cls: type[BaseModel], schema: Schema) -> bool:
    """pydantic alone compares them, and there is nothing in them but their fields."""
    is_own = cls.__eq__ is not BaseModel.__eq__ or bool(cls.__private_attributes__)
    inner: Schema = schema["schema"]
    return (
        not is_own
        and inner["type"] == "model-fields"
        and _says(inner) <= _FIELDS
        and _has_plain_config(schema)
    )


def _has_plain_config(schema: Schema) -> bool:
    config: Schema = schema.get("config", {})
    return config.keys() <= _CONFIG and config.get("extra_fields_behavior") != "allow"


def _having(fields: Mapping[str, Schema]) -> Test:
    """For a dict with these names."""
    kinds: list[tuple[str, frozenset[type]]] = []
    tests: list[tuple[str, Test]] = []
    for name, field in fields.items():
        if not field.keys() <= _FIELD:
            return never
        if found := _kinds(field["schema"]):
            kinds.append((name, found))
        else:
            tests.append((name, certainty_of(field["schema"])))
    if any(test is never for _, test in tests):
        return never
    names = fields.keys()

    def has(values: dict[str, Any]) -> bool:
        if values.keys() != names:
            return False
        for name, types in kinds:
            if type(values[name]) not in types:
                return False
        return not tests or all(test(values[name]) for name, test in tests)

    return has
