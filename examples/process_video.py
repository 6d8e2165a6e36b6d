"""Stages that a browser can watch: each step writes its progress into the run's metadata.

    wf run examples/process_video.py -- --url https://videos.example.com/talk.mp4

`handle.subscribe()` (or `wf runs show RUN`) sees `stage` and `progress` change while it works, at
most twenty times a second. Nothing here needs a network: a "frame" is a line of bytes.
"""

from __future__ import annotations

import asyncio
import hashlib

from pydantic import BaseModel

import wf

FRAMES = 40
SIZES = ("1080p", "720p", "360p")


class Video(BaseModel):
    url: str


class Processed(BaseModel):
    url: str
    renditions: dict[str, str]
    thumbnail: str


@wf.step(retry=wf.Retry(max_attempts=5), timeout="10m")
async def download(video: Video) -> str:
    """Answers where the file is: payloads stay small, big things go by reference."""
    await asyncio.sleep(0.05)
    return f"/videos/{hashlib.sha256(video.url.encode()).hexdigest()[:12]}.mp4"


@wf.step(timeout="1h")
async def transcode(file: str, size: str) -> str:
    for frame in range(1, FRAMES + 1):
        await asyncio.sleep(0.005)
        wf.metadata.set(f"progress.{size}", round(frame / FRAMES, 2))
    return file.replace(".mp4", f".{size}.mp4")


@wf.step
async def take_thumbnail(file: str) -> str:
    await asyncio.sleep(0.05)
    return file.replace(".mp4", ".jpg")


@wf.task(max_duration="2h")
async def process_video(video: Video) -> Processed:
    wf.metadata.set("stage", "download")
    file = await download(video)
    wf.metadata.set("stage", "transcode")
    outputs = await asyncio.gather(*(transcode(file, size) for size in SIZES))
    wf.metadata.set("stage", "thumbnail")
    thumbnail = await take_thumbnail(file)
    wf.metadata.set("stage", "done")
    return Processed(
        url=video.url, renditions=dict(zip(SIZES, outputs, strict=True)), thumbnail=thumbnail
    )
