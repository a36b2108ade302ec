"""The page of a comparison: what each configuration gains and costs against the reference."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from stage1.base.metric_table import (
    CORRELATION,
    INTERPOLATION,
    INTERPOLATION_MEANING,
    LOSS,
    SKILL,
    meanings,
)
from stage1.base.terminal import print_plain
from stage1.base.text import plural, shell_line
from stage1.config import Config
from stage1.pages.arms_section import plan_epochs
from stage1.pages.blocks import (
    Block,
    Code,
    Commands,
    Gallery,
    Heading,
    Inline,
    Picture,
    Table,
    cautions,
    paragraph,
    word_list,
)
from stage1.pages.comparison_figures import draw_figures
from stage1.pages.comparison_summary import (
    ComparisonTables,
    Spread,
    Summary,
    failings,
    first_epoch,
    largest_rise,
    mean_curve,
    mean_height,
    measured,
    most_at_once,
    read_comparison,
    scores_by_epoch,
    spread_of,
    summarize,
)
from stage1.pages.numbers import SAMENESS, UNDEFINED, number, ratio
from stage1.pages.page import save_page, save_picture, screen_table, show_cautions, writing_into
from stage1.run.columns import COMPLETED, DIVERGED, FAILED
from stage1.run.comparison_record import CONFIG_FOLDER, differing_keys, leaves
from stage1.run.folder import RunFolder
from stage1.run.registration import COST_MARGIN


def difference_blocks(summary: Summary, picture: Picture) -> list[Block]:
    """The section of the paired differences at the end."""
    reference = summary.reference
    rows: list[list[Inline]] = []
    for name in summary.others:
        spreads = [spread_of(summary.differences(m, name)) for m in (LOSS, CORRELATION)]
        ends = [value for s in spreads for value in (s.mean, s.low, s.high)]
        rows.append([name, str(spreads[0].seeds), *map(_signed, ends)])
    header = ["configuration", "pairs"]
    for metric in (LOSS, CORRELATION):
        header += [f"{metric}, mean", "smallest", "largest"]
    role = "the vanilla encoder" if summary.has_vanilla else "the first configuration"
    missing = "" if summary.has_vanilla else " No configuration has the vanilla encoder."
    return [
        Heading(f"Differences to {reference}"),
        Table(header, rows, numbers_from=1),
        Gallery([picture]),
        paragraph(
            f"At the end, each seed's training minus that of {reference}, {role}, with the "
            f"same seed.{missing} Below 0 is better for val_loss, above 0 for val_correlation. "
            f"{plural(len(summary.seeds), 'seed')} show these differences; a study "
            "(stage1.tune) tests them.",
            note=True,
        ),
    ]


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def cost_blocks(summary: Summary, picture: Picture) -> list[Block]:
    """The section of time, memory and cost."""
    columns = ("seconds", "seconds_per_step", "peak_rss_mb", "peak_vram_mb")
    seconds, per_step, memory, gpu_memory = (measured(summary.tables, c) for c in columns)
    on_gpu = any(spread_of(values).high > 0 for values in gpu_memory.values())
    rows = []
    for name in summary.names:
        ratios = spread_of(summary.step_ratio(name))
        within = int((summary.step_ratio(name) <= COST_MARGIN).sum())
        rows.append(
            [
                name,
                number(spread_of(seconds[name]).mean, digits=1),
                number(spread_of(1000 * per_step[name]).mean, digits=1),
                ratio(ratios.mean),
                f"{ratio(ratios.low)} to {ratio(ratios.high)}" if ratios.seeds else UNDEFINED,
                f"{within} of {ratios.seeds}",
                number(spread_of(memory[name]).high, digits=0),
                *([number(spread_of(gpu_memory[name]).high, digits=0)] if on_gpu else []),
            ]
        )
    limit = ratio(COST_MARGIN)
    header = [
        *("configuration", "s / training", "ms / step", f"step, {summary.reference} = 1"),
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
    if not summary.has_vanilla:
        notes.append(
            f"No configuration has the vanilla encoder, so {summary.reference}, the first "
            "one, stands in for it, and the plan's number does not apply."
        )
    at_once = most_at_once(summary.tables.trials)
    if at_once > 1:
        notes.append(
            f"Up to {at_once} trainings ran side by side and shared the machine's memory "
            "and caches, the last ones less than the first, so these times are noisier than those "
            "of trainings in turn (--workers 1)."
        )
    for name in summary.names:
        frozen = summary.frozen_epochs(name)
        if frozen:
            notes.append(
                f"{name}: its T5 is frozen for {frozen} of {summary.horizon} epochs; "
                "those steps are cheaper, and its means include them."
            )
    return notes


_PREFIX = 12
"""Digits of a checksum that are shown."""
_WORDS = {
    **meanings(LOSS, CORRELATION, SKILL),
    INTERPOLATION: INTERPOLATION_MEANING,
    "mean ± deviation": "Over the seeds; the deviation is the standard deviation with n - 1.",
}


def main_table(summary: Summary) -> Table:
    """The numbers at the end, a row per configuration and one for linear interpolation."""
    rows: list[list[Inline]] = [
        [
            name,
            f"{summary.trainings(name, COMPLETED)} / {len(summary.seeds)}",
            *(with_deviation(summary.final(metric, name)) for metric in (LOSS, CORRELATION)),
            number(summary.final(SKILL, name).mean, digits=3),
            ratio(spread_of(summary.step_ratio(name)).mean),
        ]
        for name in summary.names
    ]
    baseline = [number(summary.baseline[metric]) for metric in (LOSS, CORRELATION)]
    rows.append([INTERPOLATION, "", *baseline, number(0.0, digits=3), ""])
    header = ["configuration", "seeds", "val_loss", "val_correlation", "val_skill", "step"]
    return Table(header, rows, numbers_from=1)


def main_note(summary: Summary) -> str:
    """What the main table says, in one line."""
    return (
        f"After epoch {summary.horizon}, mean ± standard deviation over the seeds that completed; "
        f"step: seconds per training step, {summary.reference} = 1."
    )


def with_deviation(spread: Spread) -> str:
    """A mean with its deviation; without one where a single seed has none."""
    if spread.seeds < 2:
        return number(spread.mean)
    return f"{number(spread.mean)} ± {number(spread.deviation)}"


def page_blocks(summary: Summary, pictures: dict[str, Picture]) -> list[Block]:
    """The whole page; its pictures are `correlation`, `loss`, `differences` and `cost`."""
    *names, last = summary.names
    return [
        Heading(f"Comparison of {', '.join(names)} and {last}", level=1),
        paragraph(_what_was_run(summary)),
        *cautions(failings(summary)),
        Heading("Result"),
        main_table(summary),
        paragraph(main_note(summary), note=True),
        paragraph(
            f"One configuration per arm and {plural(len(summary.seeds), 'seed')} show what "
            "happened in these runs; they test nothing. ",
            Code("python -m stage1.tune search_spaces/transfer.yaml"),
            " tests the claims, over many configurations.",
        ),
        Heading("By epoch"),
        _by_epoch(summary, LOSS),
        _by_epoch(summary, CORRELATION),
        Gallery([pictures["correlation"], pictures["loss"]]),
        *_convergence_blocks(summary),
        *_stability_blocks(summary),
        *difference_blocks(summary, pictures["differences"]),
        *cost_blocks(summary, pictures["cost"]),
        *_settings_blocks(summary.tables),
        *word_list(_WORDS),
    ]


def _what_was_run(summary: Summary) -> str:
    tables = summary.tables
    record, ended = tables.record, len(tables.trials)
    planned = len(record.configs) * len(record.seeds)
    at_once = most_at_once(tables.trials)
    order = f"up to {at_once} side by side" if at_once > 1 else "in turn"
    gpu = f", {record.machine.gpu}" if record.machine.gpu else ""
    where = record.data.data_dir or "the bundled sample"
    return (
        f"{plural(len(record.configs), 'configuration')} x {plural(len(record.seeds), 'seed')} "
        f"({', '.join(map(str, record.seeds))}), {plural(summary.horizon, 'epoch')} each: {ended} "
        f"of {planned} trainings ended, {len(tables.completed)} completed. Data: {where} "
        f"({record.data.fingerprint[:_PREFIX]}). Machine: "
        f"{plural(record.machine.cores, 'core')}{gpu}, torch {record.versions['torch']}; "
        f"trainings ran {order}."
    )


# By epoch -----------------------------------------------------------------------------------------


def _by_epoch(summary: Summary, metric: str) -> Table:
    epochs = plan_epochs(summary.horizon)
    rows = [
        [name, *(with_deviation(summary.at(metric, name, epoch)) for epoch in epochs)]
        for name in summary.names
    ]
    rows.append([INTERPOLATION, *([number(summary.baseline[metric])] * len(epochs))])
    named = [f"{epoch} (end)" if epoch == summary.horizon else f"{epoch}" for epoch in epochs]
    caption = f"{metric} after epoch, mean ± deviation"
    return Table(["configuration", *named], rows, caption=caption, numbers_from=1)


def _convergence_blocks(summary: Summary) -> list[Block]:
    goal = summary.final(CORRELATION, summary.reference).mean
    baseline = summary.baseline[CORRELATION]
    rows = []
    for name, correlation in summary.scores[CORRELATION].items():
        curve = mean_curve(correlation)
        epochs = [first_epoch(curve, level) for level in (goal, baseline)]
        reached = ["never" if epoch is None else str(epoch) for epoch in epochs]
        rows.append([name, *reached, number(mean_height(curve))])
    header = [
        "configuration",
        f"reaches {number(goal)} (end of {summary.reference})",
        f"reaches {number(baseline)} ({INTERPOLATION})",
        "mean height",
    ]
    return [
        Heading("Convergence"),
        Table(header, rows, caption="First epoch of the mean val_correlation", numbers_from=1),
        paragraph(
            "Mean height is the area under the mean curve from epoch 0 to the end, divided by the "
            "number of epochs: higher means earlier, or better, or both.",
            note=True,
        ),
    ]


def _stability_blocks(summary: Summary) -> list[Block]:
    every_loss = scores_by_epoch(summary.tables, LOSS, completed=False)
    rows = [
        [
            name,
            *(number(summary.final(metric, name).deviation) for metric in (LOSS, CORRELATION)),
            number(largest_rise(every_loss[name])),
            *(str(summary.trainings(name, status)) for status in (DIVERGED, FAILED)),
        ]
        for name in summary.names
    ]
    header = [
        *("configuration", "val_loss, deviation", "val_correlation, deviation"),
        *("largest rise of val_loss", "diverged", "failed"),
    ]
    return [
        Heading("Stability"),
        Table(header, rows, numbers_from=1),
        paragraph(
            "Deviations over seeds at the end. The largest rise is that of val_loss from one epoch "
            "to the next in any training; 0 means that it only fell.",
            note=True,
        ),
    ]


# What it was --------------------------------------------------------------------------------------


def _settings_blocks(tables: ComparisonTables) -> list[Block]:
    record = tables.record
    values = {name: leaves(config) for name, config in record.configs.items()}
    rows: list[list[Inline]] = [
        [Code(key), *(Code(str(values[name][key])) for name in values)]
        for key in differing_keys(record.configs)
    ]
    blocks: list[Block] = [Heading("In what the configurations differ")]
    if rows:
        blocks.append(Table(["key", *values], rows))
    else:
        blocks.append(paragraph("In nothing: whatever differs above is chance."))
    if _sees_across_only_without_t5(record.configs):
        blocks.append(
            paragraph(
                "Beside these: where ",
                Code("model.cross_pairs"),
                " is null, timeframes see each other behind the blocks of the vanilla encoder, and "
                "not behind those of a T5.",
                note=True,
            )
        )
    models = ", ".join(f"{name} ({sha[:_PREFIX]})" for name, sha in record.language_models.items())
    packages = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    return [
        *blocks,
        paragraph(f"Language models: {models or 'none'}. Packages: {packages}.", note=True),
        Heading("How to reproduce"),
        paragraph(
            f"The same on the same machine, {SAMENESS[record.machine.gpu is not None]} of every "
            "score:"
        ),
        Commands([again_command(tables)]),
    ]


def _sees_across_only_without_t5(configs: dict[str, Config]) -> bool:
    """Whether cross-scale attention tells vanilla and T5 apart though no key shows it."""
    by_default = [config for config in configs.values() if config.model.cross_pairs is None]
    return len({config.transfer_learning.use_pretrained_lm for config in by_default}) > 1


def again_command(tables: ComparisonTables) -> str:
    """The command that runs the comparison again, in another folder."""
    record, folder = tables.record, tables.run.path / CONFIG_FOLDER
    files = [folder / f"{name}.yaml" for name in record.configs]
    seeds = {"seeds": len(record.seeds), "seed": record.seeds[0] - 1}
    data_dir = record.data.data_dir or None
    return shell_line("compare", *files, **seeds, data_dir=data_dir, out="again")


REPORT_FILE, PAGE_FILE = "experiment_t5_vs_random.md", "experiment_t5_vs_random.html"


class Page(NamedTuple):
    """A written page."""

    path: Path
    run: RunFolder
    summary: Summary

    def show(self, console: Console) -> None:
        """Print the main table, the warnings, and where the rest lies."""
        console.print(screen_table(main_table(self.summary), caption=main_note(self.summary)))
        show_cautions(console, cautions(failings(self.summary)))
        logs = self.run.tensorboard
        page = self.path.with_name(PAGE_FILE)
        print_plain(console, f"Report: {page} (as text: {self.path.name})")
        print_plain(console, f"Curves: tensorboard --logdir {logs}")


def write_page(run: RunFolder) -> Page:
    """Write the page and its figures from the tables, also while the comparison runs.

    Raises:
        ResultsError: The folder is no comparison's, its tables cannot be read, or it cannot be
            written.
    """
    summary = summarize(read_comparison(run))
    path = run.path / REPORT_FILE
    with writing_into(run):
        pictures = {
            name: save_picture(drawn, run.path, inside=run.figures.name)
            for name, drawn in draw_figures(summary).items()
        }
        save_page(page_blocks(summary, pictures), path, run.path / PAGE_FILE)
    return Page(path, run, summary)
