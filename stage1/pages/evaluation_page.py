"""The report of an evaluation: a table, a picture, and what a reader must know before them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from rich.console import Console

from stage1.base.files import atomic_path, must_be_writable
from stage1.base.metric_table import (
    ALL_TIMEFRAMES,
    CORRELATION,
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
from stage1.pages.figures.drawn import (
    LOOK,
    QUIET,
    REFERENCE,
    TEXT_SIZE,
    ArmStyle,
    DrawnFigure,
    absent,
    arm_styles,
    legend_below,
    new_figure,
    shortened,
)
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


class Reconstruction(NamedTuple):
    """Bars in a row, out of one window and timeframe, in units of price, or of a channel."""

    timeframe: str
    open_time: NDArray[np.int64]  # (bars) unix seconds
    truth: NDArray[np.float64]  # (bars, 4) open, high, low, close; of a series (bars, 1)
    model: NDArray[np.float64]  # likewise; read where hidden
    line: NDArray[np.float64]  # likewise, linear interpolation; read where hidden
    hidden: NDArray[np.bool_]  # (bars)
    scored: NDArray[np.bool_]  # (bars) of the hidden ones
    channel: str | None = None  # of a series; None: these are prices


class Scored(NamedTuple):
    """What a model came to on some windows."""

    scores: pd.DataFrame
    """Rows per `timeframe` (`ALL_TIMEFRAMES` first) and `of` (`MODEL`, `INTERPOLATION`), a column
    per metric, and `val_loss`, which only all timeframes together have."""
    windows: int
    """How many."""
    starts_at: int
    """Unix seconds; the first bar of the first window."""
    ends_at: int
    """Unix seconds; the end of the last window."""

    def of_all(self, of: str, metric: str) -> float:
        """A metric over all timeframes, of `MODEL` or `INTERPOLATION`."""
        rows = self.scores[(self.scores["timeframe"] == ALL_TIMEFRAMES) & (self.scores["of"] == of)]
        return float(rows[metric].iloc[0])


class Evaluation(NamedTuple):
    """What a checkpoint came to on the validation windows of its configuration."""

    path: Path
    """Of the checkpoint."""
    sha256: str
    """Of the file with its weights."""
    config: Config
    """Of its training."""
    validation: Scored
    """On the validation windows."""
    test: Scored | None
    """On the test windows; None without a test period, or on other bars."""
    excerpts: list[Reconstruction]
    """Of validation windows."""
    trained_until: int
    """Unix seconds; the end of the bars it was trained on."""
    seen: int
    """Validation windows that begin before that."""
    same_bars: bool
    """Whether these are the bars of its training."""
    fingerprints: dict[str, str | None]
    """SHA-256 of what tells one training from another, by name."""
    chosen_until: int | None = None
    """Unix seconds; the end of the bars that it was trained and validated on; None of others."""
    looks: pd.DataFrame | None = None
    """All at the test period that are known, this one too, as `TEST_COLUMNS` has them."""
    walk: pd.DataFrame | None = None
    """Its configuration trained anew for periods, as `WALK_COLUMNS` has it."""


def write_evaluation(evaluation: Evaluation, out: Path) -> None:
    """Write metrics.parquet, reconstructions.png, report.md and report.html into a folder.

    The folder is made if need be; what else lies in it is left alone.

    Raises:
        ResultsError: It cannot be written.
    """
    with must_be_writable(out):
        with atomic_path(out / METRICS_FILE) as path:
            evaluation.validation.scores.to_parquet(path, index=False)
        picture = save_picture(reconstructions_figure(evaluation.excerpts), out)
        save_page(report_blocks(evaluation, picture), out / REPORT_FILE, out / PAGE_FILE)


def show_evaluation(evaluation: Evaluation, out: Path, console: Console) -> None:
    """Print the tables, the warnings, and where the rest lies."""
    tables = {"On the validation windows": evaluation.validation}
    warned = evaluation_cautions(evaluation)
    if evaluation.test is not None:
        tables["On the test windows, which nothing was chosen by"] = evaluation.test
        warned += cautions(looks_texts(evaluation.looks))
    for title, scored in tables.items():
        if len(tables) > 1:
            print_plain(console, f"{title}:")
        console.print(screen_table(scores_table(scored), caption=_note(scored)))
    if evaluation.walk is not None:
        print_plain(console, f"{WALK}:")
        console.print(screen_table(walk_table(evaluation.walk), caption=_walk_note(evaluation)))
    show_cautions(console, warned)
    print_plain(console, f"Report: {out / PAGE_FILE} (as text: {REPORT_FILE})")


def scores_table(scored: Scored) -> Table:
    """A row per timeframe for the model, and one for interpolation."""
    columns = {"huber": "Huber", **{evaluation_key(row.name): row.heading for row in _SHOWN}}
    rows: list[list[Inline]] = [
        [
            score["timeframe"] if score["of"] == MODEL else f"\N{EN DASH} {score['of']}",
            f"{score['scored_bars']:,}" if score["of"] == MODEL else "",
            *(number(score[name], digits=3) for name in columns),
        ]
        for score in scored.scores.to_dict("records")
    ]
    return Table(["timeframe", "scored", *columns.values()], rows, numbers_from=1)


def evaluation_cautions(evaluation: Evaluation) -> list[Caution]:
    """What a reader must know before the numbers."""
    texts = []
    skill = evaluation.validation.of_all(MODEL, evaluation_key(SKILL))
    if not skill > 0:
        texts.append(
            f"The model does not beat linear interpolation (skill {number(skill, digits=3)})."
        )
    if evaluation.seen:
        texts.append(
            f"{evaluation.seen} of {plural(evaluation.validation.windows, 'window')} begin before "
            f"the end of the bars that it was trained on, {moment_of(evaluation.trained_until)}: "
            "it may have seen what it is asked for."
        )
    return cautions(texts)


def metrics_blocks(evaluation: Evaluation) -> list[Block]:
    """On which windows it was measured, warnings, and the table."""
    windows = _windows_text(evaluation.validation, "validation")
    return [
        paragraph(f"The {windows}."),
        *evaluation_cautions(evaluation),
        scores_table(evaluation.validation),
        paragraph(_note(evaluation.validation), note=True),
    ]


def tested_blocks(evaluation: Evaluation) -> list[Block]:
    """The section of the test period; none without one."""
    if evaluation.test is None:
        return []
    windows = _windows_text(evaluation.test, "test")
    return [
        Heading("On bars that nothing was chosen by"),
        paragraph(f"The {windows}, behind all bars that it was trained and validated on."),
        *cautions(looks_texts(evaluation.looks)),
        scores_table(evaluation.test),
        paragraph(_note(evaluation.test), note=True),
    ]


def looks_texts(looks: pd.DataFrame | None) -> list[str]:
    """What is to be said of a test period that more than one look was taken at; else nothing."""
    if looks is None:
        return []
    by_look: Any = looks.drop_duplicates("checkpoint_sha256").groupby("looked_at")["trial_id"]
    each = [f"{', '.join(names)} ({moment(when)})" for when, names in by_look]
    if len(each) < 2:
        return []
    return [
        f"The test period was looked at {len(each)} times: {'; '.join(each)}. Whoever chooses "
        "between them by these numbers has chosen by this period, and it flatters the choice."
    ]


WALK = "Trained anew for one period after the other"


def walk_blocks(evaluation: Evaluation) -> list[Block]:
    """The section of the periods; none where nothing was trained anew."""
    if evaluation.walk is None:
        return []
    return [
        Heading(WALK),
        walk_table(evaluation.walk),
        paragraph(_walk_note(evaluation), note=True),
    ]


def walk_table(walk: pd.DataFrame) -> Table:
    """A row per period: when, what was trained on, and the model beside interpolation."""
    correlation, skill = evaluation_key(CORRELATION), evaluation_key(SKILL)
    columns = ("starts_at", "ends_at", "training_windows", "windows", correlation)
    rows: list[list[Inline]] = []
    for (period,), both in walk.groupby(["period"]):
        model, line = (both[both["of"] == of].iloc[0] for of in (MODEL, INTERPOLATION))
        first, last, trained, windows, score = (model[name] for name in columns)
        scores = (score, line[correlation], model[skill])
        counts = (f"{trained:,}", f"{windows:,}")
        days = (f"{day:%Y-%m-%d}" for day in (first, last))
        rows.append([str(period), *days, *counts, *(number(one, digits=3) for one in scores)])
    header = ["period", "from", "to", "training", "scored", "corr.", "line", "skill"]
    return Table(header, rows, numbers_from=3)


def _walk_note(evaluation: Evaluation) -> str:
    note = (
        "Each time on all bars before the period, the last of them to validate, with the seed of "
        "the checkpoint: training and scored count windows, line is interpolation's correlation."
    )
    if evaluation.chosen_until is None:
        return note
    return (
        f"{note} The configuration itself was chosen on bars before "
        f"{moment_of(evaluation.chosen_until)}, which flatters the periods there."
    )


def _windows_text(scored: Scored, kind: str) -> str:
    between = f"from {moment_of(scored.starts_at)} to {moment_of(scored.ends_at)}"
    return f"{plural(scored.windows, f'{kind} window')}, {between}"


def report_blocks(evaluation: Evaluation, picture: Picture) -> list[Block]:
    """The report."""
    bars = "those of its training" if evaluation.same_bars else "others than those of its training"
    data = evaluation.config.data
    length = data.unit if evaluation.config.model.async_sampler else "bars"
    prints = [(name, value) for name, value in evaluation.fingerprints.items() if value]
    return [
        Heading("What a trained model makes of hidden bars", 1),
        paragraph("The checkpoint ", Code(str(evaluation.path)), "."),
        Heading("Metrics"),
        *metrics_blocks(evaluation),
        *tested_blocks(evaluation),
        *walk_blocks(evaluation),
        Heading("Reconstructions"),
        Gallery([picture]),
        *word_list(_WORDS),
        Heading("Provenance"),
        Items(
            [
                ("checkpoint: sha256 ", Code(evaluation.sha256[:_PREFIX])),
                (f"bars: {bars}",),
                (f"windows: {data.seq_len} {length} of {', '.join(data.timeframes)}",),
                (f"trained on bars until {moment_of(evaluation.trained_until)}",),
                *((f"{name}: ", Code(value[:_PREFIX])) for name, value in prints),
            ]
        ),
    ]


def _note(scored: Scored) -> str:
    model, line = (number(scored.of_all(of, LOSS)) for of in (MODEL, INTERPOLATION))
    return (
        f"{LOSS}, the whole objective: {model}, {INTERPOLATION} {line}. "
        "Skill above 0 beats the line."
    )


def moment_of(seconds: int) -> str:
    """Unix seconds as a page shows them."""
    return moment(datetime.fromtimestamp(seconds, UTC))


# The picture -------------------------------------------------------------------------------------

NAME, TITLE = "reconstructions", "What the model makes of hidden bars"
_CLOSE, _HIGH, _LOW = 3, 1, 2
_DAY = 86_400
_TRUTH: dict[str, Any] = {"color": "0.35", "linewidth": 1.3}
_RANGE: dict[str, Any] = {"color": "0.8", "linewidth": 2.2}
_SCORED: dict[str, Any] = {"color": "#F0E442", "alpha": 0.45, "linewidth": 0}
_HIDDEN: dict[str, Any] = {
    "facecolor": "none",
    "edgecolor": "0.75",
    "hatch": "////",
    "linewidth": 0,
}


def runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last place of every run of chosen bars."""
    edges = np.diff(np.concatenate([[False], chosen, [False]]).astype(int))
    first, behind = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(int(a), int(b) - 1) for a, b in zip(first, behind, strict=True)]


def reconstructions_figure(shown: Sequence[Reconstruction]) -> DrawnFigure:
    """Draw excerpts below each other; of none there is no figure."""
    if not shown:
        return absent(NAME, TITLE, "no bar of a validation window is scored")
    with rc_context(LOOK):
        figure = new_figure(TITLE, height=0.7 + 1.5 * len(shown))
        panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
        for axes, excerpt in zip(panels, shown, strict=True):
            draw_reconstruction(axes, excerpt)
        panels[-1].set_xlabel("time, UTC")
        prices = shown[0].channel is None
        figure.supylabel("price" if prices else "value", fontsize=TEXT_SIZE)
        with_hidden = any((one.hidden & ~one.scored).any() for one in shown)
        _legend(figure, prices=prices, with_hidden=with_hidden)
    return DrawnFigure(NAME, TITLE, _caption(len(shown), prices=prices), figure, "")


def _caption(count: int, *, prices: bool) -> str:
    grey, hidden = "the true bars, from low to high, with the close as a line", "the close"
    if not prices:
        grey, hidden = "the true values of a channel, the channels in turn", "its value"
    return (
        f"{plural(count, 'excerpt')} of validation windows, evenly spaced in time, not chosen by "
        f"how well they came out; of long windows, the part with most scored bars. Grey: {grey}. "
        f"Where bars are hidden: {hidden} as the model decodes it, and on a straight line between "
        "the visible neighbours. Bars that are hidden and not scored overlap hidden finer ones."
    )


def draw_reconstruction(axes: Axes, shown: Reconstruction) -> None:
    """Draw one excerpt: true bars, hidden spans, in them the closes of model and interpolation.

    Or the values of a channel.
    """
    style, column = _model_style(), 0
    places = np.arange(len(shown.truth))
    if shown.channel is None:
        column = _CLOSE
        axes.vlines(places, shown.truth[:, _LOW], shown.truth[:, _HIGH], **_RANGE)
    axes.plot(places, shown.truth[:, column], **_TRUTH)
    for chosen, look in ((shown.scored, _SCORED), (shown.hidden & ~shown.scored, _HIDDEN)):
        for first, last in runs(chosen):
            axes.axvspan(first - 0.5, last + 0.5, zorder=0, **look)
    for first, last in runs(shown.hidden):
        inside = slice(first, last + 1)
        # From the last visible bar to the next one, as the eye would draw it.
        around = slice(max(first - 1, 0), last + 2)
        line = np.where(shown.hidden, shown.line[:, column], shown.truth[:, column])
        axes.plot(places[around], line[around], **REFERENCE)
        axes.plot(
            places[inside],
            shown.model[inside, column],
            color=style.color,
            marker=style.marker,
            markersize=4,
            linewidth=1.6,
        )
    _label_times(axes, shown)


def _model_style() -> ArmStyle:
    return arm_styles(["model"])["model"]


def _label_times(axes: Axes, shown: Reconstruction) -> None:
    """Five times below the excerpt, and what it is and its day above."""
    count = len(shown.open_time)
    ticks = np.unique(np.linspace(0, count - 1, 5).round().astype(int))
    stamps = shown.open_time.astype("datetime64[s]")
    part = _told_part(shown.open_time)
    axes.set_xticks(ticks, [str(stamps[tick])[part] for tick in ticks])
    axes.set_xlim(-0.7, count - 0.3)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    first, last = (str(stamps[place])[:10] for place in (0, -1))
    days = first if first == last else f"{first} to {last}"
    what = shown.timeframe
    if shown.channel is not None:
        what += f", {shortened(shown.channel, 24)}"
    axes.set_title(f"{what}, {days}", loc="left", fontsize=TEXT_SIZE, color=QUIET)


def _told_part(times: NDArray[np.int64]) -> slice:
    """What of an ISO date and time tells these apart: the date, the minute or the second."""
    if len(times) > 1 and np.diff(times).min() >= _DAY:
        return slice(10)
    return slice(11, 19 if (times % 60).any() else 16)


def _legend(figure: Figure, *, prices: bool, with_hidden: bool) -> None:
    style = _model_style()
    of = " close" if prices else " value"
    named: dict[str, Any] = {
        f"true{of}": Line2D([], [], **_TRUTH),
        **({"true low to high": Line2D([], [], **_RANGE)} if prices else {}),
        f"model's{of}": Line2D([], [], color=style.color, marker=style.marker, markersize=4),
        "interpolation": Line2D([], [], **REFERENCE),
        "hidden, scored": Patch(**_SCORED),
        **({"hidden, not scored": Patch(**_HIDDEN)} if with_hidden else {}),
    }
    legend_below(figure, list(named.values()), list(named))
