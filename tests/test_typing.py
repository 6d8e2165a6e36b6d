"""The public face under pyright strict: what it infers, and what it refuses.

What a checker infers does not depend on the interpreter that runs it, so this is not among the
tests of the core that run on every Python.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_types_of_the_guides_samples_are_inferred_and_mistakes_are_refused() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "pyright", "tests/typing_cases.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
