"""Tasks whose steps run in other processes. Who they are is in files that tests read."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import wf


def note(file: str, line: object) -> None:
    """Append a line, whoever else does."""
    with Path(file).open("a") as ledger:
        ledger.write(f"{line}\n")


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def wait_for(file: Path) -> None:
    """Until the file is there: what the steps of one test have to say to each other."""
    pause = threading.Event()
    while not file.exists():
        pause.wait(0.01)


@wf.step(executor="process")
def double(number: int) -> int:
    return number * 2


@wf.step(executor="process")
async def slowly_double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


@wf.task
async def doubles(number: int) -> list[int]:
    return [await double(number), await slowly_double(number)]


@wf.step(executor="process")
def who(folder: str) -> dict[str, Any]:
    info = wf.current()
    assert info.step is not None
    print("printed in the process")
    wf.logger.warning("logged in %s", info.step.id)
    logging.getLogger("of.the.author").error("an error line")
    key = info.step.idempotency_key
    return {"pid": os.getpid(), "run": info.run.id, "attempt": info.step.attempt, "key": key}


@wf.task
async def asks_who(folder: str) -> dict[str, Any]:
    return await who(folder)


@wf.step(executor="cluster")
def who_elsewhere(folder: str) -> dict[str, Any]:
    """What it logs and prints stays where the executor runs it."""
    told = who.fn(folder)
    try:
        with wf.transaction():
            pass
    except wf.Error as error:
        told["transaction"] = str(error)
    return told


@wf.task
async def asks_elsewhere(folder: str) -> dict[str, Any]:
    return await who_elsewhere(folder)


@wf.step(executor="process")
def tells(folder: str) -> int:
    """Goes on when somebody has seen what it says."""
    wf.stream("log").append("begun")
    wf.metadata.increment("count", 2)
    wf.metadata.set("seen", wf.metadata.current())
    wf.tags.add("told")
    wait_for(Path(folder, "seen"))
    wf.stream("log").append("done")
    return wf.metadata.get("count")


@wf.step(executor="cluster")
def tells_elsewhere(folder: str) -> int:
    wf.stream("log").append("elsewhere")
    wf.metadata.increment("count", 5)
    return wf.metadata.get("count")


@wf.task
async def telling(folder: str) -> list[int]:
    return [await tells(folder), await tells_elsewhere(folder)]


# --- crashes --------------------------------------------------------------------------------------


@wf.step(executor="process", retry=wf.Retry(max_attempts=2, min_delay="1ms"))
def dies(folder: str) -> None:
    note(f"{folder}/ledger", "dies")
    wait_for(Path(folder, "others-are-there"))
    os._exit(7)


@wf.step(executor="process")
def outlives(folder: str) -> str:
    note(f"{folder}/ledger", "outlives")
    wait_for(Path(folder, "it-has-died"))
    return "alive"


@wf.step(executor="process", at_most_once=True)
def dies_at_most_once(folder: str) -> None:
    note(f"{folder}/ledger", "dies")
    os.kill(os.getpid(), signal.SIGSEGV)


@wf.task
async def dying(folder: str) -> str:
    try:
        await dies(folder)
    except wf.StepFailed as error:
        return f"{error.type}: {error.message}"
    return "it lives"


@wf.task
async def dying_at_most_once(folder: str) -> str:
    try:
        await dies_at_most_once(folder)
    except wf.StepInterrupted as error:
        return error.message
    return "it lives"


@wf.task
async def outliving(folder: str) -> str:
    return await outlives(folder)


# --- stopped --------------------------------------------------------------------------------------


@wf.step(executor="process", timeout="200ms", retry=wf.Retry(max_attempts=1))
def never_ends(folder: str) -> None:
    threading.Event().wait()


@wf.step(executor="process", timeout="200ms", retry=wf.Retry(max_attempts=1))
def cannot_be_told(folder: str) -> None:
    while True:
        try:
            threading.Event().wait()
        except asyncio.CancelledError:
            note(f"{folder}/ledger", "told")


@wf.step(executor="process")
def cleans_up(folder: str) -> None:
    note(f"{folder}/ledger", "begun")
    try:
        threading.Event().wait()
    finally:
        note(f"{folder}/ledger", f"cleaned, {wf.current().cancel_requested}")


@wf.step(executor="process")
async def cleans_up_slowly(folder: str) -> None:
    note(f"{folder}/ledger", "begun")
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        note(f"{folder}/ledger", f"cleaned, {wf.current().cancel_requested}")


@wf.task
async def over_time(folder: str) -> str:
    told: list[str] = []
    for step in (never_ends, cannot_be_told):
        try:
            await step(folder)
        except wf.StepTimedOut as error:
            told.append(error.message)
    return "; ".join(told)


@wf.task
async def cleaning(slowly: bool, folder: str) -> None:
    await (cleans_up_slowly(folder) if slowly else cleans_up(folder))


@wf.step(executor="process")
def stays(folder: str) -> None:
    note(f"{folder}/ledger", os.getpid())
    threading.Event().wait()


@wf.task
async def staying(folder: str) -> None:
    await stays(folder)


# --- what they raise ------------------------------------------------------------------------------


class CardError(ValueError):
    """The author's."""


@wf.step(executor="process", retry=wf.Retry(max_attempts=3, min_delay="1ms"))
def raises(kind: str, folder: str) -> None:
    note(f"{folder}/ledger", kind)
    if kind == "abort":
        raise wf.Abort("no more")
    if kind == "later" and len(lines(Path(folder, "ledger"))) == 1:
        raise wf.RetryAfter(0.001)
    raise CardError(f"{kind} declined")


@wf.step(executor="process", retry=wf.Retry(give_up_on=(ValueError,)))
def gives_up(folder: str) -> None:
    note(f"{folder}/ledger", "given up")
    raise CardError("declined")


@wf.task
async def raising(kind: str, folder: str) -> str:
    try:
        await (gives_up(folder) if kind == "given up" else raises(kind, folder))
    except wf.StepFailed as error:
        return f"{error.type}: {error.message} {'raise ' in error.traceback}"
    return ""


# --- named executors ------------------------------------------------------------------------------


@wf.step(executor="cluster", retry=wf.Retry(max_attempts=2, min_delay="1ms"))
def computes(number: int) -> str:
    if number < 0:
        raise CardError("declined")
    step = wf.current().step
    assert step is not None
    return f"{number} by {threading.current_thread().name} in attempt {step.attempt}"


@wf.step(executor="cluster", timeout="50ms", retry=wf.Retry(max_attempts=1))
async def computes_too_long(number: int) -> int:
    await asyncio.Event().wait()
    return number


@wf.task
async def computing(number: int) -> list[str]:
    told = list(await asyncio.gather(*(computes(one) for one in range(number))))
    for step in (computes, computes_too_long):
        try:
            await step(-1)
        except wf.StepFailed as error:
            told.append(error.type)
    return told


def _plain(text: str) -> str:
    return text.upper()


wrapped = wf.step(_plain, id="a-wrapped-function", executor="process")


@wf.task
async def wraps(text: str) -> str:
    return await wrapped(text)
