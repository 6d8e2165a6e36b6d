"""Write constraints.txt: the newest versions that fit, resolved on every supported Python."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pythons

ROOT = Path(__file__).resolve().parent.parent
HEAD = """\
# The versions that the set-up installs and CI tests. Written by `make pin`; do not edit.
"""


def resolve(python: str) -> dict[str, str]:
    """What pip would install for development under this interpreter: name -> version."""
    (pip,) = (ROOT / "scripts").glob("pip-*.whl")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [python, f"{pip}/pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        wanted = ["--report", str(report), "--only-binary", ":all:", ".[dev]", "setuptools"]
        subprocess.run([*command, *wanted], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        items = json.loads(report.read_text())["install"]
    found = {item["metadata"]["name"].lower(): item["metadata"]["version"] for item in items}
    del found["wf-engine"]
    return found


def main() -> None:
    resolved: dict[str, dict[str, str]] = {}
    for version in pythons.SUPPORTED:
        python = pythons.find(version)
        if python is None:
            sys.exit(f"Python {version} is not on this machine: cannot resolve for it")
        resolved[version] = resolve(python)
    lines: list[str] = []
    for name in sorted({name for found in resolved.values() for name in found}):
        versions = {found.get(name) for found in resolved.values()}
        if len(versions) == 1:
            lines.append(f"{name}=={versions.pop()}")
            continue
        lines += [
            f'{name}=={found[name]}; python_version == "{version}"'
            for version, found in resolved.items()
            if name in found
        ]
    (ROOT / "constraints.txt").write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
