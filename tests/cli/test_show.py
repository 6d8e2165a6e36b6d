"""`wf show`: a run over time, in a pipe, on a terminal, as JSON and as a picture."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

from tests.cli.terminal import PROGRAMS, Terminal, on_a_terminal
from tests.cli.test_commands import token_of
from tests.observing import until
from wf import Client

DESK = str(PROGRAMS / "desk.py")
LEDGER = str(PROGRAMS / "ledger.py")


def test_a_run_is_shown_over_time_while_it_waits_and_when_it_has_ended(
    terminal: Terminal, database: str
) -> None:
    db = ("--db", database)
    with terminal.start("run", DESK, str(terminal.folder), *db) as process:
        token = token_of(process)
        run_id = process.run_id()
        waiting = terminal.here("show", run_id, *db).ok().out
        assert f"desk  {run_id}  WAITING" in waiting
        [open_token] = [row for row in waiting.splitlines() if row.startswith("  token")]
        assert "so far" in open_token
        terminal.here("tokens", "complete", token, '{"approved": true}', *db).ok()
        process.end().ok()
    text = terminal.wf("show", run_id, *db).ok().out
    assert "\x1b" not in text, "no colours in a pipe"
    rows = [row.split()[0] for row in text.splitlines() if row.startswith("  ")]
    for name in ("flaky", "helper", "wait", "quick", "token"):
        assert name in rows
    [flaky] = [row for row in text.splitlines() if row.startswith("  flaky")]
    assert "✗" in flaky
    assert "attempt 2" in flaky
    assert "ConnectionError: the mail server does not answer" in text
    assert '"True: fine"' in text


def test_the_timeline_as_json_names_every_attempt(terminal: Terminal, database: str) -> None:
    db = ("--db", database)
    payload = json.dumps({"ledger": str(terminal.folder / "ledger.txt"), "steps": 2})
    run_id = terminal.wf("run", LEDGER, payload, *db).ok().run_id
    told = terminal.here("show", run_id, "--json", *db).ok().json
    assert {"run", "task", "status", "begin_ms", "end_ms", "seen_ms", "lanes"} <= set(told)
    assert (told["run"], told["task"], told["status"]) == (run_id, "ledger", "COMPLETED")
    titles = [(lane["depth"], lane["kind"], lane["title"]) for lane in told["lanes"]]
    assert titles == [
        (0, "run", "ledger"),
        (1, "run", "child"),
        (2, "wait", "wait"),
        (2, "step", "work"),
        (1, "step", "work"),
        (1, "wait", "wait"),
        (1, "step", "work"),
        (1, "wait", "wait"),
    ]
    for lane in told["lanes"]:
        for span in lane["spans"]:
            assert span["start_ms"] <= span["end_ms"] <= told["end_ms"]
            assert set(span) == {
                *("kind", "start_ms", "end_ms", "outcome"),
                *("attempt", "detail", "due_ms"),
            }


def test_the_picture_is_a_file_of_its_own_without_scripts(terminal: Terminal) -> None:
    file = terminal.write(
        "evil.py",
        "import wf\n"
        "@wf.task\nasync def evil() -> None:\n"
        "    raise ValueError('<script>alert(1)</script>')\n",
    )
    run_id = terminal.wf("run", file).run_id
    db = ("--db", ".wf/wf.db")
    assert terminal.here("show", run_id, "--svg", "run.svg", *db).ok().out == ""
    picture = (terminal.folder / "run.svg").read_text(encoding="utf-8")
    tags = {element.tag.partition("}")[2] for element in ET.fromstring(picture).iter()}
    assert {"svg", "text", "line"} <= tags
    assert not tags & {"script", "foreignObject", "image", "a"}
    assert "ValueError: &lt;script&gt;alert(1)&lt;/script&gt;" in picture
    printed = terminal.here("show", run_id, "--svg", "-", *db).ok().out
    assert printed.startswith("<svg ")
    text = terminal.here("show", run_id, *db).ok().out
    assert "FAILED" in text
    assert "traceback" in text


def test_on_a_terminal_it_is_as_wide_as_that(terminal: Terminal) -> None:
    run_id = terminal.wf("run", DESK + ":helper", str(terminal.folder)).ok().run_id
    code, drawn = on_a_terminal(terminal, "show", run_id, "--db", ".wf/wf.db")
    assert code == 0
    rows = [row.rstrip() for row in drawn.splitlines()]
    assert any(row.startswith("  quick") and "█" in row for row in rows)
    assert max(len(row) for row in rows) > 110


def test_a_kill_and_a_retry_are_seen_with_both_attempts(terminal: Terminal, database: str) -> None:
    file = terminal.write(
        "killed.py",
        "import os, pathlib, wf\n"
        "folder = pathlib.Path(__file__).parent\n"
        "def tries(name: str) -> int:\n"
        "    with (folder / name).open('a+') as file:\n"
        "        file.write('x')\n"
        "        return file.tell()\n"
        "@wf.step(retry=wf.Retry(max_attempts=2, min_delay='50ms', jitter=False))\n"
        "def mail() -> str:\n"
        "    if tries('mail') == 1:\n"
        "        raise ConnectionError('no mail server')\n"
        "    return 'sent'\n"
        "@wf.step\n"
        "def charge() -> str:\n"
        "    if tries('charge') == 1:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return 'paid'\n"
        "@wf.task\nasync def killed() -> str:\n"
        "    await mail()\n    await charge()\n    return 'done'\n",
    )
    db = ("--db", database)
    first = terminal.wf("run", file, *db)
    assert first.code == -9
    run_id = first.run_id
    terminal.wf("run", file, "--resume", run_id, *db).ok()
    client = Client(database)
    seen = client.runs.timeline(run_id)
    client.close()
    lanes = {lane.title: lane for lane in seen.lanes}
    assert [mark.kind for mark in lanes["killed"].marks] == ["taken over"]
    assert [(span.kind, span.outcome) for span in lanes["mail"].spans] == [
        ("step", "failed"),
        ("back-off", "ok"),
        ("step", "ok"),
    ]
    assert [span.outcome for span in lanes["charge"].spans] == ["lost", "ok"]
    text = terminal.here("show", run_id, *db).ok().out
    assert "worker lost, taken over" in text
    assert "ConnectionError: no mail server" in text


def test_a_run_whose_worker_is_silent_is_told_of(terminal: Terminal, database: str) -> None:
    db = ("--db", database)
    payload = json.dumps({"ledger": str(terminal.folder / "l.txt"), "steps": 1, "hold": True})
    with terminal.start("run", LEDGER, payload, *db) as process:
        run_id = process.run_id()
        until(lambda: "held" in _text(terminal))
        assert "silent" not in terminal.here("show", run_id, *db).ok().out
        process.kill()
    silent = until(lambda: "silent for" in terminal.here("show", run_id, *db).ok().out)
    assert silent
    assert f"--resume {run_id}" in terminal.here("runs", "show", run_id, *db).ok().out
    assert "EXECUTING (worker silent for" in terminal.here("runs", "list", *db).ok().out


def _text(terminal: Terminal) -> str:
    ledger = terminal.folder / "l.txt"
    return ledger.read_text() if ledger.exists() else ""


def test_an_unknown_run_is_told_with_where_it_was_looked_for(
    terminal: Terminal, database: str
) -> None:
    db = ("--db", database)
    Client(database).close()
    assert "there is no run" in terminal.here("show", "run_" + "1" * 22, *db).refused()
    assert "is no run id" in terminal.here("show", "nonsense", *db).refused()
