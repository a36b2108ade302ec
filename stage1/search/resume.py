"""The run folder as the truth: begun once, recognised again, read back into the engine."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stage1.errors import ResultsError
from stage1.files import sha256_of_file, write_text
from stage1.model.language_models import LanguageModel
from stage1.results import PARAMETER_PREFIX, RunFolder, read_curves, read_trials
from stage1.search.space import (
    ChoiceParameter,
    FloatParameter,
    IntParameter,
    Space,
    Value,
)
from stage1.search.study import Study, space_yaml
from stage1.search.trials import EndedTrial, TrialSpec

EARLY_SHARE = 0.2
"""The early epoch of the claims, as a share of the horizon: epoch 3 of 15."""


def begin_run(
    run: RunFolder, study: Study, *, data: dict[str, Any], models: list[LanguageModel]
) -> None:
    """Write space.yaml and prereg.yaml, before the first trial.

    Raises:
        ResultsError: The folder exists.
    """
    if run.path.exists():
        raise ResultsError(
            f"{run.path}: must not exist yet; go on with it by --resume, or give another --out"
        )
    write_text(run.space, space_yaml(study, {"data": data}))
    write_text(run.prereg, _preregistration(run, study, models))


def check_same_study(run: RunFolder, study: Study, *, data: dict[str, Any]) -> None:
    """Refuse to go on with a study that is not the one the folder was begun with.

    Raises:
        ResultsError: The folder is missing, edited, or another study's; names what differs.
    """
    if not run.space.exists() or not run.prereg.exists():
        raise ResultsError(f"{run.path}: must be a run folder to --resume; start it without")
    registered = yaml.safe_load(run.prereg.read_text(encoding="utf-8"))
    if registered.get("space_sha256") != sha256_of_file(run.space):
        raise ResultsError(
            f"{run.space}: must be as it was before the first trial; an edited study is a new run"
        )
    then = yaml.safe_load(run.space.read_text(encoding="utf-8"))
    now = yaml.safe_load(space_yaml(study, {"data": data}))
    differing = sorted(k for k in {*then, *now} if then.get(k) != now.get(k))
    if differing:
        raise ResultsError(
            f"{run.space}: must be the study that is resumed, differs in {', '.join(differing)}; "
            "undo the change, or start a new run under another name or --out"
        )


def _preregistration(run: RunFolder, study: Study, models: list[LanguageModel]) -> str:
    packages = ("torch", "pytorch-lightning", "transformers", "ray", "optuna", "numpy", "scipy")
    return yaml.safe_dump(
        {
            "space_sha256": sha256_of_file(run.space),
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "arms": list(study.space.arms),
            "configurations": study.space.design.configurations,
            "seeds": study.design_seeds,
            "horizon_epoch": study.space.horizon_epochs,
            "early_epoch": max(round(EARLY_SHARE * study.space.horizon_epochs), 1),
            "language_models": {model.name: model.sha256 for model in models},
            "versions": {package: version(package) for package in packages},
        },
        sort_keys=False,
    )


def data_description(fingerprint: str, data_dir: Path | None) -> dict[str, Any]:
    """What space.yaml says of the bars; `data_dir` null is the bundled sample."""
    return {"data_dir": str(data_dir) if data_dir else None, "fingerprint": fingerprint}


def ended_trials(run: RunFolder, study: Study) -> list[EndedTrial]:
    """The trials of the run folder, in the order of their ends.

    Raises:
        ResultsError: A table cannot be read.
    """
    metric = study.space.objective.metric
    trials, curves = read_trials(run), read_curves(run)
    by_trial = {trial_id: rows for trial_id, rows in curves.groupby("trial_id")}
    return [
        _ended(row, by_trial.get(row["trial_id"]), study.space, metric)
        for _, row in trials.iterrows()
    ]


def _ended(row: pd.Series, curve: pd.DataFrame | None, space: Space, metric: str) -> EndedTrial:
    values = {
        key: _typed(parameter, row[PARAMETER_PREFIX + key])
        for key, parameter in space.space.items()
        if not pd.isna(row[PARAMETER_PREFIX + key])
    }
    spec = TrialSpec(row["stage"], row["arm"], row["config_id"], int(row["seed"]), values)
    points: dict[int, float] = {}
    if curve is not None:
        points = dict(zip(curve["epoch"].astype(int), curve[metric].astype(float), strict=True))
    seconds = float(row["seconds"]) if not pd.isna(row["seconds"]) else 0.0
    return EndedTrial(spec, row["status"], float(row[metric]), points, seconds)


def _typed(parameter: FloatParameter | IntParameter | ChoiceParameter, value: Any) -> Value:
    """A table's value as the parameter has it: a column with gaps holds whole numbers as floats."""
    if isinstance(parameter, IntParameter):
        return int(value)
    if isinstance(parameter, FloatParameter):
        return float(value)
    return next(option for option in parameter.options if option == value)
