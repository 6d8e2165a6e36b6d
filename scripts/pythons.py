"""Which Python interpreters this machine has, and the core's tests on each of them.

Written so that a Python as old as 3.6 can run it: on some machines `python3` is one, with a newer
interpreter beside it that nobody named.

    python3 scripts/pythons.py          run tests/core on each supported version
"""

import contextlib
import glob
import os
import pwd
import subprocess
import sys
from typing import Iterator

SUPPORTED = ("3.11", "3.12", "3.13")
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROBE = """
import sys, sysconfig
import bz2, ctypes, sqlite3, ssl, venv, zlib
assert not sysconfig.get_config_var("Py_GIL_DISABLED")
print("%d.%d" % sys.version_info[:2])
"""


def version_of(python: str) -> "str | None":
    """ "3.12" for an interpreter that is whole; None where it is missing, broken or cut down."""
    try:
        found = subprocess.check_output(
            [python, "-I", "-c", PROBE], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.decode().strip()


def homes() -> "list[str]":
    """This user's home as the environment has it and as the system does."""
    found = [os.environ.get("HOME", "")]
    with contextlib.suppress(KeyError):
        found.append(pwd.getpwuid(os.getuid()).pw_dir)
    return [home for home in found if home]


def candidates(version: str) -> "Iterator[str]":
    """Paths that may be this version's interpreter, the likely ones first."""
    name = "python" + version
    if sys.version_info[:2] == tuple(int(part) for part in version.split(".")):
        yield sys.executable
    for folder in os.get_exec_path():
        yield os.path.join(folder, name)
    managed = [os.path.join(os.environ.get("PYENV_ROOT", "/opt/pyenv"), "versions"), "/opt/python"]
    for home in homes():
        managed.append(os.path.join(home, ".pyenv", "versions"))
        managed.append(os.path.join(home, ".local", "share", "uv", "python"))
    for folder in managed:
        for found in sorted(glob.glob(os.path.join(glob.escape(folder), f"*{version}*"))):
            yield os.path.join(found, "bin", name)
    for folder in ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"):
        yield os.path.join(folder, name)


def find(version: str) -> "str | None":
    """The path of an interpreter of this version; None where there is none."""
    for candidate in candidates(version):
        if os.path.exists(candidate) and version_of(candidate) == version:
            return candidate
    return None


def find_newest() -> "str | None":
    """The newest supported interpreter; None where there is none."""
    for version in reversed(SUPPORTED):
        found = find(version)
        if found:
            return found
    return None


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run_core_tests(version: str, python: str) -> bool:
    """Set up an environment for this interpreter and run the core's tests in it; True: passed."""
    say(f"== {version}: {python}")
    current = version == ".".join(str(part) for part in sys.version_info[:2])
    folder, extra = (".venv", "dev") if current else (".venv-" + version, "tests")
    setup = [python, os.path.join("scripts", "setup.py"), "--into", folder, "--extra", extra]
    tests = [os.path.join(folder, "bin", "python"), "-m", "pytest", "-q", "-n", "2", "tests/core"]
    return subprocess.call(setup, cwd=ROOT) == 0 and subprocess.call(tests, cwd=ROOT) == 0


def main() -> int:
    outcomes: dict[str, str] = {}
    for version in SUPPORTED:
        python = find(version)
        if python is None:
            outcomes[version] = f"not on this machine, so nothing was run (install python{version})"
        elif run_core_tests(version, python):
            outcomes[version] = "passed"
        else:
            outcomes[version] = "FAILED"
    for version in SUPPORTED:
        say(f"Python {version}: {outcomes[version]}")
    ran = [outcome for outcome in outcomes.values() if outcome in ("passed", "FAILED")]
    return 0 if ran and "FAILED" not in ran else 1


if __name__ == "__main__":
    sys.exit(main())
