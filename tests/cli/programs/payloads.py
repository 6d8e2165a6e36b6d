"""Tasks that take all sorts of payloads, and answer what they got."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import BaseModel
from typing_extensions import TypedDict

import wf


class User(BaseModel):
    user_id: str
    email: str
    age: int = 0
    tags: list[str] = []
    is_admin: bool = False


@dataclass
class Point:
    x: float
    y: float


class Options(TypedDict, total=False):
    since: date
    limit: int


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@wf.task
async def user(user: User) -> User:
    return user


@wf.task
async def text(text: str) -> str:
    return text


@wf.task
async def number(number: int) -> int:
    return number


@wf.task
async def colour(colour: Colour) -> Colour:
    return colour


@wf.task
async def point(point: Point) -> Point:
    return point


@wf.task
async def options(options: Options) -> Options:
    return options


@wf.task
async def anything(value: Any) -> Any:
    return value


@wf.task
async def two(name: str, times: int = 2, *, loud: bool = False) -> str:
    return (name.upper() if loud else name) * times


@wf.task
async def several(a: int, b: str) -> str:
    return f"{a}{b}"


@wf.task
async def nothing() -> str:
    return "nothing"
