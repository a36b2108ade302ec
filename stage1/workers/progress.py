"""What a person sees while a study runs: a line per trial or a table, and the remaining time."""

from __future__ import annotations

import math
import time
from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from itertools import islice
from statistics import fmean
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stage1.base.metric_table import BASELINE_PREFIX, INTERPOLATION
from stage1.base.terminal import duration_text, print_plain
from stage1.run.columns import COMPLETED, CONFIRM, DIVERGED, FAILED, SEARCH, STOPPED
from stage1.study.engine import StudyEngine
from stage1.study.space import ChoiceParameter, by_name
from stage1.study.trials import EndedTrial, RunnableStudy, RunningTrial, TrialSpec

RIDGE = 0.3
"""Penalty on an effect, in trials: what was seen once or twice is not believed whole."""
LIKED = 0.1
"""Share of an arm's configurations that the search draws its points like; optuna's TPE takes that
of its best."""


class _Planned(NamedTuple):
    """The trials that a design has, as far as is known."""

    features: NDArray[np.float64]
    """A row per trial."""
    place: dict[str, int]
    """Row by trial_id."""
    left: NDArray[np.bool_]
    """Of each, whether it has not ended."""


class RemainingTime:
    """Predicts the trials to come from those that have ended.

    Trials of a study may differ tenfold in what they take, and the first ones all have the same
    configuration. So the logarithm of an epoch's seconds is fitted by ridge regression on the arm
    and the searched choices, and a configuration that was not seen yet is put together from those
    that were.

    A search goes towards the best of the design, be they fast or slow, and what lies there is
    seldom stopped early: until it has trials of its own to judge by, each is expected to take a
    time halfway between the design's mean and that of its best, and so is a confirmation.
    """

    def __init__(self, study: RunnableStudy, *, workers: int) -> None:
        self._space, self._workers = study.space, workers
        self._ended = set[str]()
        self.expect(study.design_specs())
        size = self._planned.features.shape[1]
        self._gram, self._moments = np.diag([0.0] + [RIDGE] * (size - 1)), np.zeros(size)
        self._sign = 1 if study.space.objective.mode == "max" else -1
        self._of_design: dict[str, list[tuple[float, list[float]]]]
        self._of_design = {arm: [] for arm in self._space.arms}
        self._of_search: dict[bool, list[float]] = {True: [], False: []}

    def expect(self, design: Sequence[TrialSpec]) -> None:
        """Take what trials the design has by now, those that have ended among them."""
        self.expected = design
        self._planned = _Planned(
            features=np.array([self._features(spec) for spec in design]),
            place={spec.trial_id: place for place, spec in enumerate(design)},
            left=np.array([spec.trial_id not in self._ended for spec in design], dtype=bool),
        )

    def add(self, trial: EndedTrial) -> None:
        """Learn from a trial that has ended; one without a completed epoch tells nothing."""
        spec, epochs = trial.spec, max(trial.curve, default=0)
        self._ended.add(spec.trial_id)
        if spec.trial_id in self._planned.place:
            self._planned.left[self._planned.place[spec.trial_id]] = False
        if epochs == 0 or trial.seconds <= 0:
            return
        features = self._features(spec)
        self._gram += np.outer(features, features)
        self._moments += np.array(features) * math.log(trial.seconds / epochs)
        if spec.stage == SEARCH:
            self._of_search[trial.status == COMPLETED].append(trial.seconds)
        elif trial.status == COMPLETED:
            insort(self._of_design[spec.arm], (-self._sign * trial.value, features))

    def seconds(
        self, left: Mapping[str, int], running: Iterable[RunningTrial], *, now: float
    ) -> float | None:
        """Expected time to the end of the last trial; None before there is anything to learn from.

        Args:
            left: Trials that have not ended, those that run among them, by stage.
            running: Those.
            now: By the clock of `RunningTrial.begun`.
        """
        if self._gram[0, 0] == 0:
            return None
        effects = np.linalg.solve(self._gram, self._moments)
        planned = self._planned  # another thread may replace it
        design = self._space.horizon_epochs * np.exp(planned.features @ effects)
        liked = [
            features
            for of_arm in self._of_design.values()
            for _, features in of_arm[: math.ceil(LIKED * len(of_arm))]
        ]
        best = self._space.horizon_epochs * np.exp(np.array(liked or planned.features) @ effects)
        halfway = float(design.mean() + best.mean()) / 2
        whole, stopped = self._of_search[True], self._of_search[False]
        search, confirm = fmean([halfway, *whole, *stopped]), fmean([halfway, *whole])
        work = float(design[planned.left].sum()) + left[SEARCH] * search + left[CONFIRM] * confirm
        done = sum(now - trial.begun for trial in running)
        return max(work - done, 0.0) / self._workers

    def seconds_of(
        self, design: Iterable[TrialSpec], running: Iterable[RunningTrial], *, now: float
    ) -> float | None:
        """As `seconds`, to the end of the last of some trials of the design."""
        features = [self._features(spec) for spec in design if spec.trial_id not in self._ended]
        if self._gram[0, 0] == 0 or not features:
            return None
        effects = np.linalg.solve(self._gram, self._moments)
        work = self._space.horizon_epochs * float(np.exp(np.array(features) @ effects).sum())
        done = sum(now - trial.begun for trial in running)
        return max(work - done, 0.0) / self._workers

    def _features(self, spec: TrialSpec) -> list[float]:
        """1, then what may change the time of a step: the arm and the choices."""
        features = [1.0, *(float(spec.arm == arm) for arm in self._space.arms)]
        values = by_name(self._space, spec.values)
        for name, parameter in self._space.space.items():
            if isinstance(parameter, ChoiceParameter):
                features += [
                    float(name in values and values[name] == option) for option in parameter.options
                ]
        return features


REDRAWN_AFTER = 1.0
"""Seconds between two drawings of a table."""
WIDE = 100
"""Columns from which on a table shows every arm and the way to the next look."""
_BAR = 26


class Progress:
    """Shows an engine's state; use as a context manager.

    A terminal that can move its cursor and a notebook get a table, anything else a line per ended
    trial. The table of a terminal is drawn by a thread of its own, which therefore looks at copies
    only. The remaining time is that of so many workers.
    """

    def __init__(self, engine: StudyEngine, console: Console, *, workers: int) -> None:
        self._engine, self._console = engine, console
        self._started = time.monotonic()
        self._metric = engine.study.space.objective.metric
        self._remaining = RemainingTime(engine.study, workers=workers)
        self._best: dict[str, EndedTrial] = {}
        self._baseline = math.nan
        self._ended_seen = self._notes_shown = 0
        self._remaining.expect(engine.stages.design)
        self._newly_ended()
        self._live = _live(console, self._table)
        engine.observers.append(self._on_change)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    # Called after every epoch of every trial, so it must cost nothing ---------------------------

    def _on_change(self) -> None:
        design = self._engine.stages.design
        if design is not self._remaining.expected:  # a look has changed it
            self._remaining.expect(design)
        while self._notes_shown < len(self._engine.notes):
            print_plain(self._console, self._engine.notes[self._notes_shown])
            self._notes_shown += 1
        if math.isnan(self._baseline):
            rows = (running.curve[-1] for running in self._engine.running.values() if running.curve)
            known = (row.get(BASELINE_PREFIX + self._metric, math.nan) for row in rows)
            self._baseline = next(known, math.nan)
        for trial in self._newly_ended():
            if self._live is None or trial.status == FAILED:
                print_plain(self._console, self._line(trial))
        if isinstance(self._live, NotebookTable):
            self._live.draw_if_due()

    def _newly_ended(self) -> list[EndedTrial]:
        """Trials that have ended since the last time."""
        if len(self._engine.ended) == self._ended_seen:
            return []
        new = list(islice(self._engine.ended.values(), self._ended_seen, None))
        self._ended_seen += len(new)
        for trial in new:
            self._remaining.add(trial)
            if trial.status == COMPLETED:
                arm = trial.spec.arm
                self._best[arm] = max(self._best.get(arm, trial), trial, key=self._goodness)
        return new

    def _goodness(self, trial: EndedTrial) -> float:
        return trial.value if self._engine.study.space.objective.mode == "max" else -trial.value

    def _done_text(self) -> str:
        return f"{len(self._engine.ended)}/{self._engine.expected_trials()}"

    def _line(self, trial: EndedTrial) -> str:
        outcome = trial.error or f"{self._metric} {trial.value:.4f}"
        return (
            f"{self._elapsed_text()} [{self._done_text()}] {trial.spec.trial_id}: "
            f"{trial.status} at epoch {max(trial.curve, default=0)}, {outcome}; "
            f"remaining {self._remaining_text()}"
        )

    # How it looks -------------------------------------------------------------------------------

    def _table(self) -> Table:
        engine = self._engine
        counts = engine.ended_by("status")
        table = Table(box=None, pad_edge=False)
        for column in ("done", "running", "stopped", "diverged", "failed", "elapsed", "remaining"):
            table.add_column(column, justify="right")
        table.add_row(
            self._done_text(),
            str(len(engine.running)),
            *(str(counts[status]) for status in (STOPPED, DIVERGED, FAILED)),
            self._elapsed_text(),
            self._remaining_text(),
        )
        whole = Table.grid()
        whole.add_row(table)
        if self._console.width < WIDE:
            whole.add_row(_one_line(self._best_text()))
        else:
            whole.add_row(self._arms_table())
            whole.add_row(self._bar())
        if engine.stages.looks_at is not None:
            whole.add_row(f"  look at {engine.stages.looks_at} configurations")
        for running in list(engine.running.values()):
            whole.add_row(_one_line(f"  {self._running_text(running)}", style="dim"))
        return whole

    def _running_text(self, running: RunningTrial) -> str:
        state = "starting"
        if running.curve:
            row, horizon = running.curve[-1], self._engine.study.space.horizon_epochs
            state = f"epoch {row['epoch']}/{horizon}  {row.get(self._metric, math.nan):.4f}"
        return f"{running.spec.trial_id}  {state}"

    def _arms_table(self) -> Table:
        """The best trial of each arm, and what interpolation comes to."""
        table = Table(box=None, pad_edge=False)
        table.add_column("arm")
        table.add_column(f"best {self._metric}", justify="right")
        table.add_column("trial")
        for arm in self._engine.study.space.arms:
            best = self._best.get(arm)
            value = "-" if best is None else f"{best.value:.4f}"
            table.add_row(arm, value, "" if best is None else best.spec.trial_id)
        if math.isfinite(self._baseline):
            table.add_row(INTERPOLATION, f"{self._baseline:.4f}", "")
        return table

    def _bar(self) -> Table:
        """How far it is to the next look, or to the end."""
        study, ended = self._engine.study, self._engine.ended.keys()
        goal, done, total = "end of the study", len(ended), self._engine.expected_trials()
        seconds = self.remaining_seconds()
        for look in [] if self._engine.stages.design_is_over else study.looks:
            trials = study.design_specs(look)
            left = sum(spec.trial_id not in ended for spec in trials)
            if left:
                goal, total = f"look at {look} configurations", len(trials)
                done = total - left
                running = list(self._engine.running.values())
                seconds = self._remaining.seconds_of(trials, running, now=time.monotonic())
                break
        bar = Table.grid(padding=(0, 2))
        time_left = "?" if seconds is None else duration_text(seconds)
        text = f"next: {goal}, {done}/{total} trials, in about {time_left}"
        bar.add_row(ProgressBar(total=total, completed=done, width=_BAR), _one_line(text))
        return bar

    def _best_text(self) -> str:
        best = max(list(self._best.values()), key=self._goodness, default=None)
        if best is None:
            return "best: no trial has reached the horizon yet"
        return f"best {self._metric} {best.value:.4f}, arm {best.spec.arm} ({best.spec.trial_id})"

    def _elapsed_text(self) -> str:
        return duration_text(time.monotonic() - self._started)

    def _remaining_text(self) -> str:
        seconds = self.remaining_seconds()
        return "?" if seconds is None else duration_text(seconds)

    def remaining_seconds(self) -> float | None:
        """Expected time to the end of the study's trials; None before one has trained an epoch."""
        ended, expected = self._engine.ended_by("stage"), self._engine.expected_by_stage()
        left = {stage: max(count - ended[stage], 0) for stage, count in expected.items()}
        running = list(self._engine.running.values())
        return self._remaining.seconds(left, running, now=time.monotonic())


def _one_line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _live(console: Console, draw: Callable[[], Table]) -> Live | NotebookTable | None:
    """What shows a table that changes; None where nothing that was written can change."""
    if console.is_jupyter and not console.quiet:
        return NotebookTable(draw)
    if not console.is_interactive:
        return None
    return Live(
        get_renderable=draw, console=console, refresh_per_second=1 / REDRAWN_AFTER, transient=True
    )


class NotebookTable:
    """A table in the output of a notebook's cell, drawn anew in place.

    `rich.live` can do that only with ipywidgets.
    """

    def __init__(self, draw: Callable[[], Table]) -> None:
        self._draw, self._drawn = draw, -math.inf
        self._handle: Any = None

    def start(self) -> None:
        """Show the table."""
        ipython: Any = import_module("IPython.display")  # the notebook has brought it along
        self._handle = ipython.display(self._draw(), display_id=True)

    def draw_if_due(self) -> None:
        """Draw anew, if that was not done just now."""
        if time.monotonic() - self._drawn >= REDRAWN_AFTER:
            self.stop()

    def stop(self) -> None:
        """Leave the table as it is at last."""
        self._drawn = time.monotonic()
        self._handle.update(self._draw())
