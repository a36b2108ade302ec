"""How many trials an hour the engine gets done, against three other ways to run the same trials.

    python benchmarks/throughput.py [--repeats 3] [--trials 12] [--ways abcd] [--whole]
        [--precision bf16-mixed] [--out ROUNDS.jsonl] [--quick]

a  stage1.tune's engine: a design whose trials all go to the horizon.
b  Ray Tune as its documentation has it with Lightning: a function trainable, OptunaSearch, an
   ASHAScheduler that stops nobody, TuneReportCheckpointCallback, a process per trial, a DataLoader
   over sliced data frames, automatic optimisation, one T5 call per timeframe.
c  Optuna in two processes, with stage1's training and data path.
d  The same steps and validation in a loop in two processes, with nothing around them.

Every way runs in a fresh process, in turn; before the clock starts, a few trials of each must come
to the same losses. This module imports nothing, so that a way's start-up is its own.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

MODULES = {
    "a": "throughput_parts.stage1",
    "b": "throughput_parts.ray",
    "c": "throughput_parts.optuna",
    "d": "throughput_parts.bare",
    "profile": "throughput_parts.profile",
}


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, help="rounds; default 3, with --quick 1")
    parser.add_argument("--trials", type=int, help="default 12, with --whole 48, --quick 4")
    parser.add_argument("--ways", help="default abcd, with --whole ab")
    parser.add_argument("--workers", type=int, default=2, help="trials at once")
    parser.add_argument("--whole", action="store_true", help="longer runs of a and b alone")
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
    parser.add_argument(
        "--profile",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="at the end, where the seconds of a trial of way a go",
    )
    parser.add_argument(
        "--out", type=Path, help="JSON lines are added to it, one per round and way"
    )
    parser.add_argument("--quick", action="store_true", help="tiny trials, to test the benchmark")
    for option in ("--way", "--folder", "--scratch", "--result"):  # of the processes it starts
        kind = str if option == "--way" else Path
        parser.add_argument(option, type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


def _with_defaults(options: argparse.Namespace) -> argparse.Namespace:
    quick, whole = options.quick, options.whole
    options.repeats = options.repeats or (1 if quick else 3)
    options.trials = options.trials or (4 if quick else 48 if whole else 12)
    options.ways = options.ways or ("ab" if whole else "abcd")
    unknown = sorted(set(options.ways) - set("abcd"))
    if unknown:
        raise SystemExit(f"--ways must be letters of abcd, got {''.join(unknown)}")
    return options


def main() -> None:
    options = _parsed()
    if options.way is None:
        importlib.import_module("throughput_parts.rounds").run_rounds(_with_defaults(options))
        return
    job = importlib.import_module("throughput_parts.results").Job(
        options.folder, options.scratch, options.result, options.workers
    )
    importlib.import_module(MODULES[options.way]).run(job)


if __name__ == "__main__":
    main()
