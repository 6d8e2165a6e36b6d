"""Make the project's environment, once: `python3 scripts/setup.py`.

What holds however it is called (two at once, after a kill in the middle, on a machine with
nothing but Python):

- The environment is whole or has no stamp. The stamp is written last and says what the environment
  was made from, so that a changed pyproject.toml or constraints.txt is followed.
- One set-up runs at a time; the next one finds it done.
- pip is the wheel beside this file, so that neither `ensurepip` (Debian keeps it apart) nor a pip
  of the machine's is needed; versions are those of constraints.txt.
"""

import argparse
import hashlib
import os
import sys

import pythons

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STAMP = ".stamp"
MADE_BY = 1
"""Raised when this script makes environments in another way, so that old ones are made anew."""


def use_a_supported_python() -> None:
    """Go on under a supported interpreter, or say that there is none."""
    here = ".".join(str(part) for part in sys.version_info[:2])
    if here in pythons.SUPPORTED and pythons.version_of(sys.executable) == here:
        return
    found = pythons.find_newest()
    if found:
        os.execv(found, [found, *sys.argv])
    if sys.version_info < (3, 11):
        sys.exit(
            f"wf needs Python 3.11 or newer: {sys.executable} is {here}, and this machine has no "
            "newer one. Install one, or name it: make PYTHON=/path/to/python3.12"
        )
    if pythons.version_of(sys.executable) is None:
        sys.exit(
            f"{sys.executable} is not a whole Python: it lacks bz2, ctypes, sqlite3, ssl, venv or "
            "zlib. Install the rest of it, or name another: make PYTHON=/path/to/python3.12"
        )


def made_from(extra: str) -> str:
    """Two lines: where and for whom an environment is made, and a digest of what goes into it."""
    import json
    import tomllib

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        settings = tomllib.load(file)
    with open(os.path.join(ROOT, "constraints.txt"), encoding="utf-8") as file:
        constraints = file.read()
    contents = [settings["build-system"], settings["project"], settings["tool"]["setuptools"]]
    packed = json.dumps([*contents, constraints]).encode()
    place = json.dumps([ROOT, extra, sys.version_info[:2], MADE_BY])
    return place + "\n" + hashlib.sha256(packed).hexdigest() + "\n"


def read_stamp(folder: str) -> str:
    """What a whole environment was made from; nothing for one that is missing or half made."""
    try:
        with open(os.path.join(folder, STAMP), encoding="utf-8") as file:
            return file.read() if os.path.exists(os.path.join(folder, "bin", "python")) else ""
    except OSError:
        return ""


def pip_environment() -> "dict[str, str]":
    """This process's variables, less what would lead pip away from the environment."""
    unwanted = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    home = os.path.expanduser("~")
    if not os.access(home, os.W_OK):
        environment["PIP_NO_CACHE_DIR"] = "1"
    if not os.path.isabs(home):  # a user that the system does not know; pip insists on a home
        environment["HOME"] = ROOT
    return environment


def make(folder: str, extra: str, anew: bool) -> None:
    """Make the environment, from nothing or on top of a whole one."""
    import glob
    import shutil
    import subprocess
    import venv

    name = os.path.relpath(folder, ROOT)
    version = ".".join(str(part) for part in sys.version_info[:2])
    print(f"Setting up {name} for Python {version} (under a minute, once) ...", flush=True)
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.lexists(folder):
            sys.exit(f"{name} is half made or another user's, and cannot be removed: remove it")
        venv.create(folder, with_pip=False, symlinks=True)
    else:
        os.remove(os.path.join(folder, STAMP))
    python = os.path.join(folder, "bin", "python")
    (wheel,) = glob.glob(os.path.join(glob.escape(ROOT), "scripts", "pip-*.whl"))
    constraints = os.path.join(ROOT, "constraints.txt")
    pip = [python, "-I", os.path.join(wheel, "pip"), "install"]
    for arguments in (
        ["--no-index", "--no-deps", "--no-compile", wheel],
        ["-c", constraints, "--build-constraint", constraints, "-e", f".[{extra}]"],
    ):
        done = subprocess.run(
            pip + arguments,
            cwd=ROOT,
            env=pip_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            sys.exit(f"{done.stdout}\nThe set-up of {name} failed: pip says why above.")


def main() -> None:
    use_a_supported_python()
    parser = argparse.ArgumentParser(description="Make the project's environment.")
    parser.add_argument("--into", default=".venv", metavar="FOLDER")
    parser.add_argument("--extra", default="dev")
    options = parser.parse_args()
    folder = os.path.join(ROOT, options.into)
    stamp = made_from(options.extra)
    if read_stamp(folder) == stamp:
        return
    import fcntl

    lock = os.open(os.path.join(ROOT, ".setup.lock"), os.O_RDONLY | os.O_CREAT, 0o644)
    fcntl.flock(lock, fcntl.LOCK_EX)
    before = read_stamp(folder)
    if before == stamp:
        return
    make(folder, options.extra, anew=before.partition("\n")[0] != stamp.partition("\n")[0])
    unfinished = os.path.join(folder, STAMP + ".new")
    with open(unfinished, "w", encoding="utf-8") as file:
        file.write(stamp)
    os.replace(unfinished, os.path.join(folder, STAMP))


if __name__ == "__main__":
    main()
