"""The static look: it finds what is planted, and says nothing of the correct twins."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from tests.check.planted import HEAD, PLANTED
from wf.engine.registry import Registry
from wf.testing.check.bodies import Finding, check_bodies

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A module with this text."""

    def load(text: str) -> ModuleType:
        file = tmp_path / f"written_{len(list(tmp_path.iterdir()))}.py"
        file.write_text(text)
        spec = spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def found(load: Load, body: str, head: str = HEAD) -> list[Finding]:
    return check_bodies(
        Registry([load(f"{head}\n@wf.task\nasync def sample(order: Order) -> None:\n    {body}\n")])
    )


@pytest.mark.parametrize(("rule", "line", "twin"), PLANTED, ids=[line for _, line, _ in PLANTED])
def test_each_planted_line_is_found_and_its_twin_is_not(
    load: Load, rule: str, line: str, twin: str
) -> None:
    assert {one.rule.name for one in found(load, line)} == {rule}
    assert found(load, twin) == []


def test_a_finding_names_the_line_the_code_and_what_to_write(load: Load) -> None:
    [one] = found(load, "pass\n    at = when.now()")
    lines = Path(one.file).read_text().splitlines()
    assert lines[one.line - 1][one.column - 1 :] == "when.now()"
    assert one.message == (
        "`when.now()` reads the clock, and a replay reads another time; write instead: wf.now()"
    )
    assert one.task == "sample"


def test_a_helper_that_two_tasks_call_is_told_of_once(load: Load) -> None:
    again = "\n@wf.task\nasync def other() -> None:\n    helper()\n"
    assert len(found(load, f"helper(){again}")) == 1


def test_what_a_step_does_is_its_own_affair(load: Load) -> None:
    assert found(load, "await charge(1)") == []


def test_a_line_can_be_excused_as_a_whole_or_from_one_rule(load: Load) -> None:
    assert found(load, "at = time.time()  # wf: ignore") == []
    assert found(load, "at = time.time()  # wf: ignore[clock]") == []
    assert found(load, "at = time.time()  # wf: ignore[chance]") != []


def test_in_a_generator_an_operation_has_to_be_yielded(load: Load) -> None:
    text = (
        f"{HEAD}\n@wf.task\ndef sample(n: int) -> wf.Gen[int]:\n"
        "    charge(n)\n    done = yield from charge(n)\n    return done\n"
    )
    [one] = check_bodies(Registry([load(text)]))
    assert one.rule.name == "never-awaited"
    assert "yield from" in one.message


def test_the_project_s_own_examples_are_clean() -> None:
    from wf.engine.loading import load_all

    for file in sorted(Path("examples").glob("*.py")):
        assert check_bodies(load_all([str(file)])) == []
