"""`wf init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wf.cli.options import Debug

CONFIG = '''"""What holds in this project. `wf worker` works on all tasks below `dirs`."""

import wf

config = wf.Config(
    project="{project}",
    database="sqlite:///.wf/wf.db",  # or postgresql://user@host/name; WF_URL goes before it
    dirs=["tasks"],
    retries=wf.Retries(default=wf.Retry(max_attempts=3, factor=2, min_delay="1s", max_delay="30s")),
    max_duration=3600,
)
'''
TASK = '''"""Greets somebody, twice."""

import wf


@wf.step
async def write_greeting(name: str, word: str) -> str:
    """A step touches the world: it runs for real, is tried again, and its result is recorded."""
    return f"{word}, {name}!"


@wf.task
async def hello(name: str) -> list[str]:
    """A task orchestrates. It survives crashes, and waiting costs a row in a table."""
    first = await write_greeting(name, "Hello")
    await wf.wait.for_("1s")
    return [first, await write_greeting(name, "Hello again")]
'''
TEST = """import wf
from tasks.hello import hello, write_greeting


def test_somebody_is_greeted_twice(wf_env: wf.testing.Env) -> None:
    assert wf_env.run(hello, "Ada") == ["Hello, Ada!", "Hello again, Ada!"]


def test_the_second_greeting_comes_a_second_later(wf_env: wf.testing.Env) -> None:
    wf_env.replace(write_greeting, returns="Hi!")
    run = wf_env.start(hello, "Ada")
    assert run.story == ["started", 'write-greeting -> "Hi!"']
    wf_env.advance("1s")
    assert run.result() == ["Hi!", "Hi!"]
"""
PYTEST = """[pytest]
pythonpath = .
testpaths = tests
"""
FILES = {
    "wf_config.py": CONFIG,
    "tasks/__init__.py": "",
    "tasks/hello.py": TASK,
    "tests/test_hello.py": TEST,
    "pytest.ini": PYTEST,
    ".gitignore": ".wf/\n__pycache__/\n",
}


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where to. Default: here.")
    ] = Path(),
    debug: Debug = False,
) -> None:
    """Make a project: a config, a first task and its test. What is there stays as it is."""
    name = folder.absolute().name
    for path, text in FILES.items():
        place = folder / path
        if place.exists():
            print(f"  kept  {place}")
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text.replace("{project}", name.replace('"', "")), encoding="utf-8")
        print(f"  made  {place}")
    go = f"cd {folder} && " if folder != Path() else ""
    print(f"\nRun it: {go}wf run hello Ada\nTest it: {go}python -m pytest")
