"""Under a codec every operation does what it does without one, and leaves no plaintext: neither in
the database nor in a file that is saved of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import wf
from tests.codecs import key_ring
from tests.dumps import dump
from tests.mission import sealed
from tests.mission.sealed import CANARY, HEARD, Person
from tests.observing import ended, until
from wf.engine.core.durations import from_ms
from wf.history.audit import audit
from wf.history.export import export
from wf.history.ids import parse
from wf.history.redacting import fields

CODEC = key_ring()


def assert_well(client: wf.Client, database: str) -> None:
    assert CANARY.encode() not in dump(database)
    assert audit(client.store) == []


async def test_hooks_are_told_of_sealed_runs_and_nothing_that_they_heard_is_in_a_dump(
    database: str,
) -> None:
    HEARD.clear()
    with wf.Client(database, codec=CODEC) as client:
        async with wf.Engine(database, [sealed], codec=CODEC):
            handle = client.trigger(sealed.hooked, Person(name=CANARY))
            until(lambda: handle.retrieve().status is wf.Status.WAITING)
            until(lambda: len(HEARD) == 2)
            assert_well(client, database)
            handle.send("go", CANARY)
            assert ended(client, handle.id).status is wf.Status.FAILED
            until(lambda: len(HEARD) == 4)
            told = until(lambda: client.runs.list(task="hooked:hooks", status="FAILED"))
        assert HEARD[:3] == [Person(name=CANARY)] * 3
        assert HEARD[3] == CANARY
        assert told[0].error is not None
        assert told[0].error.message == f"cannot tell of {CANARY}"
        shown = [event.data for event in client.runs.history(handle.id) if event.kind == "HOOKED"]
        assert {run.id for run in client.runs.list(task="hooked:hooks")} > {*shown}
        assert_well(client, database)


async def test_a_run_that_never_began_is_told_of_and_its_notice_tells_nothing(
    database: str,
) -> None:
    """The store, which has no key, writes this notice: ids and a moment."""
    HEARD.clear()
    with wf.Client(database, codec=CODEC) as client:
        handle = client.trigger(sealed.hooked, Person(name=CANARY), ttl="1ms")
        made = handle.retrieve().created_at
        until(lambda: from_ms(client.store.now()) > made + timedelta(milliseconds=1))
        async with wf.Engine(database, [sealed], codec=CODEC):
            assert ended(client, handle.id).status is wf.Status.EXPIRED
            until(lambda: HEARD)
            [notice] = client.runs.list(task="hooked:hooks")
        assert notice.payload == {"run": handle.id, "moment": "EXPIRED"}
        assert_well(client, database)


async def test_batches_come_back_in_order_and_leave_nothing(database: str) -> None:
    with wf.Client(database, codec=CODEC) as client:
        async with wf.Engine(database, [sealed], codec=CODEC):
            handle = client.trigger(sealed.batched, CANARY)
            first, second, *rest = handle.result(timeout="30s")
            assert [first, *rest] == [CANARY] * 4
            assert f"ValueError: {CANARY}!" in second
            batch = client.batch_trigger(
                sealed.member, [CANARY, wf.Item(CANARY, metadata={"a": CANARY})]
            )
            assert batch.results("30s") == [CANARY] * 2
            assert batch[1].retrieve().metadata == {"a": CANARY}
        ends = [one.data for one in client.runs.history(handle.id) if one.kind == "BATCH_ENDED"]
        assert CANARY in str(ends)
        assert f"ValueError: {CANARY}!" in str(client.runs.timeline(handle.id))
        assert_well(client, database)


async def test_what_debounced_triggers_and_schedules_give_is_sealed(database: str) -> None:
    hour = wf.Debounce(CANARY[::-1], "1h")
    with wf.Client(database, codec=CODEC) as client:
        first = client.trigger(sealed.member, f"{CANARY} 1", debounce=hour, metadata={"n": CANARY})
        again = client.trigger(sealed.member, f"{CANARY} 2", debounce=hour, metadata={"n": CANARY})
        assert (first.id, again.is_cached) == (again.id, True)
        schedule = client.schedules.create(
            task=sealed.ticked, cron="0 0 1 1 *", metadata={"n": CANARY}
        )
        async with wf.Engine(database, [sealed], codec=CODEC):
            fired = client.schedules.trigger(schedule.id)
            assert ended(client, fired.id).metadata == {"n": CANARY}
            client.runs.reschedule(first.id, delay="1ms")
            run = ended(client, first.id)
        assert (run.output, run.metadata) == (f"{CANARY} 2", {"n": CANARY})
        assert_well(client, database)


@pytest.mark.parametrize("masked", [False, True], ids=["as it is", "masked"])
async def test_a_file_that_is_saved_of_a_sealed_run_is_sealed(
    database: str, tmp_path: Path, masked: bool
) -> None:
    file = tmp_path / "saved.db"
    with wf.Client(database, codec=CODEC) as client:
        async with wf.Engine(database, [sealed], codec=CODEC):
            handle = client.trigger(sealed.batched, CANARY)
            output = handle.result(timeout="30s")
        run = client.store.get_runs([parse("run", handle.id)])[parse("run", handle.id)]
        runs = export(client.store, run, file, fields(["payload"]) if masked else None)
    assert len(runs) == 6
    assert CANARY.encode() not in dump(f"sqlite:///{file}")
    with wf.Client(str(file), codec=CODEC) as saved:
        view = saved.runs.retrieve(handle.id)
        assert view.output == [
            text.replace(CANARY, "aaaaaa-1a1a") if masked else text for text in output
        ]
        assert len(saved.runs.list(limit=10)) == 6
        assert saved.runs.timeline(handle.id).lanes[1].tally is not None
    with wf.Client(str(file)) as without:
        assert "there is no codec here" in without.runs.retrieve(handle.id).output["wf.sealed"]
        assert CANARY not in str(without.runs.history(handle.id))
    playback = wf.testing.replay(file, sealed.batched, run=handle.id, codec=CODEC)
    assert playback.facts[-1].seq
