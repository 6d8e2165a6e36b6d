"""`wf check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wf.cli import errors, options, output
from wf.cli.options import Debug, Env, Json

if TYPE_CHECKING:
    from wf.testing.check.processes import Checked


def check(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE_OR_MODULE...]",
            help="Where the tasks are. Default: the folders that the project's config names.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Replay the runs under way in this database on the code here.",
            show_default=False,
        ),
    ] = None,
    histories: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Replay the runs in these files, too.", show_default=False
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit XML.", show_default=False)
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write SARIF.", show_default=False)
    ] = None,
    env: Env = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Is this code safe to deploy? Looks at task bodies, and replays histories on them.

    Exit code 1 where it is not. Nothing is written to any database.
    """
    from wf.engine.loading import registry_of
    from wf.testing.check.bodies import check_bodies
    from wf.testing.check.reports import Report

    registry = registry_of(targets or [])
    tasks = sorted(one.id for one in registry if one.kind == "task")
    checked = _replayed(targets or [], against, histories, options.environment(env))
    report = Report(
        tasks,
        check_bodies(registry),
        checked.runs if checked is not None else None,
        checked.misfits if checked is not None else (),
    )
    if junit is not None:
        junit.write_text(report.to_junit(), encoding="utf-8")
    if sarif is not None:
        sarif.write_text(report.to_sarif(), encoding="utf-8")
    if json:
        output.print_json(report.to_json())
    else:
        for line in report.lines():
            print(line)
    return 0 if report.is_clean else 1


def _replayed(
    targets: list[str], against: str | None, histories: Path | None, environment: str
) -> Checked | None:
    """None: nothing was asked for."""
    from wf.testing.check.processes import Asked, Checked, check_histories

    if against is None and histories is None:
        return None
    checked = Checked()
    if against is not None:
        asked = Asked(targets, [options.database(against)], environment, ended=False)
        checked = check_histories(asked)
    if histories is not None:
        files = sorted(str(file) for file in histories.glob("*.db"))
        if not files:
            raise errors.Failed(f"no history in {histories}: `wf export RUN --to FILE` saves one")
        saved = check_histories(Asked(targets, files, environment, ended=True))
        checked.runs += saved.runs
        checked.misfits += saved.misfits
    return checked
