"""B. Config: S12 S13 S14 S15 S16 S24; and S20, a policy of its own goes before the project's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import wf
from tests import warm
from tests.observing import ended
from tests.observing import wf as command

TASKS = """import wf
from pathlib import Path

def attempt() -> int:
    with Path("attempts").open("a") as ledger:
        ledger.write("x")
    return wf.current().step.attempt

@wf.step
def weak() -> None:
    attempt()
    raise ConnectionError("down")

@wf.step(retry=wf.Retry(max_attempts=2, min_delay="1ms"))
def own() -> None:
    attempt()
    raise ConnectionError("down")

@wf.step
async def slow() -> None:
    import asyncio
    await asyncio.sleep(60)

@wf.task
async def uses_weak() -> None:
    await weak()

@wf.task
async def uses_own() -> None:
    await own()

@wf.task
async def endless() -> None:
    await slow()

@wf.task(max_duration="100ms")
async def shorter() -> None:
    await slow()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "vendor.py").write_text(TASKS)
    return tmp_path


def configure(folder: Path, **settings: str) -> None:
    said = "".join(f", {name}={value}" for name, value in settings.items())
    text = f"import wf\nconfig = wf.Config(dirs=['jobs']{said})\n"
    (folder / "wf_config.py").write_text(text)


def attempts(project: Path, database: str, task: str, env: str = "dev") -> int:
    (project / "attempts").unlink(missing_ok=True)
    ran = command("run", task, "--skip-waits", "--env", env, database=database, cwd=project)
    assert ran.returncode == 1, ran.stderr
    assert "ConnectionError: down" in ran.stderr
    return len((project / "attempts").read_text())


def test_s12_init_makes_a_project_that_runs_and_whose_tests_pass(tmp_path: Path) -> None:
    def typed(*words: str) -> str:
        ran = warm.run(words, cwd=tmp_path)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    assert "wf_config.py" in typed("init")
    assert json.loads(typed("run", "hello", "Ada")) == ["Hello, Ada!", "Hello again, Ada!"]
    [run] = json.loads(typed("runs", "list", "--json"))
    assert (run["task"], run["status"]) == ("hello", "COMPLETED")
    pytest_itself = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    told = subprocess.run(pytest_itself, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in told.stdout, told.stdout
    (tmp_path / "tasks" / "hello.py").write_text("mine = 1\n")
    assert "kept" in typed("init")
    assert (tmp_path / "tasks" / "hello.py").read_text() == "mine = 1\n"


def test_s13_one_file_names_the_folders_the_database_and_the_rest(project: Path) -> None:
    configure(project, database="'data/runs.db'", project="'shop'", log_level="'WARNING'")
    ran = warm.run(["run", "uses-own", "--skip-waits"], cwd=project / "jobs")
    assert ran.returncode == 1
    with wf.Client(f"sqlite:///{project}/data/runs.db") as client:
        [run] = client.runs.list()
    assert (run.task, run.status) == ("uses-own", wf.Status.FAILED)


def test_s14_every_field_of_the_config_is_checked_where_it_stands(
    project: Path, database: str
) -> None:
    for settings, told in [
        ({"max_duration": "-1"}, "max_duration=-1"),
        ({"log_level": "'LOUD'"}, "log_level='LOUD'"),
        ({"retries": "3"}, "retries=3"),
        ({"dir": "[]"}, "dir"),
    ]:
        configure(project, **settings)
        ran = command("run", "uses-own", database=database, cwd=project)
        assert ran.returncode == 1
        assert told in ran.stderr
        assert "wf_config.py:2" in ran.stderr
    (project / "wf_config.py").unlink()
    (project / "pyproject.toml").write_text('[tool.wf]\ndirs = ["jobs"]\nmax_duration = 0.1\n')
    ran = command("run", "endless", database=database, cwd=project)
    assert "max_duration" in ran.stderr
    (project / "pyproject.toml").write_text('[tool.wf]\nfolders = ["jobs"]\n')
    assert "folders" in command("run", "endless", database=database, cwd=project).stderr


@pytest.mark.parametrize("level", ["INFO", "ERROR"])
def test_s14_workers_say_as_much_as_the_log_level_lets_them(
    project: Path, database: str, level: str
) -> None:
    configure(project, log_level=repr(level), max_duration="0.1")
    words = [sys.executable, "-m", "wf.cli", "worker", "--db", database]
    worker = subprocess.Popen(words, cwd=project, stderr=subprocess.PIPE, text=True)
    with wf.Client(database) as client:
        run = client.trigger("endless")
        assert ended(client, run.id).status is wf.Status.TIMED_OUT, "its max_duration holds, too"
    worker.terminate()
    _, said = worker.communicate()
    assert worker.returncode == 0
    assert ("works on" in said) is (level == "INFO")


def test_s15_the_default_policy_holds_for_steps_without_one(project: Path, database: str) -> None:
    configure(project, retries="wf.Retries(default=wf.Retry(max_attempts=4, min_delay='1ms'))")
    assert attempts(project, database, "uses-weak") == 4
    (project / "wf_config.py").write_text("import wf\nconfig = wf.Config(dirs=['jobs'])\n")
    assert attempts(project, database, "uses-weak") == 3


def test_s16_retries_are_switched_off_in_dev_and_nowhere_else(project: Path, database: str) -> None:
    configure(project, retries="wf.Retries(enabled_in_dev=False)")
    assert attempts(project, database, "uses-weak") == 1
    assert attempts(project, database, "uses-own") == 1
    assert attempts(project, database, "uses-weak", env="prod") == 3


def test_s20_a_policy_of_its_own_goes_before_the_projects(project: Path, database: str) -> None:
    configure(project, retries="wf.Retries(default=wf.Retry(max_attempts=4, min_delay='1ms'))")
    assert attempts(project, database, "uses-own") == 2


def test_s24_the_projects_max_duration_holds_where_a_task_names_none(
    project: Path, database: str
) -> None:
    configure(project, max_duration="0.1")
    told = command("run", "endless", "--json", database=database, cwd=project)
    assert json.loads(told.stdout)["status"] == "TIMED_OUT"
    configure(project, max_duration="3600")
    told = command("run", "shorter", "--json", database=database, cwd=project)
    assert json.loads(told.stdout)["status"] == "TIMED_OUT"
