"""What comes back from its JSON as it was is known of plain values; of all others it is looked."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    TypeAdapter,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict

from wf.engine.core.runnable import step
from wf.engine.core.sure import certainty_of, never
from wf.engine.core.values import Shape


class Item(BaseModel):
    sku: str
    count: int = 1


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: int
    paid: bool | None = None
    note: str = Field(default="", description="Of who packs it.")
    items: list[Item] = []


class Address(TypedDict):
    street: str
    number: int


class SubItem(Item):
    pass


class Renamed(BaseModel):
    sku: str = Field(alias="SKU")


class Validated(BaseModel):
    sku: str

    @field_validator("sku")
    @classmethod
    def upper(cls, sku: str) -> str:
        return sku.upper()


class Checked(Item):
    @model_validator(mode="after")
    def check(self) -> Checked:
        self.count += 1
        return self


class Written(BaseModel):
    count: int

    @field_serializer("count")
    def half(self, count: int) -> int:
        return count // 2


class Computed(Item):
    @computed_field
    @property
    def double(self) -> int:
        return self.count * 2


class Unequal(Item):
    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


class Secretive(Item):
    _price: int = PrivateAttr(0)


class Stripped(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    sku: str


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    sku: str


class Made(BaseModel):
    count: int

    def __init__(self, count: int) -> None:
        super().__init__(count=count + 1)


class Started(Item):
    def model_post_init(self, context: Any, /) -> None:
        self.count += 1


class Left(BaseModel):
    sku: str = Field(default="", exclude=True)


class Root(RootModel[int]):
    pass


class Tree(BaseModel):
    branches: list[Tree] = []


class Mixed(BaseModel):
    item: Item
    at: datetime | None = None


SURE: list[tuple[Any, list[Any], list[Any]]] = [
    (int, [0, -1, 2**70], [True, 1.0, "1"]),
    (str, ["", "ü"], [b"", None]),
    (bool, [True], [1]),
    (int | None, [None, 1], [True]),
    (list[int], [[], [1, 2]], [(1, 2), [1, True], [None]]),
    (
        Item,
        [Item(sku="a"), Item.model_construct(sku="", count=2)],
        [SubItem(sku="a"), {"sku": "a"}],
    ),
    (Item, [], [Item.model_construct(count=1), Item.model_construct(sku=1)]),
    (
        Order,
        [Order(id=1), Order(id=1, items=[Item(sku="a")])],
        [Order(id=1, items=[SubItem(sku="")])],
    ),
    (list[Item], [[Item(sku="a")]], [[Item(sku="a"), SubItem(sku="a")]]),
    (Address, [{"street": "a", "number": 1}], [{"street": "a"}, {"street": "a", "number": True}]),
]


@pytest.mark.parametrize(("annotation", "sure", "unsure"), SURE)
def test_plain_values_surely_come_back_and_they_do(
    annotation: Any, sure: list[Any], unsure: list[Any]
) -> None:
    is_sure = certainty_of(TypeAdapter(annotation).core_schema)
    shape = Shape(annotation, "it")
    for value in sure:
        assert is_sure(value)
        shape.check(value, shape.encode_unchecked(value))
    assert not any(map(is_sure, unsure))


def test_several_arguments_are_looked_at_like_the_fields_of_a_model() -> None:
    @step
    def pack(order: Order, boxes: int = 1) -> None: ...

    is_sure = certainty_of(pack.signature._object_shape._adapter.core_schema)  # pyright: ignore[reportPrivateUsage]
    assert is_sure({"order": Order(id=1), "boxes": 2})
    assert not is_sure({"order": Order(id=1), "boxes": "2"})


@pytest.mark.parametrize(
    "annotation",
    [
        *(float, datetime, Any, dict[str, int], tuple[int, int], int | str),
        *(Annotated[int, Field(gt=0)], Annotated[int, AfterValidator(abs)], list[float]),
        *(Renamed, Validated, Checked, Written, Computed, Unequal, Secretive, Stripped, Open),
        *(Made, Started, Left, Root, Tree, Mixed, list[Mixed]),
    ],
)
def test_where_anything_else_is_said_of_an_annotation_it_is_looked(annotation: Any) -> None:
    assert certainty_of(TypeAdapter(annotation).core_schema) is never
