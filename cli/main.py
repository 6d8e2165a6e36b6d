"""`wf`: the commands, and how they end. What a command needs is imported when it runs, so that
`wf --help` costs next to nothing."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Annotated, Final

import typer

from wf.cli import (
    acting,
    audit,
    check,
    db,
    errors,
    export,
    fork,
    init,
    promote,
    prune,
    queues,
    replay,
    run,
    schedules,
    send,
    show,
    tokens,
    trigger,
    why,
    worker,
)

GARBAGE_THRESHOLDS: Final = (20_000, 10, 10)
"""A live body is a few hundred objects in a cycle. At Python's own 700 the collector walks those of
all runs under way again and again: 15-20% of a worker's time; and all modules while they are
imported, a tenth of the time in which a command starts."""


@dataclass(slots=True)
class Words:
    """What stands after `--`: fields of a payload."""

    fields: list[str] = field(default_factory=list[str])


app = typer.Typer(
    name="wf",
    help="Durable execution for Python: workflows that survive crashes, restarts and long waits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its imports alone take 80 ms
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.command("run")(run.run)
app.command("trigger")(trigger.trigger)
app.command("send")(send.send)
app.command("show")(show.show)
app.command("why")(why.why)
app.add_typer(acting.app)
app.add_typer(tokens.app)
app.add_typer(schedules.app)
app.add_typer(queues.app)
app.command("worker")(worker.worker)
app.command("check")(check.check)
app.command("export")(export.export)
app.command("replay")(replay.replay)
app.command("fork")(fork.fork)
app.command("audit")(audit.audit)
app.command("prune")(prune.prune)
app.command("promote")(promote.promote)
app.add_typer(db.app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"wf {version('wf-engine')}")
        raise typer.Exit


@app.callback()
def _root(  # pyright: ignore[reportUnusedFunction]
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point. Answers the exit code. Without `arguments`, the process is the command's."""
    if arguments is None:
        gc.set_threshold(*GARBAGE_THRESHOLDS)
    words = list(sys.argv[1:] if arguments is None else arguments)
    after: list[str] = []
    if "--" in words:
        place = words.index("--")
        if words[0] in _TAKE_FIELDS:
            words, after = words[:place], words[place + 1 :]
    return errors.told(lambda: _invoke(words, after), debug="--debug" in words)


_TAKE_FIELDS = {"run", "send", "trigger"}
"""Commands that take fields of a payload after `--`."""


def _invoke(words: list[str], after: list[str]) -> int:
    try:
        code = typer.main.get_command(_part(words[0] if words else ""))(
            words, prog_name="wf", standalone_mode=False, obj=Words(after)
        )
    except Exception as error:
        usage = _usage(error)
        if usage is None:
            raise
        raise errors.Failed(usage, errors.USAGE) from error
    return code if isinstance(code, int) else 0


def _part(name: str) -> typer.Typer:
    """The app with this command alone, where there is one: to build all takes as long as to start
    Python."""
    part = copy(app)
    part.registered_commands = [one for one in app.registered_commands if one.name == name]
    part.registered_groups = [
        one
        for one in app.registered_groups
        if one.typer_instance is not None and one.typer_instance.info.name == name
    ]
    return part if part.registered_commands or part.registered_groups else app


def _usage(error: Exception) -> str | None:
    """A mistake in the command line, in one line; None for any other error."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error, file=sys.stderr)
        return ""
    told = getattr(error, "format_message", None)
    if told is None:
        return None
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "wf"
    text = " ".join(str(told()).split())
    return f"{text.rstrip('.')}: see `{command} --help`"
