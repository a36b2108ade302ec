"""`python -m stage1.report RUN`: the end of a study in words, one table and one figure.

The terminal and `report.md` show the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from stage1.command import run_command
from stage1.errors import ResultsError
from stage1.figures import learning_curves_figure, save_figure
from stage1.files import write_text
from stage1.results import STATUSES, RunFolder, read_curves, read_space, read_trials
from stage1.summary import (
    EXPORT_TARGET,
    BestConfiguration,
    baseline_value,
    best_configuration,
    cautions,
    count_exclusions,
    export_command,
    progress,
    summarize_arms,
    train_command,
)

_NOTE = (
    "Best, median and spread (standard deviation) are over the design's configurations that "
    "completed with every seed (configs), each by its mean over seeds. They describe this run; "
    "they do not test a difference between arms. Interpolation draws a straight line across the "
    "hidden bars."
)


def end_rows(trials: pd.DataFrame, space: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the end table: a row per arm and one for linear interpolation."""
    header = ["arm", "trials", "configs", "best", "median", "spread", "s / trial"]
    rows = [
        [
            str(row.Index),
            _counts({status: getattr(row, status) for status in STATUSES}),
            str(row.configurations),
            *(_number(value) for value in (row.best, row.median, row.spread)),
            _number(row.seconds, digits=1),
        ]
        for row in summarize_arms(trials, space).itertuples()
    ]
    baseline = _number(baseline_value(trials, space["objective"]["metric"]))
    return header, [*rows, ["interpolation", "", "", baseline, baseline, "", ""]]


def end_table(trials: pd.DataFrame, space: dict[str, Any]) -> Table:
    """The end table for the terminal."""
    header, rows = end_rows(trials, space)
    title = f"{space['name']}: {space['objective']['metric']} by arm"
    caption = f"{_progress_text(trials, space)}. {_NOTE}"
    table = Table(title=title, caption=caption, caption_justify="left", box=SIMPLE_HEAD)
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place < 2 else "right", no_wrap=place != 1)
    for row in rows:
        table.add_row(*row)
    return table


def report_text(run: RunFolder, trials: pd.DataFrame, space: dict[str, Any], figure: str) -> str:
    """The report as Markdown.

    Args:
        run: For the paths in the commands.
        trials: May be empty.
        space: The resolved study.
        figure: Path of the learning curves relative to the report; empty = there are none.
    """
    parts = [f"# {space['name']}\n", f"{_progress_text(trials, space)}.\n"]
    parts += [f"> **Warning.** {text}\n" for text in cautions(trials, space)]
    parts.append(f"## {space['objective']['metric']} by arm\n")
    parts += [_markdown_table(*end_rows(trials, space)), f"\n{_NOTE}\n"]
    if figure:
        parts.append(f"![Validation correlation by epoch and arm]({figure})\n")
    parts += _left_out(trials)
    try:
        best = best_configuration(trials, space)
    except ResultsError as error:
        return "\n".join([*parts, "## Best configuration\n", f"None yet: {error}.\n"])
    return "\n".join([*parts, *_best_part(best, space), *_next_steps(run, space)])


def write_report(run: RunFolder) -> Path:
    """Write report.md, and the learning curves where a trial has completed, from the tables.

    Returns:
        The report's path.

    Raises:
        ResultsError: The folder is not a run, or its tables cannot be read.
    """
    space, trials = read_space(run), read_trials(run)
    figure = learning_curves_figure(trials, read_curves(run), space)
    if figure is not None:
        save_figure(figure, run.learning_curves)
    name = "" if figure is None else run.learning_curves.relative_to(run.path).as_posix()
    write_text(run.report, report_text(run, trials, space, name))
    return run.report


def _progress_text(trials: pd.DataFrame, space: dict[str, Any]) -> str:
    stages = progress(trials, space)
    ended = " and ".join(f"{p.ended} of {p.planned} {stage}" for stage, p in stages.items())
    if all(part.ended >= part.planned for part in stages.values()):
        return f"Ended: {ended} trials"
    return (
        f"Ended so far: {ended} trials; if the study does not run any more, the command that "
        "started it goes on with --resume"
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def _left_out(trials: pd.DataFrame) -> list[str]:
    counts = count_exclusions(trials)
    if counts.empty:
        return ["## Left out\n", "No trial diverged or failed.\n"]
    rows = [[str(value) for value in row] for row in counts.itertuples(index=False)]
    return ["## Left out\n", _markdown_table(list(counts.columns), rows), ""]


def _best_part(best: BestConfiguration, space: dict[str, Any]) -> list[str]:
    seeds = ", ".join(f"{_number(value)} (seed {seed})" for seed, value in best.by_seed.items())
    rows = [[f"`{key}`", f"`{value}`"] for key, value in best.values.items()]
    return [
        "## Best configuration\n",
        f"`{best.config_id}` of arm **{best.arm}**, the best of {best.candidates} complete "
        f"configurations by mean {space['objective']['metric']} over seeds: "
        f"**{_number(best.mean)}** = mean of {seeds}; val_skill {_number(best.skill)}.\n",
        _markdown_table(["hyperparameter", "value"], rows),
        "",
    ]


def _next_steps(run: RunFolder, space: dict[str, Any]) -> list[str]:
    return [
        "## How to go on\n",
        "Write the best configuration to a file, then train it:\n",
        f"    {export_command(run)}",
        f"    {train_command(EXPORT_TARGET, space)}\n",
        "The objective of a configuration chosen among many is flattering; the final training "
        "says what it is worth.\n",
    ]


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _number(value: Any, *, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "\N{EN DASH}"


def main(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, OUT/NAME.")],
) -> None:
    """Write RUN/report.md and its figure again from the tables, and print the end table."""
    folder = RunFolder(run)
    path = write_report(folder)
    trials, space = read_trials(folder), read_space(folder)
    console = Console()
    console.print(end_table(trials, space))
    for text in cautions(trials, space):
        console.print(f"warning: {text}", style="yellow", markup=False)
    console.print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run_command(main)
