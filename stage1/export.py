"""`python -m stage1.export RUN`: the best configuration of a study as a file that trains alone."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from pydantic import ValidationError

from stage1.base.errors import ConfigError, ResultsError
from stage1.base.files import (
    checksum_holds,
    must_be_writable,
    sha256_of_file,
    with_checksum,
    write_text,
)
from stage1.base.metric_table import BASELINE_PREFIX, LOSS
from stage1.base.terminal import run_command
from stage1.base.text import shown
from stage1.claims.judge import evaluate
from stage1.claims.scores import read_run
from stage1.config import ORIGIN, Config, config_yaml, with_values
from stage1.config.yaml_source import YamlSource, load_yaml, raise_faults
from stage1.pages.blocks import Caution, cautions
from stage1.pages.provenance import best_paragraph
from stage1.run.folder import RunFolder
from stage1.run.registration import read_preregistration
from stage1.run.resolved_space import MOST_EPOCHS, ResolvedSpace, read_space
from stage1.run.summary import (
    BestConfiguration,
    best_configuration,
    export_target,
    full_horizon,
    noise_text,
    tie_text,
    train_command,
)
from stage1.run.summary import cautions as summary_cautions
from stage1.run.tables import read_trials

_LABEL = "Written by stage1.export; "
_LENGTH = "final training: "


def export_text(
    run: RunFolder,
    *,
    arm: str | None = None,
    config_id: str | None = None,
    final: bool = False,
    epochs: int | None = None,
) -> str:
    """The file's content: provenance as comments, then the whole configuration.

    That is the study's base configuration with the arm's settings, the searched values, the
    horizon, the first seed that it was trained on, and the bars of the study; and the trial on that
    seed, as `training.origin`.

    Args:
        run: The run folder.
        arm: Of the configuration; None = the best of those that one would train.
        config_id: Which configuration; None = the best.
        final: Whether it is to train as long as `final_training` has it, not as a trial did.
        epochs: Of such a training; None = as `final_training` reckons them.

    Raises:
        ResultsError: The run cannot be read, or has no such complete configuration.
        ConfigError: The study does not fit the configuration of this version, a line per fault.
    """
    space, trials, registration = read_space(run), read_trials(run), read_preregistration(run)
    if arm is not None and arm not in space.arms:
        raise ResultsError(f"--arm must be one of {', '.join(space.arms)}, got {shown(arm)}")
    best = best_configuration(trials, space, registration, arm=arm, config_id=config_id)
    if best.arm not in space.arms:
        raise ResultsError(
            f"{run.trials}: arm of the best configuration must be one of "
            f"{', '.join(space.arms)}, as {run.space.name} has them, got {shown(best.arm)}; "
            "restore the file that was edited"
        )
    values = {
        **space.arms[best.arm],
        **best.values,
        "training.epochs": space.horizon_epochs,
        "training.seed": min(best.by_seed),
        **space.data.values,
        ORIGIN: _origin(run, space, best, trials),
    }
    lines = _provenance(run, space, best, trials=len(trials))
    try:
        config = with_values(Config.model_validate(space.config), values)
    except ValidationError as error:
        raise_faults(error, _base_source(run), Config)
    if final:
        windows, metric = registration.training_windows, space.objective.metric
        longer, reason = final_training(run, config, metric, windows=windows, epochs=epochs)
        config = with_values(config, longer)
        lines.append(reason)
    rest = "".join(f"# {line}\n" for line in lines) + config_yaml(config)
    return with_checksum(rest, _LABEL)


LEAST_STRETCH = 4
"""A final training has at least so many times the epochs of a trial."""
PATIENCE_SHARE = 0.25
"""Of the epochs of a final training, without a gain in which it ends."""


def final_training(
    run: RunFolder, config: Config, metric: str, *, windows: int | None, epochs: int | None
) -> tuple[dict[str, Any], str]:
    """The keys that make a final training of a trial's configuration, and why they are so.

    It has the epochs in which as many windows are seen as there are, though at least
    `LEAST_STRETCH` times the trial's, and ends early for want of a gain in the study's objective.
    The learning rate, which rises and falls over all epochs, gains most at the end: the patience is
    a share of them.

    Args:
        run: Of the study.
        config: Of the trial.
        metric: The study's objective.
        windows: To train on, as the run says; None = it does not.
        epochs: In place of those reckoned.

    Raises:
        ResultsError: The run does not say how many windows there are, and no epochs are given.
    """
    training = config.training
    if epochs is not None:
        reason = f"{_LENGTH}{epochs} epochs, as asked for; a trial had {training.epochs}"
    elif windows is not None:
        in_epoch = training.steps_per_epoch * training.windows_per_step
        epochs = max(math.ceil(windows / in_epoch), LEAST_STRETCH * training.epochs)
        reason = (
            f"{_LENGTH}{epochs} epochs see {epochs * in_epoch:,} windows, of which there "
            f"are {windows:,}; a trial's {training.epochs} saw {training.epochs * in_epoch:,}"
        )
    else:
        raise ResultsError(
            f"{run.prereg}: must say how many training windows the study has, which earlier "
            "versions left out; give the final training's --epochs"
        )
    stop = {"metric": metric, "patience": max(math.ceil(PATIENCE_SHARE * epochs), 1)}
    return {"training.epochs": epochs, "training.early_stop": stop}, reason


def _origin(
    run: RunFolder, space: ResolvedSpace, best: BestConfiguration, trials: pd.DataFrame
) -> dict[str, Any]:
    """The trial on the first seed of a configuration, as `training.origin` has it."""
    seed = min(best.by_seed)
    trial = {"arm": best.arm, "config_id": best.config_id, "seed": seed}
    rows = full_horizon(trials, space, [best.stage])
    row = rows[(rows[list(trial)] == pd.Series(trial)).all(axis=1)].iloc[0]
    return {
        "run": str(run.path),
        **trial,
        "epochs": space.horizon_epochs,
        "metric": space.objective.metric,
        "value": best.by_seed[seed],
        "baseline_val_loss": float(row[BASELINE_PREFIX + LOSS]),
    }


def export(
    run: RunFolder,
    out: Path | None = None,
    *,
    arm: str | None = None,
    config_id: str | None = None,
    final: bool = False,
    epochs: int | None = None,
    force: bool = False,
) -> Path:
    """Write a configuration of a run to a file: the best one, unless told which; see `export_text`.

    Replaces an export that nobody edited, and with `force` any file. Without `out` the file is
    `export_target`'s.

    Raises:
        ResultsError: `out` is in the way, the run cannot be read or has no complete configuration.
        ConfigError: The study does not fit the configuration of this version.
    """
    text = export_text(run, arm=arm, config_id=config_id, final=final, epochs=epochs)
    out = out or export_target(read_space(run).name, arm=arm, config_id=config_id, final=final)
    with must_be_writable(out, "file"):
        if out.is_dir():
            raise ResultsError(f"{out} must be a file name, got a folder; give --out DIR/NAME.yaml")
        if out.exists() and not force:
            # What is no text has no checksum that holds either.
            before = out.read_text(encoding="utf-8", errors="replace")
            if not checksum_holds(before, _LABEL):
                raise ResultsError(
                    f"{out} must not exist or be an export that nobody edited, got another file; "
                    "give another --out, or --force to replace it"
                )
        write_text(out, text)
    return out


def _base_source(run: RunFolder) -> YamlSource:
    """The base configuration inside space.yaml, with the line of every key."""
    source = load_yaml(run.space)
    origins = {keys[1:]: place for keys, place in source.origins.items() if keys[0] == "config"}
    return YamlSource(run.space, source.values["config"], origins)


def _provenance(
    run: RunFolder, space: ResolvedSpace, best: BestConfiguration, *, trials: int
) -> list[str]:
    by_seed = ", ".join(f"{value!r} (seed {seed})" for seed, value in best.by_seed.items())
    ties = [f"tie: {tie_text(rival)}" for rival in best.ties]
    return [
        f"run: {space.name}",
        f"trials in the run: {trials}; complete configurations considered: {best.candidates}",
        f"arm: {best.arm}",
        f"config_id: {best.config_id}",
        f"{space.objective.metric}, mean over seeds: {best.mean!r}",
        f"{space.objective.metric} by seed: {by_seed}",
        f"val_skill, mean over seeds: {best.skill:.4f}",
        f"standard deviation between seeds: {noise_text(best)}",
        *ties,
        f"data fingerprint: {space.data.fingerprint}",
        f"sha256 of {run.trials.name}: {sha256_of_file(run.trials)}",
        f"sha256 of {run.prereg.name}: {sha256_of_file(run.prereg)}",
        f"date: {datetime.now(UTC):%Y-%m-%d}",
    ]


def _run_cautions(run: RunFolder) -> list[Caution]:
    """What the report of the run says above its numbers, or why a report cannot be made."""
    try:
        evaluation = evaluate(read_run(run))
    except ResultsError as error:
        few = summary_cautions(read_trials(run), read_space(run), read_preregistration(run))
        return cautions([*few, f"The claims cannot be tested: {error}"])
    return cautions(evaluation.warnings, evaluation.deviations)


def main(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, OUT/NAME.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write. An existing file is replaced only if export wrote it and "
            "nobody edited it since; anything else needs --force.",
            show_default="configs/STUDY.yaml",
        ),
    ] = None,
    arm: Annotated[
        str | None,
        typer.Option(help="Arm of the configuration, a control too.", show_default="the best one"),
    ] = None,
    config_id: Annotated[
        str | None,
        typer.Option(
            help="Which configuration, as the report's leaderboard names it.",
            show_default="the best one",
        ),
    ] = None,
    final: Annotated[
        bool,
        typer.Option(
            "--final",
            help="For the training after the study: epochs that see as many windows as there are, "
            "4 times a trial's at least, and an early stop.",
        ),
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_EPOCHS, help="With --final: its epochs.", show_default="as said there"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace whatever file is there.")] = False,
) -> None:
    """Write the best configuration of a study, with its provenance, as a file that trains alone.

    The best is by mean objective over seeds, among configurations that completed to the horizon
    with every seed planned for them (stages design and confirm), in the arms that one would train:
    never a control such as shuffled weights, unless --arm says so.
    """
    if epochs is not None and not final:
        raise ConfigError("--epochs must stand beside --final; a trial's are those of the study")
    folder = RunFolder(run)
    written = export(
        folder, out, arm=arm, config_id=config_id, final=final, epochs=epochs, force=force
    )
    space = read_space(folder)
    for caution in _run_cautions(folder):
        print(f"{caution.kind.lower()}: {caution.text}", file=sys.stderr)
    best = best_configuration(
        read_trials(folder), space, read_preregistration(folder), arm=arm, config_id=config_id
    )
    told = best_paragraph(best, space.objective.metric).parts
    print("".join(part if isinstance(part, str) else part.text for part in told))
    if final:
        head = written.read_text(encoding="utf-8").splitlines()
        print(*(line.removeprefix("# ") for line in head if line.startswith(f"# {_LENGTH}")))
    print(f"wrote {written}; train it with:\n    {train_command(written)}")


if __name__ == "__main__":
    run_command(main)
