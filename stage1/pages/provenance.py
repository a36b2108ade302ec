"""What to run after a study, as it can be pasted into the shell that the study was run from."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from shutil import which
from typing import Any

import pandas as pd

from stage1 import __version__
from stage1.base.errors import ResultsError
from stage1.base.metric_table import CORRELATION, INTERPOLATION, LOSS, SKILL
from stage1.base.text import plural, shell_line
from stage1.claims.scores import RunTables
from stage1.pages.blocks import (
    Block,
    Code,
    Commands,
    Heading,
    Inline,
    Paragraph,
    Strong,
    Table,
    cautions,
    paragraph,
)
from stage1.pages.evaluation_page import MODEL, looks_texts
from stage1.pages.numbers import SAMENESS, UNDEFINED, moment, number
from stage1.run.folder import RunFolder
from stage1.run.summary import (
    NO_CHECKPOINT,
    BestConfiguration,
    baseline_value,
    best_configuration,
    export_command,
    export_target,
    kept_checkpoints,
    leaderboard,
    noise_text,
    tested_column,
    tested_scores,
    tie_text,
    train_command,
)


def activation() -> list[str]:
    """The command after which `python` is the one that runs now; none where it is already.

    `make` runs the one of `.venv/`, which is then on nobody's PATH.
    """
    programs = Path(sys.executable).parent
    activate, python = programs / "activate", which("python")
    if not activate.is_file() or (python and Path(python).parent == programs):
        return []
    if activate.is_relative_to(Path.cwd()):
        activate = activate.relative_to(Path.cwd())
    return [f"source {shlex.quote(str(activate))}"]


def final_training(tables: RunTables) -> list[str]:
    """Export and train the best configuration; none without a complete one.

    The final training where its length can be reckoned, else the trial once more.
    """
    if leaderboard(tables.trials, tables.space, tables.registration).empty:
        return []
    final = tables.registration.training_windows is not None
    target = export_target(tables.space.name, final=final)
    return [export_command(tables.run, final=final), train_command(target)]


def dashboards(run: RunFolder) -> list[str]:
    """Open dashboards on what is there."""
    commands = []
    if run.journal.exists():
        commands.append(shlex.join(["optuna-dashboard", str(run.journal)]))
    if run.tensorboard.exists():
        commands.append(shlex.join(["tensorboard", "--logdir", str(run.tensorboard)]))
    return commands


_PREFIX = 12
"""Digits of a checksum that are shown."""
_LONGEST = 1e9
"""Seconds that a trial may seem to have taken; a table of unknown origin can say anything."""


def best_blocks(tables: RunTables) -> list[Block]:
    """The sections of the best configuration and of what to do with it."""
    heading = Heading("Best configuration")
    try:
        best = best_configuration(tables.trials, tables.space, tables.registration)
    except ResultsError as error:
        return [heading, paragraph(f"None yet: {error}.")]
    return [
        heading,
        *_best(best, tables.space.objective.metric),
        *_test_period(tables, best),
        Heading("How to go on"),
        paragraph("Write the best configuration to a file, then train it:"),
        Commands(final_training(tables)),
        paragraph(
            "The objective of a configuration chosen among many is flattering: what it is worth is "
            "told by bars that no trial has seen, with ",
            *_evaluate(tables),
        ),
    ]


def _evaluate(tables: RunTables) -> list[Inline]:
    """How a final training is scored on bars that nothing was chosen by."""
    if tables.space.test_share:
        return [Code("python -m stage1.evaluate CHECKPOINT"), ", which scores the test period too."]
    return [Code("python -m stage1.evaluate CHECKPOINT --data-dir THEM"), "."]


def _test_period(tables: RunTables, best: BestConfiguration) -> list[Block]:
    """What the best configuration's kept checkpoints came to on bars that nothing was chosen by."""
    share, looks = tables.space.test_share, tables.test_period
    if not share:
        return []
    heading = Heading("On bars that nothing was chosen by")
    mine = tested_scores(looks, tables.trials, best)
    if mine.empty:
        kept = kept_checkpoints(tables.run, tables.trials, best)
        told = (
            "is scored when all trials have ended" if kept else f"was not scored: {NO_CHECKPOINT}"
        )
        return [heading, paragraph(f"The test period, the last {share:.0%} of the bars, {told}.")]
    first = mine.iloc[0]
    return [
        heading,
        paragraph(
            f"The test period, {plural(int(first['windows']), 'window')} from "
            f"{moment(first['starts_at'])} to {moment(first['ends_at'])}, lies behind all bars "
            "that trials were trained and scored on. No search, choice or verdict has seen it: the "
            "configuration was chosen first, and those of its trials whose weights are kept were "
            "scored there then."
        ),
        *cautions(looks_texts(looks)),
        _test_table(tables, mine),
    ]


_TESTED = (CORRELATION, SKILL, LOSS)


def _test_table(tables: RunTables, mine: pd.DataFrame) -> Table:
    """A row per trial and one for interpolation; each metric where it was chosen by and there."""
    trials = tables.trials.set_index("trial_id")
    scores = mine.set_index(["of", "trial_id"])
    rows: list[list[Inline]] = [
        [name, *_cells(trials.loc[name], scores.loc[(MODEL, name)])]
        for of, name in scores.index
        if of == MODEL
    ]
    line = {metric: baseline_value(tables.trials, metric) for metric in _TESTED}
    rows.append([INTERPOLATION, *_cells(line, scores.xs(INTERPOLATION).iloc[0])])
    names = {CORRELATION: "corr.", SKILL: "skill", LOSS: "loss"}
    header = [f"{names[one]}, {where}" for one in _TESTED for where in ("validation", "test")]
    return Table(["trial", *header], rows, numbers_from=1)


def _cells(validation: Mapping[str, Any] | pd.Series, test: pd.Series) -> list[str]:
    pairs = [(validation[name], test[tested_column(name)]) for name in _TESTED]
    return [number(value) for pair in pairs for value in pair]


def _best(best: BestConfiguration, metric: str) -> list[Block]:
    rows: list[list[Inline]] = [[Code(key), Code(str(v))] for key, v in best.values.items()]
    table = Table(["hyperparameter", "value"], rows, stacked=True)
    return [best_paragraph(best, metric), table]


def best_paragraph(best: BestConfiguration, metric: str) -> Paragraph:
    """Arm, score and ties of a configuration that is recommended or was asked for."""
    seeds = ", ".join(f"{number(value)} (seed {seed})" for seed, value in best.by_seed.items())
    return paragraph(
        *(Code(best.config_id), " of arm ", Strong(best.arm)),
        f", the best of {plural(best.candidates, 'complete configuration')} by mean {metric} over "
        "seeds: ",
        Strong(number(best.mean)),
        f" = mean of {seeds}; val_skill {number(best.skill)}. Standard deviation between seeds: "
        f"{noise_text(best)}.",
        *(f" A tie: {tie_text(rival)}; take the cheaper one." for rival in best.ties),
    )


# Environment and reproduction -----------------------------------------------------------------


def environment_blocks(tables: RunTables) -> list[Block]:
    """The section of what the study ran on."""
    registration, data = tables.registration, tables.space.data
    started = tables.trials["started_at"]
    seconds = tables.trials["seconds"].fillna(0.0).clip(0.0, _LONGEST)
    ended = started + pd.to_timedelta(seconds, unit="s")
    nodes = sorted(tables.trials["node"].dropna().unique())
    rows = {
        "registered": moment(registration.written_at),
        "first trial began": moment(started.min()),
        "last trial ended": moment(ended.max()),
        "nodes": ", ".join(nodes) or UNDEFINED,
        "seeds of the design": ", ".join(map(str, registration.seeds)),
        "seed of the study": str(tables.space.seed),
        "language models": ", ".join(
            f"{name} ({sha256[:_PREFIX]})" for name, sha256 in registration.language_models.items()
        )
        or "none",
        "data": f"{data.data_dir or 'the bundled sample'} ({data.fingerprint[:_PREFIX]})",
        "random arm": _random_arm(tables),
        "search was told": str(registration.warm_start or ""),
        "search started from": "; ".join(map(_point, tables.space.search.start)),
        "packages": ", ".join(f"{name} {v}" for name, v in registration.versions.items()),
        "this report": f"stage1 {__version__}",
    }
    cells = [[name, value] for name, value in rows.items() if value]
    return [Heading("Environment"), Table(["what", "value"], cells)]


def _point(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _random_arm(tables: RunTables) -> str:
    random = tables.registration.random_arm
    if random is None:
        return ""
    scale = random.input_scale
    described = "that of the language model's embeddings" if scale is None else str(scale)
    return f"initializer factor {random.initializer_factor}, input scale {described}"


def reproduction_blocks(tables: RunTables) -> list[Block]:
    """The section of how to get the same again."""
    space = tables.space
    options = {"seed": space.seed, "trials": space.search.trials, "data_dir": space.data.data_dir}
    again = shell_line("tune", "SPACE.yaml", **options, out="again")
    on_gpu = bool((tables.trials["peak_vram_mb"] > 0).any())
    return [
        Heading("How to reproduce"),
        paragraph(
            "This report again, from the tables alone; and the study again, where SPACE.yaml is "
            "the search space file it was started with (what it has to resolve to is in ",
            *(Code(tables.run.space.name), "):"),
        ),
        Commands([shell_line("report", tables.run.path), again]),
        paragraph(
            "On the same machine with the same packages a trial of the design gives the same "
            f"numbers {SAMENESS[on_gpu]}. The search depends on the order in which its trials end.",
            note=True,
        ),
    ]
