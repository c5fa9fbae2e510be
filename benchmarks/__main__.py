"""airbundle against the floor and its peers, as ratios in one run (design §10).

    benchmarks/run [--size MB] [--rounds N] [--directory DIR] [--only moving|serving|scale|scan] [--markdown FILE]

Everything lies in DIR (default: /dev/shm), which needs about five times SIZE. All figures are medians of the rounds;
who is compared takes turns, and the first round does not count.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks import scale, scan, serve
from benchmarks.cost import Cost, median
from benchmarks.peers import TOOLS, find_peers
from benchmarks.work import FLOOR, Rounds, Row

MB = 1_000_000
HEADINGS = ("work", "who", "seconds", "ratio", "CPU s", "peak MB", "read MB", "written MB", "note")


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=2770, metavar="MB", help="of all layers (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="that count (%(default)s)")
    parser.add_argument("--directory", default="/dev/shm" if Path("/dev/shm").is_dir() else None, metavar="DIR")
    parser.add_argument("--only", choices=("moving", "serving", "scale", "scan"), help="a part of the work")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there, too")
    args = parser.parse_args()
    sections: dict[str, Callable[[Path], list[str]]] = {
        "moving": lambda root: _moving(root, args.size, args.rounds),
        "serving": lambda root: _serving(root, args.rounds),
        "scale": lambda root: scale.report(root),
        "scan": lambda root: scan.report(root),
    }
    lines = [f"{machine()}; {args.size} MB, {args.rounds} rounds", ""]
    for name, section in sections.items():
        if args.only in (None, name):
            print(f"{name} …", file=sys.stderr)
            with tempfile.TemporaryDirectory(prefix="airbundle-bench-", dir=args.directory) as directory:
                lines += [*section(Path(directory)), ""]
    text = "\n".join(lines)
    print(text)
    if args.markdown:
        args.markdown.write_text(text)
    return 0


def machine() -> str:
    """Describe this machine."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {memory:.0f} GB, Linux {platform.release()}, Python {platform.python_version()}"


def _moving(root: Path, megabytes: int, rounds: int) -> list[str]:
    rows = Rounds(root, megabytes, rounds, find_peers(f"{TOOLS}:{os.environ['PATH']}")).run()
    return table(rows)


def table(rows: Iterable[Row]) -> list[str]:
    """Return the lines of a Markdown table; the ratio is to the floor of the same work, or to what is beside it."""
    rows = list(rows)
    against: dict[str, Cost] = {}
    for row in rows:
        if row.who in (FLOOR, "cp"):
            against[row.work] = median(row.costs)
    lines = [f"| {' | '.join(HEADINGS)} |", "|---|---|" + "---:|" * (len(HEADINGS) - 3) + "---|"]
    for row in sorted(rows, key=lambda row: [other.work for other in rows].index(row.work)):
        cost = median(row.costs)
        other = against.get(row.work)
        ratio = f"{cost.seconds / other.seconds:.2f}" if other else ""
        figures = (
            f"{cost.seconds:.2f}",
            ratio,
            f"{cost.cpu:.2f}",
            *(f"{value / MB:.0f}" for value in (cost.memory, cost.read, cost.written)),
        )
        lines.append(f"| {row.work} | {row.who} | {' | '.join(figures)} | {row.note} |")
    return lines


def _serving(root: Path, rounds: int) -> list[str]:
    lines = ["| serve | clients | airbundle MB/s | nginx MB/s | ratio |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {rate.kind} | {rate.clients} | {rate.own:.0f} | {rate.other:.0f} | {rate.own / rate.other:.2f} |"
        for rate in serve.rates(root, 512 << 20, rounds)
    ]
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
