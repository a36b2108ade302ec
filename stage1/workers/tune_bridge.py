"""Ray Tune's two extension points, each a few lines around the study's engine, and its halving."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import ValidationError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from stage1.base.machine import memory_kills, total_mb
from stage1.base.text import dotted
from stage1.config import Config
from stage1.config.rules import faults_of
from stage1.run.columns import DESIGN
from stage1.study.engine import StudyEngine
from stage1.study.space import Space
from stage1.study.trials import EndedTrial, Loss, TrialSpec
from stage1.training.memory import TrialMemoryError
from stage1.workers.ray_internals import memory_shortage
from stage1.workers.trainable import REPORT, EpochReport


class EngineSearcher(Searcher):
    """Asks the engine what to run; from `deadline`, by `time.monotonic()`, no trial starts."""

    def __init__(self, engine: StudyEngine, deadline: float | None) -> None:
        super().__init__()
        self._engine = engine
        self._deadline = deadline

    def suggest(self, trial_id: str) -> Any:
        """The next trial's settings, None to wait, or FINISHED. Called by Ray."""
        if self._is_late():
            return None if self._engine.running else Searcher.FINISHED
        try:
            while spec := self._engine.next_trial():
                settings = self._settings(spec)
                if settings is not None:
                    return settings
        except StopIteration:
            return Searcher.FINISHED
        return None

    def _is_late(self) -> bool:
        """Whether no trial starts any more; one that has lost its process does."""
        late = self._deadline is not None and time.monotonic() > self._deadline
        return late and not self._engine.has_lost

    def _settings(self, spec: TrialSpec) -> dict[str, Any] | None:
        try:
            config = self._engine.study.trial_config(spec)
        except ValidationError as error:
            faults = [f"{dotted(keys)}: {rule}" for keys, rule in faults_of(error, Config)]
            self._engine.on_error(spec.trial_id, "; ".join(faults))
            return None
        return {
            "trial_id": spec.trial_id,
            "config": config,  # a model, not a mapping, which Tune would flatten several times
            "parts": self._engine.running[spec.trial_id].parts,
            "block_epochs": self._engine.study.block_epochs if spec.stage == DESIGN else [],
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to do: the engine has seen the last epoch. Called by Ray."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its settings for a restore that is never asked for

    def save(self, checkpoint_path: str) -> None:
        """Nothing to do: the run folder is the state. Called by Ray."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to do: the run folder is the state. Called by Ray."""


class EngineScheduler(FIFOScheduler):
    """Shows the engine every epoch and every error.

    `on_return` takes a trial that has ended, once its worker has done with it.
    """

    def __init__(self, engine: StudyEngine, on_return: Callable[[EndedTrial], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._engine, self._on_return = engine, on_return
        self._kills_seen = memory_kills()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as above

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The trial that waits, if one does. Called by Ray, whose own way looks at all trials."""
        live = tune_controller.get_live_trials()
        return next((trial for trial in live if trial.status == Trial.PENDING), None)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Continue or stop. Called by Ray after every epoch."""
        trial_id, report = trial.config["trial_id"], result[REPORT]
        assert isinstance(report, EpochReport)
        if report.warning is not None:
            self._engine.note(f"{trial_id}: {report.warning}")
        if self._engine.on_epoch(trial_id, report.row):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Called by Ray when a trial was stopped, or its training has returned.

        That is an error before the horizon.
        """
        self._end(trial, "the training ended before its last epoch")

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Called by Ray when a trial has raised or its process has died."""
        gpus = self._engine.study.space.resources.gpus
        reason, loss = reason_and_loss(trial, gpus)
        if loss == Loss.DEATH and self._kernel_has_killed():
            limit = f"{total_mb() / 1024:.1f} GB"
            reason = f"{Loss.MEMORY.value}: what runs here must take less than {limit} together"
            loss = Loss.MEMORY
        self._end(trial, reason, loss)

    def _kernel_has_killed(self) -> bool:
        """Whether the kernel has killed one more process for memory than has been told of.

        It takes the largest of the container, and says nothing to Ray.
        """
        before, now = self._kills_seen, memory_kills()
        self._kills_seen = min(before + 1, now)
        return now > before

    def _end(self, trial: Trial, *reason_and_loss: Any) -> None:
        self._engine.on_error(trial.config["trial_id"], *reason_and_loss)
        ended = self._engine.ended.get(trial.config["trial_id"])
        if ended is not None:
            self._on_return(ended)


class Watch(Callback):
    """Looks after the study between Ray's events; its checks may raise what ends the study."""

    def __init__(self, *checks: Callable[[], None]) -> None:
        self._checks = checks

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Called by Ray at every turn of its loop."""
        for check in self._checks:
            check()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as above


def reason_and_loss(trial: Trial, gpus: float) -> tuple[str, Loss]:
    """Why Ray gave a trial up, in one line, and what that means; `gpus` is a trial's share."""
    noted = Path(str(trial.error_file)).read_text(encoding="utf-8") if trial.error_file else ""
    lines = [line.strip() for line in noted.splitlines() if line.strip()][1:]  # 0 is a headline
    if lines and lines[0].startswith("The actor "):
        # Behind what has happened Ray lists all that may be the cause.
        return f"{Loss.DEATH.value}: {lines[-1].partition(' Some common causes')[0]}", Loss.DEATH
    if lines and (shortage := memory_shortage(lines[0])):
        return f"{Loss.MEMORY.value}: {shortage}", Loss.MEMORY
    last = lines[-1] if lines else "unknown"
    if last.startswith(_OUT_OF_MEMORY):
        return last, Loss.SHARE if 0 < gpus < 1 else Loss.ERROR
    if _REFUSED.match(last):
        return last, Loss.SYSTEM
    of_cuda = next((one for one in reversed(lines) if _CUDA_DIED in one), None)  # not its last
    return (last, Loss.ERROR) if of_cuda is None else (of_cuda, Loss.DEATH)


_OUT_OF_MEMORY = f"{TrialMemoryError.__module__}.{TrialMemoryError.__name__}: "
_CUDA_DIED = "CUDA error: "
"""After such an error a process can do nothing on its GPU any more; it may be the GPU's own."""
_REFUSED = re.compile(r"\w+Error: \[Errno \d+\] ")
"""How a traceback ends whose error is one of the operating system."""


class ArmHalving:
    """Asynchronous successive halving in one arm: Ray's decides, this keeps what it forgets.

    Trials of the design pass through the rungs as well, but what is decided about them is only
    noted; so the first trial of the search already meets full rungs.
    """

    def __init__(self, space: Space) -> None:
        asha = space.search.scheduler.asha
        self._scheduler = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric=space.objective.metric,
            mode=space.objective.mode,
            max_t=space.horizon_epochs,
            grace_period=asha.grace_epochs,
            reduction_factor=asha.reduction_factor,
            stop_last_trials=False,  # who reaches the last rung goes on to the horizon
        )
        self._metric = space.objective.metric
        self._horizon = space.horizon_epochs
        self._known: set[str] = set()

    def stops(self, trial_id: str, *, epoch: int, value: float) -> bool:
        """Whether a trial with this value at this epoch is to be stopped.

        A value that is not finite always stops; Ray's own rule lets NaN pass. The first trial at a
        rung always passes, and at the horizon there is nothing left to stop.

        Source:
            Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", the stopping
            variant as Ray Tune implements it.
        """
        if not math.isfinite(value):
            return True
        if epoch >= self._horizon:
            return False
        trial: Any = SimpleNamespace(trial_id=trial_id)
        controller: Any = None  # Ray's rule reads the trial's id and the result, nothing else
        if trial_id not in self._known:
            self._known.add(trial_id)
            self._scheduler.on_trial_add(controller, trial)
        result = {"epoch": epoch, self._metric: value}
        return bool(
            self._scheduler.on_trial_result(controller, trial, result) == TrialScheduler.STOP
        )
