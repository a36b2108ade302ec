"""How a run folder begins, and what a study that was interrupted needs to go on.

`begun.json` holds the trials that were started and have no row yet: they come first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import torch
import yaml
from pydantic import TypeAdapter, ValidationError

from stage1.base.errors import ResultsError, TrialError
from stage1.base.files import atomic_path, remove_leftovers, sha256_of_file, write_text
from stage1.base.text import dotted, shown
from stage1.config import EARLIER, Config, DataConfig, config_yaml
from stage1.config.data import BUNDLED, DATA_KEYS
from stage1.config.yaml_source import merged
from stage1.language_models.resolver import LanguageModel
from stage1.run.columns import COMPLETED, DESIGN, FAILED, RANDOM, STAGES
from stage1.run.comparison_record import (
    CONFIG_FOLDER,
    RECORD_FILE,
    ComparisonRecord,
    DataRecord,
    MachineRecord,
    read_record,
)
from stage1.run.folder import RESTORE_OR_REPEAT, RunFolder, check_begun, check_new
from stage1.run.looks import MOST_CONFIGURATIONS, SPENDING_RULE
from stage1.run.registration import (
    SEARCHED,
    CostPlan,
    Preregistration,
    RandomArm,
    RegisteredClaims,
    check_metrics,
    early_epoch,
    is_untouched,
    preregistration_text,
    read_preregistration,
)
from stage1.run.resolved_space import read_mapping
from stage1.run.tables import read_trials
from stage1.study.comparison import Comparison
from stage1.study.inputs import StudyInputs
from stage1.study.sampler import EarlierSearch
from stage1.study.stages import Stages
from stage1.study.study import (
    Study,
    cost_config,
    pretrained_language_models,
    space_yaml,
)
from stage1.study.trials import Judge, RunnableStudy, TrialSpec, ended_trials

_SPECS = TypeAdapter(list[TrialSpec])


class StartedTrials:
    """Keeps `begun.json` up to date and goes on with what it holds.

    One thread starts trials, and another writes their rows.

    Raises:
        ResultsError: The file is not as it was written.
    """

    def __init__(self, file: Path) -> None:
        remove_leftovers(file)
        self._file, self._lock = file, Lock()
        self._specs = {spec.trial_id: spec for spec in read_started(file)}

    def add(self, spec: TrialSpec) -> None:
        """Note that a trial is started."""
        with self._lock:
            self._specs[spec.trial_id] = spec
            self._write()

    def remove(self, trial_ids: Collection[str]) -> None:
        """Note that the rows of trials are written."""
        with self._lock:
            for trial_id in trial_ids:
                self._specs.pop(trial_id, None)
            self._write()

    def _write(self) -> None:
        if not self._specs:
            self._file.unlink(missing_ok=True)
            return
        specs = [spec._asdict() for spec in self._specs.values()]
        write_text(self._file, json.dumps(specs, indent=1))


def read_started(file: Path, study: RunnableStudy | None = None) -> list[TrialSpec]:
    """The trials that were started and did not end, in the order of their starts; perhaps none.

    The last of them may have rows already, if the study was cut off between the two writings.

    Raises:
        ResultsError: The file is not as it was written, or holds a trial that is none of `study`.
    """
    if not file.exists():
        return []
    try:
        specs = _SPECS.validate_json(file.read_bytes(), strict=True)
    except (OSError, ValidationError):
        raise ResultsError(
            f"{file}: must be as the study has written it; remove it, and its trials are "
            "begun again"
        ) from None
    if study is None:
        return specs
    for spec in specs:
        known = spec.stage in STAGES and spec.arm in study.space.arms
        named = re.fullmatch(r"[A-Za-z0-9_]+(-\d+)?", spec.config_id)
        if not (known and named and spec.values.keys() <= study.space.searched_keys):
            raise ResultsError(f"{file}: must hold trials of this study, got {spec.trial_id!r}")
    return specs


_PACKAGES_OF_COMPARISONS = ("stage1", "torch", "pytorch-lightning", "transformers", "numpy")
"""Which decide what a training does."""
_PACKAGES = (*_PACKAGES_OF_COMPARISONS, "ray", "optuna", "scipy")
"""Which decide what a study does."""


def begin_run(
    run: RunFolder,
    study: Study,
    *,
    data: dict[str, Any],
    models: list[LanguageModel],
    claims: RegisteredClaims,
    training_windows: int,
    metrics: Mapping[str, str] | None = None,
    earlier: EarlierSearch | None = None,
) -> None:
    """Write space.yaml and prereg.yaml, before the first trial.

    `data` is what `data_description` says of the bars, `models` all that trials may ask for,
    `claims` those that the run will be judged by, `training_windows` how many there are, `metrics`
    SHA-256 of the source of each of a user's own, by name, and `earlier` what the search is told.

    Raises:
        ResultsError: The folder exists, or cannot be made.
    """
    size = study.size
    with _new_folder(run) as new:
        write_text(new.space, space_yaml(study, {"data": data}))
        registered = Preregistration(
            space_sha256=sha256_of_file(new.space),
            written_at=datetime.now(UTC).replace(microsecond=0),
            arms=list(study.space.arms),
            roles=study.roles,
            configurations=size.configurations,
            seeds=study.design_seeds,
            replicated=size.replicated,
            control=size.control,
            distinct=_distinct(study),
            confirm_seeds=study.confirm_seeds,
            horizon_epoch=study.space.horizon_epochs,
            early_epoch=early_epoch(study.space.horizon_epochs),
            looks=list(size.looks) if size.grows else 1,
            spending=SPENDING_RULE if size.grows else None,
            claims=claims.sizes,
            level=claims.error_rate,
            random_arm=_random_arm(study),
            cost=_cost_plan(study, models),
            warm_start=earlier and earlier.write(new.warm_start),
            training_windows=training_windows,
            language_models={model.name: model.sha256 for model in models},
            versions={package: version(package) for package in _PACKAGES},
            metrics=dict(metrics or {}),
        )
        write_text(new.prereg, preregistration_text(registered))


def _distinct(study: Study) -> dict[int, int]:
    """Distinct configurations at every look that the design could ever have, where they are fewer.

    Beyond the first look that adds none there is no further one.
    """
    size, counts = study.size, dict[int, int]()
    last = MOST_CONFIGURATIONS if size.grows else size.configurations
    longest, before = study.with_points(last), 0
    for look in size.every_look():
        count = longest.distinct_of(look)
        if count < look:
            counts[look] = count
        if count == before:
            break
        before = count
    return counts


def as_begun(run: RunFolder, study: Study) -> Study:
    """The study as the run folder has it: begun by an earlier version, or extended since.

    Raises:
        ResultsError: A file of the run cannot be read.
    """
    began_earlier = read_preregistration(run).confirm_seeds is None
    study = replace(study, began_earlier=began_earlier)
    begun = [trial.spec for trial in ended_trials(run, study)] if run.trials.exists() else []
    begun += read_started(run.begun, study)
    look = study.size.begun_look(spec.config_id for spec in begun if spec.stage == DESIGN)
    return study.with_points(look) if look > study.size.configurations else study


def extended(run: RunFolder, study: Study, judge: Judge) -> Study:
    """The study with one more doubling of its design, after the last look taken.

    Args:
        run: Of the study, which has finished.
        study: As it was begun.
        judge: Says what the claims were at that look.

    Raises:
        ResultsError: The study has not finished, its design cannot grow, or a file cannot be read.
    """
    if not study.size.grows:
        raise ResultsError(
            f"{run.path}: must be a study with looks to --extend, got one that is judged once, "
            f"after {study.size.configurations} configurations; begin another with design: "
            "{looks: [16, 32]}"
        )
    trials = ended_trials(run, study) if run.trials.exists() else []
    ended = {trial.spec.trial_id: trial for trial in trials}
    stages = Stages(study, judge, read_started(run.begun, study), running={}, ended=ended)
    if next(iter(stages), None) is not None:
        raise ResultsError(
            f"{run.path}: must have finished before it is extended, got trials that are left; "
            "finish it first with --resume"
        )
    look = study.size.begun_look(s.config_id for s in stages.design)
    if 2 * look > MOST_CONFIGURATIONS:
        raise ResultsError(
            f"{run.path}: must have at most {MOST_CONFIGURATIONS} configurations, got {look} "
            "already"
        )
    longer = study.with_points(2 * look)
    if longer.distinct_of(2 * look) == longer.distinct_of(look):
        raise ResultsError(
            f"{run.path}: must gain configurations by a doubling, got the same "
            f"{longer.distinct_of(look)} among {2 * look} points; the space holds no others"
        )
    return longer


@contextmanager
def _new_folder(run: RunFolder) -> Iterator[RunFolder]:
    """The folder to write the first files to; it gets its name once they are all there."""
    check_new(run)
    try:
        with atomic_path(run.path, replace=False) as path:
            yield RunFolder(path)
    except OSError as error:
        reason = error.strerror or error
        raise ResultsError(
            f"{run.path}: must be a folder that can be made, got {reason}; give another --out"
        ) from None


def begin_comparison(run: RunFolder, record: ComparisonRecord) -> None:
    """Write a comparison's record and its configurations, before the first training.

    Raises:
        ResultsError: The folder exists, or cannot be made.
    """
    with _new_folder(run) as new:
        for name, config in record.configs.items():
            write_text(new.path / CONFIG_FOLDER / f"{name}.yaml", config_yaml(config))
        text = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False)
        write_text(new.path / RECORD_FILE, text)


def comparison_record(inputs: StudyInputs[Comparison], *, cores: int) -> ComparisonRecord:
    """What makes a comparison what it is, and the machine it is begun on, with its cores."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return ComparisonRecord(
        configs=inputs.study.configs,
        seeds=tuple(inputs.study.design_seeds),
        data=DataRecord(**data_description(inputs.study.config.data)),
        language_models={model.name: model.sha256 for model in inputs.language_models},
        versions={package: version(package) for package in _PACKAGES_OF_COMPARISONS},
        machine=MachineRecord(cores=cores, gpu=gpu),
    )


def check_same_comparison(run: RunFolder, record: ComparisonRecord) -> None:
    """Refuse to go on with a comparison that is not the one the folder was begun with.

    Raises:
        ResultsError: The folder is missing or another comparison's; names what differs.
    """
    recorded = read_record(run)
    file, names = run.path / RECORD_FILE, "configurations"
    _refuse_changes(run, file, {names: list(recorded.configs)}, {names: list(record.configs)})
    _refuse_changes(run, file, _identity(recorded), _identity(record))


def _identity(record: ComparisonRecord) -> dict[str, Any]:
    """What must be the same in a comparison that is resumed: all but the machine, by key."""
    return _flat(record.model_dump(mode="json", exclude={"machine"}))


def check_same_study(
    run: RunFolder,
    study: Study,
    *,
    data: dict[str, Any],
    models: Collection[LanguageModel] = (),
    metrics: Mapping[str, str] | None = None,
) -> None:
    """Refuse to go on with a study that is not the one the folder was begun with.

    The weights of these language models must be those that were registered, and so must the sources
    of a user's own metrics.

    Raises:
        ResultsError: The folder is missing, edited, or another study's; names what differs.
    """
    check_begun(run)
    if read_mapping(run, run.prereg).values.get("space_sha256") != sha256_of_file(run.space):
        raise ResultsError(
            f"{run.space}: must be as before the first trial; an edited study is a new run"
        )
    if not is_untouched(run):
        raise ResultsError(
            f"{run.prereg}: must fit its checksum, got an edited file; {RESTORE_OR_REPEAT}"
        )
    # A run of an earlier version does not say keys that came later: it had what are their defaults.
    space = read_mapping(run, run.space).values
    defaults = merged(Config().model_dump(mode="json"), EARLIER)
    then = _flat(merged({"config": defaults}, space))
    now = _flat(yaml.safe_load(space_yaml(study, {"data": data})))
    _refuse_changes(run, run.space, then, now)
    registered = read_preregistration(run)
    weights = registered.language_models
    then = {f"weights of {model.name}": weights.get(model.name) for model in models}
    now = {f"weights of {model.name}": model.sha256 for model in models}
    _refuse_changes(run, run.prereg, then, now)
    check_metrics(run, registered.metrics, metrics or {})


def _refuse_changes(
    run: RunFolder, file: Path, then: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Compare what a study was begun with and what it is now, by key; refuse links as well."""
    for folder in (run.checkpoints, run.running, run.tensorboard):
        if folder.is_symlink():
            raise ResultsError(
                f"{folder}: must be a folder of the run itself, got a link; remove it"
            )
    # The fingerprint decides about the bars, however their path is written. What is kept of the
    # trials changes none of them, and runs of earlier versions do not say it.
    changes = [
        f"{key} ({_value(key, then)} -> {_value(key, now)})"
        for key in sorted({*then, *now})
        if then.get(key) != now.get(key)
        and not key.startswith("checkpoints.")
        and not key.endswith(DATA_KEYS)
    ]
    if changes:
        raise ResultsError(
            f"{file}: must be the study that is resumed, differs in {', '.join(changes)}; "
            "undo the change, or start a new run with another --out"
        )


def _value(key: str, values: Mapping[str, Any]) -> str:
    if key != "data.fingerprint":
        return shown(values.get(key))
    place = values.get("data.data_dir") or "the bundled sample"
    return f"{str(values.get(key))[:12]} of {place}"


def _flat(values: dict[str, Any], above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Values by dotted key; an empty mapping counts as a value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        keys = (*above, str(key))
        flat |= _flat(value, keys) if isinstance(value, dict) and value else {dotted(keys): value}
    return flat


def _random_arm(study: Study) -> RandomArm | None:
    if RANDOM not in study.roles:
        return None
    config = study.arm_configs[study.roles[RANDOM]]
    values = config.transfer_learning.model_dump(include=set(RandomArm.model_fields))
    searched = {name for name in values if f"transfer_learning.{name}" in study.space.searched_keys}
    return RandomArm(**values | dict.fromkeys(searched, SEARCHED))


def _cost_plan(study: Study, models: list[LanguageModel]) -> CostPlan | None:
    """The claim about cost is about the largest T5 that the pretrained arm may have."""
    names = pretrained_language_models(study)
    if not names:
        return None
    parameters = {
        model.name: sum(tensor.numel() for tensor in model.weights.values()) for model in models
    }
    largest = max(names, key=lambda name: parameters[name])
    config = cost_config(study, largest)
    return CostPlan(size=largest, patch_len=config.transfer_learning.patch_len)


def data_description(data: DataConfig) -> dict[str, Any]:
    """What space.yaml says of the bars that were loaded; null is the bundled sample."""
    folder = None if data.data_dir == BUNDLED else data.data_dir
    return {"data_dir": folder, "fingerprint": data.sha256}


def check_any_completed(run: RunFolder) -> None:
    """Tell a study that has ended without a single trial at its horizon from one that has worked.

    Raises:
        TrialError: None has completed; names what the first one ended with.
    """
    trials = read_trials(run)
    if trials.empty or COMPLETED in set(trials["status"]):
        return
    failed, first = int((trials["status"] == FAILED).sum()), trials["error"].dropna().iloc[:1]
    advice = "mend it, and go on with --resume --retry-failed"
    if not failed:
        advice = "lower the learning rates, under another name"
    raise TrialError(
        f"{run.path}: a trial must complete, got {failed} of {len(trials)} failed and the others "
        f"diverged, the first with: {''.join(first)}; {advice}"
    )
