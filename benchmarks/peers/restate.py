"""Restate: its server with one node on this machine, a Python service behind it, and a bare client
of HTTP. `granian` serves but where a long stream has to be resumed, which `hypercorn` does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, part, spread
from benchmarks.machine import family, folder_bytes, memory_mb
from benchmarks.peers.common import SETTLE_S, Asked, asked, idle_cpu

AT_ONCE = 64
SENDERS = 16
RUNS_OF_STEPS = 100
HOME = Path(sys.prefix)
START_S = 60


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Connection:
    """HTTP/1.1, as little of it as is needed."""

    async def open(self, port: int) -> Connection:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def post(self, path: str, value: Any) -> Any:
        body = json.dumps(value).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: x\r\naccept: application/json\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        found = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        answer = await self._body(found)
        if int(found.split()[1]) not in (200, 201, 202):
            raise ConnectionError(f"{path}: {found.splitlines()[0]} {answer[:300]!r}")
        return json.loads(answer) if answer else None

    async def _body(self, head: str) -> bytes:
        if "content-length:" in head:
            length = int(head.partition("content-length:")[2].split("\r\n")[0])
            return await self.reader.readexactly(length)
        answer = b""
        while "chunked" in head:
            length = int((await self.reader.readline()).strip() or b"0", 16)
            answer += await self.reader.readexactly(length)
            await self.reader.readline()
            if not length:
                break
        return answer


class Restate:
    """The server and the service."""

    def __init__(self, ask: Asked) -> None:
        self.ask = ask
        self.data = ask.folder / "data"
        self.marks = ask.folder / "marks"
        self.calls, self.admin, self.node, self.served = (free_port() for _ in range(4))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_server(self) -> None:
        (binary,) = HOME.glob("node_modules/@restatedev/restate-server-*/bin/restate-server")
        settings = {
            "RESTATE_BIND_IP": "127.0.0.1",
            "RESTATE_BIND_PORT": str(self.node),
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_INGRESS__BIND_PORT": str(self.calls),
            "RESTATE_ADMIN__BIND_PORT": str(self.admin),
            "RESTATE_BASE_DIR": str(self.data),
            "RESTATE_ADVERTISED_HOST": "127.0.0.1",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "RESTATE_NODE_NAME": "n1",
            "RESTATE_LOG_FILTER": "warn",
        }
        self._start("server", [str(binary), "--no-logo"], settings)

    def start_service(self, *, resumes: bool = False) -> None:
        name = "benchmarks.peers.restate_service:app"
        if resumes:
            command = ["hypercorn", name, "--bind", f"127.0.0.1:{self.served}"]
        else:
            options = ["--interface", "asgi", "--http", "2", "--host", "127.0.0.1"]
            command = ["granian", *options, "--port", str(self.served), name]
        command[0] = str(HOME / "bin" / command[0])
        settings = {"BENCH_MARKS": str(self.marks), "PYTHONPATH": os.getcwd()}  # noqa: PTH109
        self._start("service", [*command, "--log-level", "error"], settings)

    def _start(self, name: str, command: list[str], settings: dict[str, str]) -> None:
        with (self.ask.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env={**os.environ, **settings}, stdout=log, stderr=log
            )

    async def register(self) -> Connection:
        """Until a call is answered."""
        await self.reached(self.served)
        ends_at = time.monotonic() + START_S
        while True:
            try:
                admin = await self.reached(self.admin)
                where = {"uri": f"http://127.0.0.1:{self.served}"}
                await admin.post("/deployments", where)
                connection = await self.reached(self.calls)
                await connection.post("/bench/one_step", 0)
                return connection
            except (OSError, asyncio.IncompleteReadError):
                if time.monotonic() > ends_at:
                    raise
                await asyncio.sleep(0.02)

    async def reached(self, port: int) -> Connection:
        ends_at = time.monotonic() + START_S
        while True:
            try:
                return await Connection().open(port)
            except OSError:
                if time.monotonic() > ends_at:
                    raise
                await asyncio.sleep(0.01)

    def pid(self, name: str) -> int:
        return self.processes[name].pid

    def kill(self, *names: str) -> None:
        for name in names:
            for pid in reversed(family(self.pid(name))):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.processes.pop(name).wait()

    async def many(self, path: str, count: int, at_once: int, value: Callable[[int], Any]) -> float:
        """So many calls; seconds."""
        numbers = iter(range(count))

        async def one() -> None:
            connection = await self.reached(self.calls)
            for number in numbers:
                await connection.post(path, value(number))

        begun = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(at_once)))
        return time.perf_counter() - begun

    async def count(self, condition: str) -> int:
        admin = await self.reached(self.admin)
        query = f"SELECT count(*) AS c FROM sys_invocation WHERE {condition}"
        return int((await admin.post("/query", {"query": query}))["rows"][0]["c"])

    async def marked(self, times: int) -> None:
        while not self.marks.exists() or self.marks.read_text().count("CONTINUED") < times:
            await asyncio.sleep(0.005)


async def one_run(restate: Restate, connection: Connection) -> None:
    starts: list[float] = []
    ends: list[float] = []
    for number in range(-5, restate.ask.sizes.repeats):
        begun = time.perf_counter()
        began = await connection.post("/bench/one_step_now", number)
        if number >= 0:
            starts.append((began - begun) * 1_000)
            ends.append((time.perf_counter() - begun) * 1_000)
    for name, found in (("start", starts), ("result", ends)):
        for figure in spread("D", f"{name}, other process", found):
            figure.tell()


async def sleepers(restate: Restate, connection: Connection) -> None:
    ask = restate.ask
    begun = time.perf_counter()
    await restate.many("/asleep/sleeper/send", ask.sleepers, SENDERS, lambda _: 3_600)
    while await restate.count("status = 'suspended'") < ask.sleepers:
        await asyncio.sleep(0.2)
    rate = ask.sleepers / (time.perf_counter() - begun)
    Figure("F", "put to sleep, few", rate, "/s").tell()
    await asyncio.sleep(SETTLE_S)
    pids = [restate.pid("server"), restate.pid("service")]
    held = sum(memory_mb(one, peak=False) for pid in pids for one in family(pid))
    Figure("F", "memory of the worker, few", held, "MB").tell()
    (await asyncio.to_thread(idle_cpu, pids, ask.sizes.idle_s)).tell()
    lates: list[float] = []
    for _ in range(ask.sizes.lags):
        begun = time.time()
        lates.append((await connection.post("/bench/nap", 2) - begun - 2) * 1_000)
    Figure("F", "late, one", part(lates, 0.5), "ms").tell()


async def disk(restate: Restate) -> None:
    """The second time counts, as for wf."""
    ask, before = restate.ask, 0
    for _ in range(2):
        before = folder_bytes(restate.data)
        await restate.many("/bench/one_step", ask.runs, AT_ONCE, lambda number: number)
    grown = folder_bytes(restate.data) - before
    Figure("H", "a run of one step", grown / ask.runs, "B").tell()
    for _ in range(2):
        before = folder_bytes(restate.data)
        await restate.many("/bench/many_steps", RUNS_OF_STEPS, 100, lambda _: ask.sizes.steps)
    grown = folder_bytes(restate.data) - before
    Figure("H", "a step", grown / (RUNS_OF_STEPS * ask.sizes.steps), "B").tell()


async def killed(restate: Restate, connection: Connection) -> None:
    await connection.post("/bench/long/send", restate.ask.sizes.recorded)
    await restate.marked(1)
    await asyncio.sleep(SETTLE_S)
    restate.kill("service")
    begun = time.perf_counter()
    restate.start_service(resumes=True)
    await restate.marked(2)
    Figure("I", "go on, new process", time.perf_counter() - begun, "s").tell()


async def measured(restate: Restate, connection: Connection, begun: float) -> None:
    ask, sizes = restate.ask, restate.ask.sizes
    match ask.workload:
        case "A":
            took = await restate.many("/bench/one_step", ask.runs, AT_ONCE, lambda one: one)
            Figure("A", "runs", ask.runs / took, "/s").tell()
        case "B":
            took = await restate.many(
                "/bench/many_steps", RUNS_OF_STEPS, RUNS_OF_STEPS, lambda _: sizes.steps
            )
            Figure("B", "steps", RUNS_OF_STEPS * sizes.steps / took, "/s").tell()
        case "C":
            began = await connection.post("/bench/many_steps_now", sizes.sequence)
            for figure in spread("C", "step", [(b - a) * 1_000 for a, b in pairwise(began)]):
                figure.tell()
        case "D":
            await one_run(restate, connection)
        case "E":
            begun = time.perf_counter()
            await connection.post("/bench/many_children", sizes.children)
            Figure("E", "children", time.perf_counter() - begun, "s").tell()
        case "F":
            await sleepers(restate, connection)
        case "G":
            Figure("G", "new database", time.perf_counter() - begun, "s").tell()
            held = sum(memory_mb(one) for one in family(os.getpid())[1:])
            Figure("G", "memory", held, "MB").tell()
        case "H":
            await disk(restate)
        case "I":
            await killed(restate, connection)
        case _:
            took = await restate.many("/bench/one_step/send", ask.runs, SENDERS, lambda one: one)
            Figure("L", "triggers, 1 client", ask.runs / took, "/s").tell()


async def main() -> None:
    ask = asked()
    restate = Restate(ask)
    begun = time.perf_counter()
    restate.start_server()
    restate.start_service(resumes=ask.workload == "I")
    try:
        connection = await restate.register()
        if ask.workload not in "GHI":
            warm = min(200, ask.runs)
            await restate.many("/bench/one_step", warm, 8, lambda number: number)
        await measured(restate, connection, begun)
    finally:
        restate.kill(*restate.processes)


if __name__ == "__main__":
    asyncio.run(main())
