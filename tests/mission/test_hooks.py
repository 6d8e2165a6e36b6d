"""G. Lifecycle hooks: S55 to S58."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

import wf
from tests.mission import hooked
from tests.mission.hooked import User, event, told
from tests.observing import ended, until
from tests.observing import wf as command


@pytest.fixture
def engine(database: str) -> Generator[wf.Engine]:
    config = wf.Config(retries=wf.Retries(wf.Retry(max_attempts=2, min_delay="1ms")))
    engine = wf.Engine(database, [hooked], config=config)
    engine.start_now()
    yield engine
    engine.stop_now()


def hooks_of(run_id: str) -> Sequence[wf.RunView]:
    """The run's hook runs, when the run and they have ended."""
    client = wf.client()
    ended(client, run_id)
    until(lambda: all(run.status.ended for run in client.runs.hooks(run_id)))
    return client.runs.hooks(run_id)


def moments(run_id: str) -> list[str]:
    return [run.payload["moment"] for run in hooks_of(run_id)]


# --- S55, S57: each moment ------------------------------------------------------------------------


async def test_s55_a_run_that_completes_tells_its_start_its_success_and_its_end(
    engine: wf.Engine,
) -> None:
    run = await hooked.greet.trigger(User("Ada"), tags=["a"])
    assert moments(run.id) == ["STARTED", "COMPLETED"]
    assert told(run.id) == ["on_start", "on_success", "on_complete"]
    success, end = event(run.id, "on_success"), event(run.id, "on_complete")
    assert (success.payload, success.output) == (User("Ada"), "hello Ada")
    assert (end.status, end.output, end.error) == (wf.Status.COMPLETED, "hello Ada", None)
    ctx = success.ctx
    assert (ctx.run.id, ctx.task.id, ctx.run.tags) == (run.id, "greet", ("a",))
    assert (ctx.environment, ctx.root, ctx.step) == ("dev", run.id, None)


async def test_s57_a_failure_tells_its_error_and_its_context(engine: wf.Engine) -> None:
    run = await hooked.buy.options().trigger(User("Ada"), 500)
    assert moments(run.id) == ["STARTED", "FAILED"]
    assert told(run.id) == ["on_start", "on_failure", "on_complete"]
    failure = event(run.id, "on_failure")
    assert isinstance(failure.error, wf.RunFailed)
    assert (failure.error.type, failure.error.message) == ("ValueError", "too much")
    assert "charge" in failure.error.traceback
    assert failure.error.run_id == run.id
    assert (failure.ctx.task.id, failure.ctx.run.id) == ("buy", run.id)
    assert failure.payload == {"user": User("Ada"), "amount": 500}
    end = event(run.id, "on_complete")
    assert (end.status, end.error.type) == (wf.Status.FAILED, "ValueError")


async def test_the_end_is_told_after_the_start(engine: wf.Engine) -> None:
    client = wf.client()
    hooked.GO.clear()
    run = await hooked.told_late.trigger()
    ended(client, run.id)
    _, end = client.runs.hooks(run.id)
    until(lambda: client.runs.retrieve(end.id).status is wf.Status.WAITING)
    assert told(run.id) == []
    hooked.GO.set()
    assert moments(run.id) == ["STARTED", "COMPLETED"]
    assert told(run.id) == ["slow start", "on_success"]


async def test_a_hook_run_that_is_replayed_tells_its_hooks_again(engine: wf.Engine) -> None:
    run = await hooked.greet.trigger(User("Ada"))
    *_, end = hooks_of(run.id)
    wf.client().runs.replay(end.id).result()
    assert told(run.id) == ["on_start", *["on_success", "on_complete"] * 2]


async def test_a_task_that_is_tried_again_tells_its_start_and_its_end_once(
    engine: wf.Engine,
) -> None:
    run = await hooked.buy_again.trigger(500)
    assert moments(run.id) == ["STARTED", "FAILED"]
    assert wf.client().runs.retrieve(run.id).attempt == 3


async def test_a_run_that_times_out_has_failed(engine: wf.Engine) -> None:
    run = await hooked.too_long.trigger()
    assert moments(run.id) == ["STARTED", "TIMED_OUT"]
    assert told(run.id) == ["on_start", "on_failure", "on_complete"]
    assert isinstance(event(run.id, "on_failure").error, wf.RunTimedOut)


async def test_a_run_that_is_canceled_while_it_waits_tells_that(engine: wf.Engine) -> None:
    run = await hooked.sleeps.trigger()
    until(lambda: wf.client().runs.retrieve(run.id).status is wf.Status.WAITING)
    wf.client().runs.cancel(run.id)
    assert moments(run.id) == ["STARTED", "CANCELED"]
    assert told(run.id) == ["on_start", "on_cancel", "on_complete"]
    end = event(run.id, "on_complete")
    assert (end.status, type(end.error)) == (wf.Status.CANCELED, wf.RunCanceled)


async def test_a_run_that_is_canceled_before_it_begins_tells_that(engine: wf.Engine) -> None:
    run = await hooked.greet.trigger(User("Ada"), delay="1h")
    wf.client().runs.cancel(run.id)
    assert moments(run.id) == ["CANCELED"]
    assert told(run.id) == ["on_cancel", "on_complete"]
    assert event(run.id, "on_cancel").payload == User("Ada")


async def test_a_run_that_expires_has_failed(database: str) -> None:
    async with wf.Engine(database, [hooked]):
        pass  # the tasks are known, and nobody is there
    with wf.Client(database) as client:
        run = client.trigger(hooked.greet, User("Ada"), ttl="1ms")
        async with wf.Engine(database, []):
            assert ended(client, run.id).status is wf.Status.EXPIRED
        async with wf.Engine(database, [hooked]):
            assert moments(run.id) == ["EXPIRED"]
    assert told(run.id) == ["on_failure", "on_complete"]
    assert isinstance(event(run.id, "on_failure").error, wf.RunExpired)


async def test_a_parked_run_has_not_ended_and_its_cancel_is_told(engine: wf.Engine) -> None:
    run = await hooked.waits.trigger(1)
    until(lambda: wf.client().runs.retrieve(run.id).status is wf.Status.WAITING)
    await engine.stop()

    @wf.task(id="waits", **hooked.HOOKS)
    async def another(times: int) -> None:
        await wf.wait.for_(days=1)

    async with wf.Engine(engine.store.url, [another]):
        client = wf.client()
        client.runs.send(run.id, "go")
        until(lambda: client.runs.retrieve(run.id).blocked)
        assert "on_complete" not in told(run.id)
        client.runs.cancel(run.id)
        assert moments(run.id)[-1] == "CANCELED"
    assert told(run.id)[-2:] == ["on_cancel", "on_complete"]


async def test_a_payload_that_does_not_fit_is_told_as_it_is(engine: wf.Engine) -> None:
    run = wf.client().trigger("greet", {"name": 7})
    assert moments(run.id) == ["STARTED", "FAILED"]
    assert event(run.id, "on_failure").payload == {"name": 7}
    assert event(run.id, "on_failure").error.type == "PayloadError"


# --- waits ----------------------------------------------------------------------------------------


async def test_each_wait_and_what_follows_is_told_once_whatever_is_replayed(
    database: str,
) -> None:
    with wf.Client(database) as client:
        run = client.trigger(hooked.waits, 2)
        for number in (1, 2):
            async with wf.Engine(database, [hooked]):  # each builds the body again
                until(lambda number=number: told(run.id).count("on_wait") == number)
            run.send("go")
        async with wf.Engine(database, [hooked]):
            found = moments(run.id)
    one_wait = ["WAITING", "RESUMED"]
    assert found == ["STARTED", *one_wait, *one_wait, "COMPLETED"]
    assert told(run.id) == [
        *("on_start", "on_wait", "on_resume", "on_wait", "on_resume"),
        *("on_success", "on_complete"),
    ]


async def test_what_does_not_move_the_body_ends_no_wait(engine: wf.Engine) -> None:
    run = await hooked.waits_for_two.trigger()
    client = wf.client()
    until(lambda: client.runs.retrieve(run.id).status is wf.Status.WAITING)
    await run.send("a")
    until(lambda: any(one.kind == "MESSAGE_RECEIVED" for one in client.runs.history(run.id)))
    await run.send("b")
    assert moments(run.id) == ["WAITING", "RESUMED"]


# --- a hook that fails ----------------------------------------------------------------------------


async def test_a_hook_that_fails_is_recorded_and_shown_and_changes_nothing(
    engine: wf.Engine,
) -> None:
    run = await hooked.told_badly.trigger()
    [hook] = hooks_of(run.id)
    view = wf.client().runs.retrieve(run.id)
    assert (view.status, view.output) == (wf.Status.COMPLETED, "fine")
    assert hook.status is wf.Status.FAILED
    assert hook.error is not None
    assert hook.error.message == "the chat is down"
    assert told(run.id) == ["refuses", "refuses", "on_success", "on_complete"]
    shown = command("runs", "show", run.id, database=engine.store.url).stdout
    assert "COMPLETED: FAILED, the chat is down" in shown


async def test_a_hook_is_tried_again_by_its_own_policy(engine: wf.Engine) -> None:
    run = await hooked.told_again.trigger()
    [hook] = hooks_of(run.id)
    assert hook.status is wf.Status.FAILED
    assert told(run.id) == ["attempt 1", "attempt 2", "attempt 3"]


async def test_hook_runs_are_listed_below_their_run_only(engine: wf.Engine) -> None:
    run = await hooked.greet.trigger(User("Ada"))
    hooks = hooks_of(run.id)
    client = wf.client()
    assert [one.id for one in client.runs.list()] == [run.id]
    assert [one.id for one in client.runs.list(parent=run.id)] == [one.id for one in hooks[::-1]]
    assert [one.id for one in client.runs.list(task="greet:hooks", limit=1)] == [hooks[-1].id]
    assert all((one.parent, one.root) == (run.id, run.id) for one in hooks)


# --- steps, decorators ----------------------------------------------------------------------------


async def test_a_step_that_is_a_run_has_hooks_and_one_that_is_called_has_none(
    engine: wf.Engine,
) -> None:
    run = await hooked.counted.trigger("a b")
    assert moments(run.id) == ["STARTED", "COMPLETED"]
    assert event(run.id, "on_success").output == 2
    before = len(hooked.TOLD)
    called = await hooked.calls_a_step_with_hooks.trigger()
    assert moments(called.id) == ["STARTED", "COMPLETED"]
    assert len(hooked.TOLD) == before + 3, "those of the task"


async def test_hooks_are_added_by_decorators(engine: wf.Engine) -> None:
    good = await hooked.decorated.trigger(5)
    bad = await hooked.decorated.trigger(500)
    assert moments(good.id) == ["STARTED", "COMPLETED"]
    assert moments(bad.id) == ["STARTED", "FAILED"]
    assert told(good.id) == ["says_start", "says_success"]
    assert told(bad.id) == ["says_start", "says_failure"]


def test_what_is_no_function_is_refused() -> None:
    async def nothing() -> None: ...

    with pytest.raises(wf.DeclarationError, match="on_failure='mail': give a function"):
        wf.task(on_failure="mail")(nothing)  # type: ignore[arg-type]
    with pytest.raises(wf.DeclarationError, match="on_end"):
        wf.task(on_end=print)(nothing)  # type: ignore[call-arg]
    with pytest.raises(wf.DeclarationError, match=r"wf\.Config: on_start=3"):
        wf.Config(on_start=3)  # type: ignore[arg-type]


# --- S56: of all runs -----------------------------------------------------------------------------

PROJECT = {
    "wf_config.py": """import wf

def note(word):
    def hook(event):
        with open("ledger", "a") as ledger:
            ledger.write(f"{word} {event.ctx.task.id}\\n")
    return hook

config = wf.Config(on_start=note("start"), on_failure=note("failure"), on_complete=[note("end")])
""",
    "tasks/sample.py": """import wf
from wf_config import note

@wf.task(on_complete=note("own"))
async def fine() -> int:
    return 1

@wf.task
async def parent() -> int:
    try:
        await bad()
    except wf.RunFailed:
        return await fine()

@wf.task
async def bad() -> None:
    raise ValueError("no")
""",
}


def test_s56_hooks_of_the_project_hold_for_all_its_runs_before_their_own(
    tmp_path: Path, database: str
) -> None:
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ran = command("run", "parent", "--json", database=database, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    lines = (tmp_path / "ledger").read_text().splitlines()
    for task, expected in {
        "bad": ["start", "failure", "end"],
        "fine": ["start", "end", "own"],
        "parent": ["start", "end"],
    }.items():
        assert [line.split()[0] for line in lines if line.endswith(f" {task}")] == expected
    with wf.Client(database) as client:
        assert all(
            run.status.ended for run in client.runs.list(parent=json.loads(ran.stdout)["id"])
        )


def test_wf_run_in_a_script_waits_for_hooks(database: str) -> None:
    before = len(hooked.TOLD)
    assert wf.run(hooked.greet, User("Ada"), database=database) == "hello Ada"
    assert [name for name, _ in hooked.TOLD[before:]] == ["on_start", "on_success", "on_complete"]
