"""`python -m benchmarks`, in the project's folder: what `make bench` runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks import report
from slimming.cli import Parser, count
from slimming.errors import SlimmingError
from slimming.settings import Machine


def main() -> int:
    """Exit status: 0, 1 for a failure, 2 for bad input."""
    asked = Parser("python -m benchmarks", description="Measure speed and memory beside a conventional training loop.")
    asked.add_argument("parts", nargs="*", metavar="PART", help="of speed, startup, planning, study; default: all")
    asked.add_argument("--threads", type=count, default=os.cpu_count(), metavar="N", help="default: all cores")
    asked.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    asked.add_argument("--precision", choices=("fp32", "bf16"), default="bf16", help="of the engine (default: bf16)")
    asked.add_argument("--small", action="store_true", help="only to see that it runs")
    asked.add_argument("--output", type=Path, metavar="FILE", help="write JSON with the machine's description")
    options = asked.parse_args()
    machine = Machine(threads=options.threads, device=options.device, precision=options.precision)
    try:
        report.bench(options.parts or report.PARTS, machine, options.output, options.small)
    except SlimmingError as error:
        print(f"slimming: error: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
