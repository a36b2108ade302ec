"""The report of an evaluation: a table, a picture, and what a reader must know before them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from rich.console import Console

from stage1.base.files import atomic_path, must_be_writable, sha256_of_file
from stage1.base.metric_table import (
    ALL_TIMEFRAMES,
    INTERPOLATION,
    INTERPOLATION_MEANING,
    LOSS,
    METRICS,
    SKILL,
    evaluation_key,
)
from stage1.base.terminal import print_plain
from stage1.base.text import plural
from stage1.config import Config
from stage1.pages.blocks import (
    Block,
    Caution,
    Code,
    Gallery,
    Heading,
    Inline,
    Items,
    Picture,
    Table,
    cautions,
    paragraph,
    word_list,
)
from stage1.pages.figures.reconstruction_figure import Reconstruction, reconstructions_figure
from stage1.pages.numbers import moment, number
from stage1.pages.page import save_page, save_picture, screen_table, show_cautions

METRICS_FILE, REPORT_FILE, PAGE_FILE = "metrics.parquet", "report.md", "report.html"
MODEL = "model"
_SHOWN = [metric for metric in METRICS if metric.heading]
_WORDS = {
    INTERPOLATION: INTERPOLATION_MEANING,
    "scored": "Hidden bars that are compared with the truth.",
    "Huber": "Mean loss of the scored bars, in normalised units; smaller is better.",
    **{metric.heading: metric.meaning for metric in _SHOWN},
}
_PREFIX = 12
"""Digits of a checksum that are shown."""


class Evaluation(NamedTuple):
    """What a checkpoint came to on the validation windows of its configuration."""

    path: Path
    """Of the checkpoint."""
    config: Config
    """Of its training."""
    scores: pd.DataFrame
    """Rows per `timeframe` (`ALL_TIMEFRAMES` first) and `of` (`MODEL`, `INTERPOLATION`), a column
    per metric, and `val_loss`, which only all timeframes together have."""
    excerpts: list[Reconstruction]
    windows: int
    """How many."""
    starts_at: int
    """Unix seconds; the first bar of the first window."""
    ends_at: int
    """Unix seconds; the end of the last window."""
    trained_until: int
    """Unix seconds; the end of the bars it was trained on."""
    seen: int
    """Windows that begin before that."""
    same_bars: bool
    """Whether these are the bars of its training."""
    fingerprints: dict[str, str | None]
    """SHA-256 of what tells one training from another, by name."""

    def of_all(self, of: str, metric: str) -> float:
        """A metric over all timeframes, of `MODEL` or `INTERPOLATION`."""
        rows = self.scores[(self.scores["timeframe"] == ALL_TIMEFRAMES) & (self.scores["of"] == of)]
        return float(rows[metric].iloc[0])


def write_evaluation(evaluation: Evaluation, out: Path) -> None:
    """Write metrics.parquet, reconstructions.png, report.md and report.html into a folder.

    Args:
        evaluation: Of a checkpoint.
        out: Made if need be; what else lies in it is left alone.

    Raises:
        ResultsError: It cannot be written.
    """
    with must_be_writable(out):
        with atomic_path(out / METRICS_FILE) as path:
            evaluation.scores.to_parquet(path, index=False)
        picture = save_picture(reconstructions_figure(evaluation.excerpts), out)
        save_page(report_blocks(evaluation, picture), out / REPORT_FILE, out / PAGE_FILE)


def show_evaluation(evaluation: Evaluation, out: Path, console: Console) -> None:
    """Print the table, the warnings, and where the rest lies."""
    console.print(screen_table(scores_table(evaluation), caption=_note(evaluation)))
    show_cautions(console, evaluation_cautions(evaluation))
    print_plain(console, f"Report: {out / REPORT_FILE}\nAs a page: {out / PAGE_FILE}")


def scores_table(evaluation: Evaluation) -> Table:
    """A row per timeframe for the model, and one for interpolation."""
    columns = {"huber": "Huber", **{evaluation_key(row.name): row.heading for row in _SHOWN}}
    rows: list[list[Inline]] = [
        [
            score["timeframe"] if score["of"] == MODEL else f"\N{EN DASH} {score['of']}",
            f"{score['scored_bars']:,}" if score["of"] == MODEL else "",
            *(number(score[name], digits=3) for name in columns),
        ]
        for score in evaluation.scores.to_dict("records")
    ]
    return Table(["timeframe", "scored", *columns.values()], rows, numbers_from=1)


def evaluation_cautions(evaluation: Evaluation) -> list[Caution]:
    """What a reader must know before the numbers."""
    texts = []
    skill = evaluation.of_all(MODEL, evaluation_key(SKILL))
    if not skill > 0:
        texts.append(
            f"The model does not beat linear interpolation (skill {number(skill, digits=3)})."
        )
    if evaluation.seen:
        texts.append(
            f"{evaluation.seen} of {plural(evaluation.windows, 'window')} begin before the end of "
            f"the bars that it was trained on, {_moment(evaluation.trained_until)}: it may have "
            "seen what it is asked for."
        )
    return cautions(texts)


def report_blocks(evaluation: Evaluation, picture: Picture) -> list[Block]:
    """The report."""
    bars = "those of its training" if evaluation.same_bars else "others than those of its training"
    data = evaluation.config.data
    length = data.unit if evaluation.config.model.async_sampler else "bars"
    prints = [(name, value) for name, value in evaluation.fingerprints.items() if value]
    return [
        Heading("What a trained model makes of hidden bars", 1),
        paragraph(
            "The checkpoint ",
            Code(str(evaluation.path)),
            f" on the {plural(evaluation.windows, 'validation window')} of its configuration, from "
            f"{_moment(evaluation.starts_at)} to {_moment(evaluation.ends_at)}.",
        ),
        *evaluation_cautions(evaluation),
        Heading("Metrics"),
        scores_table(evaluation),
        paragraph(_note(evaluation), note=True),
        Heading("Reconstructions"),
        Gallery([picture]),
        *word_list(_WORDS),
        Heading("Provenance"),
        Items(
            [
                ("checkpoint: sha256 ", Code(sha256_of_file(evaluation.path)[:_PREFIX])),
                (f"bars: {bars}",),
                (f"windows: {data.seq_len} {length} of {', '.join(data.timeframes)}",),
                (f"trained on bars until {_moment(evaluation.trained_until)}",),
                *((f"{name}: ", Code(value[:_PREFIX])) for name, value in prints),
            ]
        ),
    ]


def _note(evaluation: Evaluation) -> str:
    mine, its = (number(evaluation.of_all(of, LOSS)) for of in (MODEL, INTERPOLATION))
    return (
        f"{LOSS}, the whole objective: {mine}, {INTERPOLATION} {its}. Skill above 0 beats the line."
    )


def _moment(seconds: int) -> str:
    return moment(datetime.fromtimestamp(seconds, UTC))
