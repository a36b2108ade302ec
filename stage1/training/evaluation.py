"""What a model makes of validation and test windows: all metrics, and excerpts to look at."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from stage1.base.errors import ResultsError, Stage1Error
from stage1.base.files import must_be_writable, sha256_of_file
from stage1.base.metric_table import ALL_TIMEFRAMES, INTERPOLATION
from stage1.config import DataConfig, with_values
from stage1.data.bars import UTC_DAYS, Bars, DayClock, fingerprint
from stage1.data.batches import Batch, MarketWindows
from stage1.data.features import kind_of
from stage1.data.gathering import CPU
from stage1.data.times import instants_of
from stage1.model.metrics import evaluate_each, interpolated
from stage1.model.stage1_model import Built
from stage1.pages.evaluation_page import (
    MODEL,
    Evaluation,
    Reconstruction,
    Scored,
    reconstructions_figure,
)
from stage1.run.columns import TEST_COLUMNS
from stage1.run.folder import RunFolder
from stage1.run.registration import read_preregistration
from stage1.run.resolved_space import read_space
from stage1.run.summary import NO_CHECKPOINT, best_configuration, kept_checkpoints
from stage1.run.tables import read_test_period, read_trials, write_table
from stage1.training.checkpoint import Record, Trained, read_trained
from stage1.training.encoder import bars_for, trained_model
from stage1.training.fit import accelerator_here, lean_trainer
from stage1.training.memory import Warn
from stage1.training.module import Stage1Module

TIMEFRAMES = 3
"""Of which excerpts are shown at most: the finest, the coarsest, and one between."""
WINDOWS = 2
"""Shown of each of them."""
LONGEST = 64
"""Bars shown of a window."""


def evaluate_checkpoint(
    checkpoint: Path, data_dir: str | Path | None, *, warn: Warn, test: bool = False
) -> Evaluation:
    """Decode the validation windows and score them as the training did.

    Args:
        checkpoint: Of a training, or a folder of `stage1.push`.
        data_dir: As `bars_for` has it.
        warn: Takes a line when a batch does not fit into memory and is worked on in parts.
        test: Whether the test windows are scored too; only of the bars of the training.

    Raises:
        ResultsError: The checkpoint cannot be read.
        DataError: The bars lack a timeframe, or are too few.
        TrialError: Memory does not suffice for a single window.
    """
    trained = read_trained(checkpoint)
    record = trained.record
    bars = bars_for(record.config, data_dir)
    same_bars = fingerprint({name: bars[name] for name in record.config.data.timeframes}) == (
        record.bars.sha256
    )
    # Of other bars no part is behind those that its configuration was chosen by.
    config = record.config if same_bars else with_values(record.config, {"data.test_share": 0.0})
    windows = MarketWindows.of(bars, config, statistics=record.statistics)
    validation = _decoded(trained, windows, warn)
    has_test = test and len(windows.split.test.ends) > 0
    starts = windows.resident.instants(windows.split.validation.starts)
    return Evaluation(
        path=checkpoint,
        sha256=sha256_of_file(trained.file),
        config=record.config,
        validation=validation.scored(record),
        test=score_test_period(trained, windows, warn=warn) if has_test else None,
        excerpts=excerpts(
            validation.bars,
            validation.line,
            validation.batch,
            windows_to_show(validation.batch.scored),
            config.data,
            clock=windows.resident.clock,
        ),
        trained_until=record.bars.split_at,
        seen=int((starts < record.bars.split_at).sum()),
        same_bars=same_bars,
        fingerprints=dict(record.fingerprints),
        chosen_until=(
            int(windows.resident.instants(np.array([windows.split.test_from]))[0])
            if same_bars
            else None
        ),
    )


def score_test_period(trained: Trained, windows: MarketWindows, *, warn: Warn) -> Scored:
    """Score the test windows, of which there must be some, as validation windows are.

    Args:
        trained: A checkpoint.
        windows: Over bars that it was trained on the first part of, as its configuration has them.
        warn: As `evaluate_checkpoint` has it.
    """
    return _decoded(trained, windows.in_test_period(), warn).scored(trained.record)


class _Decoded(NamedTuple):
    """The validation windows, as a model decodes them and as interpolation does."""

    windows: MarketWindows
    bars: Tensor
    line: Tensor
    batch: Batch

    def scored(self, record: Record) -> Scored:
        """With the metrics of both."""
        validation, instants = self.windows.split.validation, self.windows.resident.instants
        return Scored(
            scores=_scores(self.bars, self.line, self.batch, record),
            windows=len(validation.ends),
            starts_at=int(instants(validation.starts[:1])[0]),
            ends_at=int(instants(validation.ends[-1:])[0]),
        )


def _decoded(trained: Trained, windows: MarketWindows, warn: Warn) -> _Decoded:
    """The validation set, decoded in the training's precision, on the GPU where there is one.

    A CPU that does not have it takes 32-true, the more exact one.
    """
    record, accelerator = trained.record, accelerator_here()
    training = record.config.training
    config = record.config
    if training.precision_fault(on_gpu=accelerator == "cuda"):
        warn(f"Warning: decoded in 32-true: {training.precision} wants a GPU, and none was found")
        config = with_values(config, {"training.precision": "32-true"})
    prints = record.fingerprints
    built = Built(trained_model(trained), prints.lm_sha256, prints.head_sha256, record.t5)
    torch.set_num_threads(training.threads)
    module = Stage1Module(record.config, windows, built, warn=warn)
    batch = module.validation_set
    with lean_trainer(config, accelerator=accelerator) as trainer:
        decoded: Any = trainer.predict(module, dataloaders=module.val_dataloader())
    return _Decoded(windows, torch.cat(decoded), interpolated(batch), batch)


def look_rows(
    scored: Scored, *, trial_id: str, sha256: str, when: datetime
) -> list[dict[str, Any]]:
    """What a checkpoint came to on the test period, as `TEST_COLUMNS` has it."""
    look = {
        "looked_at": when,
        "trial_id": trial_id,
        "checkpoint_sha256": sha256,
        "starts_at": datetime.fromtimestamp(scored.starts_at, UTC),
        "ends_at": datetime.fromtimestamp(scored.ends_at, UTC),
        "windows": scored.windows,
    }
    names = [column.name for column in TEST_COLUMNS if column.name not in look]
    return [
        look | {name: row[name] for name in names if name in row}
        for row in scored.scores.to_dict("records")
    ]


def add_look(evaluation: Evaluation, folder: Path) -> pd.DataFrame:
    """Note that somebody looks at the test period, in the study that a checkpoint lies in.

    Args:
        evaluation: Of the checkpoint, with its test windows.
        folder: That takes the note where the checkpoint is of no study.

    Returns:
        All looks that are known, as `TEST_COLUMNS` has them.

    Raises:
        ResultsError: The folder cannot be written, or the file in it is not ours.
    """
    run = RunFolder(evaluation.path.parent.parent)
    if evaluation.path.parent != run.checkpoints or not run.prereg.is_file():
        run = RunFolder(folder)
    with must_be_writable(run.path):
        run.path.mkdir(parents=True, exist_ok=True)
        looks = read_test_period(run)
        if evaluation.test is None or evaluation.sha256 in set(looks["checkpoint_sha256"]):
            return looks
        name, when = evaluation.path.stem, datetime.now(UTC)
        _add(run, look_rows(evaluation.test, trial_id=name, sha256=evaluation.sha256, when=when))
    return read_test_period(run)


def _add(run: RunFolder, rows: list[dict[str, Any]]) -> None:
    before: Any = read_test_period(run).to_dict("records")
    write_table(run.test_period, TEST_COLUMNS, [*before, *rows])


def score_chosen(run: RunFolder, bars: dict[str, Bars], *, warn: Warn) -> None:
    """Score the best configuration's kept checkpoints on the test period, each once.

    Trials of the configuration in any stage count, search too. Without a test period, and before a
    configuration is complete, nothing is done.

    Args:
        run: Of a study that has ended.
        bars: Of the study.
        warn: Takes a line for each checkpoint that cannot be scored, or where none is kept.
    """
    trials, space = read_trials(run), read_space(run)
    try:
        best = best_configuration(trials, space, read_preregistration(run))
    except ResultsError:
        return
    if not space.test_share:
        return
    kept = kept_checkpoints(run, trials, best)
    if not kept:
        warn(f"Not scored on the test period: {NO_CHECKPOINT}")
    known, when = set(read_test_period(run)["checkpoint_sha256"]), datetime.now(UTC)
    rows: list[dict[str, Any]] = []
    for name in kept:
        file = run.checkpoint(name)
        sha256 = sha256_of_file(file)
        if sha256 in known:
            continue
        try:
            trained = read_trained(file)
            statistics = trained.record.statistics
            windows = MarketWindows.of(bars, trained.record.config, statistics=statistics)
            scored = score_test_period(trained, windows, warn=warn)
        except Stage1Error as error:
            warn(f"Warning: {name} could not be scored on the test period: {error}")
            continue
        rows += look_rows(scored, trial_id=name, sha256=sha256, when=when)
    if rows:
        _add(run, rows)


def _scores(decoded: Tensor, line: Tensor, batch: Batch, record: Record) -> pd.DataFrame:
    names = record.config.data.timeframes
    counts = dict(zip(names, batch.scored.sum(dim=(0, 2)).tolist(), strict=True))
    counts[ALL_TIMEFRAMES] = sum(counts.values())
    metrics = {
        of: evaluate_each(bars, line, batch, record.config)
        for of, bars in ((MODEL, decoded), (INTERPOLATION, line))
    }
    return pd.DataFrame(
        [
            {"timeframe": name, "of": of, "scored_bars": counts[name], **metrics[of][name]}
            for name in (ALL_TIMEFRAMES, *names)
            for of in metrics
        ]
    )


def windows_to_show(scored: Tensor) -> list[tuple[int, int]]:
    """Which windows to show, of which timeframes: evenly spaced, whatever the model makes of them.

    Args:
        scored: (windows, timeframes, bars) True where a bar is compared with the truth.

    Returns:
        Pairs of a window and a timeframe that has scored bars in it, by index.
    """
    has_scored = scored.any(dim=2).numpy()
    timeframes = np.flatnonzero(has_scored.any(axis=0))
    pairs = []
    count = min(TIMEFRAMES, len(timeframes))
    chosen = np.linspace(0, len(timeframes) - 1, count).round().astype(int)
    for timeframe in timeframes[chosen]:  # from the first to the last
        windows = np.flatnonzero(has_scored[:, timeframe])
        # Neither the first nor the last: the middle of so many equal parts.
        places = (np.arange(WINDOWS) + 0.5) / WINDOWS * len(windows)
        pairs += [(int(w), int(timeframe)) for w in np.unique(windows[places.astype(int)])]
    return pairs


def excerpts(
    decoded: Tensor,
    line: Tensor,
    batch: Batch,
    pairs: list[tuple[int, int]],
    config: DataConfig,
    *,
    clock: DayClock = UTC_DAYS,
) -> list[Reconstruction]:
    """The excerpts, in units of price, or of the channels of a series, one channel after the other.

    Args:
        decoded: (windows, timeframes, bars, channels) normalised.
        line: The same windows, interpolated.
        batch: The same windows.
        pairs: Window and timeframe of each excerpt, by index.
        config: Of the data.
        clock: What the bars are counted on.
    """
    shown, kind = [], kind_of(config)
    for number, (window, index) in enumerate(pairs):
        channel, columns = None, slice(None)
        if config.kind == "series":
            place = number % len(kind.channels)
            channel, columns = kind.channels[place], slice(place, place + 1)
        bars = int(batch.real[window, index].sum())
        part = excerpt_of(batch.scored[window, index, :bars].numpy())
        center, scale = batch.center[window, index], batch.scale[window, index]
        truth, mine, straight = (
            kind.value(center + scale * normalised[window, index, part].double())[
                :, columns
            ].numpy()
            for normalised in (batch.targets, decoded, line)
        )
        shown.append(
            Reconstruction(
                timeframe=config.timeframes[index],
                open_time=kind.instants(
                    instants_of(clock, batch.open_time[window, index, part].numpy())
                ),
                truth=truth,
                model=mine,
                line=straight,
                hidden=batch.hidden[window, index, part].numpy(),
                scored=batch.scored[window, index, part].numpy(),
                channel=channel,
            )
        )
    return shown


def excerpt_of(scored: NDArray[np.bool_]) -> slice:
    """The `LONGEST` bars of a window with most scored ones among them; all, if it has no more."""
    length = min(LONGEST, len(scored))
    counts = np.convolve(scored, np.ones(length, dtype=int), mode="valid")
    best = np.flatnonzero(counts == counts.max())
    first = int(best[len(best) // 2])
    return slice(first, first + length)


class ReconstructionPicture(Callback):
    """Adds the picture that `stage1.evaluate` draws to TensorBoard's log when a training ends."""

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Draw. Called by Lightning; not after Ctrl-C."""
        drawn = reconstructions_figure(excerpts_of(module))
        if drawn.figure is not None:
            log: Any = trainer.logger
            log.experiment.add_figure(drawn.name, drawn.figure, trainer.global_step)


@torch.no_grad()
def excerpts_of(module: Stage1Module) -> list[Reconstruction]:
    """Excerpts of a module's validation windows, as it decodes them now.

    No other windows are decoded. In full precision, and so not to the last digit what a validation
    in a mixed one gives.
    """
    batch = module.validation_set.to(CPU)
    pairs = windows_to_show(batch.scored)
    windows = sorted({window for window, _ in pairs})
    shown = Batch(*(tensor[torch.tensor(windows, dtype=torch.long)] for tensor in batch))
    training = module.training
    module.eval()
    decoded = module.predict_step(shown.to(module.device), 0)
    module.train(training)
    places = [(windows.index(window), index) for window, index in pairs]
    clock = module.windows.resident.clock
    return excerpts(decoded, interpolated(shown), shown, places, module.config.data, clock=clock)
