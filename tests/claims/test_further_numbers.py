"""Numbers beside the claims, against numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from made_runs import EARLY, HORIZON, arm_scores, drawn_arm, scores_of, study_tables
from scipy.stats import binomtest, kendalltau

from stage1.claims.catalogue import DEFINITIONS
from stage1.claims.further_numbers import CLEAR_SIGNAL, NEAR, further_numbers
from stage1.run.columns import CONFIRM, SEARCH

PAIR = ("pretrained", "random")


@pytest.fixture
def arms():
    generator = np.random.default_rng(0)
    return {name: drawn_arm(generator, configurations=9) for name in PAIR}


def shown(tables, *, fixed=None):
    numbers = further_numbers(tables, scores_of(tables), PAIR, fixed=fixed)
    return {one.name: numbers[one.number] for one in DEFINITIONS if one.number in numbers}


def test_every_claim_about_scores_has_numbers_beside_it_and_none_of_a_search_there_was_not(arms):
    numbers = shown(study_tables(arms))

    names = ["sensitivity", "early gain", "gain at the horizon", "stability", "early signal"]
    assert list(numbers) == names
    assert all(len(beside) > 0 for beside in numbers.values())
    assert math.isnan(numbers["gain at the horizon"]["tuned against tuned, difference"])
    assert not any("frozen" in name for name in numbers["gain at the horizon"])
    # Log losses at epochs 0, 1, 2 are 0, 0 and the final one: one bend of its size.
    bend = np.abs(arms["random"].log_loss).mean()
    roughness = numbers["stability"]["roughness of the curve of log val_loss, random"]
    assert roughness == pytest.approx(bend)


def test_what_tuning_buys_is_told_for_a_quarter_of_the_configurations(arms):
    numbers = shown(study_tables(arms))["sensitivity"]

    for name in PAIR:
        means = arms[name].final.mean(axis=1)
        # Of all pairs of different configurations, the better one.
        pairs = [max(a, b) for i, a in enumerate(means) for b in means[:i]]
        gain = numbers[f"expected best of 2 minus mean (val_correlation), {name}"]
        regret = numbers[f"regret of the median configuration (val_correlation), {name}"]
        near = numbers[f"share of configurations within {NEAR} of the best, {name}"]
        assert gain == pytest.approx(np.mean(pairs) - means.mean())
        assert regret == pytest.approx(means.max() - np.median(means))
        assert near == pytest.approx(np.mean(means > means.max() - NEAR))


def test_phi_chooses_on_one_seed_and_scores_on_the_other():
    # Two timeframes in trials.parquet hold the same scores here, so tuning for each gains nothing.
    numbers = shown(study_tables({name: arm_scores([[0.5, 0.1], [0.2, 0.4]]) for name in PAIR}))

    assert numbers["sensitivity"]["Phi (chosen on one seed, scored on another), random"] == 0


def test_the_speed_is_the_first_epoch_that_reaches_where_the_other_arm_ends(arms):
    fast = arm_scores(np.full((4, 2), 0.9), early=np.full((4, 2), 0.6))
    slow = arm_scores(np.full((4, 2), 0.6), early=np.full((4, 2), 0.2))

    ahead = shown(study_tables({"pretrained": fast, "random": slow}))["early gain"]
    behind = shown(study_tables({"pretrained": slow, "random": fast}))["early gain"]

    epoch = "epoch at which pretrained reaches random's final val_correlation"
    assert ahead[epoch] == EARLY
    assert ahead["seconds to get there"] == 3.0 * EARLY
    assert ahead["seconds that random took"] == 3.0 * HORIZON
    assert math.isnan(behind[epoch])
    assert math.isnan(behind["seconds to get there"])


def with_search(tables, points):
    """Rows of search and confirmation: (stage, arm, config_id, seed, val_correlation)."""
    names = ["stage", "arm", "config_id", "seed", "val_correlation"]
    rows = pd.DataFrame(points, columns=names).assign(status="completed", epochs=HORIZON)
    rows["trial_id"] = [f"more-{number}" for number in range(len(rows))]
    return tables._replace(trials=pd.concat([tables.trials, rows]))


def test_tuned_against_tuned_takes_each_arms_best_point_on_the_seeds_that_did_not_choose_it(arms):
    points = [
        (SEARCH, "pretrained", "p0", 9, 0.95),  # the best when it was chosen
        (SEARCH, "pretrained", "p1", 9, 0.90),
        (SEARCH, "pretrained", "p2", 9, 0.99),  # never trained again
        (CONFIRM, "pretrained", "p0", 1, 0.70),
        (CONFIRM, "pretrained", "p0", 2, 0.74),
        (CONFIRM, "pretrained", "p1", 1, 0.88),
        (SEARCH, "random", "r0", 9, 0.80),
        (CONFIRM, "random", "r0", 1, 0.60),
        (CONFIRM, "random", "r0", 2, 0.62),
    ]

    numbers = shown(with_search(study_tables(arms), points))["gain at the horizon"]

    assert numbers["tuned, on fresh seeds, pretrained"] == pytest.approx(0.72)
    assert numbers["tuned, on fresh seeds, random"] == pytest.approx(0.61)
    assert numbers["tuned against tuned, difference"] == pytest.approx(0.11)


def test_the_gain_without_freezing_takes_those_configurations_alone(arms):
    tables = study_tables(arms)
    frozen = {f"design{c:03d}": [0, 2, None][c % 3] for c in range(9)}
    epochs = tables.trials["config_id"].map(frozen).astype("Int64")
    key = "param.transfer_learning.freeze_lm_epochs"

    numbers = shown(tables._replace(trials=tables.trials.assign(**{key: epochs})))

    free = [0, 3, 6]
    ours, theirs = (arms[name].final[free].mean() for name in PAIR)
    beside = numbers["gain at the horizon"]
    assert beside["gain where the T5 was never frozen"] == pytest.approx(ours / theirs - 1)
    assert beside["configurations that never froze it"] == 3


def test_divergence_is_compared_in_pairs_and_arms_that_diverge_alike_do_not_differ(arms):
    ours, theirs = np.zeros((2, 9, 2), dtype=bool)
    ours[:4] = True
    theirs[3:5, 0] = True  # one of two together with the other arm

    def p_of(*diverged):
        pairs = zip(PAIR, diverged, strict=True)
        tables = study_tables({name: arms[name]._replace(diverged=one) for name, one in pairs})
        return shown(tables)["stability"]["p that both diverge equally often (McNemar)"]

    assert p_of(ours, theirs) == pytest.approx(binomtest(7, 8).pvalue)
    for same in (np.zeros_like(ours), np.ones_like(ours)):
        assert p_of(same, same) == 1


def test_what_the_draw_of_the_weights_adds_is_what_a_fixed_draw_lacks(arms):
    fixed = drawn_arm(np.random.default_rng(5), configurations=9, noise=0.004)
    tables = study_tables(arms | {"random_fixed": fixed})

    name = "share of random's variance over seeds that is the draw of its weights"
    share = shown(tables, fixed="random_fixed")["stability"][name]

    variances = [scores.log_loss.var(axis=1, ddof=1).sum() for scores in (fixed, arms["random"])]
    assert share == pytest.approx(1 - variances[0] / variances[1])
    assert name not in shown(tables)["stability"]


@pytest.mark.parametrize(
    ("luck", "epoch"),
    [(0.0, EARLY), (0.4, HORIZON), (2.0, math.nan)],
    ids=["early", "end", "never"],
)
def test_the_first_clear_epoch_is_the_first_whose_tau_is_high_enough(luck, epoch):
    generator = np.random.default_rng(3)
    quality = generator.normal(size=(30, 1))
    early = quality + luck * generator.normal(size=(30, 2))
    final = quality + 0.1 * luck**2 * generator.normal(size=(30, 2))
    arm = arm_scores(0.5 + 0.05 * final, early=0.3 + 0.05 * early)

    numbers = shown(study_tables({"pretrained": arm, "random": arm}))["early signal"]

    first = numbers[f"first epoch with tau of at least {CLEAR_SIGNAL}, random"]
    taus = [
        np.mean([kendalltau(scores[:, s], arm.final[:, 1 - s]).statistic for s in (0, 1)])
        for scores in (arm.early, arm.final)
    ]
    expected = next((e for e, tau in zip((EARLY, HORIZON), taus, strict=True) if tau >= 0.8), None)
    assert first == pytest.approx(epoch, nan_ok=True)
    assert expected == (None if math.isnan(epoch) else epoch)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: t._replace(trials=t.trials.iloc[:1]), id="one trial"),
        pytest.param(lambda t: t._replace(curves=t.curves.iloc[:0]), id="no curves"),
        pytest.param(lambda t: t._replace(trials=t.trials.assign(status="failed")), id="failed"),
    ],
)
def test_where_there_is_nothing_to_tell_numbers_are_nan(arms, change):
    numbers = shown(change(study_tables(arms)))

    assert math.isnan(
        numbers["sensitivity"]["expected best of 1 minus mean (val_correlation), random"]
    )
    assert math.isnan(numbers["stability"]["roughness of the curve of log val_loss, random"])


def test_a_tuned_point_that_diverges_on_a_fresh_seed_counts_zero_there(arms):
    points = [
        (SEARCH, "pretrained", "p0", 9, 0.95),
        (CONFIRM, "pretrained", "p0", 1, 0.80),
        (CONFIRM, "pretrained", "p0", 2, math.nan),
    ]
    tables = with_search(study_tables(arms), points)
    diverged = (tables.trials["config_id"] == "p0") & tables.trials["val_correlation"].isna()
    tables.trials.loc[diverged, "status"] = "diverged"

    numbers = shown(tables)["gain at the horizon"]

    assert numbers["tuned, on fresh seeds, pretrained"] == pytest.approx(0.40)
