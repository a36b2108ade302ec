"""What was planned, what came of it, what was searched."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from command_line import ROOT
from made_runs import FREEZE, LR, RICH_SPACE, arm_scores, changed_study, scores_of, study_tables

from stage1.claims.judge import evaluate
from stage1.claims.scores import read_run
from stage1.pages.blocks import Paragraph, Table
from stage1.pages.design_section import (
    describe_domain,
    design_blocks,
    edge_texts,
    hyperparameter_blocks,
)
from stage1.pages.markdown import markdown
from stage1.run.folder import RunFolder
from stage1.run.resolved_space import Choice, Range


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (Range(type="float", low=1e-4, high=0.01, log=True), "0.0001 to 0.01, in the exponent"),
        (Range(type="int", low=0, high=3, log=False), "whole numbers 0 to 3"),
        (Choice(options=[4, 8, 16]), "4, 8, 16"),
        (Choice(options=["a", None]), "a, none"),
        (
            Range(type="float", low=0.0, high=1.0, when={"model.kind": "t5", "x": True}),
            "0 to 1; only where model.kind = t5 and x = True",
        ),
    ],
)
def test_a_domain_is_told_in_words(domain, text):
    assert describe_domain(domain) == text


DESIGN = {"looks": [16, 32], "replicated": 4}


def grown(*, gain, shuffled=0, **registration):
    """A design of 64 configurations, whose pretrained arm is ahead by `gain`."""
    generator = np.random.default_rng(2)
    level = 0.5 + 0.05 * generator.normal(size=(64, 1)) + 0.002 * generator.normal(size=(64, 2))
    noise = 0.004 * generator.normal(size=(64, 2))
    arms = {"pretrained": arm_scores((1 + gain) * level + noise), "random": arm_scores(level)}
    if shuffled:
        arms["shuffled"] = arm_scores(level[:shuffled] - noise[:shuffled])
    return study_tables(arms, design=DESIGN, **registration)


def told(tables):
    """The paragraphs of the section, and its tables by caption."""
    no_error = pd.Series(index=tables.trials.index, dtype="str")
    tables = tables._replace(trials=tables.trials.assign(error=no_error))
    blocks = design_blocks(tables, evaluate(tables))
    texts = ["".join(map(str, block.parts)) for block in blocks if isinstance(block, Paragraph)]
    return texts, {block.caption: block for block in blocks if isinstance(block, Table)}


def test_looks_that_were_registered_and_extensions_are_told_apart_with_level_and_verdicts():
    texts, tables = told(grown(gain=0.0, spending="half at first"))

    assert "32 configurations of a scrambled Sobol sequence" in texts[0]
    assert "one seed, the first 4 with 2 in 2 arms (pretrained, random) = 72 trials" in texts[0]
    assert (
        "Looks were registered at 16 and 32 configurations, which spend half at first" in texts[0]
    )
    looks = tables["Looks taken"]
    assert looks.header[:4] == ["look", "planned", "different configurations", "confidence"]
    assert [row[:4] for row in looks.rows] == [
        ["16", "registered", "16", "99.90%"],  # 1 - .05 / 48
        ["32", "registered", "32", "99.69%"],  # 1 - .05 / 16
        ["64", "extension", "64", "99.79%"],  # 1 - .05 / 24
    ]
    assert looks.header[4] == "1 sensitivity"
    planned = {row[0]: row[1] for row in tables["Trials of the design"].rows}
    assert planned == {"pretrained": "68", "random": "68"}


def test_shuffled_trainings_have_their_reason():
    asked, _ = told(grown(gain=0.2, shuffled=64))
    none, _ = told(grown(gain=0.0, shuffled=2, control=2))

    (line,) = [text for text in asked if text.startswith("Arm shuffled: ")]
    assert "68 trainings: " in line
    assert "3 gain at the horizon asked for it" in line
    (line,) = [text for text in none if text.startswith("Arm shuffled: ")]
    assert "planned on the first 2 configurations in any case" in line
    assert "4 trainings: no claim that asks for it came out positive" in line


def test_settings_that_vary_together_are_named():
    together = [{LR: 10 ** (-4 + 2 * c / 64), FREEZE: 0 if c < 32 else 3} for c in range(64)]
    tables = grown(gain=0.0, points=together)
    space = {key: RICH_SPACE[key] for key in (LR, FREEZE)}

    texts, _ = told(tables._replace(space=changed_study(tables.space, space=space)))

    (line,) = [text for text in texts if text.startswith("Settings: ")]
    assert f"cannot tell {LR} from {FREEZE}" in line
    assert "What is said of one of them may be due to the other." in line


def test_an_end_near_the_best_is_told_with_the_line_to_write_and_the_commands_that_go_on():
    tables = read_run(RunFolder(ROOT / "analysis" / "sample_run"))

    text = markdown(hyperparameter_blocks(tables, scores_of(tables)))

    line = "training.optimizer.lr: {type: float, low: 0.001, high: 0.02, log: true}"
    assert edge_texts(tables).keys() == {line}
    assert "**Search further:** training.optimizer.lr was searched to 0.01, and near it" in text
    assert f"a new study would search `{line}`" in text
    assert "stage1.new transfer-further --from" in text
