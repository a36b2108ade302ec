"""How far each rung comes from random to pretrained, in numbers and in words."""

from __future__ import annotations

import numpy as np
import pytest
from made_claims import made_evaluation
from made_runs import arm_scores, scores_of, study_tables
from scipy import stats

from stage1.pages.blocks import Paragraph, Table
from stage1.pages.ladder_section import ladder_blocks, rungs
from stage1.pages.markdown import markdown

ROLES = {role: role for role in ("pretrained", "random", "shuffled", "mean_sd")}
N = 16


@pytest.fixture
def configurations():
    """What a configuration brings to the log loss, in every arm: (configurations, 1)."""
    return np.random.default_rng(4).normal(-2, 0.5, size=(N, 1))


def losses(configurations, noise=0.01, **below_random):
    """Log losses of arms that lie so much below the random one's, (configurations, 1) each."""
    generator = np.random.default_rng(5)
    return {
        arm: configurations - less + generator.normal(0, noise, size=configurations.shape)
        for arm, less in {"random": 0.0, **below_random}.items()
    }


LADDER = {"pretrained": 0.2, "shuffled": 0.1, "mean_sd": 0.05}


def test_a_rung_stands_where_its_share_of_the_gain_is(configurations):
    ladder = rungs(losses(configurations, **LADDER), ROLES)

    assert [rung.arm for rung in ladder] == ["random", "mean_sd", "shuffled", "pretrained"]
    assert [rung.configurations for rung in ladder] == [N] * 4
    ways = [rung.way for rung in ladder]
    assert [way.estimate for way in ways] == pytest.approx([0, 0.25, 0.5, 1], abs=0.05)
    assert all(way.bounded for way in ways)
    assert (ways[0].low, ways[0].high) == (0, 0)
    assert (ways[3].low, ways[3].high) == pytest.approx((1, 1))
    assert 0 < ways[1].low < 0.25 < ways[1].high < ways[2].low < 0.5 < ways[2].high < 1


def test_the_interval_holds_the_shares_that_a_paired_t_test_does_not_reject(configurations):
    log_loss = losses(configurations, noise=0.05, **LADDER)

    way = rungs(log_loss, ROLES)[2].way

    rung, whole = (log_loss[arm] - log_loss["random"] for arm in ("shuffled", "pretrained"))
    for end in (way.low, way.high):
        assert stats.ttest_1samp((rung - end * whole).ravel(), 0).pvalue == pytest.approx(0.05)


def test_the_loss_is_a_paired_ratio_to_that_of_random_weights(configurations):
    log_loss = losses(configurations, **LADDER)

    ratio = rungs(log_loss, ROLES)[2].ratio

    expected = stats.ttest_1samp((log_loss["shuffled"] - log_loss["random"]).ravel(), 0)
    low, high = expected.confidence_interval(0.95)
    assert (ratio.low, ratio.high) == pytest.approx((np.exp(low), np.exp(high)))
    assert ratio.estimate == pytest.approx(np.exp(-0.1), abs=0.01)


def test_a_rung_is_compared_where_all_three_arms_have_a_score(configurations):
    log_loss = {arm: np.hstack([one, one]) for arm, one in losses(configurations, **LADDER).items()}
    log_loss["shuffled"][4:] = np.nan
    log_loss["random"][0] = np.nan
    log_loss["pretrained"][1, 1] = 50.0
    log_loss["shuffled"][1, 1] = np.nan

    ladder = {rung.arm: rung for rung in rungs(log_loss, ROLES)}

    assert ladder["shuffled"].configurations == 3
    assert ladder["mean_sd"].configurations == N - 1
    assert ladder["shuffled"].way.estimate == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    "roles",
    [
        pytest.param(("pretrained", "random", "shuffled"), id="no rung but the usual control"),
        pytest.param(("pretrained", "mean_sd"), id="no lower end"),
        pytest.param(("random", "mean_sd"), id="no upper end"),
    ],
)
def test_without_a_rung_or_an_end_there_is_no_ladder(configurations, roles):
    log_loss = losses(configurations, **LADDER)

    assert rungs(log_loss, {role: role for role in roles}) == []


def section(log_loss):
    correlation = {arm: 1 - np.exp(values) for arm, values in log_loss.items()}
    arms = {arm: arm_scores(correlation[arm], log_loss=log_loss[arm]) for arm in log_loss}
    tables = study_tables(arms)
    return ladder_blocks(tables, made_evaluation(scores=scores_of(tables)))


def texts(blocks):
    return ["".join(map(str, block.parts)) for block in blocks if isinstance(block, Paragraph)]


def test_the_section_has_a_row_per_rung_and_says_what_is_clear(configurations):
    below = {"pretrained": 0.2, "shuffled": 0.1, "mean_sd": 0.0, "norms_only": 0.2}
    blocks = section(losses(configurations, noise=0.03, **below))

    (table,) = (block for block in blocks if isinstance(block, Table))
    assert [row[0] for row in table.rows] == [
        *("random", "mean_sd", "shuffled", "norms_only", "pretrained")
    ]
    assert table.rows[0][-4:] == ["\N{MULTIPLICATION SIGN}1.00", "", "0.00", ""]
    assert table.rows[-1][-2:] == ["1.00", ""]
    reading, _ = texts(blocks)
    assert "pretrained has clearly less val_loss than random" in reading
    assert "on the way from there: shuffled, norms_only." in reading
    assert "short of its end: mean_sd, shuffled." in reading
    assert "| mean and deviation of each tensor |" in markdown(blocks)


def test_a_pretrained_arm_that_is_worse_is_called_so(configurations):
    blocks = section(losses(configurations, pretrained=-0.2, mean_sd=-0.1))

    assert "pretrained has clearly more val_loss than random" in texts(blocks)[0]


def test_where_the_ends_are_not_apart_every_interval_is_open_and_the_section_says_why(
    configurations,
):
    blocks = section(losses(configurations, noise=0.2, pretrained=0.0, mean_sd=0.3))

    (table,) = (block for block in blocks if isinstance(block, Table))
    assert [row[-2:] for row in table.rows] == 3 * [["\N{EN DASH}", "open"]]
    assert "not clearly apart from random" in texts(blocks)[0]
