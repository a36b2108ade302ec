"""What each configuration gains and costs against the reference, as blocks."""

from __future__ import annotations

from stage1.comparison.summary import CORRELATION, LOSS, Spread, Summary, spread_of
from stage1.document.blocks import Block, Gallery, Heading, Inline, Picture, Table, paragraph
from stage1.document.numbers import UNDEFINED, number, ratio
from stage1.faults import plural
from stage1.preregistration import COST_MARGIN


def difference_blocks(summary: Summary, picture: Picture) -> list[Block]:
    """The section of the paired differences at the end."""
    reference = summary.reference
    rows: list[list[Inline]] = []
    for name in summary.others:
        spreads = [spread_of(summary.differences(m, name)) for m in (LOSS, CORRELATION)]
        rows.append([name, str(spreads[0].seeds), *(cell for s in spreads for cell in _range(s))])
    header = ["configuration", "pairs"]
    for metric in (LOSS, CORRELATION):
        header += [f"{metric}, mean", "smallest", "largest"]
    role = "the vanilla encoder" if reference.is_vanilla else "the first configuration"
    missing = "" if reference.is_vanilla else " No configuration has the vanilla encoder."
    return [
        Heading(f"Differences to {reference.name}"),
        Table(header, rows, numbers_from=1),
        Gallery([picture]),
        paragraph(
            f"At the end, each seed's training minus that of {reference.name}, {role}, with the "
            f"same seed.{missing} Below 0 is better for val_loss, above 0 for val_correlation. "
            f"{plural(len(summary.seeds), 'seed')} show these differences; a study "
            "(stage1.tune) tests them.",
            note=True,
        ),
    ]


def _range(spread: Spread) -> list[str]:
    return [_signed(value) for value in (spread.mean, spread.low, spread.high)]


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def cost_blocks(summary: Summary, picture: Picture) -> list[Block]:
    """The section of time, memory and cost."""
    on_gpu = any(cost.peak_vram_mb > 0 for cost in summary.costs.values())
    rows: list[list[Inline]] = []
    for name, cost in summary.costs.items():
        steps, ratios = spread_of(1000 * cost.seconds_per_step), spread_of(cost.ratio)
        within = int((cost.ratio <= COST_MARGIN).sum())
        rows.append(
            [
                name,
                number(cost.seconds, digits=1),
                number(steps.mean, digits=1),
                ratio(ratios.mean),
                f"{ratio(ratios.low)} to {ratio(ratios.high)}" if ratios.seeds else UNDEFINED,
                f"{within} of {ratios.seeds}",
                number(cost.peak_rss_mb, digits=0),
                *([number(cost.peak_vram_mb, digits=0)] if on_gpu else []),
            ]
        )
    limit = ratio(COST_MARGIN)
    header = [
        *("configuration", "s / training", "ms / step", f"step, {summary.reference.name} = 1"),
        *("its range over seeds", f"seeds within {limit}", "memory, MB"),
        *(["GPU memory, MB"] if on_gpu else []),
    ]
    return [
        Heading("Time, memory and cost"),
        Table(header, rows, numbers_from=1),
        Gallery([picture]),
        *(paragraph(text, note=True) for text in _cost_notes(summary)),
    ]


def _cost_notes(summary: Summary) -> list[str]:
    """What to know about the times."""
    notes = [
        f"The plan allows {ratio(COST_MARGIN)}, 15 % more than the vanilla encoder. Means over all "
        "steps of a training; memory is the largest peak of a process, bars, libraries and all."
    ]
    if not summary.reference.is_vanilla:
        notes.append(
            f"No configuration has the vanilla encoder, so {summary.reference.name}, the first "
            "one, stands in for it, and the plan's number does not apply."
        )
    if summary.at_once > 1:
        notes.append(
            f"Up to {summary.at_once} trainings ran side by side and shared the machine's memory "
            "and caches, the last ones less than the first, so these times are noisier than those "
            "of trainings in turn (--workers 1)."
        )
    for name, cost in summary.costs.items():
        if cost.frozen_epochs:
            notes.append(
                f"{name}: its T5 is frozen for {cost.frozen_epochs} of {summary.horizon} epochs; "
                "those steps are cheaper, and its means include them."
            )
    return notes
