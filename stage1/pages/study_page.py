"""The report of a study: what it holds, its files, and what the terminal shows of it at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from stage1.base.files import write_text
from stage1.base.metric_table import meanings
from stage1.base.terminal import print_plain
from stage1.claims.claim import claims_json
from stage1.claims.judge import Evaluation, evaluate
from stage1.claims.scores import RunTables, read_run
from stage1.claims.verdicts import MEANINGS
from stage1.pages.answer_section import answers, leaderboard_blocks, leaderboard_table
from stage1.pages.arms_section import (
    arm_blocks,
    cost_blocks,
    plan_blocks,
    progress_text,
    user_metric_blocks,
)
from stage1.pages.blocks import (
    Block,
    Gallery,
    Heading,
    Inline,
    Picture,
    cautions,
    paragraph,
    word_list,
)
from stage1.pages.claims_section import (
    absent_text,
    is_beside,
    look_text,
    verdict_blocks,
    verdict_table,
    words_blocks,
)
from stage1.pages.design_section import design_blocks, edge_texts, hyperparameter_blocks
from stage1.pages.explorer_section import explorer_blocks
from stage1.pages.figures import draw_all
from stage1.pages.ladder_section import ladder_blocks
from stage1.pages.page import (
    save_page,
    save_picture,
    screen_table,
    show_cautions,
    writing_into,
)
from stage1.pages.provenance import (
    activation,
    best_blocks,
    dashboards,
    environment_blocks,
    final_training,
    reproduction_blocks,
)
from stage1.run.folder import RunFolder

_MOST_ON_SCREEN = 3
"""Leaders that the terminal shows."""
_REPORT_ONLY = ["p", "attribution", "look", "earlier looks"]
"""Columns of the verdicts that no terminal has room for."""
_OURS = "* ours, beside the plan's number; reasons are in the report"
_WORDS = {
    "arm": "A way to initialise the T5: pretrained, random, shuffled (the pretrained numbers in "
    "random order), or vanilla (another encoder, no T5).",
    "configuration": "One point of the search space; it is trained in every arm that is compared, "
    "with the same seeds.",
    "trial": "One configuration in one arm with one seed, trained.",
    "horizon": "The last epoch of a full trial.",
    **meanings(),
    "interval": "The values of an effect that the data do not refute.",
    "attribution": "Whether shuffled weights, the same numbers without their structure, do as "
    "well: then it is not what the weights learned.",
    "error reduction": "How much less is missing to correlation 1, as a share; readable also where "
    "the correlation is high already.",
    "tau": "Kendall's rank correlation, 1 = the same order. Its ceiling is the agreement between "
    "seeds at the horizon: on average nothing predicts better than the truth repeats itself.",
    "spread": "Standard deviation between configurations; one or two far worse ones decide it, so "
    "it does not decide claim 1.",
    "gap": "How far the middle of three configurations drawn at random lies behind the best of "
    "them, in log val_loss: what tuning is worth. In an arm that is easier to tune it is smaller. "
    "Rare failures move it little; the cliffs beside claim 1 count them.",
    "cliff": "A configuration far below the median of its arm.",
    "look": "A number of configurations after which verdicts are given. Each spends a share of the "
    "error rate that was fixed before, so a study may stop, go on or be extended whenever its "
    "results have been seen.",
    "tie": "Two configurations that differ by less than two seeds of one do.",
    "diverged": "The loss left the range of useful numbers.",
}


_OF_CLAIMS = {
    "1": ("tuning_value", "sensitivity_and_performance"),
    "2": ("learning_curves",),
    "3": ("paired_slopes", "performance_profile"),
    "5": ("early_signal",),
    "6": ("cost",),
}
"""Figures that show what a claim is about, by its number."""


def report_blocks(
    tables: RunTables, evaluation: Evaluation, pictures: Mapping[str, Picture]
) -> list[Block]:
    """The whole report; the pictures by the names of their figures, missing ones too."""
    space, trials = tables.space, tables.trials

    def gallery(*names: str) -> list[Block]:
        shown = [pictures[name] for name in names if name in pictures]
        return [Gallery(shown)] if shown else []

    return [
        Heading(space.name, level=1),
        *answers(tables, evaluation),
        *cautions(evaluation.warnings, evaluation.deviations),
        paragraph(f"{_progress(tables, evaluation)} {look_text(evaluation)}".strip(), note=True),
        *verdict_blocks(evaluation, level=tables.registration.level),
        *gallery("verdict_forest"),
        *leaderboard_blocks(tables),
        *gallery("expected_best"),
        *explorer_blocks(tables),
        *words_blocks(evaluation, {number: gallery(*n) for number, n in _OF_CLAIMS.items()}),
        *ladder_blocks(tables, evaluation),
        *plan_blocks(trials, space, evaluation.scores),
        *user_metric_blocks(tables, evaluation.scores),
        *cost_blocks(evaluation, tables.registration),
        *design_blocks(tables, evaluation),
        *hyperparameter_blocks(tables, evaluation.scores),
        *gallery("partial_variances", "learning_rate", "relative_steps"),
        *arm_blocks(tables),
        *best_blocks(tables),
        *environment_blocks(tables),
        *reproduction_blocks(tables),
        *word_list(_WORDS | MEANINGS),
    ]


class Report(NamedTuple):
    """What a report was written from."""

    tables: RunTables
    evaluation: Evaluation

    def show(self, console: Console) -> None:
        """Print the answers, the verdicts, the leaders, where the rest lies and what to do next."""
        tables, evaluation = self
        run = tables.run
        show_look(self, console)
        leaders = leaderboard_table(tables, most=_MOST_ON_SCREEN)
        if leaders.rows:
            console.print(screen_table(leaders, without=["place"], wraps=2))
        show_cautions(console, cautions(evaluation.warnings, evaluation.deviations))
        for line, text in edge_texts(tables).items():
            print_plain(console, f"Search further: {text}\n  {line}")
        print_plain(console, _progress(tables, evaluation))
        print_plain(console, f"Report: {run.report_html} (as text: {run.report.name})")
        commands = [*final_training(tables), *dashboards(run)]
        if commands:
            print_plain(console, "\n  ".join(["Next:", *activation(), *commands]))


def show_look(report: Report, console: Console) -> None:
    """Print what is told at a look: the answers and the verdicts."""
    tables, evaluation = report
    console.print(Text(tables.space.name, style="bold"))
    for answer in answers(tables, evaluation):
        console.print(Text.assemble(*map(_screen_part, answer.parts)), soft_wrap=False)
    claims = verdict_table(evaluation.lines, ours=" *")
    console.print(screen_table(claims, without=_REPORT_ONLY))
    for line in (_OURS, absent_text(evaluation.lines), look_text(evaluation)):
        if line and (line != _OURS or any(map(is_beside, evaluation.lines))):
            console.print(Text(line))


def _screen_part(part: Inline) -> str | tuple[str, str]:
    return part if isinstance(part, str) else (part.text, "bold")


def _progress(tables: RunTables, evaluation: Evaluation) -> str:
    return (
        progress_text(tables, decided=evaluation.decided, control_too=evaluation.asks_for_control)
        + "."
    )


def write_report(run: RunFolder) -> Report:
    """Write claims.json, figures, report.md and report.html from the tables, beside a study too.

    Figures of an earlier report that this one does not have are removed.

    Raises:
        ResultsError: The folder is not a run, its tables cannot be read, or it cannot be written.
    """
    tables = read_run(run)
    evaluation = evaluate(tables)
    with writing_into(run):
        claims, beside, looks = evaluation.claims, evaluation.beside, evaluation.looks
        write_text(run.claims, claims_json(claims, beside, looks, facts(evaluation)))
        pictures = {
            drawn.name: save_picture(drawn, run.path, inside=run.figures.name)
            for drawn in draw_all(tables, evaluation)
        }
        save_page(report_blocks(tables, evaluation, pictures), run.report, run.report_html)
    return Report(tables, evaluation)


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
