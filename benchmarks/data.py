"""How fast bars are prepared and windows sampled, against the plain way to do it in pandas.

    python benchmarks/data.py [--m1 BARS.parquet] [--bars 1116772] [--repeats 5]

Without a file of real 1-minute bars it generates some: as many as three years of EUR/USD have.

A benchmark is a function that gives named ways to do one job; the first one is the measure of the
others. Ways take turns, so that what else the machine does falls on all of them alike, and a ratio
is taken within each round.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stage1.base.steps import MINUTES
from stage1.config import Config
from stage1.data.bars import PRICES, Bars, resample_all
from stage1.data.batches import EpochPlan, MarketWindows
from stage1.data.checks import bar_rules, sound_bars
from stage1.data.features import normalise, visible_features, window_statistics
from stage1.data.hiding import draw_hiding
from stage1.data.store import read_parquet
from stage1.prepare import prepare


class Job(NamedTuple):
    """Some work, and the ways to do it."""

    ways: Mapping[str, Callable[[], object]]
    items: int
    unit: str


def random_walk(bars: int) -> Bars:
    """1-minute bars from 2010 on, without weekends."""
    generator = np.random.default_rng(0)
    minute = np.arange(bars) + np.arange(bars) // 7200 * 2880
    monday = np.datetime64("2010-01-04T00:00", "s").astype(np.int64)
    close = np.exp(np.cumsum(generator.normal(0, 2e-4, bars)))
    open_ = np.concatenate([[1.0], close[:-1]])
    wick = np.abs(generator.normal(0, 1e-4, (2, bars)))
    high = np.maximum(open_, close) * (1 + wick[0])
    low = np.minimum(open_, close) * (1 - wick[1])
    return Bars(monday + 60 * minute, np.stack([open_, high, low, close], axis=1))


def write_csv(bars: Bars, path: Path) -> None:
    """ISO times and prices of five digits."""
    texts = pa.array(np.char.replace(bars.open_time.astype("M8[s]").astype(str), "T", " "))
    prices = dict(zip(PRICES, np.round(bars.prices, 5).T, strict=True))
    table = pa.table({"timestamp": texts} | prices)
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
def prepare_csv(m1: Bars) -> Iterator[Job]:
    """CSV to a Parquet file per timeframe; `prepare` checks every bar on the way."""

    def run_prepare() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            prepare(source, out=folder / "prepare")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "m1.csv"
        write_csv(m1, source)
        ways = {
            "pandas": lambda: pandas_pipeline(source, folder / "pandas"),
            "stage1.prepare": run_prepare,
        }
        yield Job(ways, len(m1.open_time), "bars")


class PandasWindows(Dataset[tuple[Tensor, ...]]):
    """The windows of a planned epoch, cut out of data frames one at a time.

    The slicing is by position, the fastest that pandas has; what follows is the package's own
    arithmetic on a batch of one.
    """

    def __init__(
        self, bars: dict[str, Bars], windows: MarketWindows, config: Config, plan: EpochPlan
    ) -> None:
        self.frames = [
            pd.DataFrame(series.prices, series.open_time, list(PRICES)) for series in bars.values()
        ]
        self.last = windows.split.training.last[plan.order.ravel()]
        self.uniforms = plan.uniforms.reshape(-1, *plan.uniforms.shape[2:])
        self.minutes, self.config = windows.minutes, config

    def __len__(self) -> int:
        return len(self.last)

    def __getitem__(self, item: int) -> tuple[Tensor, ...]:
        length = self.config.data.seq_len
        slices = [
            frame.iloc[last - length + 1 : last + 1]
            for frame, last in zip(self.frames, self.last[item].tolist(), strict=True)
        ]
        log_prices = torch.from_numpy(np.stack([np.log(part.to_numpy()) for part in slices]))[None]
        times = np.stack([part.index.to_numpy() for part in slices])[None]
        hiding = draw_hiding(
            times,
            self.minutes,
            self.config.masking,
            self.uniforms[item : item + 1],
            (self.config.masking.mask_ratio,) * len(self.minutes),
        )
        hidden = torch.from_numpy(hiding.hidden)
        targets = normalise(log_prices, *window_statistics(log_prices, ~hidden))
        features = visible_features(targets, hidden)
        return features[0], hidden[0], torch.from_numpy(hiding.scored)[0], targets[0]


@contextlib.contextmanager
def sample_windows(m1: Bars) -> Iterator[Job]:
    """One epoch of training batches: features, masks and targets of six timeframes."""
    config = Config(training={"steps_per_epoch": 10})
    market = resample_all(m1, config.data.timeframes)
    windows = MarketWindows(market, config.data)
    plan = windows.plan_epoch(config, 0)
    dataset = PandasWindows(market, windows, config, plan)
    loader = DataLoader(dataset, batch_size=config.training.windows_per_step)
    for ours, plain in zip(windows.training_batches(config, plan), loader, strict=True):
        for tensor, twin in zip((*ours[:3], ours.targets), plain, strict=True):
            torch.testing.assert_close(tensor, twin)
    ways = {
        "pandas, DataLoader": lambda: list(loader),
        "MarketWindows": lambda: list(windows.training_batches(config, plan)),
    }
    yield Job(ways, len(dataset), "windows")


BENCHMARKS: dict[str, Callable[[Bars], contextlib.AbstractContextManager[Job]]] = {
    "prepare a CSV": prepare_csv,
    "sample windows": sample_windows,
}


def measure(job: Job, repeats: int) -> dict[str, list[float]]:
    """Seconds of each way, several times, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in job.ways}
    for _ in range(repeats + 1):
        for name, way in job.ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {name: times[1:] for name, times in seconds.items()}


def print_table(title: str, job: Job, seconds: dict[str, list[float]]) -> None:
    """Median, smallest and largest of all rounds; ratios to the first way in the same round."""
    print(f"\n{title}")
    print(
        f"{'':20}{'median s':>10}{'min':>8}{'max':>8}{job.unit + '/s':>13}"
        f"{'times as fast':>15}{'min':>8}{'max':>8}"
    )
    base = next(iter(seconds.values()))
    for name, times in seconds.items():
        median = statistics.median(times)
        ratios = [first / own for first, own in zip(base, times, strict=True)]
        print(
            f"{name:20}{median:10.3f}{min(times):8.3f}{max(times):8.3f}{job.items / median:13,.0f}"
            f"{statistics.median(ratios):15.1f}{min(ratios):8.1f}{max(ratios):8.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--m1", type=Path, help="Parquet file of real 1-minute bars")
    parser.add_argument("--bars", type=int, default=1_116_772, help="bars to generate without it")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    m1 = (
        sound_bars(read_parquet(options.m1), bar_rules(1))
        if options.m1
        else random_walk(options.bars)
    )
    for name, benchmark in BENCHMARKS.items():
        with benchmark(m1) as job:
            seconds = measure(job, options.repeats)
        title = f"{name}: {len(m1.open_time):,} bars, {options.repeats} repeats"
        print_table(title, job, seconds)


if __name__ == "__main__":
    main()
