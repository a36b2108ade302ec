"""`python -m stage1.train CONFIG.yaml`: one training, to watch and to keep."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from stage1.base.errors import ConfigError, ResultsError
from stage1.base.terminal import DataDir, print_plain, run_command, screen
from stage1.base.text import plural
from stage1.config import Config, going_on, load_config, with_values
from stage1.config.model import TransferConfig
from stage1.config.training import TrainingConfig
from stage1.config.yaml_source import config_names
from stage1.training import CONFIG_COPY, LAST_CHECKPOINT


def train(
    config_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG.yaml",
            help="The configuration: a file, or a name such as sample.",
            autocompletion=config_names,
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The same, as an option.")] = None,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the training; default runs/train/CONFIG.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="In place of training.seed.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="Go on from a checkpoint.")
    ] = None,
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="In place of training.epochs; the schedule stretches.")
    ] = None,
    devices: Annotated[int, typer.Option(min=1, max=1, help="One device per training.")] = 1,
    fast_dev_run: Annotated[
        bool, typer.Option("--fast-dev-run", help="One step of training and validation, no files.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="The parameter table; opens neither data nor weights.")
    ] = False,
) -> None:
    """Train one configuration to its horizon: progress bar, TensorBoard, checkpoints."""
    chosen = _loaded(config_file or config, seed=seed, max_epochs=max_epochs)
    console = screen()
    if dry_run:
        console.print(parameter_table(chosen))
        return
    path = config_file or config
    assert path is not None  # _loaded has refused it
    folder = out or Path("runs") / "train" / path.stem
    if not (resume or fast_dev_run):
        _check_new(folder, chosen)
    for line in _stretched(load_config(path).training, chosen.training, chosen.transfer_learning):
        print_plain(console, line)
    # torch takes seconds to import: a mistake in the configuration should not have to wait for it.
    from stage1.training.evaluation import ReconstructionPicture
    from stage1.training.session import run_training

    run_training(
        chosen,
        folder,
        data_dir=data_dir,
        checkpoint=resume,
        fast_dev_run=fast_dev_run,
        console=console,
        callbacks=[ReconstructionPicture()],
    )


def _loaded(path: Path | None, *, seed: int | None, max_epochs: int | None) -> Config:
    if path is None:
        raise ConfigError("a configuration must be given: python -m stage1.train CONFIG.yaml")
    overrides = {"training.seed": seed, "training.epochs": max_epochs}
    return with_values(
        load_config(path), {key: value for key, value in overrides.items() if value is not None}
    )


def _stretched(then: TrainingConfig, now: TrainingConfig, lm: TransferConfig) -> list[str]:
    """What other epochs do to the schedule, which is in shares of them, and to what is not."""
    if now.epochs == then.epochs:
        return []
    rise = now.warmup_share * now.epochs
    frozen = f"; the T5 stays frozen for {plural(lm.freeze_lm_epochs, 'epoch')}, as before"
    return [
        f"{plural(now.epochs, 'epoch')} in place of {then.epochs}: the learning rate rises for "
        f"{rise:.3g} of them ({now.warmup_share:.0%}) and falls until the last"
        + (frozen if lm.use_pretrained_lm and lm.freeze_lm_epochs > 0 else "")
    ]


def _check_new(folder: Path, config: Config) -> None:
    """Refuse a folder that is there; `--resume` is advised where it would go on."""
    if not folder.exists():
        return
    last, advice = folder / LAST_CHECKPOINT, "give another --out"
    if not last.exists():
        advice = f"remove it: it has no state, or {advice}"
    else:
        with suppress(ConfigError):
            then = load_config(folder / CONFIG_COPY)
            differing = going_on(then, config)[1]
            if config.data.sha256 not in (None, then.data.sha256):
                differing.append("data.sha256")
            more = f"it holds another training, which differs in {', '.join(differing)};"
            advice = f"{more if differing else f'go on with --resume {last}, or'} {advice}"
    raise ResultsError(f"{folder}: must not exist yet; {advice}")


def parameter_table(config: Config) -> Table:
    """The parameters by part of the model, full integers, and what a T5 per timeframe would cost.

    Raises:
        ModelError: The language model's dimensions are not known.
    """
    from stage1.model.stage1_model import T5_PART, parameter_counts

    counts = parameter_counts(config)
    total, timeframes = sum(counts.values()), len(config.data.timeframes)
    encoder = config.language_model_name or "vanilla encoder"
    title = f"Parameters: {encoder}, {timeframes} timeframes"
    if config.data.kind == "series" and config.data.channels is None:
        title += ", 1 channel (data.channels is null)"
    table = Table(title=title, min_width=len(title))
    table.add_column("part")
    table.add_column("parameters", justify="right")
    for part, count in counts.items():
        table.add_row(part, f"{count:,}")
    table.add_section()
    table.add_row("total", f"{total:,}")
    if T5_PART in counts:
        apart = total + (timeframes - 1) * counts[T5_PART]
        table.add_row(f"with {timeframes} T5s, one per timeframe", f"{apart:,}")
    return table


if __name__ == "__main__":
    run_command(train)
