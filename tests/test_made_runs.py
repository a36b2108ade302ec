"""A run that a test plants something in is written, read and evaluated as one of a study is."""

from __future__ import annotations

import numpy as np
import pytest
from made_runs import LR, arm_scores, drawn_arm, study_tables, write_run

from stage1.claims.judge import evaluate
from stage1.claims.scores import design_scores, read_run

SHAPE = (8, 2)
NOTHING = arm_scores(np.zeros(SHAPE))
DIVERGED = arm_scores(np.zeros(SHAPE), diverged=np.ones(SHAPE, dtype=bool))
ARM = drawn_arm(np.random.default_rng(0), configurations=8)
WORSE = drawn_arm(np.random.default_rng(1), configurations=8, mean=0.4, spread=0.015)
CAPPED = arm_scores(np.minimum(ARM.final, 0.5))


def fixed_weights():
    tables = study_tables({"pretrained": ARM, "random": ARM})
    tables.trials["lm_sha256"] = tables.trials["arm"]
    return tables


@pytest.mark.parametrize(
    "tables",
    [
        pytest.param(study_tables({"pretrained": ARM, "random": NOTHING}), id="nothing learned"),
        pytest.param(study_tables({"pretrained": DIVERGED, "random": ARM}), id="all diverged"),
        pytest.param(study_tables({"pretrained": WORSE, "random": ARM}), id="worse, half as wide"),
        pytest.param(study_tables({"pretrained": CAPPED, "random": ARM}), id="a ceiling"),
        pytest.param(
            study_tables({"random": ARM}, points=4 * [{LR: 1e-3}, {LR: 2e-3}]),
            id="two distinct configurations of eight",
        ),
        pytest.param(fixed_weights(), id="weights that do not change with the seed"),
    ],
)
def test_a_planted_run_is_read_from_its_folder_as_it_was_made(tables, tmp_path):
    read = read_run(write_run(tmp_path / "run", tables))

    made, found = (
        design_scores(each.trials, each.curves, each.space, each.registration).correlation
        for each in (tables, read)
    )
    verdicts = [[claim.verdict for claim in evaluate(each).claims] for each in (tables, read)]
    assert read.deviations == []
    np.testing.assert_equal(found, made)
    assert verdicts[1] == verdicts[0]
