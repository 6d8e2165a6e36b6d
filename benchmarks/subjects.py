"""Who is measured: wf on a store, the floor, another engine. Each in processes of its own, on an
empty database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.figures import Figure, told
from benchmarks.workloads import WORKLOADS
from tests import postgres_server

ROOT: Final = Path(__file__).resolve().parents[1]
BUILD: Final = ROOT / "build" / "bench"
"""Environments of other engines. Git does not see it."""
LIMIT_S: Final = 4 * 3_600


class Unmeasured(RuntimeError):
    """The message says why."""


@dataclass(frozen=True, slots=True)
class Subject:
    """`store`: "sqlite", "postgres", or "" for one that has its own. `workloads`: letters."""

    name: str
    store: str
    workloads: str

    def measure(self, workload: str, size: str) -> list[Figure]:
        """Raises Unmeasured."""
        with TemporaryDirectory(prefix="wf-bench-") as folder, database(self.store, folder) as url:
            return told(run(self.command(workload, url, size, folder)).splitlines())

    def command(self, workload: str, url: str, size: str, folder: str) -> Sequence[str]:
        raise NotImplementedError


class Wf(Subject):
    __slots__ = ()

    def command(self, workload: str, url: str, size: str, folder: str) -> Sequence[str]:
        module = [sys.executable, "-m", "benchmarks.workloads"]
        return [*module, workload, url, "--size", size, "--folder", f"{folder}/files"]


class Floor(Subject):
    __slots__ = ()

    def command(self, workload: str, url: str, size: str, folder: str) -> Sequence[str]:
        module = [sys.executable, "-m", "benchmarks.floor"]
        return [*module, self.store, url.removeprefix("sqlite:///"), workload, "--size", size]


@dataclass(frozen=True, slots=True)
class Peer(Subject):
    """Another engine. `packages`: of its environment, by name of the environment; `npm`: what comes
    from there."""

    module: str
    packages: tuple[str, ...]
    npm: str = ""

    def command(self, workload: str, url: str, size: str, folder: str) -> Sequence[str]:
        python = str(self.home / "bin" / "python")
        arguments = [workload, "--url", url, "--size", size, "--folder", folder]
        return [python, "-m", f"benchmarks.peers.{self.module}", *arguments]

    @property
    def home(self) -> Path:
        return BUILD / self.module

    def install(self) -> None:
        """Once. Raises Unmeasured."""
        stamp = self.home / "packages"
        wanted = "\n".join([*self.packages, self.npm])
        if stamp.exists() and stamp.read_text() == wanted:
            return
        shutil.rmtree(self.home, ignore_errors=True)
        run([sys.executable, "-m", "venv", "--without-pip", str(self.home)])
        (pip,) = (ROOT / "scripts").glob("pip-*.whl")
        python = str(self.home / "bin" / "python")
        run([python, f"{pip}/pip", "install", "--quiet", *self.packages])
        if self.npm:
            npm = shutil.which("npm")
            if npm is None:
                raise Unmeasured("npm is not there")
            into = ["--prefix", str(self.home), "--ignore-scripts", "--no-audit", "--no-fund"]
            run([npm, "install", *into, self.npm])
        stamp.write_text(wanted)


EVERYTHING: Final = "".join(WORKLOADS)
STORES: Final = ("sqlite", "postgres")
PEERS: Final = (
    Peer("dbos sqlite", "sqlite", "ABCDEFGHI", "dbos", ("dbos",)),
    Peer("dbos postgres", "postgres", "ABCDEFHIL", "dbos", ("dbos",)),
    Peer("absurd postgres", "postgres", "ABCDEFHIL", "absurd", ("absurd-sdk", "absurdctl")),
    Peer(
        "restate",
        "",
        "ABCDEFGHIL",
        "restate",
        ("restate-sdk", "granian", "hypercorn"),
        "@restatedev/restate-server",
    ),
    Peer("pgqueuer postgres", "postgres", "AL", "pgqueuer", ("pgqueuer", "asyncpg", "uvloop")),
)


def subjects(stores: Sequence[str], *, with_peers: bool) -> list[Subject]:
    own: list[Subject] = [Floor(f"floor {store}", store, "BCL") for store in stores]
    own += [Wf(f"wf {store}", store, EVERYTHING) for store in stores]
    return [*own, *PEERS] if with_peers else own


@contextmanager
def database(store: str, folder: str) -> Generator[str]:
    """The URL of one that is empty (SQLite: that is not there)."""
    if store == "postgres":
        url = postgres_server.create_database("bench")
        try:
            yield url
        finally:
            postgres_server.drop_database(url)
    else:
        yield f"sqlite:///{folder}/bench.db"


def run(command: Sequence[str]) -> str:
    """What a program prints. Raises Unmeasured with the end of what it said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WF_")}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment | {"DO_NOT_TRACK": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Unmeasured(f"{Path(command[0]).name} {' '.join(command[1:3])}: {' '.join(said[-3:])}")
    return done.stdout
