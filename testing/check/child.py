"""The process in which histories are replayed: a body that ends it, or comes to no end, ends only
this. Run by `processes`: `python -m wf.testing.check.child`, what to do on standard input."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict

from wf.engine.loading import registry_of
from wf.engine.registry import Registry
from wf.history import project
from wf.history.ids import parse, show
from wf.history.open import open_store
from wf.testing.check.gate import misfit, runs_of


def main() -> None:
    """Tells, line by line, on the descriptor that it is given: {"begun": run} before each run, then
    its misfit, if it is one; {"database": n} when one is done."""
    asked = json.load(sys.stdin)
    with os.fdopen(asked["tell"], "w", buffering=1) as out:
        registry = registry_of(asked["targets"])

        def tell(what: dict[str, object]) -> None:
            out.write(json.dumps(what) + "\n")

        for number, url in enumerate(asked["databases"]):
            if number >= asked["database"]:
                before = asked["before"] if number == asked["database"] else ""
                _replay(url, registry, asked, before, tell)
                tell({"database": number + 1})


def _replay(
    url: str, registry: Registry, asked: dict[str, object], before: str, tell: Callable[..., None]
) -> None:
    store = open_store(url, create=False, codec=project.codec())
    try:
        after = parse("run", before) if before else None
        environment, ended = str(asked["environment"]), bool(asked["ended"])
        for run in runs_of(store, environment, ended=ended, before=after):
            tell({"begun": show("run", run.id), "task": run.task})
            found = misfit(store, run, registry)
            if found is not None:
                tell(asdict(found))
    finally:
        store.close()


if __name__ == "__main__":
    main()
