"""What a store hands out at once has bounds in bytes, and nothing is lost at them."""

from __future__ import annotations

from tests.stores.bounds import small_bounds
from tests.stores.world import World, step
from wf.history.handing import hand_news
from wf.history.ids import new_id
from wf.history.messages import NewMessage
from wf.history.model import Activation, Claim, Claimed, InboxKind, InboxRow, Run, Wait

SIZE = 400


def value(number: int) -> bytes:
    return f'"{number}'.encode().ljust(SIZE, b"x") + b'"'


def test_as_many_whole_histories_are_read_as_have_room(world: World) -> None:
    worker = world.worker()
    runs: list[tuple[bytes, int]] = []
    for number in range(5):
        run = world.begun(worker).run
        worker.commit(Activation(run.id, 1, [step(2, 1, data=value(number)), step(3, 2)]))
        runs.append((run.id, 1))
    with small_bounds(3 * SIZE):
        first = world.store.load(runs)
        assert 1 <= len(first) < 5
        rest = world.store.load([one for one in runs if one[0] not in first])
        assert not first.keys() & rest.keys()
    with small_bounds(1):
        [alone] = world.store.load(runs).values()
        assert [event.seq for event in alone] == [1, 2, 3]
    assert {
        run_id: len(events) for run_id, events in world.store.load(runs).items()
    } == dict.fromkeys([run_id for run_id, _ in runs], 3)


def test_news_are_handed_out_up_to_a_bound_and_the_rest_when_they_are_read(world: World) -> None:
    worker = world.worker()
    tokens = [world.token() for _ in range(6)]
    world.store.create_tokens(tokens)
    run = world.begun(worker).run.id
    waits = [Wait(token.id, n, of_token=True) for n, token in enumerate(tokens, 1)]
    worker.commit(Activation(run, 1, waits=waits, release=True))
    for n, token in enumerate(tokens, 1):
        world.store.end_token(token.id, "COMPLETED", value(n), world.now())
    seen: list[int] = []
    consumed: list[int] = []
    with small_bounds(2 * SIZE):
        for _ in range(10):
            activation = [Activation(run, 1, consumed=consumed)] if consumed else []
            claim = Claim(10, worker.tasks, "3.11", resync=bool(consumed))
            committed = worker.store.commit(worker.lease, activation, claim, world.now())
            [claimed] = committed.claimed
            seen += [row.ordinal for row in claimed.inbox]
            consumed = [row.id for row in claimed.inbox]
            if not committed.is_cut:
                break
            assert 1 <= len(consumed) <= 3
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_cancel_is_handed_out_beyond_all_bounds(world: World) -> None:
    worker = world.worker()
    token = world.token()
    world.store.create_tokens([token])
    run = world.begun(worker).run.id
    worker.commit(Activation(run, 1, waits=[Wait(token.id, 1, of_token=True)], release=True))
    world.store.end_token(token.id, "COMPLETED", value(1), world.now())
    world.store.cancel([run], world.now())
    with small_bounds(1):
        [claimed] = worker.claim()
    assert [row.kind for row in claimed.inbox] == [InboxKind.TOKEN_ENDED, InboxKind.CANCEL]


def test_messages_are_handed_out_up_to_a_bound_and_one_at_least(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker).run.id
    world.store.send([NewMessage(run, "m", value(n)) for n in range(3)], world.now())
    with small_bounds(1):
        worker.commit(Activation(run, 1, listening=["m"], release=True))
        for n in range(3):
            [claimed] = worker.claim()
            [message] = claimed.messages
            assert message.data == value(n)
            worker.commit(Activation(run, 1, received=[message.id], release=True))
    assert worker.claim() == []


def test_a_reference_counts_as_much_as_what_it_stands_for() -> None:
    run = Run(new_id(1), "dev", "t", b"null", 1)
    claimed = Claimed(run, 1, 1, [])  # type: ignore[arg-type]
    reference = b"\xff\x02" + (50 * 1024 * 1024).to_bytes(8) + bytes(32)
    rows = [InboxRow(n, run.id, InboxKind.CHILD_ENDED, 1, n, 1, "", reference) for n in range(4)]
    assert hand_news({run.id: claimed}, rows)
    assert len(claimed.inbox) == 2
