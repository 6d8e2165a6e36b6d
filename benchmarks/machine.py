"""What Linux tells of processes, folders and file systems. Only the standard library."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
IN_MEMORY: Final = ("tmpfs", "ramfs")


def memory_mb(pid: int | str = "self", *, peak: bool = True) -> float:
    """The most that a process held at once, or what it holds now. Not `ru_maxrss`: Linux carries
    that over from the process that started this one."""
    found = re.search(
        rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()
    )
    if found is None:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(found[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """Of a process and of its children that it has waited for."""
    return sum(int(field) for field in _stat(pid)[11:15]) / TICKS


def computed_seconds(pid: int) -> float:
    """Of a process that has one thread, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def family(pid: int) -> list[int]:
    """A process and all below it."""
    parents = dict[int, list[int]]()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def family_cpu_seconds(pid: int) -> float:
    """Whoever ends meanwhile is left out."""
    seconds = 0.0
    for one in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            seconds += cpu_seconds(one)
    return seconds


def _stat(pid: int) -> list[str]:
    """The fields after the name of the program: 0 is the state, 1 the parent's pid."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def file_system(path: Path) -> str:
    """Its kind: "ext4", "tmpfs", …"""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    fitting = [
        (len(place), kind)
        for place, kind in mounts
        if path == Path(place) or Path(place) in path.parents or place == "/"
    ]
    return max(fitting)[1]


def use_a_disk() -> Path:
    """Have temporary files of this process and of those below it on a disk; the folder. Raises
    SystemExit."""
    for name in (tempfile.gettempdir(), "/var/tmp"):  # noqa: S108 # each is looked at
        folder = Path(name).resolve()
        if os.access(folder, os.W_OK) and file_system(folder) not in IN_MEMORY:
            os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
            return folder
    raise SystemExit("no temporary folder is on a disk: set TMPDIR to one that is")
