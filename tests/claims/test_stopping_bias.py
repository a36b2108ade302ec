"""Verdicts from trials that a scheduler let finish are false; the design's are not.

Two arms with the same spread of final scores. In one, early scores tell much of the final ones, in
the other little. ASHA, with the rule a study uses, keeps about the best third by early score, so
the survivors of the first arm are alike: a smaller spread that is none.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_runs import EARLY, HORIZON, arm_scores, judged, scores_of, study_tables
from scipy import stats

from stage1.claims.catalogue import SENSITIVITY
from stage1.claims.verdicts import Verdict
from stage1.run.columns import COMPLETED, SEARCH, STOPPED
from stage1.workers.tune_bridge import ArmHalving

CONFIGURATIONS = 2000
AGREEMENT = {"pretrained": 0.9, "random": 0.3}
"""Correlation of early and final scores."""
LUCK = 0.01
ASHA = SimpleNamespace(grace_epochs=EARLY, reduction_factor=3)
SPACE = SimpleNamespace(
    objective=SimpleNamespace(metric="val_correlation", mode="max"),
    horizon_epochs=HORIZON,
    search=SimpleNamespace(scheduler=SimpleNamespace(asha=ASHA)),
)


def drawn_studies(generator):
    """Both arms' scores, of equal spread; log val_loss falls as val_correlation rises."""
    arms = {}
    for name, agreement in AGREEMENT.items():
        final, rest = 0.1 * generator.normal(size=(2, CONFIGURATIONS, 1))
        early = agreement * final + math.sqrt(1 - agreement**2) * rest
        luck = LUCK * generator.normal(size=(2, CONFIGURATIONS, 2))
        arms[name] = arm_scores(
            0.5 + final + luck[0], early=0.3 + early + luck[1], log_loss=-2 - final - luck[0]
        )
    return arms


def stopped_search(tables):
    """The same trials as a search that ASHA, as Ray runs it, stops at the early epoch."""
    trials = tables.trials.assign(stage=SEARCH, trial_id="search" + tables.trials["trial_id"])
    curves = tables.curves.assign(stage=SEARCH, trial_id="search" + tables.curves["trial_id"])
    first_seed = curves[(curves["epoch"] == EARLY) & (curves["seed"] == 1)]
    going_on = []
    for _, scores in first_seed.groupby("arm"):  # in the order in which they come to the rung
        halving = ArmHalving(SPACE)
        rows = scores.itertuples()
        stops = [halving.stops(x.trial_id, epoch=EARLY, value=x.val_correlation) for x in rows]
        going_on.append(scores[~np.array(stops)])
    going_on = pd.concat(going_on)
    survives = _is_in(trials, going_on[["arm", "config_id"]])
    trials["status"] = np.where(survives, COMPLETED, STOPPED)
    goes_on = _is_in(curves, going_on[["arm", "config_id"]])
    return trials, curves[goes_on | (curves["epoch"] <= EARLY)]


def _is_in(rows, pairs):
    keys = pd.MultiIndex.from_frame(rows[["arm", "config_id"]])
    return keys.isin(pd.MultiIndex.from_frame(pairs))


@pytest.fixture(scope="module")
def tables():
    """A study that ran its design to the end, and a search of as many trials with halving."""
    design = study_tables(drawn_studies(np.random.default_rng(0)))
    trials, curves = stopped_search(study_tables(drawn_studies(np.random.default_rng(1))))
    return design._replace(
        trials=pd.concat([trials, design.trials], ignore_index=True),
        curves=pd.concat([curves, design.curves], ignore_index=True),
    )


def survivors(tables, arm):
    """The scores of an arm's search trials that finished, for a naive analysis."""
    trials = tables.trials
    finished = trials[
        (trials["stage"] == SEARCH) & (trials["arm"] == arm) & (trials["status"] == COMPLETED)
    ]
    ends = tables.curves[tables.curves["trial_id"].isin(finished["trial_id"])]
    ends = ends[ends["epoch"] == HORIZON].pivot(index="config_id", columns="seed")
    return arm_scores(ends["val_correlation"], log_loss=np.log(ends["val_loss"]))


def naive_arms(tables):
    """As many survivors of each arm; the arms are independent, so it does not matter which."""
    arms = [survivors(tables, arm) for arm in AGREEMENT]
    count = min(len(arm.final) for arm in arms)
    return [arm_scores(arm.final[:count], log_loss=arm.log_loss[:count]) for arm in arms]


def variance_of_the_best(agreement):
    """Of final scores where early ones are among the best third: that of a truncated normal.

    Var(final | early > a) = 1 - agreement^2 (1 - Var(early | early > a)).
    """
    cut = stats.norm.isf(1 / 3)
    return 1 - agreement**2 * (1 - stats.truncnorm(cut, math.inf).var())


def test_survivors_of_early_stopping_support_a_smaller_spread_that_the_design_excludes(tables):
    naive = naive_arms(tables)
    scores = scores_of(tables)
    full = [scores.arm(arm) for arm in AGREEMENT]

    of_survivors, of_design = (
        np.divide(*(arm.log_loss.mean(axis=1).std() for arm in pair)) for pair in (naive, full)
    )

    assert len(full[0].final) == CONFIGURATIONS
    assert of_design == pytest.approx(1, abs=0.05)
    # The spread of n scores is known to 1 / sqrt(2 n) of itself, a ratio of two to 1 / sqrt(n).
    expected = math.sqrt(np.divide(*map(variance_of_the_best, AGREEMENT.values())))
    error = expected / math.sqrt(len(naive[0].final))
    assert of_survivors == pytest.approx(expected, abs=3 * error)
    assert judged(SENSITIVITY, *naive).decision.verdict is Verdict.SUPPORTED
    assert judged(SENSITIVITY, *full).decision.verdict is Verdict.NOT_SUPPORTED
