"""The states of the study's best trials, kept in the run folder within a budget of bytes."""

from __future__ import annotations

from collections.abc import Iterable

from stage1.base.files import remove_leftovers
from stage1.run.columns import COMPLETED
from stage1.run.folder import RunFolder
from stage1.study.space import Space
from stage1.study.trials import EndedTrial
from stage1.workers.states import TrialStates

_GIGABYTE = 10**9


class BestCheckpoints:
    """Keeps `checkpoints/<trial_id>.ckpt` of the best completed trials of any arm and stage.

    Args:
        run: The run folder.
        space: Says how many, how large, and what is best.
        states: Where the trainings leave their states.
        ended: Trials of earlier sessions, whose checkpoints may be there.
    """

    def __init__(
        self, run: RunFolder, space: Space, states: TrialStates, ended: Iterable[EndedTrial]
    ) -> None:
        self._run, self._states, self._policy = run, states, space.checkpoints
        self._sign = 1 if space.objective.mode == "max" else -1
        self._kept = [trial for trial in ended if self._is_kept(trial)]

    def _rank(self, trial: EndedTrial) -> tuple[float, str]:
        return -self._sign * trial.value, trial.spec.trial_id

    def _is_kept(self, trial: EndedTrial) -> bool:
        file = self._run.checkpoint(trial.spec.trial_id)
        remove_leftovers(file)
        return file.exists()

    def offer(self, trial: EndedTrial) -> None:
        """Take over the state of a trial that has ended if it is among the best; else remove it."""
        trial_id = trial.spec.trial_id
        # It may be kept already, by a study that was killed before it had removed the state.
        self._kept = [kept for kept in self._kept if kept.spec.trial_id != trial_id]
        if trial.status == COMPLETED:
            best = sorted([*self._kept, trial], key=self._rank)[: self._policy.keep]
            if trial in best and self._states.fetch(trial_id, self._run.checkpoint(trial_id)):
                self._kept.append(trial)
                self._drop_surplus()
        self._states.remove(trial_id)

    def _drop_surplus(self) -> None:
        """Remove the worst until number and size are within the budget; the best one stays."""
        self._kept.sort(key=self._rank)
        while len(self._kept) > self._policy.keep or (len(self._kept) > 1 and self._too_large()):
            self._run.checkpoint(self._kept.pop().spec.trial_id).unlink(missing_ok=True)

    def _too_large(self) -> bool:
        files = (self._run.checkpoint(trial.spec.trial_id) for trial in self._kept)
        return sum(file.stat().st_size for file in files) > self._policy.gigabytes * _GIGABYTE
