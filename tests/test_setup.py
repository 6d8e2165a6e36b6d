"""The set-up works from nothing but Python, make and git, whatever the machine is like.

Real runs of the Makefile and of scripts/setup.py, on a stand-in project that needs no download:
its build backend is its own and it depends on nothing.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from tests.postgres_server import wait_until_ended

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("wf", "engine", "history", "client", "cli", "testing", "server")
WAIT_S = 60
BACKEND = """
import os, pathlib, zipfile


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    built = pathlib.Path("built")
    built.write_text(built.read_text() + "x" if built.exists() else "x")
    if os.environ.get("STAND_IN_WAITS"):
        pathlib.Path("waiting").touch()
        os.read(os.open(os.environ["STAND_IN_WAITS"], os.O_RDONLY), 1)
    if os.environ.get("STAND_IN_FAILS"):
        raise SystemExit("the build failed on purpose")
    info = "stand_in-1.dist-info/"
    name = "stand_in-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as wheel:
        wheel.writestr("stand_in.py", "")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: stand-in\\nVersion: 1\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return name
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "stand-in"
version = "1"
[tool.setuptools]
"""


class StandIn:
    """A project set up by this repository's own Makefile and scripts, in a path with a space."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        shutil.copytree(ROOT / "scripts", root / "scripts")
        shutil.copy(ROOT / "Makefile", root)
        (root / "pyproject.toml").write_text(PYPROJECT)
        (root / "constraints.txt").write_text("")
        (root / "backend.py").write_text(BACKEND)

    def start(self, **variables: str) -> subprocess.Popen[str]:
        """`make setup` with no HOME, no terminal and no input."""
        return subprocess.Popen(
            ["make", "setup", f"PYTHON={sys.executable}"],
            cwd=self.root,
            env={"PATH": os.environ["PATH"], **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def setup(self, **variables: str) -> tuple[int, str]:
        process = self.start(**variables)
        said, _ = process.communicate(timeout=WAIT_S)
        return process.returncode, said

    @property
    def times_built(self) -> int:
        built = self.root / "built"
        return len(built.read_text()) if built.exists() else 0

    def runs(self) -> bool:
        python = self.root / ".venv" / "bin" / "python"
        check = [str(python), "-c", "import stand_in, pip"]
        return python.exists() and subprocess.run(check, check=False).returncode == 0


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "a clone")


def test_it_makes_an_environment_once_in_a_path_with_a_space(stand_in: StandIn) -> None:
    code, said = stand_in.setup()
    assert code == 0, said
    assert stand_in.runs()
    assert stand_in.setup() == (0, "")
    assert stand_in.times_built == 1


def test_it_asks_neither_ensurepip_nor_a_pip_of_the_machine(stand_in: StandIn) -> None:
    stand_in.setup()
    (wheel,) = (ROOT / "scripts").glob("pip-*.whl")
    (installed,) = (stand_in.root / ".venv").glob("lib/python*/site-packages/pip-*.dist-info")
    assert installed.name.split("-")[1].removesuffix(".dist") == wheel.name.split("-")[1]


def test_it_follows_changed_constraints(stand_in: StandIn) -> None:
    stand_in.setup()
    (stand_in.root / "constraints.txt").write_text("another==1\n")
    code, said = stand_in.setup()
    assert code == 0, said
    assert stand_in.times_built == 2


def test_it_makes_a_half_made_environment_anew(stand_in: StandIn) -> None:
    code, said = stand_in.setup(STAND_IN_FAILS="1")
    assert code != 0
    assert "the build failed on purpose" in said
    leftover = stand_in.root / ".venv" / "leftover"
    leftover.touch()
    code, said = stand_in.setup()
    assert code == 0, said
    assert stand_in.runs()
    assert not leftover.exists()


def start_and_wait_for_build(stand_in: StandIn, fifo: Path) -> tuple[subprocess.Popen[str], int]:
    """A set-up that waits in the middle of its build until the returned descriptor is closed."""
    os.mkfifo(fifo)
    process = stand_in.start(STAND_IN_WAITS=str(fifo))
    gate = os.open(fifo, os.O_WRONLY)
    assert (stand_in.root / "waiting").exists()
    return process, gate


def test_it_starts_over_after_a_kill_in_the_middle(stand_in: StandIn, tmp_path: Path) -> None:
    process, gate = start_and_wait_for_build(stand_in, tmp_path / "fifo")
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=WAIT_S)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
        wait_until_ended(member)
    os.close(gate)
    assert not (stand_in.root / ".venv" / ".stamp").exists()
    code, said = stand_in.setup()
    assert code == 0, said
    assert stand_in.runs()


def test_two_at_once_make_one_environment(stand_in: StandIn, tmp_path: Path) -> None:
    first, gate = start_and_wait_for_build(stand_in, tmp_path / "fifo")
    second = stand_in.start()
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.5)
    os.close(gate)
    for process in (first, second):
        said, _ = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, said
    assert stand_in.runs()
    assert stand_in.times_built == 1


def test_an_old_python_goes_on_under_a_newer_one_or_says_what_is_needed() -> None:
    for name in ("setup.py", "pythons.py"):
        source = (ROOT / "scripts" / name).read_text()
        ast.parse(source, feature_version=(3, 6))
    without_newer = (
        "import sys; sys.path.insert(0, 'scripts'); sys.version_info = (3, 9, 2, 'final', 0);"
        "import pythons; pythons.find_newest = lambda: None; import setup; setup.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", without_newer], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("wf needs Python 3.11 or newer")
    assert len(done.stderr.splitlines()) == 1


def test_an_interpreter_that_only_looks_like_one_is_passed_over(tmp_path: Path) -> None:
    version = ".".join(str(part) for part in sys.version_info[:2])
    shims, real = tmp_path / "shims", tmp_path / "real bin"
    for folder, script in {
        shims: "#!/bin/sh\nexit 127\n",
        real: f'#!/bin/sh\nexec "{sys.executable}" "$@"\n',
    }.items():
        folder.mkdir()
        (folder / f"python{version}").write_text(script)
        (folder / f"python{version}").chmod(0o755)
    look = f"import sys, pythons; sys.executable = ''; print(pythons.find({version!r}))"
    done = subprocess.run(
        [sys.executable, "-c", look],
        cwd=ROOT / "scripts",
        env={"PATH": f"{shims}{os.pathsep}{real}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(real / f"python{version}")


def test_every_installed_version_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    asked = [Requirement(line) for line in lines if "==" in line]
    here = [one for one in asked if one.marker is None or one.marker.evaluate()]
    pinned = {canonicalize_name(one.name): str(one.specifier)[2:] for one in here}
    needed = requirements_of("wf-engine", {"dev", "tests", "testing", "server"})
    assert needed
    installed = {name: importlib.metadata.version(name) for name in needed}
    assert {name: pinned.get(name) for name in needed} == installed


def requirements_of(name: str, extras: set[str]) -> set[NormalizedName]:
    """What this distribution needs here, directly or not."""
    found: set[NormalizedName] = set()
    waiting = [(canonicalize_name(name), extras)]
    while waiting:
        name, extras = waiting.pop()
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            marker = requirement.marker
            asked = [{"extra": extra} for extra in ("", *extras)]
            if marker is None or any(marker.evaluate(extra) for extra in asked):
                needed = canonicalize_name(requirement.name)
                if needed not in found and needed != "wf-engine":
                    found.add(needed)
                    waiting.append((needed, requirement.extras))
    return found


def test_the_wheel_holds_every_module_and_data_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in FOLDERS:
        if (ROOT / folder).exists():
            shutil.copytree(ROOT / folder, source / folder, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
    ]
    done = subprocess.run(
        [*build, "-w", str(tmp_path), str(source)],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for folder in FOLDERS:
        for path in (source / folder).rglob("*"):
            inside = path.relative_to(source)
            wanted = inside if folder == "wf" else Path("wf") / inside
            if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts:
                assert wanted.as_posix() in held


def test_each_package_has_its_link_and_pyright_looks_behind_it() -> None:
    links = {
        path.name: str(path.readlink()) for path in (ROOT / "wf").iterdir() if path.is_symlink()
    }
    there = {name for name in FOLDERS if name != "wf" and (ROOT / name).exists()}
    assert links == {name: f"../{name}" for name in there}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert {f"wf/{name}" for name in there} <= set(settings["tool"]["pyright"]["include"])
