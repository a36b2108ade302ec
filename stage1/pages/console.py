"""The end of a study on the terminal: arms, verdicts, warnings, and the commands that come next.

With three arms and nothing to warn of it fits 24 lines of 80 columns; the reasons of the verdicts
and all the rest are in the report.
"""

from __future__ import annotations

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stage1.claims.evaluate import Evaluation
from stage1.claims.scores import RunTables
from stage1.claims.verdicts import Verdict
from stage1.pages.arms_section import end_rows, progress_text
from stage1.pages.blocks import Table as Content
from stage1.pages.claims_section import in_order, is_beside, verdict_row
from stage1.pages.provenance import activation, dashboards, final_training
from stage1.pages.report_contents import warnings
from stage1.run.resolved_space import ResolvedSpace

_STYLES = {
    Verdict.SUPPORTED: "green",
    Verdict.DIRECTION_ONLY: "cyan",
    Verdict.NOT_SUPPORTED: "red",
    Verdict.CONTRADICTED: "red",
}
_TOO_WIDE = "configs"
"""The column of the end table for which 80 columns have no room."""


def end_table(trials: pd.DataFrame, space: ResolvedSpace) -> Table:
    """The end table, for 80 columns."""
    header, rows = end_rows(trials, space)
    left_out = header.index(_TOO_WIDE)
    table = _compact_table()
    for place, name in enumerate(header):
        if place != left_out:
            table.add_column(name, justify="left" if place < 2 else "right", no_wrap=place != 1)
    for row in rows:
        table.add_row(*map(Text, row[:left_out] + row[left_out + 1 :]))
    return table


def verdict_table(evaluation: Evaluation) -> Table:
    """The verdicts, for 80 columns; an asterisk marks what is ours and not the plan's."""
    table = _compact_table()
    for name in ("claim", "claimed", "estimate", "interval", "verdict"):
        table.add_column(name, justify="left", no_wrap=name != "claim")
    for claim in in_order(evaluation):
        row = verdict_row(claim)
        name = f"{row.claim}{' *' if is_beside(claim) else ''}"
        verdict = Text(row.verdict, style=_STYLES.get(claim.verdict, ""))
        table.add_row(*map(Text, (name, row.claimed, row.estimate, row.interval)), verdict)
    return table


def _compact_table() -> Table:
    return Table(box=None, pad_edge=False, header_style="bold")


def plain_table(content: Content, caption: str) -> Table:
    """A table of a report, for 80 columns.

    Args:
        content: Its cells are text.
        caption: Below it.
    """
    table = Table(caption=Text(caption), caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(content.header):
        table.add_column(name, justify="left" if place == 0 else "right", no_wrap=place > 0)
    for row in content.rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table


def show_end(tables: RunTables, evaluation: Evaluation, console: Console) -> None:
    """Print what a study came to.

    Args:
        tables: Of the run; its report is written.
        evaluation: Of the same tables.
        console: Where to.
    """
    trials, space, run = tables.trials, tables.space, tables.run
    heading = f"{space.name}, {space.objective.metric}. {progress_text(trials, space)}."
    console.print(Text(heading, style="bold"))
    console.print(end_table(trials, space))
    console.print(verdict_table(evaluation))
    if any(map(is_beside, in_order(evaluation))):
        console.print(
            "* ours, beside the plan's number; reasons are in the report", highlight=False
        )
    for caution in warnings(tables, evaluation):
        first, stop, _ = caution.text.partition(". ")  # the rest is in the report
        told = Text(f"{caution.kind}: {first}{stop.strip()}", style="yellow")
        if console.is_terminal:
            console.print(Padding(told, (0, 0, 0, 2)))  # goes on indented where it is long
        else:
            console.print(told, soft_wrap=True)
    _print_whole(console, f"Report: {run.report_html} (as text: {run.report.name})")
    commands = [*final_training(tables), *dashboards(run)]
    if commands:
        _print_whole(console, "\n  ".join(["Next:", *activation(), *commands]))


def _print_whole(console: Console, text: str) -> None:
    """Print what is to be copied: no line of it is broken."""
    console.print(text, markup=False, soft_wrap=True, highlight=False)
