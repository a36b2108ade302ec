"""`python -m stage1.report RUN`: verdicts, figures and report of a study, from its tables alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console

from stage1.base.errors import ResultsError
from stage1.base.files import must_be_writable, write_text
from stage1.base.terminal import run_command, screen
from stage1.claims.claim import claims_json
from stage1.claims.evaluate import Evaluation, evaluate
from stage1.claims.scores import RunTables, read_run
from stage1.pages.console import show_end
from stage1.pages.figures import draw_all
from stage1.pages.html import html
from stage1.pages.markdown import markdown
from stage1.pages.pictures import saved_picture
from stage1.pages.report_contents import report_blocks
from stage1.run.folder import RunFolder


class Report(NamedTuple):
    """What a report was written from."""

    tables: RunTables
    evaluation: Evaluation

    def show(self, console: Console) -> None:
        """Print the end tables, the verdicts and what to do next."""
        show_end(self.tables, self.evaluation, console)


def write_report(run: RunFolder) -> Report:
    """Write claims.json, figures, report.md and report.html from the tables, beside a study too.

    Figures of an earlier report that this one does not have are removed.

    Raises:
        ResultsError: The folder is not a run, its tables cannot be read, or it cannot be written.
    """
    tables = read_run(run)
    evaluation = evaluate(tables)
    if run.figures.is_symlink():
        raise ResultsError(
            f"{run.figures}: must be a folder inside the run, got a link to another; remove it"
        )
    advice = "remove what is in the way, or copy the run to another place"
    with must_be_writable(run.path, advice=advice):
        _write(run, tables, evaluation)
    return Report(tables, evaluation)


def _write(run: RunFolder, tables: RunTables, evaluation: Evaluation) -> None:
    write_text(run.claims, claims_json(evaluation.claims, evaluation.beside, facts(evaluation)))
    pictures = [saved_picture(drawn, run) for drawn in draw_all(tables, evaluation)]
    blocks = report_blocks(tables, evaluation, pictures)
    write_text(run.report, markdown(blocks))
    write_text(run.report_html, html(blocks))


def facts(evaluation: Evaluation) -> dict[str, Any]:
    """What claims.json says beside the claims."""
    scores = evaluation.scores
    return {
        "configurations": len(scores.configurations),
        "complete_configurations": scores.complete,
        "seeds": list(scores.seeds),
        "early_epoch": scores.early_epoch,
        "horizon_epoch": int(scores.epochs[-1]),
        "left_out": scores.left_out,
        "deviations": evaluation.deviations,
        "warnings": evaluation.warnings,
        "checks": [{"what": what, "result": result} for what, result in evaluation.checks],
        "costs": [
            {
                **{"size": cost.size, "patch_len": cost.patch_len},
                **{name: getattr(cost.ratio, name) for name in ("estimate", "low", "high")},
            }
            for cost in evaluation.costs
        ],
    }


def main(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, OUT/NAME.")],
) -> None:
    """Write claims.json, figures, report.md and report.html again from the tables of a run."""
    write_report(RunFolder(run)).show(screen())


if __name__ == "__main__":
    run_command(main)
