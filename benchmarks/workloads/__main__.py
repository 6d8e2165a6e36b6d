"""One workload on one database, in this process: see the package."""

from __future__ import annotations

import argparse
import logging
from contextlib import closing
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.sizes import SIZES
from benchmarks.workloads import WORKLOADS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", help="letters, A,B,…")
    parser.add_argument("url", help="of a database that is empty")
    parser.add_argument("--size", choices=SIZES, default="usual")
    parser.add_argument("--folder", type=Path, default=Path("build"), help="for files")
    given = parser.parse_args()
    logging.getLogger("wf.client").setLevel(logging.ERROR)
    given.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(given.url, SIZES[given.size], given.folder)
    with closing(bench):
        for letter in given.workloads.split(","):
            for figure in WORKLOADS[letter](bench):
                figure.tell()


if __name__ == "__main__":
    main()
