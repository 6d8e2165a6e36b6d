"""D. Starting runs: S25 to S27, S31, S32, S35, S38, S80; debounce and the other options."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import wf
from tests.mission import tasks
from tests.observing import ended, until
from tests.observing import wf as command
from wf.engine.clock import SkippingClock


@wf.task
async def charge(order: str) -> str:
    return f"charged {order}"


@wf.task
async def decline(order: str) -> str:
    raise ValueError("declined")


@wf.task(max_duration="50ms")
async def dawdle(order: str) -> str:
    return await tasks.slow(60)


@wf.task
async def shop(orders: list[str]) -> list[str]:
    """Starts each under one key, narrowed to this run."""
    handles = [
        await charge.trigger(order, idempotency_key="order", scope="run") for order in orders
    ]
    return [handle.id for handle in handles]


@wf.task
async def strict_shop(how: str) -> str:
    try:
        if how == "trigger":
            await charge.trigger("b", idempotency_key="k", on_conflict="raise")
        elif how == "wait":
            await charge.trigger_and_wait("b", idempotency_key="k", on_conflict="raise")
        else:
            items = ["free", wf.Item("b", idempotency_key="k", on_conflict="raise")]
            await (
                charge.batch_trigger(items)
                if how == "batch"
                else charge.batch_trigger_and_wait(items)
            )
    except wf.IdempotencyConflict as error:
        return error.run_id
    return "made"


@wf.task
async def saver(edits: list[str]) -> list[str]:
    handles = [await charge.trigger(edit, debounce=wf.Debounce("document", "1h")) for edit in edits]
    return [handle.id for handle in handles]


ALL = [charge, decline, dawdle, shop, strict_shop, saver, tasks]


@pytest.fixture
def client(database: str) -> Iterator[wf.Client]:
    with wf.Client(database) as client:
        yield client


async def test_s25_s26_a_run_is_started_from_anywhere_and_its_handle_follows_it(
    database: str,
) -> None:
    async with wf.Engine(database, ALL), wf.AsyncClient(database) as client:
        handle = await charge.trigger("a")
        assert handle.id.startswith("run_")
        assert len(handle.id) == 26
        assert await handle.result() == "charged a"
        by_client = await client.trigger("charge", "b", tags=["x"])
        assert await by_client.result() == "charged b"
        assert (await by_client.retrieve()).tags == ("x",)
        [child] = await shop(["c"])
        parent = (await client.runs.retrieve(child)).parent
    typed = command("trigger", "charge", "d", "--json", database=database)
    assert json.loads(typed.stdout)["id"].startswith("run_")
    assert parent is not None


def test_s27_a_second_trigger_with_the_key_is_the_first_ones_run(client: wf.Client) -> None:
    first = client.trigger(charge, "a", idempotency_key="order-1")
    again = client.trigger(charge, "a", idempotency_key="order-1")
    other_task = client.trigger(decline, "a", idempotency_key="order-1")
    assert (first.is_cached, again.is_cached, again.id == first.id) == (False, True, True)
    assert other_task.id != first.id
    assert len(client.runs.list(task="charge")) == 1


@pytest.mark.parametrize("how", ["failed", "expired", "canceled", "timed out"])
def test_s27_a_run_that_did_not_complete_frees_its_key(client: wf.Client, how: str) -> None:
    task = {"failed": decline, "timed out": dawdle}.get(how, charge)
    options: dict[str, Any] = {"ttl": "1ms"} if how == "expired" else {}
    first = client.trigger(task, "a", idempotency_key="k", **options)
    worker = wf.Engine(client.store.url, ALL if how != "expired" else [tasks])
    if how == "canceled":
        first.cancel()
    worker.start_now()
    try:
        run = ended(client, first.id)
        second = client.trigger(task, "a", idempotency_key="k", delay="1d")
    finally:
        worker.stop_now()
    assert run.status == how.upper().replace(" ", "_")
    assert (second.is_cached, second.id != first.id) == (False, True)
    assert client.trigger(task, "a", idempotency_key="k").id == second.id


async def test_s27_s38_a_key_lives_as_long_as_it_is_told(database: str) -> None:
    clock = SkippingClock()
    async with wf.Engine(database, ALL, clock=clock):
        client = wf.client()
        minute = f"report-{datetime.now(UTC):%Y-%m-%dT%H:%M}"
        runs = [await charge.trigger("a", idempotency_key=minute) for _ in range(5)]
        assert len({run.id for run in runs}) == 1
        next_minute = f"report-{datetime.now(UTC) + timedelta(minutes=1):%Y-%m-%dT%H:%M}"
        assert (await charge.trigger("a", idempotency_key=next_minute)).id != runs[0].id
        short = await charge.trigger("a", idempotency_key="s", idempotency_key_ttl="1ms")
        until(lambda: client.now() > client.runs.retrieve(short.id).created_at)
        again = await charge.trigger("a", idempotency_key="s", idempotency_key_ttl="1ms")
        assert again.id != short.id


async def test_s27_scope_run_narrows_a_key_to_the_parent(database: str) -> None:
    async with wf.Engine(database, ALL):
        one = await shop(["a", "a"])
        other = await shop(["a"])
    assert one[0] == one[1]
    assert other[0] != one[0]


async def test_s27_scope_run_is_refused_where_no_run_triggers(
    database: str, client: wf.Client
) -> None:
    inside: Any = {"idempotency_key": "k", "scope": "run"}
    with pytest.raises(wf.NotInRun, match="leave scope out"):
        client.trigger(charge, "a", **inside)
    async with wf.AsyncClient(database):
        with pytest.raises(wf.NotInRun):
            await charge.trigger("a", **inside)
        with pytest.raises(wf.NotInRun):
            await charge.batch_trigger(["free", wf.Item("a", **inside)])
    assert client.runs.list() == []


def test_s27_another_payload_is_the_same_run_or_an_error(
    client: wf.Client, caplog: pytest.LogCaptureFixture
) -> None:
    first = client.trigger(charge, "a", idempotency_key="k")
    differs = client.trigger(charge, "b", idempotency_key="k")
    assert (differs.id, differs.payload_differs) == (first.id, True)
    assert "another payload" in caplog.text
    assert client.trigger(charge, "a", idempotency_key="k", on_conflict="raise").id == first.id
    with pytest.raises(wf.IdempotencyConflict, match="another payload") as raised:
        client.trigger(charge, "b", idempotency_key="k", on_conflict="raise")
    assert raised.value.run_id == first.id
    items = ["free", wf.Item("b", idempotency_key="k")]
    with pytest.raises(wf.IdempotencyConflict):
        client.batch_trigger(charge, items, on_conflict="raise")
    assert len(client.runs.list()) == 1, "all or nothing"
    typed = command(
        *("trigger", "charge", "b", "--idempotency-key", "k", "--on-conflict", "raise"),
        database=client.store.url,
    )
    assert typed.returncode == 1
    assert first.id in typed.stderr


async def test_s27_a_conflict_is_an_error_in_bodies_too(database: str) -> None:
    async with wf.Engine(database, ALL):
        first = await charge.trigger("a", idempotency_key="k")
        for how in ("trigger", "wait", "batch", "batch and wait"):
            assert await strict_shop(how) == first.id, how


PROCESS = """
import sys, wf
client = wf.Client(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
made = [client.trigger("charge", "a", idempotency_key="one") for _ in range(125)]
print(len({run.id for run in made}), sum(not run.is_cached for run in made), made[0].id)
"""


def test_s27_a_thousand_triggers_of_one_key_from_many_processes_make_one_run(
    client: wf.Client, tmp_path: Path
) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, client.store.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate()[0].split() for process in processes]
    assert {(ids, run) for ids, _, run in told} == {("1", told[0][2])}
    assert sum(int(made) for _, made, _ in told) == 1
    [run] = client.runs.list()
    assert run.id == told[0][2]


async def test_s31_a_delayed_run_starts_only_after_its_delay(database: str) -> None:
    clock = SkippingClock()
    async with wf.Engine(database, ALL, clock=clock):
        client = wf.client()
        handle = await charge.trigger("a", delay="30s")
        moment = datetime.now(UTC) + timedelta(days=2)
        later = await charge.trigger("b", delay=moment)
        run = client.runs.retrieve(handle.id)
        assert run.status is wf.Status.DELAYED
        assert run.due_at == run.created_at + timedelta(seconds=30)
        assert run.due_at is not None
        clock.skip_to(round(run.due_at.timestamp() * 1_000))
        done = until(lambda: client.runs.retrieve(handle.id).started_at)
        assert done is not None
        assert done >= run.due_at
        assert client.runs.retrieve(later.id).status is wf.Status.DELAYED
        clock.skip_to(round(moment.timestamp() * 1_000) + 1)
        assert ended(client, later.id).output == "charged b"


async def test_s32_a_run_that_did_not_start_in_time_expires_and_never_runs(database: str) -> None:
    clock = SkippingClock()
    async with wf.Engine(database, [tasks], clock=clock):  # it does not know the task
        client = wf.client()
        handle = client.trigger(charge, "a", ttl="10m")
        clock.skip_to(round(client.now().timestamp() * 1_000) + 11 * 60_000)
        run = ended(client, handle.id)
        assert (run.status, run.started_at) == (wf.Status.EXPIRED, None)
    async with wf.Engine(database, ALL, clock=clock):
        assert await charge.trigger_and_wait("b") == "charged b"
        assert wf.client().runs.retrieve(handle.id).status is wf.Status.EXPIRED


def test_s35_tags_and_the_other_options_are_kept(client: wf.Client) -> None:
    run = client.trigger(
        charge, "a", tags=["user:1", "pro"], priority=7, metadata={"plan": "pro"}, version="v2",
        concurrency_key="tenant", queue="emails",
    ).retrieve()  # fmt: skip
    assert (run.tags, run.priority, run.metadata) == (("user:1", "pro"), 7, {"plan": "pro"})
    assert (run.version, run.concurrency_key, run.queue) == ("v2", "tenant", "emails")
    typed = command(
        *("trigger", "charge", "b", "--tag", "user:1", "--metadata", "plan=pro", "--metadata"),
        *("seats=3", "--version", "v2", "--max-duration", "5m", "--scope", "environment"),
        database=client.store.url,
    )
    run = client.runs.retrieve(typed.stdout.strip())
    assert (run.tags, run.metadata, run.version) == (
        ("user:1",), {"plan": "pro", "seats": 3}, "v2",
    )  # fmt: skip


@wf.step(retry=wf.Retry(max_attempts=3, min_delay="1ms", jitter=False))
async def pay(order: str) -> str:
    """The vendor takes the money, and the answer is lost twice."""
    step = wf.current().step
    assert step is not None
    tasks.note(f"{step.idempotency_key} {order}")
    if step.attempt < 3:
        raise ConnectionError("no answer")
    return step.idempotency_key


@wf.task
async def buy(order: str) -> str:
    return await pay(order)


async def test_s80_keys_on_the_trigger_and_on_the_vendors_call_make_retries_safe(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger"
    monkeypatch.setenv("WF_LEDGER", str(ledger))
    async with wf.Engine(database, [buy, pay]):
        runs = [await buy.trigger("A-1", idempotency_key="order-A-1") for _ in range(3)]
        keys = {await run.result() for run in runs}
    asked = ledger.read_text().splitlines()
    assert len({run.id for run in runs}) == len(keys) == 1
    assert asked == [f"{keys.pop()} A-1"] * 3, "the vendor was asked thrice, under one key"


# --- debounce -------------------------------------------------------------------------------------


async def test_a_burst_of_triggers_is_one_run_of_the_last_payload(database: str) -> None:
    clock = SkippingClock()
    hour = wf.Debounce("document-7", "1h", max_delay="2h")
    async with wf.Engine(database, ALL, clock=clock), wf.AsyncClient(database) as client:
        first = await client.trigger(charge, "draft", debounce=hour)
        second = await charge.trigger("better", debounce=hour)
        typed = command(
            *("trigger", "charge", "best", "--debounce", "document-7", "--debounce-delay", "1h"),
            database=database,
        )
        assert second.id == typed.stdout.strip() == first.id
        assert (first.is_cached, second.is_cached) == (False, True)
        run = await client.runs.retrieve(first.id)
        assert (run.status, run.payload) == (wf.Status.DELAYED, "best")
        assert run.due_at is not None
        assert run.due_at > run.created_at + timedelta(hours=1)
        clock.skip_to(round(run.due_at.timestamp() * 1_000))
        assert await first.result() == "charged best"
        assert len(await client.runs.list()) == 1


async def test_leading_keeps_the_first_payload(database: str) -> None:
    with wf.Client(database) as client:
        for text in ("first", "second"):
            client.trigger(charge, text, debounce=wf.Debounce("k", "1h", mode="leading"))
        [run] = client.runs.list()
    assert run.payload == "first"


async def test_bodies_and_batches_debounce_too(database: str) -> None:
    async with wf.Engine(database, ALL):
        client = wf.client()
        outside = client.trigger(charge, "a", debounce=wf.Debounce("document", "1h"))
        assert set(await saver(["b", "c"])) == {outside.id}
        key = wf.Debounce("document", "1h")
        batch = client.batch_trigger(
            charge, [wf.Item("d", debounce=key), wf.Item("e", debounce=key)]
        )
        assert {handle.id for handle in batch} == {outside.id}
        assert client.runs.retrieve(outside.id).payload == "e"


def test_what_a_debounce_cannot_be_is_refused(client: wf.Client) -> None:
    key = wf.Debounce("k", "1h")
    for options, match in (
        ({"debounce": key, "delay": "1h"}, "a delay of its own"),
        ({"debounce": key, "idempotency_key": "k"}, "a key"),
        ({"debounce": "k"}, "wf.Debounce"),
        ({"debounce": wf.Debounce("k", 0)}, "over 0"),
        ({"debounce": wf.Debounce("k", "1h", max_delay="1m")}, "not less"),
        ({"debounce": wf.Debounce("", "1h")}, "not empty"),
        ({"on_conflict": "ignore"}, "'return' or 'raise'"),
    ):
        with pytest.raises(wf.DeclarationError, match=match):
            client.trigger(charge, "a", **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(wf.DeclarationError, match="would make one run"):
        client.batch_trigger(charge, ["a"], debounce=key)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert client.runs.list() == []
