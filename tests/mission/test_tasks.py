"""C. Task definition: S19, S21, S22, S23."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import wf
from tests.mission import tasks
from tests.observing import until
from tests.observing import wf as command


async def test_s19_a_task_is_an_id_and_a_function_found_without_a_list(
    database: str, tmp_path: Path
) -> None:
    file = tmp_path / "shop.py"
    file.write_text(
        "import wf\n\n@wf.task(id='ship-order')\nasync def ship(order: str) -> str:\n"
        "    return f'shipped {order}'\n\n@wf.task\nasync def cancel_order(order: str) -> str:\n"
        "    return f'canceled {order}'\n"
    )
    for task, expected in [("ship-order", "shipped 7"), ("cancel-order", "canceled 7")]:
        ran = command("run", f"{file}:{task}", '"7"', "--json", database=database)
        assert expected in ran.stdout, ran.stderr
    missing = command("run", str(file), '"7"', database=database)
    assert missing.returncode != 0
    assert "ship-order" in missing.stderr
    assert "cancel-order" in missing.stderr


def test_s19_two_functions_with_one_id_are_an_error_that_names_both_lines(tmp_path: Path) -> None:
    file = tmp_path / "twice.py"
    file.write_text(
        "import wf\n\n@wf.task(id='ship')\nasync def one(order: str) -> str:\n    return order\n\n"
        "@wf.task(id='ship')\nasync def two(order: str) -> str:\n    return order\n"
    )
    ran = command("run", f"{file}:ship", "7", database=f"sqlite:///{tmp_path}/wf.db")
    assert ran.returncode != 0
    assert "twice.py:3" in ran.stderr
    assert "twice.py:7" in ran.stderr


async def test_s21_a_failed_attempt_is_run_again_by_the_policy(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger"
    monkeypatch.setenv("WF_LEDGER", str(ledger))
    async with wf.Engine(database, [tasks]):
        assert await tasks.uses_flaky(2) == 3
        keys = {line.split()[2] for line in ledger.read_text().splitlines()}
        assert len(keys) == 1, "the key for the vendor stays the same over attempts"
        with pytest.raises(wf.RunFailed, match="the vendor is down"):
            await tasks.uses_flaky(3)
        assert await tasks.fails_twice("a b") == 3


async def test_s21_a_retry_of_a_task_keeps_what_is_completed(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger"
    monkeypatch.setenv("WF_LEDGER", str(ledger))
    async with wf.Engine(database, [tasks]):
        assert await tasks.goes_on("a b") == 2 + 3
    assert ledger.read_text().splitlines() == ["count a b", *["third_time_lucky"] * 3]


async def test_s21_a_retry_keeps_what_was_completed_beside_the_failure(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger"
    monkeypatch.setenv("WF_LEDGER", str(ledger))
    async with wf.Engine(database, [tasks]):
        handle = await tasks.side_by_side.trigger("abc")
        assert await handle.result() == 3 + 3
        history = wf.client().runs.history(handle.id)
    done = ledger.read_text().splitlines()
    assert sorted(done) == ["count cleaned up"] * 2 + ["third_time_lucky"] * 3 + ["unhurried"]
    last = [event.name for event in history if event.chapter == 3 and event.name]
    assert last == [history[0].name, "unhurried", "third-time-lucky", "COMPLETED"]


async def test_s22_an_output_is_stored_and_read_by_others(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        handle = await tasks.reads_another.trigger("a b c")
        assert await handle.result() == 3
    with wf.Client(database) as elsewhere:
        runs = {run.task: run for run in elsewhere.runs.list(status="COMPLETED")}
    assert runs["reads-another"].output == 3
    assert runs["child"].output == 3


async def test_s23_values_arrive_as_what_the_annotations_say(database: str) -> None:
    async with wf.Engine(database, [tasks]):
        with pytest.raises(wf.PayloadError, match="email"):
            await tasks.onboarding.trigger({"user_id": "1"})  # type: ignore[arg-type]
        handle = await tasks.approval.trigger("a")
        client = wf.client()
        [token] = until(lambda: client.tokens.list(status="WAITING"))
        with pytest.raises(wf.PayloadError, match="approved"):
            client.tokens.complete(token.id, {"by": "ann"})
        client.tokens.complete(token.id, {"approved": False, "by": "ann"})
        assert await handle.result() == "1 words, dropped by ann"


def test_s23_a_wrong_payload_is_a_type_error_before_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "typed.py"
    file.write_text(
        "from typing import assert_type\nimport wf\n\n@wf.task\nasync def double(n: int) -> int:\n"
        "    return 2 * n\n\n\nasync def main() -> None:\n"
        "    assert_type(await double.trigger_and_wait(3), int)\n"
        "    assert_type(await (await double.trigger(3)).result(), int)\n"
        "    await double.trigger('3')\n"
    )
    root = Path(__file__).resolve().parents[2]
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(root)], "include": ["typed.py"]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    checked = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    errors = [line for line in checked.stdout.splitlines() if "error:" in line]
    assert errors
    assert all("typed.py:12:" in line for line in errors), checked.stdout
