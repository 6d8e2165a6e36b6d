"""Tasks for workers: they say in a file who did what."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import wf
from tests.cli.programs.ledger import note, wait_for


@wf.step
def job(ledger: str, number: int) -> int:
    note(ledger, f"{os.getpid()} did {number}")
    return os.getpid()


@wf.task
async def shift(ledger: str, number: int) -> int:
    return await job(ledger, number)


@wf.step
def held(ledger: str) -> str:
    note(ledger, "held")
    wait_for(f"{ledger}.go")
    return "let go"


@wf.task
async def long_shift(ledger: str) -> str:
    return await held(ledger)


@wf.step
def suicide(ledger: str) -> str:
    if not Path(f"{ledger}.died").exists():
        Path(f"{ledger}.died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@wf.task
async def dies_once(ledger: str) -> str:
    return await suicide(ledger)
