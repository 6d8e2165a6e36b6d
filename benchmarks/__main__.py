"""How fast wf is, beside the floor of the machine and beside other engines, in one run.

    make bench                                     wf on both stores, and the floor
    make bench-peers                               the other engines, too
    python -m benchmarks --workloads AB --stores sqlite --rounds 1

Rounds are interleaved: each workload is done by all, one after the other, before the next one, and
all of that again. A machine that is slow for a while is so for all. Compare ratios, not seconds.
The Postgres is that of the tests, with default durability, on a disk.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import use_a_disk
from benchmarks.picture import picture
from benchmarks.report import Report
from benchmarks.sizes import SIZES
from benchmarks.subjects import BUILD, EVERYTHING, STORES, Peer, Subject, Unmeasured, subjects
from tests import postgres_server


def measure(
    report: Report,
    chosen: list[Subject],
    workloads: str,
    rounds: int,
    keep: Callable[[Report], None],
) -> None:
    """`keep` is called after each round: a later one may be cut short."""
    for number in range(1, rounds + 1):
        for workload in workloads:
            for subject in chosen:
                if workload not in subject.workloads:
                    continue
                begun = time.monotonic()
                try:
                    report.add(subject.name, subject.measure(workload, report.size))
                except Unmeasured as error:
                    report.skipped.append(f"{subject.name} {workload}: {error}")
                took = time.monotonic() - begun
                say(f"round {number} of {rounds}: {workload} {subject.name} {took:.0f} s")
        keep(report)


def installed(chosen: list[Subject], report: Report) -> list[Subject]:
    """Without those that cannot be installed; the report tells of them."""
    found: list[Subject] = []
    for subject in chosen:
        try:
            if isinstance(subject, Peer):
                subject.install()
            found.append(subject)
        except Unmeasured as error:
            report.skipped.append(f"{subject.name}: {error}")
    return found


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workloads", default=EVERYTHING, help="letters (default: all)")
    parser.add_argument("--stores", default=",".join(STORES), help="sqlite, postgres or both")
    parser.add_argument("--only", default="", help="names of subjects to measure, with commas")
    parser.add_argument("--peers", action="store_true", help="other engines, too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", choices=SIZES, default="usual", help="how much of everything")
    parser.add_argument("--json", type=Path, default=BUILD / "results.json")
    parser.add_argument("--picture", type=Path, default=BUILD / "results.svg")
    given = parser.parse_args()
    report = Report(given.size)
    BUILD.mkdir(parents=True, exist_ok=True)
    use_a_disk()
    chosen = subjects(given.stores.split(","), with_peers=given.peers)
    if given.only:
        chosen = [one for one in chosen if one.name in given.only.split(",")]
    chosen = installed(chosen, report)

    def keep(report: Report) -> None:
        given.json.write_text(report.as_json())
        given.picture.write_text(picture(report))

    postgres_server.open_session()
    try:
        measure(report, chosen, given.workloads.replace(",", "").upper(), given.rounds, keep)
    except KeyboardInterrupt:
        say("cut short: what was measured follows")
    finally:
        postgres_server.close_session()
    print(report.table())
    keep(report)
    say(f"written: {given.json}, {given.picture}")


if __name__ == "__main__":
    main()
