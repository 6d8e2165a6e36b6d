"""The shell completes `wf`: what `--install-completion` writes, read by a real bash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WF = Path(sys.executable).with_name("wf")


def told(words: list[str], home: Path, **more: str) -> str:
    path = f"{WF.parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "HOME": str(home), "PATH": path, **more}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_bash_completes_what_was_installed(tmp_path: Path) -> None:
    told([str(WF), "--install-completion", "bash"], tmp_path)
    script = (
        "source ~/.bash_completions/wf.sh; complete -p wf;"
        ' COMP_WORDS=(wf queues pa); COMP_CWORD=2; _wf_completion wf; echo "${COMPREPLY[@]}"'
    )
    function, found = told(["bash", "--norc", "-c", script], tmp_path).splitlines()
    assert function.endswith("-F _wf_completion wf")
    assert found == "pause"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_the_options_of_a_command(shell: str, tmp_path: Path) -> None:
    asked = {"_WF_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "wf runs list --sta"}
    if shell == "fish":
        asked["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    assert "--status" in told([str(WF)], tmp_path, **asked)
