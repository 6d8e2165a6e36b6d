"""Debounced triggers: one run of each burst, started when all is quiet, and no later than said."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stores.world import ENVIRONMENT, TASK, World, at_once
from wf.history.debouncing import Held, key_of, settle
from wf.history.ids import new_id
from wf.history.model import Activation, Debounced, NewRun, RunFilter, Triggered

SECOND = 1_000


def late(world: World, payload: bytes, delay: int = 10, **columns: Any) -> NewRun:
    """A trigger with the key "k", at the world's time."""
    of = {
        name: columns.pop(name) for name in ("key", "is_leading", "max_delay_ms") if name in columns
    }
    run = world.new(payload=payload, **columns)
    run.debounce = Debounced(of.pop("key", "k"), delay * SECOND, **of)
    run.start_at = run.created_at + delay * SECOND
    run.options = json.dumps({"debounce": {"key": run.debounce.key}}).encode()
    return run


def test_each_trigger_pushes_the_one_run_and_the_last_payload_wins(world: World) -> None:
    worker = world.worker()
    first = late(world, b"1", tags=["old"])
    assert world.trigger_how(first) == (first.id, Triggered.MADE)
    world.skipped_ms = 6 * SECOND
    second = late(world, b"2", tags=["new"], priority=4)
    assert world.trigger_how(second) == (first.id, Triggered.CACHED)
    run = world.run(first.id)
    assert (run.payload, run.tags, run.priority, run.start_at) == (
        b"2", ["new"], 4, second.created_at + 10 * SECOND,
    )  # fmt: skip
    assert [r.id for r in world.store.list_runs(RunFilter(ENVIRONMENT, tag="new"))] == [first.id]
    assert world.store.list_runs(RunFilter(ENVIRONMENT, tag="old")) == []
    world.skipped_ms = 11 * SECOND
    assert worker.claim_ids() == []
    world.skipped_ms = 17 * SECOND
    (claimed,) = worker.claim()
    assert (claimed.run.id, claimed.run.payload) == (first.id, b"2")
    third = late(world, b"3")
    assert world.trigger_how(third) == (third.id, Triggered.MADE), "the burst is over"


def test_a_push_into_another_queue_starts_there(world: World) -> None:
    worker = world.worker()
    first = late(world, b"1")
    world.trigger_how(first)
    world.trigger_how(late(world, b"2", queue="narrow"))
    world.skipped_ms = 11 * SECOND
    (claimed,) = [*worker.claim(), *worker.claim()]  # what has become due may be the next one's
    assert (claimed.run.id, claimed.run.queue) == (first.id, "narrow")


def test_leading_keeps_the_first_payload_and_is_pushed_as_well(world: World) -> None:
    first = late(world, b"1", is_leading=True, tags=["old"])
    world.trigger_how(first)
    world.skipped_ms = 5 * SECOND
    second = late(world, b"2", is_leading=True, tags=["new"])
    world.trigger_how(second)
    run = world.run(first.id)
    assert (run.payload, run.tags) == (b"1", ["old"])
    assert run.start_at == run.due_at == second.created_at + 10 * SECOND


def test_a_run_is_not_pushed_beyond_max_delay_and_never_nearer(world: World) -> None:
    first = late(world, b"1", max_delay_ms=12 * SECOND)
    world.trigger_how(first)
    world.skipped_ms = 5 * SECOND
    world.trigger_how(late(world, b"2", max_delay_ms=12 * SECOND))
    assert world.run(first.id).due_at == first.created_at + 12 * SECOND
    world.trigger_how(late(world, b"3", 1))
    assert world.run(first.id).due_at == first.created_at + 12 * SECOND
    assert world.run(first.id).payload == b"3"


def test_a_window_that_is_over_makes_the_next_run_though_no_worker_came(world: World) -> None:
    first = late(world, b"1")
    world.trigger_how(first)
    world.skipped_ms = 11 * SECOND
    second = late(world, b"2")
    assert world.trigger_how(second) == (second.id, Triggered.MADE)
    assert world.run(first.id).payload == b"1"


def test_keys_tasks_and_environments_are_apart_and_canceled_runs_hold_no_key(world: World) -> None:
    runs = [
        late(world, b"1"),
        late(world, b"2", key="other"),
        late(world, b"3", task="other"),
        late(world, b"4", environment="other"),
    ]
    assert [how for _, how in world.store.trigger(runs)] == [Triggered.MADE] * 4
    world.store.cancel([runs[0].id], world.now())
    again = late(world, b"5")
    assert world.trigger_how(again) == (again.id, Triggered.MADE)


def test_a_batch_makes_one_run_of_a_key_and_a_repeat_none(world: World) -> None:
    batch = [late(world, b"1"), late(world, b"2"), world.new(), late(world, b"3", key="other")]
    made = [(run.id, Triggered.MADE) for run in batch]
    expected = [made[0], (batch[0].id, Triggered.CACHED), made[2], made[3]]
    assert world.store.trigger(batch) == expected
    assert world.run(batch[0].id).payload == b"2"
    before = world.run(batch[0].id)
    repeat = late(world, b"2", id=batch[0].id, created_at=batch[0].created_at)
    assert world.trigger_how(repeat) == (repeat.id, Triggered.MADE)
    assert world.run(batch[0].id) == before
    world.store.cancel([batch[0].id], world.now())
    following = late(world, b"9")
    assert world.trigger_how(following) == (following.id, Triggered.MADE)
    assert world.trigger_how(repeat) == (repeat.id, Triggered.MADE), "a repeat pushes nobody"
    assert world.run(following.id).payload == b"9"
    assert len(world.store.list_runs(RunFilter(ENVIRONMENT))) == 4


def test_a_child_learns_which_run_it_is(world: World) -> None:
    worker = world.worker()
    first = late(world, b"1")
    world.trigger_how(first)
    parent = world.begun(worker)
    child = late(world, b"2", settle=1, parent_id=parent.run.id, root_id=parent.run.id)
    worker.commit(Activation(parent.run.id, 1, children=[child], release=True))
    (told,) = worker.claim()
    assert [(row.data, row.name) for row in told.inbox] == [(first.id, "CACHED")]
    assert world.run(first.id).payload == b"2"


def test_many_clients_make_one_run_of_a_burst(world: World) -> None:
    stores = [world.another_store() for _ in range(6)]
    runs = [[late(world, b"%d" % (10 * n + m)) for m in range(5)] for n in range(6)]

    def burst(place: int) -> list[tuple[bytes, Triggered]]:
        return [answer for run in runs[place] for answer in stores[place].trigger([run])]

    answers = [
        answer for part in at_once(*(lambda n=n: burst(n) for n in range(6))) for answer in part
    ]
    assert len({run_id for run_id, _ in answers}) == 1
    assert [how for _, how in answers].count(Triggered.MADE) == 1
    [run] = world.store.list_runs(RunFilter(ENVIRONMENT))
    last = max(one.created_at for part in runs for one in part)
    assert run.due_at == last + 10 * SECOND


def test_a_push_and_a_start_do_not_both_happen(world: World) -> None:
    """Where the run starts it has the payload that was there; what came later is the next run's."""
    worker = world.worker(store=world.another_store())
    for turn in range(25):
        key = f"k{turn}"
        first = late(world, b"1", 1, key=key)
        first.created_at -= 2 * SECOND
        first.start_at = first.created_at + 1 * SECOND
        world.trigger_how(first)
        second = late(world, b"2", 1, key=key, created_at=first.created_at + 1)
        [claimed, (run_id, how)] = at_once(worker.claim, lambda r=second: world.trigger_how(r))
        claimed = [one for one in claimed if one.run.id == first.id]
        if how is Triggered.MADE:
            assert run_id == second.id
            assert [one.run.payload for one in claimed] in ([], [b"1"])
            assert world.run(first.id).payload == b"1"
        else:
            assert run_id == first.id
            assert [one.run.payload for one in claimed] in ([], [b"2"])
            assert world.run(first.id).payload == b"2"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20), st.sampled_from([0, 20, 30]))),
    st.randoms(use_true_random=False),
)
def test_the_start_does_not_depend_on_who_gets_through_first(
    triggers: list[tuple[int, int, int]], random: Random
) -> None:
    """All within one window: the latest of what each asked for."""
    first = NewRun(new_id(0), "e", TASK, b"0", 0, start_at=60, debounce=Debounced("k", 60))
    runs = [
        NewRun(new_id(n), "e", TASK, b"", at, debounce=Debounced("k", delay, False, longest))
        for n, (at, delay, longest) in enumerate(triggers)
    ]
    random.shuffle(runs)
    held = Held(first.id, 0, 60, ())
    for run in runs:
        settled = settle([run], {key_of(run): held})
        assert settled.answers[run.id] == (first.id, Triggered.CACHED)
        held = held._replace(due_at=settled.pushes[first.id].start_at)
    wanted = [min(at + delay, longest or 1_000) for at, delay, longest in triggers]
    assert held.due_at == max([60, *wanted])
