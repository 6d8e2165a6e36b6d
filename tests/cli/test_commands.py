"""`wf runs`, `wf tokens`, `wf trigger`, `wf db`, `wf audit`: on the same database, from other
terminals, while runs are under way."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from tests.cli.terminal import PROGRAMS, TOKEN_ID, Process, Terminal
from wf import Client

DESK = str(PROGRAMS / "desk.py")
PAYLOADS = str(PROGRAMS / "payloads.py")


def token_of(process: Process) -> str:
    text = process.says("wf tokens complete")
    found = TOKEN_ID.search(text)
    assert found is not None
    return found[0]


def test_several_terminals_at_once(terminal: Terminal, database: str) -> None:
    db = ("--db", database)
    with terminal.start("run", DESK, str(terminal.folder), *db, "--tag", "mine") as process:
        token = token_of(process)
        run_id = process.run_id()
        listed = terminal.wf("runs", "list", "--json", *db).ok().json
        assert {run["task"] for run in listed} == {"desk", "helper"}
        [mine] = terminal.wf("runs", "list", "--tag", "mine", "--json", *db).ok().json
        assert (mine["id"], mine["status"]) == (run_id, "WAITING")
        waiting = terminal.wf("tokens", "list", "--status", "waiting", "--json", *db).ok().json
        assert [(one["id"], one["run"], one["tags"]) for one in waiting] == [
            (token, run_id, ["desk"])
        ]
        assert terminal.wf("audit", *db).ok().out == "all is well\n"
        wrong = terminal.wf("tokens", "complete", token, '{"approved": "perhaps"}', *db)
        assert "approved" in wrong.refused()
        rubbish = terminal.wf("tokens", "complete", token, "{rubbish", *db)
        assert "no JSON" in rubbish.refused()
        said = terminal.wf("tokens", "complete", token, '{"approved": true}', *db).ok()
        assert said.out == f"{token} COMPLETED\n"
        done = process.end().ok()
    assert done.out == "True: fine\n"
    assert "flaky attempt 1 failed" in done.err
    late = terminal.wf("tokens", "complete", token, '{"approved": false}', *db).refused()
    assert "COMPLETED already" in late


def test_the_printed_command_completes_the_token(terminal: Terminal) -> None:
    with terminal.start("run", DESK, str(terminal.folder)) as process:
        token_of(process)
        [line] = [line for line in process.text.splitlines() if "wf tokens complete" in line]
        command = "wf tokens complete" + line.partition("wf tokens complete")[2]
        assert command.endswith("""'{"approved": true, "note": "fine"}' --db .wf/wf.db""")
        words = command.replace("wf ", f"{shlex.quote(sys.executable)} -m wf.cli ", 1)
        subprocess.run(words, shell=True, cwd=terminal.folder, env=terminal.env, check=True)
        assert process.end().ok().out == "True: fine\n"


def test_a_message_is_sent_from_another_terminal(terminal: Terminal, database: str) -> None:
    db = ("--db", database)
    with terminal.start("run", f"{DESK}:inbox", "ada", *db) as process:
        run_id = process.run_id()
        other = terminal.wf("send", run_id, "other", "word", "--json", *db).ok().json
        assert other == {"run": run_id, "name": "other", "data": "word"}
        sent = terminal.here("send", run_id, "reply", *db, "--", "--text", "hello").ok()
        assert sent.out == f"{run_id} reply sent\n"
        assert process.end().ok().out == "ada: hello\n"
    assert "has ended" in terminal.here("send", run_id, "reply", *db).refused()
    rubbish = terminal.here("send", run_id, "reply", "{rubbish", *db).refused()
    assert "no JSON" in rubbish


def test_runs_are_shown_with_their_operations(terminal: Terminal, database: str) -> None:
    db = ("--db", database)
    failed = terminal.wf("run", f"{DESK}:breaks", "x", *db).run_id
    with terminal.start("run", DESK, str(terminal.folder), *db) as process:
        terminal.here("tokens", "complete", token_of(process), '{"approved": true}', *db).ok()
        run_id = process.end().run_id
    text = terminal.here("runs", "show", run_id, *db).ok().out
    for part in ("desk", "COMPLETED", "step flaky", "child helper", "token", "True: fine"):
        assert part in text
    told = terminal.here("runs", "show", run_id, "--json", *db).ok().json
    assert told["output"] == "True: fine"
    assert told["history"][0]["kind"] == "STARTED"
    broken = terminal.here("runs", "show", failed, *db).ok().out
    assert "ValueError: it broke" in broken
    assert 'raise ValueError("it broke")' in broken


def test_a_list_comes_in_pages(terminal: Terminal, database: str) -> None:
    client = Client(database)
    made = [client.trigger("nothing").id for _ in range(5)]
    client.close()
    db = ("--db", database, "--json")
    first = terminal.here("runs", "list", "--limit", "3", *db).ok().json
    rest = terminal.here("runs", "list", "--cursor", first[-1]["id"], *db).ok().json
    found = [run["id"] for run in first + rest]
    assert found == sorted(found, reverse=True)
    assert sorted(found) == sorted(made)
    none = terminal.here("runs", "list", "--status", "failed", "--status", "CANCELED", *db).ok()
    assert none.json == []
    assert terminal.here("runs", "list", "--task", "other", *db).ok().json == []
    wrong = terminal.here("runs", "list", "--status", "lost", *db).refused()
    assert "give one of PENDING_VERSION" in wrong
    wrong = terminal.here("tokens", "list", "--status", "lost", *db).refused()
    assert "give one of WAITING, COMPLETED" in wrong


def test_runs_are_canceled(terminal: Terminal, database: str) -> None:
    db = ("--db", database)
    with terminal.start("run", DESK, str(terminal.folder), *db) as process:
        token_of(process)
        run_id = process.run_id()
        assert run_id in terminal.here("runs", "cancel", run_id, *db).ok().out
        done = process.end()
    assert done.code == 1
    assert "desk canceled" in done.err
    assert "has ended: CANCELED" in terminal.here("runs", "cancel", run_id, *db).refused()
    unknown = run_id[:-4] + "1111"
    client = Client(database)
    live = client.trigger("nothing").id
    client.close()
    some = terminal.here("runs", "cancel", live, run_id, unknown, *db)
    assert (some.code, live in some.out) == (1, True)
    assert f"not there, or ended before: {run_id}, {unknown}" in some.err


def test_a_trigger_prints_its_id_and_keeps_its_options(terminal: Terminal, database: str) -> None:
    db = ("--db", database)
    Client(database).close()
    words = ("trigger", "user", '{"a": [1]}', "--tag", "a", "--tag", "b", "--priority", "3")
    done = terminal.here(*words, "--delay", "1h", *db).ok()
    run_id = done.out.strip()
    assert "no live worker knows the task 'user': start one, `wf worker FILE`" in done.err
    view = terminal.here("runs", "show", run_id, "--json", *db).ok().json
    assert (view["payload"], view["tags"], view["priority"]) == ({"a": [1]}, ["a", "b"], 3)
    assert view["status"] == "DELAYED"
    keyed = ("trigger", "user", "word", "--idempotency-key", "k", "--json", *db)
    one, two = terminal.here(*keyed).ok().json, terminal.here(*keyed).ok().json
    assert (one["id"], one["is_cached"], two["is_cached"]) == (two["id"], False, True)
    fields = terminal.here("trigger", "user", *db, "--", "--user-id", "u1", "--age", "3").ok().out
    view = terminal.here("runs", "show", fields.strip(), "--json", *db).ok().json
    assert view["payload"] == {"user_id": "u1", "age": 3}
    assert "no JSON" in terminal.here("trigger", "user", "{rubbish", *db).refused()
    assert "delay" in terminal.here("trigger", "user", "1", "--delay", "soon", *db).refused()


def test_what_is_unknown_is_told(terminal: Terminal, database: str) -> None:
    db = ("--db", database)
    Client(database).close()
    nobody = "1" * 22
    place = "runs.db" if database.startswith("sqlite") else database
    for words in (("runs", "show"), ("runs", "cancel")):
        line = terminal.here(*words, f"run_{nobody}", *db).refused()
        assert (
            f"there is no run run_{nobody} in environment 'dev' of {shlex.quote(place)}: " in line
        )
    for words in (("tokens", "complete"), ("tokens", "cancel")):
        assert "there is no token" in terminal.here(*words, f"token_{nobody}", *db).refused()
    assert "is no run id" in terminal.here("runs", "show", "nonsense", *db).refused()


def test_environments_do_not_see_each_other(terminal: Terminal) -> None:
    run_id = terminal.wf("run", f"{PAYLOADS}:nothing", "--env", "prod").ok().run_id
    db = ("--db", ".wf/wf.db")
    assert terminal.here("runs", "list", "--json", *db).ok().json == []
    assert f"no run {run_id}" in terminal.here("runs", "show", run_id, *db).refused()
    assert terminal.here("runs", "show", run_id, "--env", "prod", *db).ok()
    terminal.env["WF_ENVIRONMENT"] = "prod"
    [run] = terminal.here("runs", "list", "--json", *db).ok().json
    assert run["id"] == run_id


def test_a_reader_that_goes_away_is_no_error(terminal: Terminal) -> None:
    client = Client(f"sqlite:///{terminal.folder}/wf.db")
    for _ in range(1_000):
        client.trigger("nothing", tags=["x" * 200])
    client.close()
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -m wf.cli runs list --limit 1000 --db wf.db | head -1",
        shell=True,
        cwd=terminal.folder,
        env=terminal.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("RUN ")
    assert done.stderr == ""


def test_the_database_is_described_and_migrated(
    terminal: Terminal, fresh_postgres_url: str
) -> None:
    for database in ("runs.db", fresh_postgres_url):
        db = ("--db", database)
        assert "the schema was not there, and is" in terminal.here("db", "migrate", *db).ok().out
        assert "nothing to do" in terminal.here("db", "migrate", *db).ok().out
        told = terminal.here("db", "status", "--json", *db).ok().json
        assert (told["workers"], told["environment"]) == ([], "dev")
        assert "schema" in terminal.here("db", "status", *db).ok().out


def test_the_version_and_the_help(terminal: Terminal) -> None:
    assert terminal.wf("--version").ok().out.startswith("wf ")
    commands = terminal.wf("--help").ok().out
    for name in ("run", "runs", "tokens", "trigger", "worker", "audit", "db"):
        assert f"\n  {name} " in commands
        assert "Usage: wf " in terminal.here(name, "--help").ok().out


@pytest.mark.parametrize("words", [(), ("runs",), ("tokens",), ("db",)])
def test_a_command_without_its_verb_prints_its_help(
    terminal: Terminal, words: tuple[str, ...]
) -> None:
    done = terminal.here(*words)
    assert done.code == 2
    assert "Usage: wf" in done.err


def test_help_imports_nothing_that_takes_time(terminal: Terminal) -> None:
    code = "import sys; from wf.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=terminal.env, check=True
    )
    modules = done.stdout.splitlines()[-1]
    for heavy in ("pydantic", "sqlalchemy", "alembic", "psycopg", "asyncio", "sqlite3", "rich."):
        assert f"'{heavy}" not in modules


def test_a_run_in_a_pipe_imports_nothing_that_it_does_not_need(terminal: Terminal) -> None:
    words = ["run", f"{PAYLOADS}:nothing"]
    code = f"import sys; from wf.cli.main import main; main({words}); print(list(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=terminal.env,
        cwd=terminal.folder,
        check=True,
    )
    modules = done.stdout.splitlines()[-1]
    unneeded = ("sqlalchemy", "alembic", "psycopg", "rich.", "croniter", "jsonschema")
    for heavy in (*unneeded, "multiprocessing.", "wf.engine.telling"):
        assert f"'{heavy}" not in modules


def test_completion_is_there(terminal: Terminal) -> None:
    terminal.env |= {"_WF_COMPLETE": "complete_bash", "COMP_WORDS": "wf ru", "COMP_CWORD": "1"}
    assert set(terminal.wf().out.split()) == {"run", "runs"}


def test_every_command_that_is_listed_tells_its_help(terminal: Terminal) -> None:
    listed = re.findall(r"^  ([a-z]+)  ", terminal.here("--help").ok().out, re.MULTILINE)
    assert {"run", "runs", "db"} <= set(listed)
    for name in listed:
        assert f"Usage: wf {name} " in terminal.here(name, "--help").ok().out


def test_prints_of_a_step_and_of_its_children_stay_out_of_the_output(terminal: Terminal) -> None:
    file = terminal.write(
        "noisy.py",
        "import subprocess, sys\nimport wf\n"
        "@wf.step\ndef noise() -> int:\n"
        "    print('printed')\n"
        "    subprocess.run([sys.executable, '-c', 'print(\"from a child\")'], check=True)\n"
        "    return 1\n"
        "@wf.task\nasync def noisy() -> int:\n    return await noise()\n",
    )
    done = terminal.wf("run", file).ok()
    assert done.out == "1\n"
    assert "printed" in done.err
    assert "from a child" in done.err


def test_runs_that_it_started_are_seen_to_their_end_unless_they_sleep_long(
    terminal: Terminal,
) -> None:
    file = terminal.write(
        "starts.py",
        "import wf\n"
        "@wf.task\nasync def sleeper(n: int) -> int:\n    await wf.wait.for_(n)\n    return n\n"
        "@wf.task\nasync def starts() -> str:\n"
        "    await sleeper.trigger(1)\n    await sleeper.trigger(1000)\n    return 'mine'\n",
    )
    done = terminal.wf("run", file).ok()
    assert done.out == "mine\n"
    runs = terminal.here("runs", "list", "--task", "sleeper", "--json", "--db", ".wf/wf.db").json
    assert {run["payload"]: run["status"] for run in runs} == {1: "COMPLETED", 1000: "WAITING"}
    [left] = [run["id"] for run in runs if run["status"] == "WAITING"]
    assert f"wf run starts.py --resume {left}" in done.err
    terminal.wf("run", file, "--resume", left, "--skip-waits").ok()
