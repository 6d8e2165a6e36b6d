"""Files that somebody named are read as they are now."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOAD = "from wf.engine.loading import load; print(*load('program.py')[1].ids)"


def test_a_file_that_is_changed_twice_in_a_second_is_the_last_one(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    for name in ("first", "later"):
        file.write_text(f"import wf\n\n@wf.task\nasync def {name}() -> None: ...\n")
        os.utime(file, (1_700_000_000, 1_700_000_000))
        told = subprocess.run(
            [sys.executable, "-c", LOAD], cwd=tmp_path, env=environment, capture_output=True
        )
        assert told.stdout.decode().split() == [name], told.stderr.decode()
    assert [one.name for one in tmp_path.iterdir()] == ["program.py"]
