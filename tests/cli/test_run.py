"""`wf run`: which task, which payload, what comes out."""

from __future__ import annotations

import json
import sys

import pytest

from tests.cli.terminal import PROGRAMS, Terminal
from wf.cli import options
from wf.history.errors import PayloadError

PAYLOADS = str(PROGRAMS / "payloads.py")
HELLO = """
import wf

@wf.step
def greet(name: str) -> str:
    print("greeting", name)
    return f"Hello, {name}!"

@wf.task
async def hello(name: str) -> str:
    wf.logger.info("a line of the log")
    return await greet(name)
"""
FAILS = """
import wf

@wf.step(retry=wf.Retry(max_attempts=2, min_delay="1ms"))
def breaks(n: int) -> int:
    raise ValueError("two lines\\nof trouble")

@wf.task
async def fails(n: int) -> int:
    return await breaks(n)
"""


def test_the_output_stands_alone_on_standard_output(terminal: Terminal) -> None:
    file = terminal.write("hello.py", HELLO)
    done = terminal.wf("run", file, "Ada").ok()
    assert done.out == "Hello, Ada!\n"
    assert "greeting Ada" in done.err
    assert "a line of the log" in done.err


def test_the_database_is_made_at_the_projects_root(terminal: Terminal) -> None:
    terminal.write("hello.py", HELLO)
    below = terminal.folder / "below"
    below.mkdir()
    file = str(terminal.folder / "hello.py")
    inside = Terminal(below)
    (below / "wf_config.py").unlink()
    inside.wf("run", file, "Ada").ok()
    assert (terminal.folder / ".wf" / "wf.db").exists()
    assert not (below / ".wf").exists()


def test_wf_url_names_the_database(terminal: Terminal) -> None:
    file = terminal.write("hello.py", HELLO)
    terminal.env["WF_URL"] = "sqlite:///other.db"
    run_id = terminal.wf("run", file, "Ada").ok().run_id
    assert not (terminal.folder / ".wf").exists()
    assert terminal.wf("runs", "show", run_id, "--json").ok().json["output"] == "Hello, Ada!"


def test_json_is_one_object(terminal: Terminal) -> None:
    file = terminal.write("hello.py", HELLO)
    done = terminal.wf("run", file, "Ada", "--json").ok()
    assert set(done.json) == {"id", "status", "output", "error"}
    assert done.json["id"].startswith("run_")
    assert (done.json["status"], done.json["output"]) == ("COMPLETED", "Hello, Ada!")
    assert done.json["error"] is None


def test_what_fails_is_one_line_and_its_traceback_with_debug(terminal: Terminal) -> None:
    file = terminal.write("fails.py", FAILS)
    done = terminal.wf("run", file, "1", "--quiet")
    line = done.refused()
    assert "fails failed: ValueError: two lines of trouble" in line
    assert f"wf runs show {done.run_id} --db .wf/wf.db" in line
    loud = terminal.wf("run", file, "1", "--quiet", "--debug")
    assert loud.code == 1
    assert 'raise ValueError("two lines' in loud.err
    told = terminal.wf("run", file, "1", "--json")
    assert told.code == 1
    assert (told.json["status"], told.json["output"]) == ("FAILED", None)
    assert told.json["error"]["type"] == "ValueError"


def test_retries_are_told(terminal: Terminal) -> None:
    file = terminal.write("fails.py", FAILS)
    done = terminal.wf("run", file, "1")
    assert "breaks attempt 1 failed, again" in done.err
    assert "breaks failed" in done.err


# --- which task -----------------------------------------------------------------------------------

SEVERAL = """
import wf
@wf.task
async def one() -> str:
    return "one"
@wf.task
async def {name}() -> str:
    return "{name}"
@wf.step
def alone() -> str:
    return "a step alone"
"""


@pytest.mark.parametrize(
    ("file", "name", "target", "output"),
    [
        ("report.py", "report", "report.py", "report"),
        ("my_report.py", "my_report", "my_report.py", "my_report"),
        ("report.py", "main", "report.py", "main"),
        ("report.py", "other", "report.py:one", "one"),
        ("report.py", "an_other", "report.py:an_other", "an_other"),
        ("report.py", "an_other", "report.py:an-other", "an_other"),
        ("report.py", "other", "report.py:alone", "a step alone"),
    ],
)
def test_the_task_is_named_or_found(
    terminal: Terminal, file: str, name: str, target: str, output: str
) -> None:
    terminal.write(file, SEVERAL.format(name=name))
    assert terminal.wf("run", target).ok().out.strip() == output


def test_several_tasks_without_a_name_are_listed(terminal: Terminal) -> None:
    file = terminal.write("report.py", SEVERAL.format(name="other"))
    assert "there are one, other: name one, `report.py:TASK`" in terminal.wf("run", file).refused()


def test_a_file_may_import_what_stands_beside_it(terminal: Terminal) -> None:
    package = terminal.folder / "tasks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text("import wf\n@wf.step\ndef part() -> int:\n    return 2\n")
    (package / "whole.py").write_text(
        "import wf\nfrom tasks import parts\nfrom .parts import part\n"
        "@wf.task\nasync def whole() -> int:\n    return await part() + await parts.part()\n"
    )
    assert terminal.wf("run", "tasks/whole.py").ok().out == "4\n"
    assert terminal.wf("run", "tasks.whole").ok().out == "4\n"


def test_children_of_modules_that_are_only_imported_run(terminal: Terminal) -> None:
    terminal.write("parts.py", "import wf\n@wf.task\nasync def part() -> int:\n    return 2\n")
    file = terminal.write(
        "whole.py",
        "import wf, parts\n@wf.task\nasync def whole() -> int:\n    return await parts.part()\n",
    )
    assert terminal.wf("run", file).ok().out == "2\n"


def test_a_file_may_be_called_like_a_module_of_pythons(terminal: Terminal) -> None:
    file = terminal.write(
        "colorsys.py", "import wf\n@wf.task\nasync def go() -> str:\n return 'up'\n"
    )
    assert terminal.wf("run", file).ok().out == "up\n"


# --- payloads -------------------------------------------------------------------------------------

USER = {"user_id": "u1", "email": "x@y", "age": 3, "tags": ["a"], "is_admin": True}
FIELDS = ("--", "--user-id", "u1", "--email", "x@y")


@pytest.mark.parametrize(
    ("task", "words", "output"),
    [
        ("user", [json.dumps(USER)], USER),
        ("user", [*FIELDS], USER | {"age": 0, "tags": [], "is_admin": False}),
        ("user", [*FIELDS, "--age=3", "--is-admin", "--tags", "a"], USER),
        ("user", [*FIELDS, "--age=3", "--is_admin", "--tags", '["a"]'], USER),
        ("text", ["hello"], "hello"),
        ("text", ['"quoted"'], "quoted"),
        ("text", ["12"], "12"),
        ("text", ["[note] to self"], "[note] to self"),
        ("text", ["--", "--text", "12"], "12"),
        ("number", ["12"], 12),
        ("number", ["--", "--number", "12"], 12),
        ("colour", ["blue"], "blue"),
        ("point", ['{"x": 1, "y": 2}'], {"x": 1.0, "y": 2.0}),
        ("point", ["--", "--x", "1", "--y", "-2.5"], {"x": 1.0, "y": -2.5}),
        ("options", ["--", "--since", "2026-01-02"], {"since": "2026-01-02"}),
        ("anything", ["word"], "word"),
        ("anything", ["[1, null]"], [1, None]),
        ("two", ["ab"], "ab"),
        ("two", ["--", "--name", "ab"], "ab"),
        ("several", ['{"a": 1, "b": "x"}'], {"a": 1, "b": "x"}),
        ("several", ["--", "--a", "1", "--b", "2"], {"a": 1, "b": "2"}),
        ("nothing", [], None),
    ],
)
def test_a_payload_is_converted_by_the_annotation(
    task: str, words: list[str], output: object
) -> None:
    assert json.loads(stored(task, words)) == output


def stored(task: str, words: list[str]) -> bytes:
    """The payload that `wf run payloads.py:TASK WORDS` would store."""
    from tests.cli.programs import payloads
    from wf.cli.payload import payload_for
    from wf.engine.loading import choose

    after = words.index("--") if "--" in words else len(words)
    given, fields = (words[0] if after else None), words[after + 1 :]
    return payload_for(choose(payloads, task, "payloads.py"), given, fields)


@pytest.mark.parametrize(
    ("task", "words", "output"),
    [
        ("two", ["ab"], "abab"),
        ("two", ["--", "--name", "ab", "--times", "3", "--loud"], "ABABAB"),
        ("several", ["--", "--a", "1", "--b", "2"], "12"),
        ("nothing", [], "nothing"),
        ("number", ["-"], "7"),
    ],
)
def test_a_payload_reaches_the_body(
    terminal: Terminal, task: str, words: list[str], output: str
) -> None:
    done = terminal.wf("run", f"{PAYLOADS}:{task}", *words, stdin="7").ok()
    assert done.out.strip() == output


def test_a_payload_may_come_from_a_file(terminal: Terminal) -> None:
    terminal.write("user.json", json.dumps(USER))
    done = terminal.wf("run", f"{PAYLOADS}:user", "@user.json", "--json").ok()
    assert done.json["output"] == USER


@pytest.mark.parametrize(
    ("task", "words", "told"),
    [
        ("user", ['{"user_id": "u1"}'], "payload of user: email: Field required"),
        ("user", ['{"user_id": "u1", "email": 3}'], "email: Input should be a valid string"),
        ("user", ["{rubbish"], "payload of user is no JSON: "),
        ("user", ["word"], "payload of user"),
        ("user", ["@missing.json"], "missing.json cannot be read"),
        ("user", [], "user takes a payload (user): give JSON, @file, -, or fields: -- --user-id"),
        ("user", ["--", "--user-idd", "u1"], "no field --user-idd; there are --user-id, --email"),
        ("user", ["--", *FIELDS[1:], "--age", "x"], "--age: Input should be a valid integer"),
        ("user", ["--", "user-id"], "is no field"),
        ("user", ["{}", "--", "--email", "x"], "give one of them"),
        ("number", ["many"], "payload of number: Input should be a valid integer"),
        ("colour", ["green"], "payload of colour: Input should be 'red' or 'blue'"),
        ("several", ['{"a": 1}'], "b: Field required"),
        ("several", [], "several takes a payload (a, b)"),
        ("nothing", ["1"], "nothing"),
    ],
)
def test_a_payload_that_does_not_fit_is_told(task: str, words: list[str], told: str) -> None:
    with pytest.raises(PayloadError) as error:
        stored(task, words)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("target", "words", "told"),
    [
        ("user", ['{"user_id": "u1"}'], "wf: payload of user: email: Field required"),
        ("user", ["{rubbish"], "wf: payload of user is no JSON: "),
        ("missing", [], "has no task 'missing': there are anything, colour"),
    ],
)
def test_nothing_is_made_where_the_payload_or_the_task_is_wrong(
    terminal: Terminal, target: str, words: list[str], told: str
) -> None:
    assert told in terminal.wf("run", f"{PAYLOADS}:{target}", *words).refused()
    assert not (terminal.folder / ".wf").exists()


# --- files that cannot be loaded ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import wf\nx = (\n", "broken.py:2: '(' was never closed"),
        ("import wf\n\nimport no_such_thing\n", "broken.py:3: ModuleNotFoundError: No module"),
        ("import wf\nprint(1 / 0)\n", "broken.py:2: ZeroDivisionError: division by zero"),
        ("import wf\n@wf.task\ndef plain(): ...\n", "broken.py:2: plain is a plain def"),
        ("import sys\nsys.exit('bye')\n", "broken.py ended the program when it was imported: bye"),
        ("x = 1\n", "broken.py has no task"),
    ],
)
def test_a_file_that_cannot_be_loaded_names_the_line(
    terminal: Terminal, text: str, told: str
) -> None:
    file = terminal.write("broken.py", text)
    assert told in terminal.wf("run", file).refused()
    assert not (terminal.folder / ".wf" / "wf.db").exists()


def test_a_file_that_is_not_there_is_told(terminal: Terminal) -> None:
    terminal.write("hello.py", HELLO)
    assert "there is no file nope.py" in terminal.wf("run", "nope.py").refused()
    assert "did you mean hello.py?" in terminal.wf("run", "hello").refused()
    assert ". is a directory" in terminal.wf("run", ".").refused()
    assert "no Python file" in terminal.wf("run", terminal.write("a.txt", "")).refused()


def test_a_mistake_in_the_command_line_is_one_line(terminal: Terminal) -> None:
    assert "see `wf run --help`" in terminal.wf("run").refused()
    assert "see `wf --help`" in terminal.wf("nonsense").refused()
    assert "--nonsense" in terminal.wf("run", "x.py", "--nonsense").refused()
    assert "leave PAYLOAD out" in terminal.wf("run", "x.py", "1", "--resume", "run_1").refused()


def test_commands_to_copy_name_the_program_as_it_is_typed_here(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = terminal.folder / "a venv" / "bin"
    here.mkdir(parents=True)
    called = here / "wf"
    called.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(called), "run", "x.py"])
    monkeypatch.setenv("PATH", str(terminal.folder))
    assert options.program() == f"'{called}'"
    monkeypatch.setenv("PATH", str(here))
    assert options.program() == "wf"
    other = terminal.folder / "wf"
    other.touch(0o755)
    monkeypatch.setenv("PATH", f"{terminal.folder}:{here}")
    assert options.program() == f"'{called}'"
    monkeypatch.setattr(sys, "argv", ["somewhere/cli/__main__.py"])
    assert options.program() == "wf"
