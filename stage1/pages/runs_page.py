"""Two or more studies side by side: what differs, what each says, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rc_context
from rich.console import Console

from stage1.base.errors import ResultsError
from stage1.base.files import must_be_writable
from stage1.base.terminal import print_plain
from stage1.base.text import brief, plural
from stage1.claims.catalogue import PLANNED, Definition
from stage1.claims.claim import Claim
from stage1.claims.loaded_run import Run
from stage1.claims.pooling import (
    CHECKPOINTS,
    Pooled,
    agreeing_checkpoints,
    differing_settings,
    pooled_claim,
    pooled_over,
)
from stage1.claims.verdicts import Verdict
from stage1.pages.blocks import (
    Block,
    Caution,
    Gallery,
    Heading,
    Inline,
    Mark,
    Picture,
    Strong,
    Table,
    paragraph,
)
from stage1.pages.figures.drawn import LOOK, DrawnFigure, absent, new_figure
from stage1.pages.figures.forest import ForestRow, draw_forest, forest_row
from stage1.pages.numbers import effect, effect_interval, p_value
from stage1.pages.page import save_page, save_picture, screen_table, show_cautions

REPORT_FILE, PAGE_FILE = "report.md", "report.html"
FOREST, FOREST_TITLE = "forest", "Every run's effects, claim by claim"
_SHORT = 12
"""Digits of a checksum that are shown."""


class RunsCompared(NamedTuple):
    """Runs, and what they say together."""

    runs: dict[str, Run]
    """By a name that tells them apart."""
    over: str
    """What they are pooled over; empty where they are not."""
    obstacle: str
    """Why they are not; empty where they are."""
    pooled: dict[str, Pooled]
    """By claim, as far as every run has an interval of it."""
    agreeing: dict[str, list[str]]
    """Checkpoints in whose runs a claim is a gain of what the weights learned, by claim."""

    @property
    def evaluated(self) -> list[Definition]:
        """The claims that some run can speak to."""
        return [one for one in PLANNED if any(map(_is_evaluable, self.claims(one).values()))]

    def claims(self, definition: Definition) -> dict[str, Claim]:
        """A claim in every run, by the run's name."""
        return {
            name: next(one for one in run.evaluation.claims if one.definition is definition)
            for name, run in self.runs.items()
        }


def compare_runs(runs: Sequence[Run]) -> RunsCompared:
    """Put runs side by side.

    Args:
        runs: At least two, each once.

    Raises:
        ResultsError: One alone, or one twice.
    """
    if len(runs) < 2:
        raise ResultsError(f"runs must be two or more to be compared, got {len(runs)}")
    paths = [run.path.resolve() for run in runs]
    twice = next((run.path for run in runs if paths.count(run.path.resolve()) > 1), None)
    if twice is not None:
        raise ResultsError(f"{twice}: each run must be named once, got it twice")
    over, obstacle = pooled_over(runs)
    named = dict(zip(_names(paths), runs, strict=True))
    compared = RunsCompared(named, over, obstacle, {}, {})
    sizes = [run.evaluation.scores.complete for run in runs]
    for definition in PLANNED:
        number, claims = definition.number, list(compared.claims(definition).values())
        compared.agreeing[number] = agreeing_checkpoints(runs, number)
        pooled = None if obstacle else pooled_claim(claims, sizes)
        if pooled is not None:
            compared.pooled[number] = pooled
    return compared


def _names(paths: list[Path]) -> list[str]:
    """The shortest ends of paths that differ."""
    for parts in range(1, max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


# Sections ---------------------------------------------------------------------------------------


def runs_blocks(compared: RunsCompared, forest: Picture) -> list[Block]:
    """The whole page."""
    return [
        Heading("Studies side by side", 1),
        *_cautions(compared),
        Heading("What they say"),
        verdicts_table(compared),
        *map(paragraph, _not_evaluated(compared)),
        Gallery([forest]),
        *_together_blocks(compared),
        Heading("The runs"),
        _runs_table(compared),
        Heading("Settings that differ"),
        *_settings_blocks(compared),
    ]


def _cautions(compared: RunsCompared) -> list[Caution]:
    return [
        Caution("Warning", f"{name}: {text}")
        for name, run in compared.runs.items()
        for text in run.evaluation.warnings
    ]


def verdicts_table(compared: RunsCompared) -> Table:
    """A row per claim and run, and one of the runs together where they may be pooled."""
    rows: list[list[Inline]] = []
    for definition in compared.evaluated:
        for name, claim in compared.claims(definition).items():
            rows.append(
                [
                    Strong(definition.label),
                    name,
                    effect(claim, claim.interval.estimate),
                    effect_interval(claim),
                    Mark(claim.verdict.value),
                    claim.attribution or "does not apply",
                ]
            )
        if definition.number in compared.pooled:
            rows.append(_pooled_row(compared, definition))
    header = ["claim", "run", "estimate", "interval", "verdict", "attribution"]
    return Table(header, rows, stacked=True)


def _not_evaluated(compared: RunsCompared) -> list[str]:
    """The claims that no run can speak to, in one line; none if there are none."""
    labels = [one.label for one in PLANNED if one not in compared.evaluated]
    return [f"Not evaluable in any of these runs: {', '.join(labels)}."] if labels else []


def _is_evaluable(claim: Claim) -> bool:
    return claim.verdict is not Verdict.NOT_EVALUABLE


def _pooled_row(compared: RunsCompared, definition: Definition) -> list[Inline]:
    claim = next(iter(compared.claims(definition).values()))
    pooled = claim._replace(interval=compared.pooled[definition.number].interval)
    label = Strong(definition.label)
    return [
        label,
        "pooled",
        effect(pooled, pooled.interval.estimate),
        effect_interval(pooled),
        "",
        "",
    ]


def _together_blocks(compared: RunsCompared) -> list[Block]:
    blocks: list[Block] = [Heading("What they say together")]
    if compared.obstacle:
        blocks.append(paragraph(f"Not pooled: {compared.obstacle}."))
    else:
        blocks.append(paragraph(pooled_text(compared)))
        rows: list[list[Inline]] = [
            [
                Strong(definition.label),
                f"{compared.pooled[definition.number].spread:.3f}",
                p_value(compared.pooled[definition.number].p_equal),
            ]
            for definition in PLANNED
            if definition.number in compared.pooled
        ]
        header = ["claim", "spread between runs", "p that all have the same effect"]
        blocks.append(Table(header, rows, numbers_from=1))
    return [*blocks, paragraph(pretraining_text(compared))]


def pooled_text(compared: RunsCompared) -> str:
    """What is pooled, how, and how far it carries."""
    missing = [one.label for one in compared.evaluated if one.number not in compared.pooled]
    without = (
        f" Without a pooled line, since a run has no interval with two ends: {', '.join(missing)}."
        if missing
        else ""
    )
    return (
        f"Pooled over {compared.over} by random effects, with 95 % intervals for "
        f"{plural(len(compared.runs), 'run')}: how far the mean of such runs may lie. No verdict "
        "hangs on them, and with two or three runs they are wide, as two draws must be. The "
        "spread is the standard deviation of the true effect between runs (of the logarithm of "
        f"the ratio; of tau for claim 5).{without}"
    )


def pretraining_text(compared: RunsCompared) -> str:
    """Whether one may speak of language pretraining, or of one checkpoint only."""
    agreeing = {one: names for one, names in compared.agreeing.items() if len(names) > 1}
    if compared.over == CHECKPOINTS and agreeing:
        listed = "; ".join(
            f"claim {number}: weights {', '.join(names)}" for number, names in agreeing.items()
        )
        return (
            "Language pretraining: two checkpoints or more show the gain, each attributable to "
            f"what its weights learned ({listed})."
        )
    return (
        "What is said is said of these checkpoints, not of language pretraining: that takes two "
        "checkpoints on the same bars, in whose runs the same gain is attributable to what the "
        "weights learned."
    )


def _runs_table(compared: RunsCompared) -> Table:
    rows: list[list[Inline]] = []
    for name, run in compared.runs.items():
        space, evaluation = run.tables.space, run.evaluation
        looks = ", ".join(str(look.configurations) for look in evaluation.looks)
        rows.append(
            [
                name,
                str(space.seed),
                space.data.fingerprint[:_SHORT],
                str(evaluation.scores.complete),
                looks or "none",
                str(len(run.trials)),
            ]
        )
    header = ["run", "seed", "bars", "complete configurations", "looks", "trials"]
    return Table(header, rows, stacked=True)


def _settings_blocks(compared: RunsCompared) -> list[Block]:
    differing = differing_settings(list(compared.runs.values()))
    if not differing:
        return [paragraph("None.")]
    rows: list[list[Inline]] = [
        [key, *(_setting(value) for value in values)] for key, values in differing.items()
    ]
    return [Table(["setting", *compared.runs], rows, stacked=True)]


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_setting(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_setting, value))
    text = "null" if value is None else str(value)
    is_checksum = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:_SHORT] if is_checksum else brief(text)


# Figure -----------------------------------------------------------------------------------------


def forest_of_runs(compared: RunsCompared) -> DrawnFigure:
    """A row per claim and run that has an estimate, pooled ones beneath."""
    rows: list[ForestRow] = []
    for definition in compared.evaluated:
        claims = compared.claims(definition)
        of_claim = [_row(name, claim) for name, claim in claims.items() if _is_evaluable(claim)]
        pooled = compared.pooled.get(definition.number)
        if pooled is not None:
            claim = next(iter(claims.values()))._replace(interval=pooled.interval)
            of_claim.append(_row("pooled", claim)._replace(verdict=None))
        rows += of_claim
    if not rows:
        return absent(FOREST, FOREST_TITLE, "no run has an estimate of any claim")
    with rc_context(LOOK):
        figure = new_figure(FOREST_TITLE, height=1.05 + 0.53 * len(rows))
        draw_forest(figure.add_subplot(), rows)
    caption = (
        "Dot and line: estimate and interval of a run at its last look, positive where the claim "
        "holds; shaded: what is claimed. Pooled lines are 95 % intervals of the mean over runs."
    )
    return DrawnFigure(FOREST, FOREST_TITLE, caption, figure, "")


def _row(name: str, claim: Claim) -> ForestRow:
    row = forest_row(claim._replace(earlier=()))
    return row._replace(text=f"{claim.id}  {name}  {row.text.removeprefix(claim.definition.label)}")


# Files and screen -------------------------------------------------------------------------------


def write_page(compared: RunsCompared, out: Path) -> None:
    """Write the page and its figure into a folder; those of an earlier call are replaced.

    Raises:
        ResultsError: It cannot be written.
    """
    with must_be_writable(out):
        forest = save_picture(forest_of_runs(compared), out)
        save_page(runs_blocks(compared, forest), out / REPORT_FILE, out / PAGE_FILE)


def show(compared: RunsCompared, out: Path, console: Console) -> None:
    """Print what each run says, whether they were pooled, and where the page lies."""
    table = verdicts_table(compared)
    console.print(screen_table(table, without=("attribution",), wraps=1))
    for line in _not_evaluated(compared):
        print_plain(console, line)
    show_cautions(console, _cautions(compared))
    together = f"Not pooled: {compared.obstacle}." if compared.obstacle else pooled_text(compared)
    print_plain(console, together)
    print_plain(console, pretraining_text(compared))
    print_plain(console, f"Report: {out / PAGE_FILE} (as text: {REPORT_FILE})")
