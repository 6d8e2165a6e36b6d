"""A codec, configured: no plaintext in the database, keys that change, a key that is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import wf
from tests.codecs import KeyRing, key_ring
from tests.dumps import dump
from tests.mission import sealed
from tests.mission.sealed import CANARY
from tests.observing import ended, until
from tests.observing import wf as command


def engine(database: str, codec: wf.Codec | None) -> wf.Engine:
    return wf.Engine(database, [sealed], codec=codec)


def parked(client: wf.Client, run_id: str) -> str:
    """Why it cannot be opened."""
    blocked = until(lambda: client.runs.retrieve(run_id).blocked)
    assert blocked is not None
    assert blocked.reason == "codec"
    return blocked.detail


async def test_nothing_that_a_run_was_given_said_or_made_is_in_a_dump(database: str) -> None:
    secret = {"name": CANARY}
    codec = key_ring()
    with wf.Client(database, codec=codec) as client:
        async with engine(database, codec):
            handle = client.trigger(sealed.everything, CANARY, metadata={"given": secret})
            handle.send("question", secret)
            token = until(lambda: client.tokens.list(status="WAITING"))[0]
            client.tokens.complete(token.id, {"name": CANARY})
            assert handle.result(timeout="30s") == [CANARY] * 5
            failed = client.trigger(sealed.fails, CANARY)
            with pytest.raises(wf.RunFailed, match=CANARY):
                failed.result(timeout="30s")
            client.schedules.create(task=sealed.ticked, cron="0 0 1 1 *", metadata=secret)
        run = handle.retrieve()
        assert run.metadata == {"given": secret, "step": secret, "body": secret}
        assert [chunk.data for chunk in handle.stream("words")] == [CANARY]
        assert CANARY in json.dumps([event.data for event in handle.history()])
        assert [one.metadata for one in client.runs.list(task="everything")] == [run.metadata]
    assert CANARY.encode() not in dump(database)


async def test_a_key_is_changed_while_runs_wait_and_they_go_on(database: str) -> None:
    async with engine(database, key_ring("a")):
        handle = await sealed.asks.trigger(CANARY)
        with wf.Client(database, codec=key_ring("a")) as client:
            until(lambda: client.tokens.list(status="WAITING"))
    rotated = key_ring("b", "ab")
    async with engine(database, rotated):
        with wf.Client(database, codec=rotated) as client:
            token = client.tokens.list(status="WAITING")[0]
            client.tokens.complete(token.id, "yes")
            found = client.runs.retrieve(handle.id)
            assert until(lambda: client.runs.retrieve(found.id).output) == f"{CANARY}: yes"


@pytest.mark.parametrize("without", [key_ring("b"), None], ids=["another key", "no codec"])
async def test_a_run_whose_key_is_lost_is_parked_with_the_reason_and_goes_on_with_the_key(
    database: str, without: KeyRing | None
) -> None:
    codec = key_ring("a")
    with wf.Client(database, codec=codec) as client:
        handle = client.trigger(sealed.asks, CANARY)
        async with engine(database, without):
            assert "WF2013 the payload is sealed" in parked(client, handle.id)
            assert handle.retrieve().status is wf.Status.WAITING
        async with engine(database, codec):  # with the key, on the same code
            token = until(lambda: client.tokens.list(status="WAITING"))[0]
            client.tokens.complete(token.id, "yes")
            assert handle.result(timeout="30s") == f"{CANARY}: yes"


async def test_a_run_that_is_told_something_in_a_key_of_others_goes_on_when_that_is_there(
    database: str,
) -> None:
    async with engine(database, key_ring("a")):
        handle = await sealed.asks.trigger(CANARY)
        with wf.Client(database, codec=key_ring("b", "ab")) as client:
            token = until(lambda: client.tokens.list(status="WAITING"))[0]
            client.tokens.complete(token.id, "yes")
            known = client.trigger(sealed.doubled, 0)
            assert "WF2013 what came for the run is sealed" in parked(client, handle.id)
    with wf.Client(database, codec=key_ring("b", "ab")) as client:
        async with engine(database, key_ring("a", "ab")):
            assert until(lambda: client.runs.retrieve(handle.id).output) == f"{CANARY}: yes"
            assert ended(client, known.id).output == 0


async def test_a_parked_run_whose_key_is_lost_can_be_canceled(database: str) -> None:
    with wf.Client(database, codec=key_ring("a")) as client:
        handle = client.trigger(sealed.asks, CANARY)
        async with engine(database, key_ring("b")):
            assert parked(client, handle.id)
            handle.cancel()
            assert ended(client, handle.id).status is wf.Status.CANCELED


async def test_others_go_on_beside_a_run_whose_key_is_lost(database: str) -> None:
    with wf.Client(database, codec=key_ring("a")) as client:
        lost = client.trigger(sealed.doubled, 1)
        other = key_ring("b")
        async with engine(database, other):
            with wf.Client(database, codec=other) as there:
                assert there.trigger(sealed.doubled, 2).result(timeout="30s") == 4
        assert "KeyError: 'a'" in parked(client, lost.id)


async def test_who_reads_without_the_key_is_told_so_and_sees_the_rest(database: str) -> None:
    codec = key_ring("a")
    async with engine(database, codec):
        with wf.Client(database, codec=codec) as client:
            done = client.trigger(sealed.doubled, 21, idempotency_key="k")
            assert done.result(timeout="30s") == 42
            failed = client.trigger(sealed.fails, CANARY)
            with pytest.raises(wf.RunFailed):
                failed.result(timeout="30s")
    for other, why in ((key_ring("b"), "KeyError: 'a'"), (None, "there is no codec here")):
        with wf.Client(database, codec=other) as client:
            run = client.runs.retrieve(done.id)
            assert (run.status, run.task) == (wf.Status.COMPLETED, "doubled")
            assert why in run.output["wf.sealed"]
            assert why in run.payload["wf.sealed"]
            [error] = [one.error for one in client.runs.list(task="fails")]
            assert error is not None
            assert (error.type, error.code) == ("Sealed", "WF2013")
            assert any("wf.sealed" in (one.data or {}) for one in client.runs.history(failed.id))
            with pytest.raises(wf.CodecError, match="WF2013"):
                client.trigger(sealed.doubled, 21, idempotency_key="k").result(timeout="30s")


def test_the_command_line_takes_the_codec_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "wf_config.py").write_text(
        "import wf\n\nclass Turned:\n"
        "    def encode(self, data): return data[::-1]\n"
        "    def decode(self, data): return data[::-1]\n\n"
        "config = wf.Config(project='turned', codec=Turned())\n"
    )
    (tmp_path / "hello.py").write_text(
        "import wf\n@wf.task\nasync def hello(name: str) -> str:\n    return f'hi {name}'\n"
    )
    ran = command("run", "hello.py", CANARY, database="wf.db", cwd=tmp_path)
    assert (ran.returncode, ran.stdout.strip()) == (0, f"hi {CANARY}")
    assert CANARY.encode() not in dump(f"sqlite:///{tmp_path}/wf.db")
    listed = command("runs", "list", "--json", database="wf.db", cwd=tmp_path)
    [run] = json.loads(listed.stdout)
    assert run["output"] == f"hi {CANARY}"
    assert command("audit", database="wf.db", cwd=tmp_path).stdout.strip() == "all is well"
    (tmp_path / "wf_config.py").unlink()
    without = command("runs", "show", run["id"], database="wf.db", cwd=tmp_path)
    assert without.returncode == 0
    assert "there is no codec here" in without.stdout


def test_a_codec_that_is_none_is_refused_where_it_is_given(tmp_path: Path) -> None:
    wrong: Any = object()
    for configured in (
        lambda: wf.Config(codec=wrong),
        lambda: wf.Client(f"{tmp_path}/wf.db", codec=wrong),
        lambda: wf.Engine(f"{tmp_path}/wf.db", codec=wrong),
    ):
        with pytest.raises(wf.DeclarationError, match="has no encode"):
            configured()


def test_wf_run_in_a_script_takes_a_codec(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/wf.db"
    assert wf.run(sealed.doubled, 4, database=url, codec=key_ring()) == 8
    with pytest.raises(AssertionError):
        assert b"doubled" not in dump(url)


def test_importing_wf_with_a_codec_class_imports_no_cryptography() -> None:
    code = "import sys, wf; wf.Codec; print('cryptography' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
