"""Values of a JSON Schema, as a Hypothesis strategy: what people answer to tokens and messages.

As much of JSON Schema as pydantic writes for the types that wf takes; what is not known of it gives
values that are checked, and drawn again.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, cast

from hypothesis import strategies as st
from jsonschema import Draft202012Validator

Schema = dict[str, Any]
SMALL: Final = 3
"""Items of a list: shorter is easier to read."""
_FORMATS: Final = {
    "date-time": "2030-01-01T00:00:00Z",
    "date": "2030-01-01",
    "time": "12:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "duration": "PT1H",
}


def values_of(schema: Schema | None) -> st.SearchStrategy[Any]:
    """JSON values that are valid; of no schema, any small one."""
    if not schema:
        return st.none() | st.booleans() | st.integers(0, 9) | st.text("ab", max_size=SMALL)
    validator: Any = Draft202012Validator(schema)
    return _of(schema, schema).filter(lambda value: bool(validator.is_valid(value)))


def _of(schema: Schema, root: Schema) -> st.SearchStrategy[Any]:
    match schema:
        case {"$ref": str(reference)}:
            target: Any = root
            for part in reference.removeprefix("#/").split("/"):
                target = target[part]
            return st.deferred(partial(_of, target, root))
        case {"const": value}:
            return st.just(value)
        case {"enum": values}:
            return st.sampled_from(cast("list[Any]", values))
        case {"anyOf": options} | {"oneOf": options}:
            return st.one_of([_of(option, root) for option in cast("list[Schema]", options)])
        case {"allOf": [only]}:
            return _of(cast("Schema", only), root)
        case _:
            return _of_type(schema, root)


def _of_type(schema: Schema, root: Schema) -> st.SearchStrategy[Any]:
    match schema.get("type"):
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(_least(schema), _most(schema))
        case "number":
            limits = _least(schema), _most(schema)
            return st.integers(*limits) | st.floats(*limits, allow_nan=False, allow_infinity=False)
        case "string":
            if schema.get("format") in _FORMATS:
                return st.just(_FORMATS[schema["format"]])
            if "pattern" in schema:
                return st.from_regex(str(schema["pattern"]))
            least = int(schema.get("minLength", 0))
            most = int(schema.get("maxLength", least + SMALL))
            return st.text("abc", min_size=least, max_size=most)
        case "array":
            least = schema.get("minItems", 0)
            items = _of(schema.get("items") or {}, root)
            return st.lists(items, min_size=least, max_size=max(least, SMALL))
        case "object":
            needed = set(schema.get("required", ()))
            fields = {
                name: _of(part, root)
                for name, part in cast("Schema", schema.get("properties", {})).items()
            }
            return st.fixed_dictionaries(
                {name: part for name, part in fields.items() if name in needed},
                optional={name: part for name, part in fields.items() if name not in needed},
            )
        case "null":
            return st.none()
        case _:
            return values_of(None)


def _least(schema: Schema) -> int | None:
    if "exclusiveMinimum" in schema:
        return int(schema["exclusiveMinimum"]) + 1
    return int(schema["minimum"]) if "minimum" in schema else None


def _most(schema: Schema) -> int | None:
    if "exclusiveMaximum" in schema:
        return int(schema["exclusiveMaximum"]) - 1
    return int(schema["maximum"]) if "maximum" in schema else None
