"""What nobody is to see is masked in a saved run, and the run can still be replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, Field

import wf
from tests.codecs import key_ring
from tests.mission.test_runs import engine
from wf.cli.main import main
from wf.history.redacting import mask

SECRET = "Ada.Lovelace@example.org"
CARD = "4111-2222-3333-4444"


class Person(BaseModel):
    email: str = Field(pattern=r".+@.+\..+")
    born: datetime
    key: UUID
    age: int


class Refused(Exception):
    pass


@wf.step
async def look_up(person: Person) -> dict[str, str]:
    wf.stream("log").append(f"looking for {person.email}")
    return {"card": CARD, "large": person.email * 20_000}


@wf.step(retry=wf.Retry(max_attempts=1))
async def charge(card: str, note: str) -> None:
    raise Refused(f"{card} of {note}")


@wf.task
async def invoice(person: Person) -> str:
    wf.metadata.set("who", {"email": person.email})
    found = await look_up(person)
    try:
        await charge(found["card"], f"for {person.email}")
    except wf.StepFailed as error:
        return f"{person.age}: {error.message}"
    return ""


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def codec(request: pytest.FixtureRequest) -> wf.Codec | None:
    return key_ring() if request.param else None


@pytest.fixture
def client(tmp_path: Path, postgres_url: str, codec: wf.Codec | None) -> Iterator[wf.Client]:
    """Of each store, once."""
    url = postgres_url if codec is None else f"{tmp_path}/wf.db"
    with wf.Client(url, codec=codec, environment="redaction") as client:
        yield client


def test_a_masked_run_replays_and_holds_nothing_of_what_was_masked(
    client: wf.Client, tmp_path: Path, codec: wf.Codec | None
) -> None:
    from wf.engine.registry import Registry
    from wf.engine.replaying import replay_all
    from wf.history.export import export
    from wf.history.ids import parse
    from wf.history.redacting import fields

    person = Person(email=SECRET, born=datetime.now(UTC), key=uuid4(), age=36)
    worker = wf.Engine(client.store.url, [invoice], codec=codec, environment="redaction")
    worker.start_now()
    run = client.trigger(invoice, person, tags=[f"user:{SECRET}"], idempotency_key=SECRET)
    assert run.result() == f"36: {CARD} of for {SECRET}"
    worker.stop_now()
    raw = client.store.get_runs([parse("run", run.id)])
    file = tmp_path / "run.db"
    export(client.store, next(iter(raw.values())), file, fields(["payload", "look_up.card"]))
    assert [one.name for one in tmp_path.glob("run.db*")] == ["run.db"]
    for secret in (SECRET, CARD, str(person.key)):
        assert secret.encode() not in file.read_bytes()
    with wf.Client(str(file), codec=codec, environment="redaction") as saved:
        view = saved.runs.retrieve(run.id)
        assert Person(**view.payload).email == "Aaa.Aaaaaaaa@aaaaaaa.aaa"
        assert view.payload["age"] == 11
        assert view.tags == ("user:Aaa.Aaaaaaaa@aaaaaaa.aaa",)
        assert view.metadata == {"who": {"email": "Aaa.Aaaaaaaa@aaaaaaa.aaa"}}
        assert view.output == "36: 1111-1111-1111-1111 of for Aaa.Aaaaaaaa@aaaaaaa.aaa"
        assert replay_all(saved.store, Registry([invoice])) == [], "it comes to 11: …, as masked"
    playback = wf.testing.replay(file, invoice, codec=codec)
    assert playback.go(playback.facts[1].seq).what.startswith('look-up -> {"card": "1111-')
    assert playback.locals()["found"]["card"] == "1111-1111-1111-1111"


def test_a_function_says_what_is_to_stand_there(tmp_path: Path) -> None:
    from wf.history.export import export
    from wf.history.ids import parse

    seen: set[tuple[str, ...]] = set()

    def hide(path: tuple[str, ...], value: object) -> object:
        seen.add(path)
        return "nobody@example.org" if path[-1] == "email" else value

    with wf.Client(f"{tmp_path}/wf.db") as client, engine(f"{tmp_path}/wf.db", invoice):
        person = {"email": SECRET, "born": "2026-01-01T00:00:00Z", "key": str(uuid4()), "age": 1}
        run = client.trigger("invoice", person)
        run.result()
        [stored] = client.store.get_runs([parse("run", run.id)]).values()
        export(client.store, stored, tmp_path / "run.db", hide)
    assert {("payload",), ("payload", "email"), ("look-up", "card"), ("output",)} <= seen
    assert SECRET.encode() not in (tmp_path / "run.db").read_bytes()
    playback = wf.testing.replay(tmp_path / "run.db", invoice)
    assert playback.facts[-1].seq
    with wf.Client(f"{tmp_path}/run.db") as saved:
        assert saved.runs.retrieve(run.id).output == f"1: {CARD} of for nobody@example.org"


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database, file = f"{tmp_path}/wf.db", f"{tmp_path}/run.db"
    with wf.Client(database) as client, engine(database, invoice):
        person = {"email": SECRET, "born": "2026-01-01T00:00:00Z", "key": str(uuid4()), "age": 1}
        run = client.trigger("invoice", person)
        run.result()
    told = ["export", run.id, "--to", file, "--redact", "email", "--redact", "card"]
    assert main([*told, "--db", database]) == 0
    assert "masked: email, card" in capsys.readouterr().out
    assert SECRET.encode() not in Path(file).read_bytes()
    assert main(["replay", file, "--code", __file__, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts[2]["data"]["message"] == "1111-1111-1111-1111 of for Aaa.Aaaaaaaa@aaaaaaa.aaa"


def test_a_mask_keeps_type_and_shape() -> None:
    value = {"a": [True, None, -12.5, 7], "b": "2026-05-01T09:00:00+02:00", "c": "Ünï-7"}
    masked = {"a": [False, None, -11.1, 1], "b": "1111-11-11T11:11:11+11:11", "c": "Aaa-1"}
    assert mask(value) == masked
