"""What the ways write down of their trials, and what the rounds say of them.

Imports nothing heavy: all processes load it.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

LEARNING_RATES = (1e-5, 1e-4)
"""Low ones: how far two ways that round differently come apart in a training depends on them."""
NAMES = {
    "a": "a: stage1.tune",
    "b": "b: Ray Tune with Lightning, as documented",
    "c": "c: Optuna in processes, stage1's training",
    "d": "d: bare loop, the limit",
}
CLOSE = {"b": {"32-true": 1e-4, "bf16-mixed": 1e-3}}
"""Relative difference in loss that a way may show; the plain path adds up in another order."""
SAME = 1e-6


class Job(NamedTuple):
    """What one process with one way has to do."""

    folder: Path
    """Bars, language model, configuration and space, as `throughput_parts.inputs` writes them."""
    scratch: Path
    """Empty; for what the way writes by the way."""
    result: Path
    """JSON lines; a trial each."""
    workers: int
    """Trials at once."""


class Trial(NamedTuple):
    """One trial that has ended; times are unix seconds."""

    lr: float
    seed: int
    started: float
    first_step: float
    """When the validation before the first step was over."""
    ended: float
    val_loss: float
    """After the last epoch."""
    steps: int
    windows: int
    """That were trained on, with repetition."""
    parameters: int


def write_trial(result: Path, trial: Trial) -> None:
    """Append a line; short enough for several processes to do so at once."""
    with result.open("a") as file:
        file.write(json.dumps(trial._asdict()) + "\n")


def read_trials(result: Path) -> list[Trial]:
    """In the order of their ends."""
    trials = [Trial(**json.loads(line)) for line in result.read_text().splitlines()]
    return sorted(trials, key=lambda trial: trial.ended)


def _end(slot: list[Trial]) -> float:
    return slot[-1].ended if slot else 0.0


class Round(NamedTuple):
    """One process with one way, from its start to its end."""

    way: str
    number: int
    precision: str
    workers: int
    began: float
    """Unix seconds, of the process."""
    peak_rss_mb: float
    """Of all its processes together, shared memory counted in each; NaN without psutil."""
    trials: list[Trial]

    @property
    def slots(self) -> list[list[Trial]]:
        """Trials that followed each other: each takes the place that became free last before it."""
        slots: list[list[Trial]] = [[] for _ in range(self.workers)]
        for trial in sorted(self.trials, key=lambda trial: trial.started):
            free = [slot for slot in slots if _end(slot) <= trial.started]
            chosen = max(free, key=_end) if free else min(slots, key=_end)
            chosen.append(trial)
        return slots

    @property
    def trials_per_hour(self) -> float:
        """In steady state: from the end of each slot's first trial to the end of its last."""
        slots = [slot for slot in self.slots if len(slot) > 1]
        rates = [(len(slot) - 1) / (slot[-1].ended - slot[0].ended) for slot in slots]
        return 3600 * self.workers * statistics.mean(rates) if rates else math.nan

    @property
    def startup(self) -> float:
        """Seconds to the first training step."""
        return min(trial.first_step for trial in self.trials) - self.began

    @property
    def whole(self) -> float:
        """Seconds to the end of the last trial."""
        return max(trial.ended for trial in self.trials) - self.began

    @property
    def trial_seconds(self) -> float:
        """Median of a trial without what lies between two of them."""
        return statistics.median(trial.ended - trial.started for trial in self.trials)

    def row(self) -> dict[str, Any]:
        """For a file of JSON lines."""
        derived = ("trials_per_hour", "startup", "whole", "trial_seconds")
        fields = self._asdict() | {"trials": [trial._asdict() for trial in self.trials]}
        return fields | {name: getattr(self, name) for name in derived}


def check_same_work(rounds: Iterable[Round]) -> dict[str, float]:
    """Largest relative difference in loss of each way to the first one.

    Raises:
        SystemExit: A trial is missing, or differs in work or loss.
    """
    first, *others = rounds
    expected = {(trial.lr, trial.seed): trial for trial in first.trials}
    differences: dict[str, float] = {}
    for other in others:
        found = {(trial.lr, trial.seed): trial for trial in other.trials}
        if found.keys() != expected.keys():
            raise SystemExit(f"{other.way} must run the trials of {first.way}, got {found.keys()}")
        for key, trial in found.items():
            difference = _difference(expected[key], trial, f"{other.way} against {first.way}")
            known = differences.get(other.way, 0.0)
            differences[other.way] = max(known, difference)
    for way, difference in differences.items():
        allowed = max(CLOSE.get(one, {}).get(first.precision, SAME) for one in (way, first.way))
        if not difference <= allowed:
            raise SystemExit(f"val_loss of {way} must be {first.way}'s, is off by {difference:.1e}")
    return differences


def _difference(one: Trial, other: Trial, who: str) -> float:
    """Of the losses, relative."""
    for name in ("steps", "windows", "parameters"):
        if getattr(one, name) != getattr(other, name):
            raise SystemExit(f"{who}: {name} must be the same, got {one} and {other}")
    return abs(one.val_loss - other.val_loss) / one.val_loss


def throughput_table(rounds: list[Round]) -> str:
    """A row per way: rates, ratios of the first way to it within each round, times."""
    by_way: dict[str, list[Round]] = {}
    for one in rounds:
        by_way.setdefault(one.way, []).append(one)
    base = by_way[min(by_way)]
    lines = []
    for way, own in sorted(by_way.items()):
        lines.append(
            (
                NAMES[way],
                _spread([one.trials_per_hour for one in own], "{:,.0f}"),
                _spread(_ratios(base, own, lambda one: one.trials_per_hour), "{:.2f}"),
                _spread([one.trial_seconds for one in own], "{:.1f}"),
                _spread([one.startup for one in own], "{:.1f}"),
                _spread([one.whole for one in own], "{:.1f}"),
                _spread(_ratios(own, base, lambda one: one.whole), "{:.2f}"),
                _spread([one.peak_rss_mb for one in own], "{:,.0f}"),
            )
        )
    letter = min(by_way)
    return markdown(
        (
            "way",
            "trials an hour, steady",
            f"{letter} / it",
            "s in a trial",
            "s to the first step",
            "s to the last trial's end",
            f"{letter} / it, whole run",
            "peak MB, all processes",
        ),
        lines,
    )


def _ratios(above: list[Round], below: list[Round], value: Callable[[Round], float]) -> list[float]:
    """Of the same round, so that what else the machine does at the time falls on both."""
    others = {one.number: value(one) for one in below}
    return [value(one) / others[one.number] for one in above if one.number in others]


def _spread(values: list[float], form: str) -> str:
    """Median (smallest to largest)."""
    if not values or any(math.isnan(value) for value in values):
        return "–"
    median, low, high = statistics.median(values), min(values), max(values)
    texts = [form.format(value) for value in (median, low, high)]
    return f"{texts[0]} ({texts[1]}-{texts[2]})" if len(values) > 1 else texts[0]


def profile_table(rows: list[dict[str, Any]]) -> str:
    """Seconds by part: of a worker's first trial, and of those behind it."""
    names = list(dict.fromkeys(name for row in rows for name in row["parts"]))
    names.sort(key=lambda name: name.startswith("rest"))  # the others in the order of a trial
    first = [row["parts"] for row in rows if row["is_first"]]
    later = [row["parts"] for row in rows if not row["is_first"]]
    lines = [(name, _median(first, name), _median(later, name)) for name in names]
    sums = [[{"sum": sum(parts.values())} for parts in group] for group in (first, later)]
    lines.append(("sum", *(_median(group, "sum") for group in sums)))
    return markdown(("s of a trial on stage1.tune", "first of its worker", "later ones"), lines)


def _median(parts: list[dict[str, float]], name: str) -> str:
    known = [one[name] for one in parts if name in one]
    return f"{statistics.median(known):.3f}" if known else "–"


def markdown(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    """A table."""
    rows = [head, tuple("---" for _ in head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
