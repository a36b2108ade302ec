"""The report of an evaluation: a table, a picture, and what a reader must know before them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from stage1.base.files import atomic_path, must_be_writable, sha256_of_file, write_text
from stage1.base.metric_table import INTERPOLATION
from stage1.base.text import plural
from stage1.model.metrics import ALL
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
    paragraph,
)
from stage1.pages.console import plain_table
from stage1.pages.figures.drawn import save_figure
from stage1.pages.figures.reconstruction_figure import reconstructions_figure
from stage1.pages.html import html
from stage1.pages.markdown import markdown
from stage1.pages.numbers import moment, number
from stage1.training.evaluation import MODEL, Evaluation

METRICS_FILE, REPORT_FILE, PAGE_FILE = "metrics.parquet", "report.md", "report.html"
_COLUMNS = {
    "huber": "Huber",
    "correlation": "corr.",
    "skill": "skill",
    "spectral_delta": "spectrum",
    "consistency_ratio": "consistency",
}
_WORDS = {
    "interpolation": "A straight line drawn across the hidden bars; learns nothing.",
    "scored": "Hidden bars that are compared with the truth.",
    "Huber": "Mean loss of the scored bars' {prices}, in normalised units; smaller is better.",
    "corr.": "Pearson correlation of decoded and true {prices}; 1 is perfect.",
    "skill": "1 - MSE / MSE of linear interpolation; above 0 beats the line.",
    "spectrum": "Error of the amplitudes of the completed series; 0 is the true spectrum.",
    "consistency": "Share of {prices} that agree with the finer timeframes' bars beneath; none "
    "beneath the finest.",
}
_CHANNELS = {"ohlc": "prices", "series": "channels"}
_PREFIX = 12
"""Digits of a checksum that are shown."""


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
        blocks = report_blocks(evaluation, _picture(evaluation, out))
        write_text(out / REPORT_FILE, markdown(blocks))
        write_text(out / PAGE_FILE, html(blocks))


def _picture(evaluation: Evaluation, out: Path) -> Picture:
    drawn = reconstructions_figure(evaluation.excerpts)
    if drawn.figure is None:
        return Picture(drawn.title, "", "", b"", drawn.missing)
    path = out / f"{drawn.name}.png"
    save_figure(drawn.figure, path)
    return Picture(drawn.title, drawn.caption, path.name, path.read_bytes(), "")


def show_evaluation(evaluation: Evaluation, out: Path, console: Console) -> None:
    """Print the table, the warnings, and where the rest lies."""
    console.print(plain_table(scores_table(evaluation), _note(evaluation)))
    for text in cautions(evaluation):
        console.print(Padding(Text(f"Warning: {text}", style="yellow"), (0, 0, 0, 2)))
    for line in (f"Report: {out / REPORT_FILE}", f"As a page: {out / PAGE_FILE}"):
        console.print(line, markup=False, soft_wrap=True, highlight=False)


def scores_table(evaluation: Evaluation) -> Table:
    """A row per timeframe for the model, and one for interpolation."""
    rows: list[list[Inline]] = [
        [
            score["timeframe"] if score["of"] == MODEL else f"\N{EN DASH} {score['of']}",
            f"{score['scored_bars']:,}" if score["of"] == MODEL else "",
            *(number(score[name], digits=3) for name in _COLUMNS),
        ]
        for score in evaluation.scores.to_dict("records")
    ]
    return Table(["timeframe", "scored", *_COLUMNS.values()], rows, numbers_from=1)


def cautions(evaluation: Evaluation) -> list[str]:
    """What a reader must know before the numbers."""
    texts = []
    skill = _of_all(evaluation, MODEL)["skill"]
    if not skill > 0:
        texts.append(
            f"the model does not beat linear interpolation (skill {number(skill, digits=3)})"
        )
    if evaluation.seen:
        texts.append(
            f"{evaluation.seen} of {plural(evaluation.windows, 'window')} begin before the end of "
            f"the bars that it was trained on, {_moment(evaluation.record.bars.split_at)}: it may "
            "have seen what it is asked for"
        )
    return texts


def report_blocks(evaluation: Evaluation, picture: Picture) -> list[Block]:
    """The report."""
    bars = "those of its training" if evaluation.same_bars else "others than those of its training"
    config = evaluation.record.config
    prices = _CHANNELS[config.data.kind]
    return [
        Heading("What a trained model makes of hidden bars", 1),
        paragraph(
            "The checkpoint ",
            Code(str(evaluation.path)),
            f" on the {plural(evaluation.windows, 'validation window')} of its configuration, from "
            f"{_moment(evaluation.starts_at)} to {_moment(evaluation.ends_at)}.",
        ),
        *(Caution("Warning", f"{text[0].upper()}{text[1:]}.") for text in cautions(evaluation)),
        Heading("Metrics"),
        scores_table(evaluation),
        paragraph(_note(evaluation), note=True),
        Heading("Reconstructions"),
        Gallery([picture]),
        Heading("Words"),
        Items([(f"{word}: {text.format(prices=prices)}",) for word, text in _WORDS.items()]),
        Heading("Provenance"),
        Items(
            [
                ("checkpoint: sha256 ", Code(sha256_of_file(evaluation.path)[:_PREFIX])),
                (f"bars: {bars}",),
                (f"windows: {config.data.seq_len} {_length(evaluation)} of {_names(evaluation)}",),
                (f"trained on bars until {_moment(evaluation.record.bars.split_at)}",),
                *((f"{name}: ", Code(str(value)[:_PREFIX])) for name, value in _prints(evaluation)),
            ]
        ),
    ]


def _note(evaluation: Evaluation) -> str:
    mine, its = (_of_all(evaluation, of)["val_loss"] for of in (MODEL, INTERPOLATION))
    return (
        f"val_loss, the whole objective: {number(mine)}, interpolation {number(its)}. Skill above "
        "0 beats the line."
    )


def _of_all(evaluation: Evaluation, of: str) -> dict[str, float]:
    scores = evaluation.scores
    row = scores[(scores["timeframe"] == ALL) & (scores["of"] == of)].iloc[0]
    return {name: float(row[name]) for name in ("skill", "val_loss")}


def _length(evaluation: Evaluation) -> str:
    config = evaluation.record.config
    return config.data.unit if config.model.async_sampler else "bars"


def _names(evaluation: Evaluation) -> str:
    return ", ".join(evaluation.record.config.data.timeframes)


def _prints(evaluation: Evaluation) -> list[tuple[str, str]]:
    return [(name, value) for name, value in evaluation.record.fingerprints if value]


def _moment(seconds: int) -> str:
    return moment(datetime.fromtimestamp(seconds, UTC))
