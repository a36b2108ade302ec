"""What a design would see: which effects, why not, and the cost by simulation."""

import math

import numpy as np
import pytest
from made_claims import made_outlook, undecidable

from stage1.claims.catalogue import (
    EARLY_ERROR,
    EARLY_GAIN,
    EARLY_SIGNAL,
    ERROR_RATE,
    FINAL_ERROR,
    FINAL_GAIN,
    SENSITIVITY,
    STABILITY,
)
from stage1.claims.error_rates import Counts, Share
from stage1.claims.intervals import exponential, mean_interval
from stage1.claims.synthetic import TYPICAL, ScoreModel
from stage1.claims.verdicts import Verdict, decide_cost
from stage1.plan import outlook as module
from stage1.plan.outlook import cost_outlook, outlook, power, simulated_design

ROOMY = TYPICAL._replace(early_correlation=0.3, final_correlation=0.4)
DESIGN = ScoreModel(configurations=16, seeds=2)


@pytest.fixture
def asked(monkeypatch):
    """In place of minutes of simulation: notes for which model and claim power is asked."""
    noted = []

    def noted_power(model, definition, *, seed):
        noted.append((model, definition))
        return None, None, None

    monkeypatch.setattr(module, "power", noted_power)
    return noted


@pytest.mark.parametrize(
    ("changes", "claim", "never", "not_here"),
    [
        pytest.param({}, FINAL_GAIN, "", "", id="a gain with room"),
        # 1 / .8 - 1 = 25 %, less than twice the claimed 20 %
        pytest.param({"early_correlation": 0.8}, EARLY_GAIN, "at most 25.", None, id="no room"),
        pytest.param({"early_correlation": 0.8}, EARLY_ERROR, "", "", id="room in 1 - r"),
        pytest.param({"seeds": 1}, SENSITIVITY, "needs two seeds", None, id="spread, one seed"),
        pytest.param({"seeds": 1}, STABILITY, "needs two seeds", None, id="stability, one seed"),
        pytest.param({"seeds": 1}, EARLY_SIGNAL, "needs two seeds", None, id="ranks, one seed"),
        pytest.param(
            {"reliability": 0.95},
            EARLY_SIGNAL,
            "",
            "needs 32 configurations, got 8",
            id="too few for ranks with this design alone",
        ),
    ],
)
def test_a_claim_that_no_design_can_evaluate_is_undecidable_and_costs_no_simulation(
    asked, changes, claim, never, not_here
):
    model = ROOMY._replace(**changes)

    line = outlook(model, claim)

    assert line.never.startswith(never)
    assert bool(line.never) is bool(never)
    assert line.not_here == (line.never if not_here is None else not_here)
    assert asked == ([] if never else [(model, claim)])


def test_ranks_are_simulated_with_no_more_than_can_be_waited_for():
    large = simulated_design(ROOMY._replace(configurations=1024, seeds=8), EARLY_SIGNAL)
    small = simulated_design(ROOMY, EARLY_SIGNAL)

    assert (large.configurations, large.seeds) == (128, 3)
    assert small == ROOMY


def test_only_where_the_design_is_enough_the_claimed_effect_is_seen_from_itself():
    above, below, never = (
        made_outlook(STABILITY, seen=seen, needed=8).seen_from for seen in (0.21, 0.1, None)
    )

    assert (above, below, never) == (0.2, 0.1, 0.2)
    assert made_outlook(STABILITY, seen=0.5, needed=64).seen_from == 0.5
    assert made_outlook(STABILITY, seen=None, needed=64).seen_from is None
    assert undecidable(STABILITY, "x").seen_from is None


@pytest.mark.parametrize("rounds", [3, 6])
def test_cost_ratios_that_are_told_to_be_decided_are_so_in_four_of_five_timings(rounds):
    decided = cost_outlook(margin=1.15, rounds=rounds)
    noise = 0.05 * np.random.default_rng(0).standard_normal((2000, rounds))

    for ratio, verdict in (
        (decided.within, Verdict.SUPPORTED),
        (decided.beyond, Verdict.CONTRADICTED),
    ):
        verdicts = [
            decide_cost(
                exponential(mean_interval(math.log(ratio) + each, error_rate=ERROR_RATE)),
                margin=1.15,
            ).verdict
            for each in noise
        ]
        # four standard errors of a share of .8
        assert np.mean([one is verdict for one in verdicts]) == pytest.approx(0.8, abs=0.036)


@pytest.fixture
def seen_from(monkeypatch):
    """In place of simulations: an effect is seen from a size on, which falls as a root does."""

    def set_threshold(at_sixteen):
        def simulate(model, definition, effect, *, studies, seed):
            least = at_sixteen * (16 / model.configurations) ** 0.5
            share = Share(studies if effect >= least else 0, studies)
            return Counts(share, share, share, Share(studies, studies))

        monkeypatch.setattr(module, "simulate", simulate)

    return set_threshold


def test_the_smallest_effect_is_found_to_a_160th_of_the_largest(seen_from):
    seen_from(0.4321)

    _, smallest_seen, _ = power(DESIGN, SENSITIVITY)

    assert 0.4321 <= smallest_seen <= 0.4321 + 1 / 160


@pytest.mark.parametrize(("times", "needed"), [(0.9, 16), (2, 64), (3, 256), (9, None)])
def test_a_design_is_doubled_until_it_sees_the_claimed_effect(seen_from, times, needed):
    seen_from(0.999 * times * SENSITIVITY.claimed)

    at_claimed, _, found = power(DESIGN, SENSITIVITY)

    # An effect `times` too small takes the square of that as many configurations.
    assert found == needed
    assert at_claimed.positive.value == (1 if times < 1 else 0)
    assert SENSITIVITY.effort.most_configurations < 81 * 16


@pytest.mark.parametrize(
    ("claim", "model", "any_seen"),
    [
        (EARLY_SIGNAL, DESIGN._replace(early_agreement=0.95, reliability=0.95), True),
        (FINAL_GAIN, DESIGN._replace(final_correlation=0.92), True),
        (FINAL_ERROR, DESIGN._replace(final_correlation=0.0), False),
    ],
)
def test_a_claimed_effect_that_no_scores_can_have_is_not_simulated(
    seen_from, claim, model, any_seen
):
    seen_from(0.01)

    at_claimed, smallest_seen, needed = power(model, claim)

    assert at_claimed is None
    assert needed is None
    assert (smallest_seen is not None) is any_seen
    assert not any_seen or smallest_seen < claim.claimed
