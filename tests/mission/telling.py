"""Tasks that tell others what they do while they do it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import wf
from tests.observing import until

TOKENS = ["Durable", "execution", "means", "that", "what", "is", "done", "stays", "done", "."]


async def until_there(file: str) -> None:
    """Until who looks on says that it has seen enough."""
    await asyncio.to_thread(until, Path(file).exists)


@wf.step
async def encode(frames: int, seen: str) -> int:
    for frame in range(1, frames + 1):
        wf.metadata.set("progress", frame / frames)
    await until_there(seen)
    return frames


@wf.task
async def process_video(seen: str) -> dict[str, object]:
    wf.metadata.set("stage", "encoding")
    await encode(100, f"{seen}-encoded")
    wf.metadata.set("stage", "publishing")
    wf.tags.add("feature:video")
    await publish(f"{seen}-published")
    wf.metadata.set("stage", "done")
    return wf.metadata.current()


@wf.step
async def publish(seen: str) -> None:
    wf.metadata.append("urls", "https://example.com/video")
    await until_there(seen)


@wf.step
async def ask_model(seen: str) -> str:
    """A model that writes token by token; the last one only when somebody has read the others."""
    for token in TOKENS[:-1]:
        wf.stream("tokens").append(token)
        wf.metadata.set("latest", token)
    await until_there(seen)
    wf.stream("tokens").append(TOKENS[-1])
    return " ".join(TOKENS)


@wf.task
async def answer(seen: str) -> str:
    return await ask_model(seen)


@wf.task
async def chapter(number: int) -> None:
    wf.metadata.parent.append("chapters", number)
    wf.metadata.root.increment("done")


@wf.task
async def book() -> dict[str, object]:
    await asyncio.gather(*(chapter(number) for number in range(3)))
    return wf.metadata.current()
