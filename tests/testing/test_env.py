"""`wf_env`: fast tests of workflows."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import strategies as st

import wf
from tests.testing.shop import Order, buy, charge, listen, pack, post, reserve


def test_a_month_of_waits_takes_no_time(wf_env: wf.testing.Env) -> None:
    before, began = time.monotonic(), wf_env.now()
    assert wf_env.run(buy, Order("Emma", 900)) == "copy of Emma is on its way"
    assert (wf_env.now() - began).days == 30
    assert time.monotonic() - before < 20


def test_time_stands_still_until_it_is_moved(wf_env: wf.testing.Env) -> None:
    run = wf_env.start(buy, Order("Emma", 900))
    assert run.status is wf.Status.WAITING
    wf_env.advance(days=29)
    assert run.story == ["started", 'reserve -> "copy of Emma"', 'charge -> "paid 900"']
    wf_env.advance("1d3h")
    assert run.status is wf.Status.COMPLETED
    assert run.story[3:] == [
        "waited 4w 2d",
        "triggered pack",
        'pack -> "copy of Emma is on its way"',
        'COMPLETED -> "copy of Emma is on its way"',
    ]


def test_steps_are_replaced_by_functions_and_values(wf_env: wf.testing.Env) -> None:
    wf_env.replace(reserve, str.upper)
    wf_env.replace("charge", returns="free")
    wf_env.replace("pack", returns="in the post")
    assert wf_env.run(buy, Order("Emma", 900)) == "in the post"
    assert [call.arguments for call in wf_env.calls(charge)] == [{"cents": 900}]
    assert [call.arguments for call in wf_env.calls("pack")] == [{"copy": "EMMA"}]
    assert wf_env.calls(post) == []


def test_a_stand_in_is_held_to_the_annotation_of_what_it_replaces(wf_env: wf.testing.Env) -> None:
    wf_env.replace(reserve, returns=7)
    with pytest.raises(wf.RunFailed, match="does not fit its annotation"):
        wf_env.run(buy, Order("Emma", 900))


def test_steps_are_replaced_by_strategies(wf_env: wf.testing.Env) -> None:
    wf_env.replace(reserve, st.sampled_from(["a", "b"]))
    wf_env.replace(pack, st.just("sent"))
    assert wf_env.run(buy, Order("Emma", 900)) == "sent"
    assert wf_env.runs[0].story[1] in ('reserve -> "a"', 'reserve -> "b"')


def test_a_step_that_fails_is_tried_again_after_its_back_off(wf_env: wf.testing.Env) -> None:
    wf_env.replace(charge, raises=ConnectionError("no line"))
    run = wf_env.start(buy, Order("Emma", 900))
    assert run.wait() is wf.Status.FAILED
    assert run.story[2:5] == [
        "charge failed, tried again after 30s: ConnectionError: no line",
        "charge failed, tried again after 30s: ConnectionError: no line",
        "charge failed: ConnectionError: no line",
    ]
    assert len(wf_env.attempts(charge)) == 3
    assert len(wf_env.calls(charge)) == 1


def test_tokens_are_answered_by_the_test(wf_env: wf.testing.Env) -> None:
    run = wf_env.start(buy, Order("Emma", 20_000))
    [token] = run.tokens
    assert token.tags == ("approval",)
    with pytest.raises(wf.PayloadError):
        wf_env.answer("perhaps")
    run.answer(False)
    assert run.result() == "refused"
    with pytest.raises(AssertionError, match="0 tokens wait, not one"):
        wf_env.answer(True)


def test_tokens_are_answered_by_standing_order(wf_env: wf.testing.Env) -> None:
    began = wf_env.now()
    wf_env.on_token(True, tag="approval", after="2d")
    wf_env.run(buy, Order("Emma", 20_000))
    assert (wf_env.now() - began).days == 32


def test_a_token_that_nobody_answers_times_out(wf_env: wf.testing.Env) -> None:
    assert wf_env.run(buy, Order("Emma", 20_000)) == "nobody looked"


def test_messages_are_sent_by_the_test_or_by_standing_order(wf_env: wf.testing.Env) -> None:
    run = wf_env.start(listen, "hello")
    run.send("hello", "Ada")
    assert run.result() == "hello Ada"
    wf_env.on_message("bye", "Bob", after="1h")
    assert wf_env.run(listen, "bye") == "bye Bob"


def test_a_run_that_nobody_helps_says_what_it_waits_for(wf_env: wf.testing.Env) -> None:
    with pytest.raises(AssertionError, match=r"listen has not ended .*message.*'hello'"):
        wf_env.run(listen, "hello")


def test_a_run_is_canceled_by_the_test(wf_env: wf.testing.Env) -> None:
    run = wf_env.start(buy, Order("Emma", 900))
    run.cancel()
    assert run.wait() is wf.Status.CANCELED
    assert run.story[-2:] == ["was canceled", "CANCELED"]


async def buy_here(env: wf.testing.Env) -> str:
    handle = await buy.trigger(Order("Emma", 900))
    env.advance(days=31)
    return await handle.result()


def test_async_tests_use_the_same(wf_env: wf.testing.Env) -> None:
    wf_env.add(buy)
    assert asyncio.run(buy_here(wf_env)) == "copy of Emma is on its way"


def test_outside_pytest_it_is_a_context_manager() -> None:
    with wf.testing.Env() as env:
        assert env.run(pack, "x") == "x is on its way"


@pytest.mark.parametrize("crash", [False, True], ids=["peace", "crash"])
def test_a_crash_at_every_step_changes_no_story(crash: bool) -> None:
    with wf.testing.Env(crash=crash) as env:
        env.on_token(True)
        run = env.start(buy, Order("Emma", 20_000))
        run.result()
        assert run.story == [
            "started",
            'reserve -> "copy of Emma"',
            "made a token",
            "the token was answered: true",
            'charge -> "paid 20000"',
            "waited 4w 2d",
            "triggered pack",
            'pack -> "copy of Emma is on its way"',
            'COMPLETED -> "copy of Emma is on its way"',
        ]
        assert len(env.calls(charge)) == 1
        assert len(env.attempts(charge)) == (2 if crash else 1)
        kinds = [row.kind for row in run.history()]
        assert kinds.count("TAKEN") == (3 if crash else 0)


@pytest.mark.wf(now=None, crash=True)
def test_a_mark_says_how_the_env_is_made(wf_env: wf.testing.Env) -> None:
    assert wf_env.crash


def test_the_same_holds_on_postgres(postgres_url: str) -> None:
    for _ in range(2):
        with wf.testing.Env(database=postgres_url, crash=True) as env:
            env.on_token(True, after="1d")
            assert env.run(buy, Order("Emma", 20_000)) == "copy of Emma is on its way"
            assert len(env.runs) == 2


def test_a_file_holds_what_happened(tmp_path: Path) -> None:
    with wf.testing.Env(database=str(tmp_path / "wf.db")) as env:
        env.run(buy, Order("Emma", 900))
    client = wf.Client(str(tmp_path / "wf.db"), environment=env.environment)
    assert {run.task for run in client.runs.list()} == {"buy", "pack"}
    client.close()


def test_the_fixture_is_cheap_until_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n\n\ndef test_nothing(pytestconfig):\n"
        "    assert pytestconfig.getoption('--wf-crash') is True\n"
        "    assert not [name for name in sys.modules if name.startswith('wf.engine')]\n"
        "    assert 'sqlalchemy' not in sys.modules and 'hypothesis' not in sys.modules\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "--wf-crash", "-p", "no:hypothesispytest"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
