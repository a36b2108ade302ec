"""A configuration trained anew for one period after the other, each time on all that was before."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_lightning.callbacks import ModelCheckpoint

from stage1.base.errors import DataError
from stage1.base.files import must_be_writable, scratch_folder, sha256_of_file
from stage1.base.metric_table import CORRELATION, INTERPOLATION, SKILL, evaluation_key
from stage1.config import Config, with_values
from stage1.data.bars import Bars, fingerprint
from stage1.data.batches import MarketWindows
from stage1.language_models.resolver import LanguageModel
from stage1.pages.evaluation_page import MODEL, Scored
from stage1.run.columns import WALK_COLUMNS
from stage1.run.folder import RunFolder
from stage1.run.tables import read_table, write_table
from stage1.training import LAST_CHECKPOINT
from stage1.training.best_epoch import BestEpoch
from stage1.training.checkpoint import read_trained
from stage1.training.encoder import bars_for
from stage1.training.evaluation import score_test_period
from stage1.training.fit import accelerator_here, check_precision, fit
from stage1.training.session import load_language_model


def walk_forward(
    checkpoint: Path,
    data_dir: str | Path | None,
    periods: int,
    folder: Path,
    *,
    say: Callable[[str], None],
) -> pd.DataFrame:
    """Train and score a checkpoint's configuration on consecutive periods.

    The time of the bars is cut into one part more than there are periods. Each part but the first
    is a period: the configuration is trained and validated on all bars before it, as a study with
    that test period would, and scored on its windows. What has been scored is in
    `walk_forward.parquet` at once, and a call that was cut off goes on there.

    Args:
        checkpoint: Of a training, or of a trial; its weights are not used.
        data_dir: As `bars_for` has it.
        periods: At least 1.
        folder: For the table.
        say: Takes a line per period, and warnings.

    Returns:
        Rows as `WALK_COLUMNS` has them, period by period.

    Raises:
        DataError: The bars are too few for so many periods.
        ResultsError: The checkpoint cannot be read, or the folder not be written.
        ModelError: The language model cannot be had.
        TrialError: Memory does not suffice.

    Source:
        The parts are those of scikit-learn's TimeSeriesSplit.
    """
    trained = read_trained(checkpoint)
    config = trained.record.config
    check_precision(config, accelerator_here())
    bars = bars_for(config, data_dir)
    bars = {name: bars[name] for name in config.data.timeframes}
    same = {
        "checkpoint_sha256": sha256_of_file(trained.file),
        "bars_sha256": fingerprint(bars),
        "periods": periods,
    }
    each = [_windows_of(bars, config, number, periods) for number in range(1, periods + 1)]
    run, model = RunFolder(folder), load_language_model(config)
    with must_be_writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        known = read_table(run, run.walk_forward, WALK_COLUMNS, unique=_KEY, optional=True)
        known = known[(known[list(same)] == pd.Series(same)).all(axis=1)]
        rows: Any = known.to_dict("records")
        for number, (own, windows) in enumerate(each, start=1):
            if number not in set(known["period"]):
                started = time.monotonic()
                scored = _trained_and_scored(own, windows, model, say)
                seconds = time.monotonic() - started
                rows += _rows(scored, len(windows.split.training.ends), seconds, same, number)
                write_table(run.walk_forward, WALK_COLUMNS, rows)
                say(f"period {number} of {periods}: {_told(scored)}, {seconds:.0f} s")
    walked = read_table(run, run.walk_forward, WALK_COLUMNS, unique=_KEY)
    return walked.sort_values("period", kind="stable")


_KEY = ["period", "of"]


def _windows_of(
    bars: dict[str, Bars], config: Config, number: int, periods: int
) -> tuple[Config, MarketWindows]:
    """The configuration and windows of a period, which are its test windows."""
    finest, minutes = bars[config.data.timeframes[0]].open_time, config.data.minutes
    begin, end = int(finest[0]), int(finest[-1]) + 60 * minutes[0]
    until = begin + round((end - begin) * (number + 1) / (periods + 1))
    before = {
        name: one._replace(open_time=one.open_time[:count], prices=one.prices[:count])
        for (name, one), length in zip(bars.items(), minutes, strict=True)
        for count in [int((one.open_time + 60 * length <= until).sum())]
    }
    config = with_values(config, {"data.test_share": 1 / (number + 1)})
    try:
        return config, MarketWindows.of(before, config)
    except DataError as error:
        raise DataError(
            f"--walk-forward {periods}: period {number} must have windows to train, to validate "
            f"and to test; give fewer periods or more bars ({error})"
        ) from None


def _trained_and_scored(
    config: Config,
    windows: MarketWindows,
    model: LanguageModel | None,
    say: Callable[[str], None],
) -> Scored:
    """A training with an early stop is worth what its best epoch is, any other its last."""
    with scratch_folder() as scratch:
        last = scratch / LAST_CHECKPOINT
        name = LAST_CHECKPOINT.removesuffix(ModelCheckpoint.FILE_EXTENSION)
        keep = ModelCheckpoint(scratch, name, save_on_train_epoch_end=True)
        best = BestEpoch(config.training, last, checkpoint=None)
        options: dict[str, Any] = {"enable_checkpointing": True, "callbacks": [keep, best]}
        fit(
            config,
            windows,
            model,
            report=lambda row: None,
            warn=say,
            accelerator=accelerator_here(),
            **options,
        )
        state = last if config.training.early_stop is None else best.best
        return score_test_period(read_trained(state), windows, warn=say)


def _rows(
    scored: Scored, training_windows: int, seconds: float, same: dict[str, Any], number: int
) -> list[dict[str, Any]]:
    period = same | {
        "period": number,
        "starts_at": datetime.fromtimestamp(scored.starts_at, UTC),
        "ends_at": datetime.fromtimestamp(scored.ends_at, UTC),
        "training_windows": training_windows,
        "windows": scored.windows,
        "seconds": seconds,
    }
    names = [column.name for column in WALK_COLUMNS if column.name not in period]
    whole = scored.scores[scored.scores["timeframe"] == "all"]
    return [period | {name: row[name] for name in names} for row in whole.to_dict("records")]


def _told(scored: Scored) -> str:
    correlation, skill = evaluation_key(CORRELATION), evaluation_key(SKILL)
    return (
        f"correlation {scored.of_all(MODEL, correlation):.4f}, interpolation "
        f"{scored.of_all(INTERPOLATION, correlation):.4f}, skill {scored.of_all(MODEL, skill):.4f}"
    )
