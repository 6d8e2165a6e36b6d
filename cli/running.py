"""One `wf run`: load, begin or resume, watch, and say how it ended."""

from __future__ import annotations

import gc
import json
import os
import shlex
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Any, Final, TextIO

from msgspec import Struct

from wf.cli import options
from wf.cli.aside import Aside
from wf.cli.draw import Commands, moment
from wf.cli.errors import SIGNALED, Failed, line_of
from wf.cli.logs import logs_to
from wf.cli.screen import Live, Plain, Screen, Silent, Standard
from wf.cli.signals import Bell, Signals
from wf.cli.tree import MessageNode, TokenNode, Tree, parents_first
from wf.engine.core.runnable import Runnable
from wf.engine.engine import default_database
from wf.engine.loading import find, split_target
from wf.engine.registry import Registry
from wf.engine.run import Session
from wf.history import project
from wf.history.errors import PayloadError
from wf.history.events import Failure, Status
from wf.history.ids import show
from wf.history.limits import MAX_LIST
from wf.history.model import Blocked, Run, RunFilter
from wf.history.open import open_store, shown
from wf.history.store import Store

STOP_SECONDS: Final = 10.0
"""After the first Ctrl-C, steps that are under way may end."""
LINGER_MS: Final = 10_000
"""Runs that it started and did not wait for are seen to their end, unless they sleep for longer."""
DRAW_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 1.0
"""Without a hint the store is asked this often: hints are not the truth."""
QUIET_LOOKS: Final = 2
"""After so many looks without a hint, what is parked stays parked."""
GIVE_UP_SECONDS: Final = 30.0
"""A database that stays out of reach for so long ends the command; the run stays as it is."""


class Request(Struct, frozen=True):
    """What was typed."""

    target: str
    payload: str | None
    fields: tuple[str, ...]
    db: str | None
    env: str | None
    resume: str | None
    skip_waits: bool
    tags: tuple[str, ...]
    as_json: bool
    is_quiet: bool
    is_debug: bool


class Ended(Struct, frozen=True):
    """How it came out: the run as it was seen last, and what ended the watch (0: no signal)."""

    run: Run
    signum: int = 0
    parked: Run | None = None
    """The run, or one below it, that cannot go on."""
    left: tuple[Run, ...] = ()
    """Runs that it started and did not wait for, and that sleep for long."""


def run(request: Request) -> int:
    if request.resume and (request.payload is not None or request.fields):
        raise PayloadError("--resume goes on with the payload that the run has: leave PAYLOAD out")
    standard = Standard()
    try:
        with logs_to(lambda text: standard.line(text)):
            ended, commands = _run(request, standard)
    finally:
        standard.restore()
    return _report(request, ended, commands)


def _run(request: Request, standard: Standard) -> tuple[Ended, Commands]:
    registry, chosen = find(request.target)
    run_id, payload, task = b"", b"", None
    if request.resume:
        run_id = _parse_run(request.resume)
    else:
        from wf.cli.payload import payload_for

        task = chosen()
        payload = payload_for(task, request.payload, request.fields)
    store = open_store(_database(request.db), codec=project.codec())
    gc.freeze()  # what is imported: at the end the collector would walk it, three times
    try:
        watch = Watch(request, store, registry, standard)
        if task is None:
            return watch.resume(run_id), watch.commands
        return watch.begin(task, payload), watch.commands
    finally:
        store.close()


def _database(db: str | None) -> str:
    named = db or os.environ.get("WF_URL") or project.database()
    if named:
        return named
    try:
        return default_database()
    except OSError as error:
        raise Failed(f"{line_of(error)}: name a place for the database with --db") from error


def _parse_run(shown: str) -> bytes:
    from wf.client.asking import parse_id

    return parse_id("run", shown)


class Watch:
    """A session with somebody who looks on."""

    def __init__(
        self, request: Request, store: Store, registry: Registry, standard: Standard
    ) -> None:
        self._request = request
        self._standard = standard
        self._store = store
        self._session = Session(
            store,
            registry,
            environment=options.environment(request.env),
            skip_waits=request.skip_waits,
        )
        self._tree = Tree(self._session.clock.now)
        self._bell = Bell()
        self._signals = Signals(self._bell)
        self._tree.changed = self._bell.ring
        self._looked_at = time.monotonic()
        self._quiet_looks = 0
        self._parked_at = -1
        self._troubled_since: float | None = None
        self._troubled_at = 0
        self._last = Run(b"", "", "", b"", 0)
        self.commands = Commands()

    def begin(self, task: Runnable[..., Any], payload: bytes) -> Ended:
        from wf.engine.core.triggers import trigger_options, with_defaults

        given = trigger_options({"tags": list(self._request.tags)} if self._request.tags else {})
        with self._signals.caught():
            self._session.make(task.id, payload, with_defaults(task.settings, given))
            session, now = self._session, self._session.clock.now()
            self._last = Run(session.run_id, session.environment, task.id, payload, now)
            return self._watch()

    def resume(self, run_id: bytes) -> Ended:
        with self._signals.caught():
            self._last = run = self._session.find(run_id)
            self._parked_at = run.blocked.since if run.blocked is not None else -1
            self._fill(run)
            return self._watch()

    def _fill(self, run: Run) -> None:
        """The tree begins with what the history has."""
        root = run.root_id or run.id
        wanted = RunFilter(self._session.environment, root_id=root, limit=MAX_LIST)
        for one in parents_first(self._store.list_runs(wanted), run.id):
            self._tree.fill(one, self._store.history(one.id, one.chapter))
            for token in self._store.list_tokens(self._session.environment, run_id=one.id):
                self._tree.fill_token(token)

    def _watch(self) -> Ended:
        self.commands = _commands(self._request, self._session.run_id)
        screen = _screen(self._request, self._standard.stderr, self._tree, self.commands)
        self._standard.line = screen.line
        self._signals.at_once = partial(self._session.request_stop, 0)
        self._signals.last_words = lambda: screen.line(f"wf: stopped; {self._how}")
        unlisten = self._store.listen(self._bell.ring)
        try:
            if isinstance(screen, Plain):
                screen.line(f"wf: to go on, should this stop: {self.commands.resume}")
            self._offer_tokens(screen)
            aside = Aside(screen, self._standard)
            with aside.watched():
                self._session.start(self._tree)
                ended = self._follow(screen, aside)
                if ended is None:
                    run = self._stop(screen)
                    left = tuple(self._live()) if run.status.ended else ()
                    ended = Ended(run, self._signals.signum, left=left)
                self._session.stop()
        except BaseException:
            self._session.request_stop(0)
            self._session.join(DRAW_SECONDS)
            raise
        finally:
            unlisten()
            screen.close()
            self._standard.line = self._standard.write
        return ended

    def _follow(self, screen: Screen, aside: Aside) -> Ended | None:
        """Draw until the run has ended or is parked; None where a signal came. Raises what ended
        the worker."""
        version = -1
        hinted = False
        while not self._signals.times:
            now = time.monotonic()
            if hinted or now - self._looked_at >= LOOK_SECONDS:
                found = self._look(now, hinted)
                if found is not None:
                    return found
            if not aside.is_away():
                screen.refresh()
            with self._tree.lock:
                quiet = version == self._tree.version and not self._tree.is_moving()
                version = self._tree.version
            hinted = self._bell.wait(LOOK_SECONDS if quiet else DRAW_SECONDS)
        return None

    def _look(self, now: float, hinted: bool) -> Ended | None:
        self._looked_at = now
        self._session.check()
        self._check_trouble(now)
        self._last = run = self._session.look()
        if run.blocked is not None and self._is_final(run.blocked):
            return Ended(run, parked=run)
        if run.status.ended:
            live = self._live()
            return None if any(map(self._goes_on, live)) else Ended(run, left=tuple(live))
        self._quiet_looks = 0 if hinted else self._quiet_looks + 1
        if self._quiet_looks and self._quiet_looks & (self._quiet_looks - 1) == 0:
            parked = next((one for one in self._live() if one.blocked is not None), None)
            return Ended(run, parked=parked) if parked is not None else None
        return None

    def _is_final(self, blocked: Blocked) -> bool:
        """Parked by this code. What other code parked is tried again, once the worker is there."""
        return blocked.since != self._parked_at or self._quiet_looks > QUIET_LOOKS

    def _live(self) -> list[Run]:
        """The runs below this one that have not ended."""
        run = self._last
        wanted = RunFilter(
            self._session.environment,
            status=[status for status in Status if not status.ended],
            root_id=run.root_id or run.id,
            limit=MAX_LIST,
        )
        live = [one for one in self._store.list_runs(wanted) if one.id != run.id]
        if run.root_id in {None, run.id}:
            return live
        with self._tree.lock:  # of a run that has a parent: not what stands beside it
            return [one for one in live if one.id in self._tree.runs]

    def _goes_on(self, run: Run) -> bool:
        """It has ended, what it started has not: is that worth waiting for?"""
        if run.status in {Status.QUEUED, Status.EXECUTING}:
            return run.task in self._session.registry
        if run.blocked is not None or not run.due_at:
            return False
        return self._request.skip_waits or run.due_at - self._session.clock.now() < LINGER_MS

    def _check_trouble(self, now: float) -> None:
        trouble = self._session.trouble
        if self._tree.version != self._troubled_at:  # something has been written since
            self._troubled_since, self._troubled_at = None, self._tree.version
        if trouble is None:
            return
        if self._troubled_since is None:
            self._troubled_since = now
        elif now - self._troubled_since > GIVE_UP_SECONDS:
            raise Failed(f"{trouble}; then go on with {self.commands.resume}")

    def _offer_tokens(self, screen: Screen) -> None:
        """On --resume: tokens that are open, messages that are awaited."""
        with self._tree.lock:
            for node in list(self._tree):
                for item in list(node.items.values()):
                    if isinstance(item, TokenNode | MessageNode) and not item.state.is_over:
                        self._tree.tell(node, item, "awaited")

    def _stop(self, screen: Screen) -> Run:
        """Leave a run that can be resumed. A second signal ends the process at once."""
        steps = self._session.steps_in_flight
        if steps:
            what = "a step" if steps == 1 else f"{steps} steps"
            screen.line(
                f"wf: {what} may end, at most {STOP_SECONDS:.0f} s; once more stops at once"
            )
        self._session.request_stop(0 if self._signals.times > 1 else STOP_SECONDS)
        while not self._session.join(DRAW_SECONDS):
            screen.refresh()
        with suppress(Exception):
            self._last = self._session.look()
        return self._last

    @property
    def _how(self) -> str:
        return f"to go on: {self.commands.resume}"


def _screen(request: Request, stderr: TextIO, tree: Tree, commands: Commands) -> Screen:
    if request.is_quiet:
        return Silent()
    if stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Live(stderr, tree, commands)
    return Plain(stderr, tree, commands)


def _commands(request: Request, run_id: bytes) -> Commands:
    env = f" --env {shlex.quote(request.env)}" if request.env else ""
    db = f" --db {shown(request.db)}" if request.db else ""
    skips = " --skip-waits" if request.skip_waits else ""
    file, _ = split_target(request.target)
    program = options.program()
    resume = f"{program} run {shlex.quote(file)} --resume {{}}{db}{env}{skips}"
    if not db and not os.environ.get("WF_URL") and not project.database():
        db = f" --db {shown(str(options.local_database()))}"
    return Commands(db + env, resume, run_id, program)


# --- how it ended ---------------------------------------------------------------------------------


def _report(request: Request, ended: Ended, commands: Commands) -> int:
    run = ended.run
    failure = Failure.decode(run.failure) if run.failure is not None else None
    output = json.loads(run.output) if run.output is not None else None
    if request.as_json:
        _print_json(ended, failure, output)
    elif run.status is Status.COMPLETED and output is not None:
        print(output if isinstance(output, str) else json.dumps(output, indent=2))
    for left in ended.left:
        until = f" until {moment(left.due_at)}" if left.due_at else ""
        print(f"wf: {left.task} waits{until}: {commands.resume_of(left.id)}", file=sys.stderr)
    if run.status is Status.COMPLETED:
        return 0
    if run.status.ended:
        _say_failure(request, run, failure, commands)
        return 1
    if ended.parked is not None and ended.parked.blocked is not None:
        parked = ended.parked
        print(f"wf: {parked.task} {show('run', parked.id)} is parked:", file=sys.stderr)
        print(ended.parked.blocked.detail, file=sys.stderr)
        print(f"wf: with code that fits, go on: {commands.resume}", file=sys.stderr)
        return 1
    print(f"wf: stopped; to go on: {commands.resume}", file=sys.stderr)
    return SIGNALED + ended.signum


def _print_json(ended: Ended, failure: Failure | None, output: Any) -> None:
    run = ended.run
    error: dict[str, str] | None = None
    if failure is not None:
        error = {
            "type": failure.type,
            "message": failure.message,
            "traceback": failure.traceback,
            "code": failure.code,
        }
    elif ended.parked is not None and ended.parked.blocked is not None:
        blocked = ended.parked.blocked
        error = {"type": blocked.reason, "message": blocked.detail, "traceback": "", "code": ""}
    found = {"id": show("run", run.id), "status": run.status, "output": output, "error": error}
    print(json.dumps(found, ensure_ascii=False))


def _say_failure(request: Request, run: Run, failure: Failure | None, commands: Commands) -> None:
    shown = show("run", run.id)
    word = run.status.value.lower().replace("_", " ")
    told = " ".join(f": {failure.type}: {failure.message}".split()) if failure is not None else ""
    if failure is not None and request.is_debug:
        print(failure.traceback.rstrip(), file=sys.stderr)
    hint = f" ({commands.program} runs show {shown}{commands.options})"
    print(f"wf: {run.task} {word}{told}{hint}", file=sys.stderr)


__all__ = ["Request", "run"]
