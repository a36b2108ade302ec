"""What the report of a run holds, in order."""

from __future__ import annotations

from stage1.claims.evaluate import Evaluation
from stage1.claims.scores import RunTables
from stage1.pages.arms_section import arm_blocks, plan_blocks, progress_text
from stage1.pages.blocks import (
    Block,
    Caution,
    Gallery,
    Heading,
    Items,
    Picture,
    Strong,
    paragraph,
)
from stage1.pages.claims_section import GLOSSARY, verdict_blocks
from stage1.pages.cost_section import cost_blocks
from stage1.pages.design_section import design_blocks, hyperparameter_blocks
from stage1.pages.provenance import best_blocks, environment_blocks, reproduction_blocks
from stage1.run.summary import cautions

_WORDS = {
    "arm": "A way to initialise the T5: pretrained, random, shuffled (the pretrained numbers in "
    "random order), or vanilla (another encoder, no T5).",
    "configuration": "One point of the search space; it is trained in every arm with every seed.",
    "trial": "One configuration in one arm with one seed, trained.",
    "horizon": "The last epoch of a full trial.",
    "val_correlation": "Pearson correlation of reconstructed and true hidden bars, pooled per "
    "timeframe and channel, then averaged; 1 is perfect.",
    "val_loss": "The training objective on the validation windows; smaller is better.",
    "val_skill": "1 - MSE / MSE of linear interpolation; above 0 beats a straight line.",
    "consistency_ratio": "Share of the coarse bars' prices with hidden parts that agree with the "
    "finer bars beneath them, to a tenth of a standard deviation; says nothing about truth.",
    "spectral_delta": "How far the amplitudes of reconstructed series are from the true ones, as a "
    "share of those; 0 is right, and interpolation is too smooth.",
    "interval": "The values of an effect that the data do not refute.",
    "attribution": "Whether shuffled weights, the same numbers without their structure, do as "
    "well: then it is not what the weights learned.",
    "error reduction": "How much less is missing to correlation 1, as a share; readable also where "
    "the correlation is high already.",
    "tau": "Kendall's rank correlation, 1 = the same order. Its ceiling is the agreement between "
    "seeds at the horizon: on average nothing predicts better than the truth repeats itself.",
    "spread": "Standard deviation between configurations.",
    "diverged": "The loss left the range of useful numbers.",
}


def report_blocks(
    tables: RunTables, evaluation: Evaluation, pictures: list[Picture]
) -> list[Block]:
    """The whole report.

    Args:
        tables: Of the run.
        evaluation: Of the same tables.
        pictures: The figures in order, missing ones too.
    """
    space, trials = tables.space, tables.trials
    blocks: list[Block] = [
        Heading(space.name, level=1),
        paragraph(f"{progress_text(trials, space)}."),
        *warnings(tables, evaluation),
        *verdict_blocks(evaluation, level=tables.registration.level),
        Heading("Figures"),
        Gallery(pictures),
        *plan_blocks(trials, space, evaluation.scores),
        *cost_blocks(evaluation, tables.registration),
        *design_blocks(tables, evaluation),
        *hyperparameter_blocks(tables, evaluation.scores),
        *arm_blocks(trials, space),
        *best_blocks(tables),
        *environment_blocks(tables),
        *reproduction_blocks(tables),
        Heading("Words"),
        Items([(Strong(word), f": {text}") for word, text in {**_WORDS, **GLOSSARY}.items()]),
    ]
    return blocks


def warnings(tables: RunTables, evaluation: Evaluation) -> list[Caution]:
    """What stands above the numbers: warnings first, then deviations from the registration."""
    texts = [*evaluation.warnings, *cautions(tables.trials, tables.space)]
    return [
        *(Caution("Warning", text) for text in dict.fromkeys(texts)),
        *(Caution("Deviation", text) for text in evaluation.deviations),
    ]
