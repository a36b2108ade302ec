"""The end of a study on the terminal: the report's rows, its warnings, and where the rest lies."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stage1.claims.evaluate import Evaluation
from stage1.claims.inputs import RunTables
from stage1.claims.record import Claim
from stage1.claims.verdicts import Verdict
from stage1.document.arms import NOTE, end_rows, progress_text
from stage1.document.blocks import Table as Content
from stage1.document.contents import warnings
from stage1.document.provenance import next_commands
from stage1.document.verdicts import in_order, is_beside, verdict_row

_STYLES = {
    Verdict.SUPPORTED: "green",
    Verdict.DIRECTION_ONLY: "cyan",
    Verdict.NOT_SUPPORTED: "red",
    Verdict.CONTRADICTED: "red",
}


def end_table(trials: pd.DataFrame, space: dict[str, Any]) -> Table:
    """The end table, for 80 columns."""
    header, rows = end_rows(trials, space)
    title = f"{space['name']}: {space['objective']['metric']} by arm"
    caption = f"{progress_text(trials, space)}. {NOTE}"
    table = _table(title, caption)
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place < 2 else "right", no_wrap=place != 1)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def verdict_table(evaluation: Evaluation) -> Table:
    """The verdicts, for 80 columns; an asterisk marks what is ours and not the plan's."""
    claims = in_order(evaluation)
    caption = "* ours, beside the plan's number" if any(map(is_beside, claims)) else ""
    table = _table("Verdicts", caption)
    for name in ("claim", "estimate", "interval", "verdict"):
        table.add_column(name, justify="left", no_wrap=name != "claim")
    for claim in claims:
        row = verdict_row(claim)
        name = f"{row.claim}{' *' if is_beside(claim) else ''}"
        verdict = Text(row.verdict, style=_STYLES.get(claim.verdict, ""))
        table.add_row(Text(name), Text(row.estimate), Text(row.interval), verdict)
    return table


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


def _table(title: str, caption: str) -> Table:
    return Table(title=Text(title), caption=Text(caption), caption_justify="left", box=SIMPLE_HEAD)


def show_end(tables: RunTables, evaluation: Evaluation, console: Console) -> None:
    """Print what a study came to.

    Args:
        tables: Of the run; its report is written.
        evaluation: Of the same tables.
        console: Where to.
    """
    console.print(end_table(tables.trials, tables.space))
    console.print(verdict_table(evaluation))
    for reason, names in _by_reason(in_order(evaluation)).items():
        _print(console, f"{', '.join(names)}: {reason}")
    for caution in warnings(tables, evaluation):
        _print(console, f"{caution.kind}: {caution.text}", style="yellow")
    console.print(f"Report: {tables.run.report}", markup=False, soft_wrap=True, highlight=False)
    console.print(f"As a page: {tables.run.report_html}", markup=False, soft_wrap=True)
    commands = next_commands(tables)
    if commands:
        console.print("Next:")
    for command in commands:
        console.print(f"  {command}", markup=False, soft_wrap=True, highlight=False)


def _by_reason(claims: list[Claim]) -> dict[str, list[str]]:
    """Numbers of the claims by the reason of their verdict; the same reason is told once."""
    reasons: dict[str, list[str]] = {}
    for claim in claims:
        if claim.reason:
            reasons.setdefault(claim.reason, []).append(claim.id)
    return reasons


def _print(console: Console, text: str, style: str = "") -> None:
    """A line that goes on indented where it is long."""
    console.print(Padding(Text(text, style=style), (0, 0, 0, 2)))
