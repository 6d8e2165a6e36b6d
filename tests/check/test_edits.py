"""The gate: of forty edits it tells the twenty that runs under way would not survive, on both
stores, without one false alarm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

import wf
from tests import postgres_server
from tests.check.edits import SAFE, UNSAFE, Edit, edited
from tests.observing import until
from wf.engine.registry import Registry
from wf.history.model import Run
from wf.history.open import open_store
from wf.history.store import Store
from wf.testing.check.gate import Misfit, misfit, runs_of


def imported(text: str, folder: Path) -> ModuleType:
    file = folder / f"program_{len(list(folder.iterdir()))}.py"
    file.write_text(text)
    spec = spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def under_way(url: str, module: ModuleType) -> None:
    """A run that waits for its token, and one that has not begun."""
    engine = wf.Engine(url, [module], environment="dev")
    client = wf.Client(url, environment="dev")
    engine.start_now()
    try:
        handle = client.trigger("fulfil", {"id": 1, "shop": "a"})
        until(lambda: client.tokens.list(run=handle.id))
        until(lambda: handle.retrieve().status is wf.Status.WAITING)
    finally:
        engine.stop_now()
    client.trigger("fulfil", {"id": 2, "shop": "a"})
    client.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def histories(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, list[Run]]]:
    folder = tmp_path_factory.mktemp("histories")
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{folder}/runs.db" if is_sqlite else postgres_server.create_database()
    under_way(url, imported(edited([]), folder))
    store = open_store(url)
    yield store, list(runs_of(store, "dev", ended=False))
    store.close()
    if not is_sqlite:
        postgres_server.drop_database(url)


Judge = Callable[[Edit], list[Misfit]]


@pytest.fixture
def judged(histories: tuple[Store, list[Run]], tmp_path: Path) -> Judge:
    store, runs = histories
    assert len(runs) == 2

    def judge(edit: Edit) -> list[Misfit]:
        registry = Registry([imported(edited(edit), tmp_path)])
        found = [misfit(store, run, registry) for run in runs]
        return [one for one in found if one is not None]

    return judge


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_edit_is_told(judged: Judge, name: str) -> None:
    found = judged(UNSAFE[name])
    assert found
    assert all(one.task == "fulfil" and one.detail for one in found)


@pytest.mark.parametrize("name", SAFE)
def test_a_safe_edit_is_no_alarm(judged: Judge, name: str) -> None:
    assert judged(SAFE[name]) == []
