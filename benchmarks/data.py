"""How fast bars are read, against the plain way to do it in pandas.

    python benchmarks/data.py [--bars 1000000] [--repeats 5]

A benchmark is a function that gives named ways to do one job; the first one is the measure of the
others. Ways take turns, so that what else the machine does falls on all of them alike.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from stage1.timeframes import MINUTES
from stage1.prepare import prepare

Ways = dict[str, Callable[[], object]]


def write_random_walk(path: Path, bars: int) -> None:
    """1-minute bars from 2010 on, ISO times, five digits, without weekends."""
    generator = np.random.default_rng(0)
    minute = np.arange(bars) + np.arange(bars) // 7200 * 2880
    stamps = np.datetime64("2010-01-04T00:00", "s") + 60 * minute.astype("m8[s]")
    close = np.exp(np.cumsum(generator.normal(0, 2e-4, bars)))
    open_ = np.concatenate([[1.0], close[:-1]])
    wick = np.abs(generator.normal(0, 1e-4, (2, bars)))
    columns = {
        "open": open_,
        "high": np.maximum(open_, close) + wick[0],
        "low": np.minimum(open_, close) * (1 - wick[1]),
        "close": close,
    }
    texts = pa.array(np.char.replace(stamps.astype(str), "T", " "))
    table = pa.table({"timestamp": texts} | {k: np.round(v, 5) for k, v in columns.items()})
    pyarrow.csv.write_csv(table, path, pyarrow.csv.WriteOptions(quoting_style="none"))


def pandas_pipeline(source: Path, out: Path) -> None:
    """Read, resample and write without any check."""
    frame = pd.read_csv(source, parse_dates=["timestamp"]).set_index("timestamp")
    rules = {"open": "first", "high": "max", "low": "min", "close": "last"}
    out.mkdir(exist_ok=True)
    for timeframe, minutes in MINUTES.items():
        bars = frame.resample(f"{minutes}min").agg(rules).dropna()
        bars.reset_index().to_parquet(out / f"{timeframe}.parquet")


@contextlib.contextmanager
def prepare_csv(bars: int) -> Iterator[Ways]:
    """CSV to a Parquet file per timeframe; `prepare` checks every bar on the way."""

    def run_prepare() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            prepare(source, out=folder / "prepare")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "m1.csv"
        write_random_walk(source, bars)
        yield {
            "pandas": lambda: pandas_pipeline(source, folder / "pandas"),
            "stage1.prepare": run_prepare,
        }


BENCHMARKS: dict[str, Callable[[int], contextlib.AbstractContextManager[Ways]]] = {
    "prepare a CSV": prepare_csv
}


def measure(ways: Ways, repeats: int) -> dict[str, list[float]]:
    """Seconds of each way, several times, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {name: times[1:] for name, times in seconds.items()}


def print_table(title: str, seconds: dict[str, list[float]]) -> None:
    print(f"\n{title}")
    print(f"{'':20}{'median s':>10}{'min':>8}{'max':>8}{'times as fast':>15}")
    base = statistics.median(next(iter(seconds.values())))
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:20}{median:10.2f}{min(times):8.2f}{max(times):8.2f}{base / median:15.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for name, benchmark in BENCHMARKS.items():
        with benchmark(options.bars) as ways:
            seconds = measure(ways, options.repeats)
        print_table(f"{name}: {options.bars:,} bars, {options.repeats} repeats", seconds)


if __name__ == "__main__":
    main()
