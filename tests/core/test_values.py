"""Values: they come back as the annotation says, or are refused by the name of their field."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, SecretStr
from typing_extensions import TypedDict

from tests.core.answers import Answer
from tests.core.script import Script
from tests.core.stage import play
from wf.engine.core.runnable import step, task
from wf.engine.core.values import Shape, Signature
from wf.history.errors import DeclarationError, PayloadError, PayloadTooLarge
from wf.history.limits import MAX_PAYLOAD_BYTES


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 2


class Model(BaseModel):
    name: str
    when: datetime | None = None


class Sub(Model):
    extra: int = 0


class Holder(BaseModel):
    item: Model
    items: list[Model] = []


class Vault(BaseModel):
    key: SecretStr


@dataclass
class Point:
    x: int
    y: float = 0.5


@dataclass
class Line(Point):
    tags: list[str] = field(default_factory=list[str])


class Entry(TypedDict, total=False):
    id: str
    at: datetime


NOW = datetime(2024, 5, 1, 12, 30, 15, 250_000, tzinfo=UTC)

SURVIVES: list[tuple[Any, Any]] = [
    (int, 5),
    (float, 0.1),
    (float, 3),
    (str, "é\u2028"),
    (bool, True),
    (None, None),
    (bytes, b"\x00\xff binary"),
    (datetime, NOW),
    (date, date(2024, 2, 29)),
    (timedelta, timedelta(days=1, milliseconds=5)),
    (Decimal, Decimal("10.10")),
    (UUID, UUID(int=7)),
    (Color, Color.RED),
    (Level, Level.HIGH),
    (Literal["a", "b"], "b"),
    (Model, Model(name="m", when=NOW)),
    (Annotated[Model, Field(description="x")], Model(name="m")),
    (Model | None, None),
    (Point, Point(1)),
    (Line, Line(1, 2.5, ["a"])),
    (Entry, {"id": "a", "at": NOW}),
    (list[Point], [Point(1), Point(2)]),
    (dict[str, Model], {"a": Model(name="m")}),
    (dict[int, Decimal], {1: Decimal("0.1")}),
    (tuple[int, str], (1, "a")),
    (set[int], {1, 2}),
    (frozenset[str], frozenset({"a"})),
    (list[bytes], [b"\xff"]),
    (dict[str, Any], {"a": [1, {"b": None}], "c": 1.5, "d": True}),
    (Any, {"a": [1, "b"]}),
]


@pytest.mark.parametrize(("annotation", "value"), SURVIVES)
def test_it_comes_back_as_it_was(annotation: Any, value: Any) -> None:
    shape = Shape(annotation, "value")
    back = shape.decode(shape.encode(value))
    assert back == value
    assert type(back) is type(value) or isinstance(value, int)


REFUSED: list[tuple[Any, Any, str]] = [
    (Vault, Vault(key=SecretStr("s3cret")), r"value\.key: .*comes back as"),
    (float, math.nan, r"value: "),
    (Any, math.nan, r"value: nan comes back as None"),
    (dict[str, float], {"a": math.inf}, r"value: a: "),
    (Any, {"deep": [0, math.nan]}, r"value\.deep\.1: nan comes back as None"),
    (Model, Sub(name="m", extra=3), r"value: a Sub comes back as Model; annotate it as Sub"),
    (Holder, Holder(item=Sub(name="m")), r"value\.item: a Sub comes back as Model"),
    (Holder, Holder(item=Model(name="m"), items=[Sub(name="n")]), r"value\.items\.0: a Sub"),
    (Point, Line(1), r"value: a Line comes back as Point"),
    (Any, {1: "a"}, r"value: the key 1 does not come back; JSON keys are strings"),
    (Any, {"a": {(1, 2): 3}}, r"value\.a: the key \(1, 2\) does not come back"),
    (Any, NOW, r"value: datetime.* comes back as '2024"),
    (Any, {"price": Decimal("1.5")}, r"value\.price: Decimal\('1.5'\) comes back as '1.5'"),
    (Any, Model(name="m"), r"value: a Model comes back as dict; annotate it as Model"),
    (int, "five", r"value: 'five' does not fit its annotation"),
    (Model, {"name": "m"}, r"value: .*does not fit its annotation"),
    (int, None, r"value: Input should be a valid integer \(got None\)"),
    (Entry, {"id": 5}, r"value: .*id: "),
    (Any, object(), r"value: <object .*does not fit its annotation"),
]


@pytest.mark.parametrize(("annotation", "value", "told"), REFUSED)
def test_what_would_not_come_back_is_refused_by_the_name_of_its_field(
    annotation: Any, value: Any, told: str
) -> None:
    with pytest.raises(PayloadError, match=told):
        Shape(annotation, "value").encode(value)


def test_a_naive_datetime_survives_but_moments_for_waits_do_not_accept_it() -> None:
    shape = Shape(datetime, "value")
    naive = NOW.replace(tzinfo=None)
    assert shape.decode(shape.encode(naive)) == naive


def test_a_value_over_the_limit_is_refused_with_its_size() -> None:
    with pytest.raises(PayloadTooLarge, match=r"value is 10,\d{3},\d{3} bytes"):
        Shape(str, "value").encode("x" * MAX_PAYLOAD_BYTES)


def test_a_type_that_json_cannot_carry_is_refused_at_the_annotation() -> None:
    class Socket:
        pass

    with pytest.raises(DeclarationError, match="is no type that JSON can carry"):
        Shape(Socket, "value")


def test_a_value_that_is_not_json_or_does_not_fit_is_told_by_its_first_field() -> None:
    with pytest.raises(PayloadError, match=r"value: items\.1\.name: Field required .*and 1 more"):
        Shape(Holder, "value").decode(b'{"item":{"name":"a"},"items":[{"name":"b"},{},{}]}')
    with pytest.raises(PayloadError, match=r"value: Invalid JSON"):
        Shape(int, "value").decode(b"{")


def test_a_body_a_step_and_a_caller_get_copies_decoded_from_what_was_stored() -> None:
    @step
    async def mutate(items: list[int]) -> list[int]:
        items.append(99)
        return items

    @task
    async def body(items: list[int]) -> list[list[int]]:
        first = await mutate(items)
        first.append(100)
        second = await mutate(items)
        return [items, first, second]

    assert play(body, [1]).output == [[1], [1, 99, 100], [1, 99]]


# --- from calls to payloads and back ------------------------------------------------------------


async def none() -> None: ...
async def bare(user: Model) -> None: ...
async def bare_and_more(user: Model, dry: bool = False, n: int = 3) -> None: ...
async def only_optional(n: int | None = 3) -> None: ...
async def keyword(*, user: Model) -> None: ...
async def several(n: int, name: str, note: str | None = None) -> None: ...
async def all_optional(n: int = 1, m: int = 2) -> None: ...
async def by_position(n: int, m: int, /, k: int = 0) -> None: ...


MODEL = Model(name="m")
CALLS: list[tuple[Any, tuple[Any, ...], dict[str, Any], bytes]] = [
    (none, (), {}, b"null"),
    (bare, (MODEL,), {}, b'{"name":"m","when":null}'),
    (bare, (), {"user": MODEL}, b'{"name":"m","when":null}'),
    (bare_and_more, (MODEL,), {}, b'{"name":"m","when":null}'),
    (
        bare_and_more,
        (MODEL, True),
        {},
        b'{"wf.arguments":{"user":{"name":"m","when":null},"dry":true}}',
    ),
    (only_optional, (), {}, b"null"),
    (only_optional, (5,), {}, b"5"),
    (only_optional, (None,), {}, b'{"wf.arguments":{"n":null}}'),
    (only_optional, (), {"n": None}, b'{"wf.arguments":{"n":null}}'),
    (keyword, (), {"user": MODEL}, b'{"name":"m","when":null}'),
    (several, (1, "a"), {}, b'{"n":1,"name":"a"}'),
    (several, (1,), {"name": "a", "note": "x"}, b'{"n":1,"name":"a","note":"x"}'),
    (all_optional, (), {}, b"{}"),
    (all_optional, (), {"m": 5}, b'{"m":5}'),
    (by_position, (1, 2), {}, b'{"n":1,"m":2}'),
]


@pytest.mark.parametrize(("fn", "args", "kwargs", "payload"), CALLS)
def test_a_call_has_one_payload_and_comes_back_as_the_same_call(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], payload: bytes
) -> None:
    signature = Signature(fn, "fn")
    assert signature.encode_call(args, kwargs) == payload
    back_args, back_kwargs = signature.decode_call(payload)
    bind = inspect.signature(fn).bind
    back, sent = bind(*back_args, **back_kwargs), bind(*args, **kwargs)
    back.apply_defaults()
    sent.apply_defaults()
    assert back.arguments == sent.arguments
    assert signature.validate(payload) == payload


def test_calls_that_do_not_bind_are_type_errors_that_name_the_runnable() -> None:
    for args, kwargs in (((), {}), ((1, "a", None, 4), {}), ((1, "a"), {"nam": 1})):
        with pytest.raises(TypeError, match=r"^fn: "):
            Signature(several, "fn").encode_call(args, kwargs)


def test_a_payload_queued_before_an_optional_parameter_was_added_still_fits() -> None:
    for old, new in ((bare, bare_and_more), (keyword, bare_and_more)):
        args = () if old is keyword else (MODEL,)
        kwargs = {"user": MODEL} if old is keyword else {}
        payload = Signature(old, "fn").encode_call(args, kwargs)
        assert Signature(new, "fn").decode_call(payload) == ((MODEL,), {})

    async def older(n: int, name: str) -> None: ...

    payload = Signature(older, "fn").encode_call((1, "a"), {})
    assert Signature(several, "fn").decode_call(payload) == ((), {"n": 1, "name": "a"})


def test_payloads_of_triggers() -> None:
    encode = Signature(none, "fn").encode_payload
    assert encode(None) == b"null"
    with pytest.raises(PayloadError, match="fn takes no payload"):
        encode(1)
    assert Signature(only_optional, "fn").encode_payload(None) == b"null"
    assert Signature(several, "fn").encode_payload({"n": 1, "name": "a"}) == b'{"n":1,"name":"a"}'
    with pytest.raises(PayloadError, match=r"several\.options\(\)\.trigger\(n, name, note\)"):
        Signature(several, "fn").encode_payload(1)
    with pytest.raises(PayloadError, match=r"nam"):
        Signature(several, "fn").decode_call(b'{"n":1,"name":"a","nam":1}')
    with pytest.raises(PayloadError, match="name: "):
        Signature(several, "fn").decode_call(b'{"n":1}')


def test_annotations_are_resolved_at_first_use_and_named_when_they_cannot_be() -> None:
    @task
    async def body(n: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DeclarationError, match=r"body: .*Missing.*import that name at the module"):
        body.signature.encode_payload(1)


def test_a_task_without_annotations_takes_any_json() -> None:
    @task
    async def body(value: Any, other: Any = 2) -> Any:
        return [value, other]

    del body.fn.__annotations__["value"], body.fn.__annotations__["other"]

    assert play(body, {"a": [1]}).output == [{"a": [1]}, 2]
    child = Answer([1, "b"])

    @task
    async def parent() -> Any:
        return await body(1)

    assert play(parent, script=Script(child=lambda task, payload: child)).output == [1, "b"]


class Reading(BaseModel):
    celsius: float | None


@pytest.mark.parametrize(
    "value", [float("nan"), [1, {"a": (float("inf"),)}], Reading(celsius=float("-inf"))]
)
def test_a_number_that_json_does_not_have_is_refused_where_no_annotation_is_read(
    value: Any,
) -> None:
    shape = Shape(Any, "message")
    with pytest.raises(PayloadError, match=r"message: -?(nan|inf) is no number of JSON"):
        shape.encode_plain(value)
    assert shape.encode_plain([None, Reading(celsius=None), 1.5]) == b'[null,{"celsius":null},1.5]'
