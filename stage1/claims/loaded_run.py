"""A study's run folder from Python: its tables as frames, its verdicts, its best configuration.

Opens without torch and without Ray, while the study runs too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stage1.claims.judge import Evaluation, evaluate
from stage1.claims.scores import RunTables, read_run
from stage1.run.folder import RunFolder
from stage1.run.summary import Value, best_configuration


class Best(NamedTuple):
    """The configuration that one would train."""

    configuration: dict[str, Value]
    """Searched values by dotted key; keys that do not apply to it are absent."""
    value: float
    """The study's objective, mean over the seeds of its trials."""
    trial_ids: list[str]
    """Its trials, one per seed, by seed."""
    arm: str
    config_id: str


VERDICT_COLUMNS = (
    *("claim", "name", "estimate", "low", "high", "verdict", "reason", "attribution", "look"),
)


def verdicts_of(evaluation: Evaluation) -> pd.DataFrame:
    """The verdicts of an evaluation; `Run.verdicts` says what the columns are."""
    rows = [
        (
            claim.id,
            claim.name,
            claim.interval.estimate,
            claim.interval.low,
            claim.interval.high,
            claim.verdict.value,
            claim.reason,
            claim.attribution,
            claim.look,
        )
        for claim in evaluation.lines
    ]
    return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))


@dataclass(frozen=True, repr=False)
class Run:
    """A run as it was when it was loaded; `load_run` makes it.

    Frames are copies in memory: to change them changes nothing on disk.
    """

    tables: RunTables
    """Everything that was read, for who wants more than the frames."""

    def __repr__(self) -> str:
        ended = self.trials["status"].value_counts().items()
        states = ", ".join(f"{number} {status}" for status, number in ended)
        return f"<Run {self.path}: {len(self.trials)} trials ({states or 'none has ended'})>"

    @property
    def path(self) -> Path:
        """Of the run folder."""
        return self.tables.run.path

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial that has ended, with the columns of trials.parquet."""
        return self.tables.trials

    @property
    def curves(self) -> pd.DataFrame:
        """One row per trial and completed epoch, with the columns of curves.parquet."""
        return self.tables.curves

    @cached_property
    def evaluation(self) -> Evaluation:
        """All that the claims rest on: scores, warnings, deviations, earlier looks."""
        return evaluate(self.tables)

    @property
    def verdicts(self) -> pd.DataFrame:
        """One row per claim and per line beside one, at the last look that was taken.

        Returns:
            Columns claim (its number), name, estimate, low, high, verdict, reason, attribution,
            look (configurations; 0 = none was taken, or a claim without looks). Effects are
            positive where the claim holds, and NaN where they cannot be estimated.
        """
        return verdicts_of(self.evaluation)

    def best(self, *, arm: str | None = None, config_id: str | None = None) -> Best:
        """The best configuration by mean over seeds, as `stage1.export` chooses it.

        Args:
            arm: Only of this arm, a control too; None = of those that one would train.
            config_id: Only this configuration.

        Raises:
            ResultsError: The study has no such arm, or none is complete.
        """
        space, registration = self.tables.space, self.tables.registration
        best = best_configuration(self.trials, space, registration, arm=arm, config_id=config_id)
        return Best(best.values, best.mean, list(best.trial_ids), best.arm, best.config_id)


def load_run(path: str | Path) -> Run:
    """Load the run folder of a study, one that still runs too.

    Args:
        path: OUT/NAME, such as runs/transfer.

    Raises:
        ResultsError: It is no run folder, or a file in it cannot be read.
    """
    return Run(read_run(RunFolder(Path(path))))
