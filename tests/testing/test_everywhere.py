"""`@wf.testing.crash_everywhere`."""

from __future__ import annotations

import asyncio

import pytest

import wf
from tests.testing.shop import Order, buy, charge, reserve

paid: list[str] = []


@wf.step
async def pay() -> str:
    step = wf.current().step
    assert step is not None
    paid.append(step.idempotency_key)
    return "paid"


@wf.task
async def order() -> str:
    await wf.wait.for_(days=1)
    return await pay()


@wf.task
async def careless_order() -> str:
    """Pays outside of a step."""
    await wf.wait.for_(days=1)
    paid.append("here")
    await wf.wait.for_(days=1)
    return "paid"


@wf.testing.crash_everywhere(most_pairs=10)
def test_a_task_that_is_right_is_right_wherever_it_is_cut(wf_env: wf.testing.Env) -> None:
    wf_env.on_token(True, after="1d")
    run = wf_env.start(buy, Order("Emma", 20_000))
    assert run.result() == "copy of Emma is on its way"
    assert len(wf_env.calls(charge)) == len(wf_env.calls(reserve)) == 1
    assert run.story[-3:-1] == ["triggered pack", 'pack -> "copy of Emma is on its way"']


def test_a_vendor_who_knows_no_keys_is_paid_twice() -> None:
    @wf.testing.crash_everywhere
    def pays_once(env: wf.testing.Env) -> None:
        paid.clear()
        env.run(order)
        assert len(paid) == 1

    with wf.testing.Env() as env, pytest.raises(AssertionError) as caught:
        pays_once(env)
    [note] = caught.value.__notes__
    assert note.startswith("the worker was lost before write 6 of 6; what happened:\n<order run_")
    assert 'pay -> "paid"' in note


def test_an_effect_outside_of_a_step_happens_twice() -> None:
    @wf.testing.crash_everywhere(pairs=False)
    async def pays_once(env: wf.testing.Env) -> None:
        paid.clear()
        env.run(careless_order)
        assert len(paid) == 1

    with wf.testing.Env(paranoid=False) as env, pytest.raises(AssertionError):
        asyncio.run(pays_once(env))


def test_a_test_without_an_env_is_refused() -> None:
    with pytest.raises(wf.DeclarationError, match="takes no env"):
        wf.testing.crash_everywhere(lambda: None)()
