"""`python -m stage1.export RUN`: the best configuration of a study as a file that trains alone."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from stage1.base.errors import ResultsError
from stage1.base.files import (
    checksum_holds,
    must_be_writable,
    sha256_of_file,
    with_checksum,
    write_text,
)
from stage1.base.terminal import run_command
from stage1.base.text import shown
from stage1.claims.judge import evaluate
from stage1.claims.scores import read_run
from stage1.config import Config, config_yaml, with_values
from stage1.config.yaml_source import YamlSource, load_yaml, raise_faults
from stage1.pages.blocks import Caution, cautions
from stage1.pages.provenance import best_paragraph
from stage1.run.folder import RunFolder
from stage1.run.registration import read_preregistration
from stage1.run.resolved_space import ResolvedSpace, read_space
from stage1.run.summary import (
    BestConfiguration,
    best_configuration,
    export_target,
    noise_text,
    tie_text,
    train_command,
)
from stage1.run.summary import cautions as summary_cautions
from stage1.run.tables import read_trials

_LABEL = "Written by stage1.export; "


def export_text(run: RunFolder, *, arm: str | None = None, config_id: str | None = None) -> str:
    """The file's content: provenance as comments, then the whole configuration.

    That is the study's base configuration with the arm's settings, the searched values, the
    horizon, the first seed that it was trained on, and the bars of the study.

    Args:
        run: The run folder.
        arm: Of the configuration; None = the best of those that one would train.
        config_id: Which configuration; None = the best.

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
    }
    try:
        config = with_values(Config.model_validate(space.config), values)
    except ValidationError as error:
        raise_faults(error, _base_source(run), Config)
    lines = _provenance(run, space, best, trials=len(trials))
    rest = "".join(f"# {line}\n" for line in lines) + config_yaml(config)
    return with_checksum(rest, _LABEL)


def export(
    run: RunFolder,
    out: Path | None = None,
    *,
    arm: str | None = None,
    config_id: str | None = None,
    force: bool = False,
) -> Path:
    """Write a configuration of a run to a file: the best one, unless told which; see `export_text`.

    Replaces an export that nobody edited, and with `force` any file. Without `out` the file is
    `export_target`'s.

    Raises:
        ResultsError: `out` is in the way, the run cannot be read or has no complete configuration.
        ConfigError: The study does not fit the configuration of this version.
    """
    text = export_text(run, arm=arm, config_id=config_id)
    out = out or export_target(read_space(run).name, arm=arm, config_id=config_id)
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
    force: Annotated[bool, typer.Option("--force", help="Replace whatever file is there.")] = False,
) -> None:
    """Write the best configuration of a study, with its provenance, as a file that trains alone.

    The best is by mean objective over seeds, among configurations that completed to the horizon
    with every seed planned for them (stages design and confirm), in the arms that one would train:
    never a control such as shuffled weights, unless --arm says so.
    """
    folder = RunFolder(run)
    written = export(folder, out, arm=arm, config_id=config_id, force=force)
    space = read_space(folder)
    for caution in _run_cautions(folder):
        print(f"{caution.kind.lower()}: {caution.text}", file=sys.stderr)
    best = best_configuration(
        read_trials(folder), space, read_preregistration(folder), arm=arm, config_id=config_id
    )
    told = best_paragraph(best, space.objective.metric).parts
    print("".join(part if isinstance(part, str) else part.text for part in told))
    print(f"wrote {written}; train it with:\n    {train_command(written)}")


if __name__ == "__main__":
    run_command(main)
