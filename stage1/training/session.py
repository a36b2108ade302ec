"""A training for a person: progress bar, TensorBoard, checkpoints, a line per epoch."""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console

from stage1.base.errors import ConfigError, ResultsError, TrialError
from stage1.base.files import must_be_writable, remove_leftovers, write_text
from stage1.base.metric_table import metric_row
from stage1.base.terminal import print_plain
from stage1.base.text import plural, shell_line
from stage1.config import Config, config_yaml, going_on, with_values
from stage1.config.training import Origin, TrainingConfig
from stage1.data.batches import MarketWindows
from stage1.data.load import load_data
from stage1.language_models.resolver import LanguageModel, resolve
from stage1.training import BEST_CHECKPOINT, CONFIG_COPY, LAST_CHECKPOINT
from stage1.training.batch_size import find_batch_size
from stage1.training.best_epoch import BestEpoch
from stage1.training.checkpoint import Trained, read_trained
from stage1.training.fit import EpochRow, accelerator_here, check_precision, fit

_BATCH_SIZE = "training.batch_size"


def run_training(
    config: Config,
    folder: Path,
    *,
    data_dir: str | Path | None,
    checkpoint: Path | None,
    fast_dev_run: bool,
    console: Console,
    callbacks: Sequence[Callback] = (),
) -> list[EpochRow]:
    """Train, and show what a person wants to see; returns the rows of all epochs run.

    `folder` gets the configuration, TensorBoard's curves, and the state after every epoch.

    Args:
        config: Its batch size may be auto.
        folder: Of this training.
        data_dir: As `load_data` has it.
        checkpoint: To go on from; must belong to the same configuration.
        fast_dev_run: One step of each kind; nothing is written.
        console: Where to show.
        callbacks: Further ones of Lightning, left out of a fast run.

    Raises:
        ConfigError: The device does not have the precision.
        ResultsError: The checkpoint cannot be read, or is another configuration's.
        TrialError: The loss is no longer a number, or memory does not suffice.
    """
    accelerator = accelerator_here()
    check_precision(config, accelerator)
    config, windows = _config_and_windows(config, data_dir, checkpoint)
    language_model = load_language_model(config)
    if config.training.batch_size == "auto":
        size = find_batch_size(config, windows, language_model, accelerator=accelerator)
        print_plain(console, f"batch_size auto: {size.windows} windows ({size.reason})")
        config = with_values(config, {_BATCH_SIZE: size.windows})
    rows: list[EpochRow] = []

    def report(row: EpochRow) -> None:
        rows.append(row)
        print_plain(console, epoch_line(row))
        _check_loss(row)

    all_callbacks: list[Callback] = [RichProgressBar()] if console.is_interactive else []
    options: dict[str, Any] = {"fast_dev_run": fast_dev_run}
    is_new = not folder.exists()
    best = BestEpoch(config.training, folder / LAST_CHECKPOINT, checkpoint)
    if not fast_dev_run:
        with must_be_writable(folder):
            for name in (LAST_CHECKPOINT, BEST_CHECKPOINT):  # of a process that was killed
                remove_leftovers(folder / name)
            write_text(folder / CONFIG_COPY, config_yaml(config))
        all_callbacks += [_last_state(folder), best, *callbacks]
        options |= {
            "enable_checkpointing": True,
            "logger": TensorBoardLogger(str(folder), name="tensorboard", version=""),
            "log_every_n_steps": min(10, config.training.steps_per_epoch),
        }
    try:
        with must_be_writable(folder, advice="make room or give another --out"):
            fit(
                config,
                windows,
                language_model,
                report=report,
                callbacks=all_callbacks,
                checkpoint=checkpoint,
                warn=partial(print_plain, console),
                accelerator=accelerator,
                enable_progress_bar=console.is_interactive,
                **options,
            )
    except (KeyboardInterrupt, ConfigError, ResultsError):
        if is_new and not (folder / LAST_CHECKPOINT).exists():
            shutil.rmtree(folder, ignore_errors=True)  # the same command can begin again
        _print_how_to_resume(console, folder)
        raise
    if not fast_dev_run:
        print_plain(console, f"Checkpoint: {folder / LAST_CHECKPOINT}")
        for line in closing_lines(config.training, best):
            print_plain(console, line)
        if len(windows.split.test.ends) and best.best.exists():
            scored = shell_line("evaluate", best.best)
            print_plain(console, f"On its test period, which nobody chose by: {scored}")
        print_plain(console, f"Curves: tensorboard --logdir {folder}")
    return rows


def _last_state(folder: Path) -> ModelCheckpoint:
    """Writes the state after every epoch over the one before."""
    return ModelCheckpoint(
        folder,
        LAST_CHECKPOINT.removesuffix(ModelCheckpoint.FILE_EXTENSION),
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def closing_lines(training: TrainingConfig, best: BestEpoch) -> list[str]:
    """What a training came to: its best epoch, whether it ended early, and what its trial reached.

    Args:
        training: Its configuration.
        best: Of the training.
    """
    row, stop, origin = best.row, training.early_stop, training.origin
    if row is None or not best.best.exists():  # of a version that did not keep it
        return []
    epochs = f"epoch {row['epoch']} of {training.epochs}"
    lines = [f"Best: {best.best}, {epochs}, with {best.metric} {row[best.metric]:.4f}"]
    if stop is not None and best.is_over and best.rows[-1]["epoch"] < training.epochs:
        gain = f" of more than {stop.min_delta:g}" if stop.min_delta else ""
        lines.append(
            f"Ended after epoch {best.rows[-1]['epoch']}: no gain{gain} in {best.metric} for "
            f"{plural(stop.patience, 'epoch')}, which is training.early_stop.patience"
        )
    return lines if origin is None else [*lines, origin_line(origin, row)]


def origin_line(origin: Origin, row: EpochRow) -> str:
    """How the best epoch of a training compares with the trial that its configuration is of."""
    trial = (
        f"the trial that it comes from ({origin.config_id} of arm {origin.arm}, seed "
        f"{origin.seed}, {plural(origin.epochs, 'epoch')}, in {origin.run})"
    )
    if not math.isclose(row["baseline_val_loss"], origin.baseline_val_loss, rel_tol=1e-4):
        return f"Not compared with {trial}: that was scored on other validation windows"
    gain, metric = row[origin.metric] - origin.value, metric_row(origin.metric)
    gain = -gain if metric is not None and metric.better == "min" else gain
    verdict = (
        "equal" if abs(gain) < 5e-5 else f"{abs(gain):.4f} {'better' if gain > 0 else 'worse'}"
    )
    return (
        f"Compared: {origin.metric} {row[origin.metric]:.4f} at the best epoch, "
        f"{origin.value:.4f} at the end of {trial}: {verdict}"
    )


def _config_and_windows(
    config: Config, data_dir: str | Path | None, checkpoint: Path | None
) -> tuple[Config, MarketWindows]:
    """The complete configuration and the bars of a training; they must fit its checkpoint."""
    if checkpoint is not None and checkpoint.is_dir():
        raise ResultsError(f"--resume must be a checkpoint file, got a folder, {checkpoint}")
    trained = None if checkpoint is None else read_trained(checkpoint)
    if trained is not None:
        config = resumed_config(trained, config)
    bars, config = load_data(data_dir, config)
    windows = MarketWindows.of(bars, config)
    if trained is not None:
        then, now = trained.record.bars.sha256, windows.fingerprint
        if now != then:
            raise ResultsError(
                f"{trained.path}: must go on with the bars it began with (sha256 {then[:12]}), got "
                f"others ({now[:12]}); give the --data-dir of then"
            )
    return config, windows


def _print_how_to_resume(console: Console, folder: Path) -> None:
    checkpoint = folder / LAST_CHECKPOINT
    if checkpoint.exists():
        command = ["python", "-m", "stage1.train", str(folder / CONFIG_COPY), "--out", str(folder)]
        command += ["--resume", str(checkpoint)]
        saved = "Stopped; the last whole epoch is saved. Go on with:"
        print_plain(console, f"{saved} {shlex.join(command)}")


def _check_loss(row: EpochRow) -> None:
    if row["epoch"] > 0 and not math.isfinite(row["val_loss"] + row["train_loss"]):
        raise TrialError(
            f"the loss must stay finite, got {row['val_loss']} after epoch {row['epoch']}; "
            "lower training.optimizer.lr"
        )


def load_language_model(config: Config) -> LanguageModel | None:
    """What `transfer_learning` names; None for the vanilla encoder.

    Raises:
        ModelError: It cannot be had.
    """
    if config.language_model_name is None:
        return None
    transfer = config.transfer_learning
    return resolve(
        config.language_model_name,
        initialization=transfer.initialization,
        n_pretrained_blocks=transfer.n_pretrained_blocks,
    )


def resumed_config(trained: Trained, config: Config) -> Config:
    """The configuration that a checkpoint goes on with: this one, completed by the checkpoint's.

    Args:
        trained: The checkpoint.
        config: Must be the checkpoint's own, but for what `going_on` completes.

    Raises:
        ResultsError: It is of another configuration (names the keys that differ).
    """
    config, differing = going_on(trained.record.config, config)
    if differing:
        raise ResultsError(
            f"{trained.path}: must belong to this configuration, differs in "
            f"{', '.join(differing)}; resume with {trained.path.parent / CONFIG_COPY}"
        )
    return config


def epoch_line(row: EpochRow) -> str:
    """One line per epoch for people."""
    parts = [f"epoch {row['epoch']:>3}"]
    for name in ("train_loss", "val_loss", "val_correlation", "val_skill"):
        parts.append(f"{name} {row[name]:.4f}" if math.isfinite(row[name]) else f"{name} -")
    if row["epoch"] == 0:
        parts.append(f"(interpolation: correlation {row['baseline_val_correlation']:.4f}, skill 0)")
    return "  ".join(parts)
