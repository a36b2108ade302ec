"""What a design would see: who is asked, why not, and the cost by simulation."""

import math

import numpy as np
import pytest
from planned_claims import made_up, undecidable

from stage1.claims.error_rates import MOST_FOR_RANKS
from stage1.claims.finding import EARLY_GAIN, EARLY_SIGNAL, FINAL_GAIN, SENSITIVITY, STABILITY
from stage1.claims.intervals import exponential, mean_interval
from stage1.claims.synthetic import TYPICAL
from stage1.claims.verdicts import Verdict, decide_cost
from stage1.plan import outlook as module
from stage1.plan.outlook import cost_outlook, label, lines, outlook, percent, simulated_for_ranks

ROOMY = TYPICAL._replace(early_correlation=0.3, final_correlation=0.4)


@pytest.fixture
def asked(monkeypatch):
    """In place of minutes of simulation: notes for which model and claim power is asked."""
    noted = []

    def claim_power(model, claim, *, beside, seed):
        noted.append((model, claim, beside))
        return made_up(claim, beside=beside).power

    monkeypatch.setattr(module, "claim_power", claim_power)
    return noted


def test_every_claim_comes_in_order_with_the_line_beside_it():
    labels = [label(claim, beside=beside) for claim, beside in lines()]

    assert labels == [
        "1 sensitivity",
        "2 early gain",
        "2b error reduction",
        "3 gain at the horizon",
        "3b error reduction",
        "4 stability",
        "5 early signal",
    ]


def test_a_claim_that_can_be_evaluated_has_power_and_no_obstacle(asked):
    line = outlook(ROOMY, FINAL_GAIN)

    assert asked == [(ROOMY, FINAL_GAIN, False)]
    assert (line.never, line.not_here) == ("", "")
    assert line.power is not None


def test_a_gain_without_room_is_undecidable_whatever_the_design_and_costs_no_simulation(asked):
    line = outlook(ROOMY._replace(early_correlation=0.8), EARLY_GAIN)

    # 1 / .8 - 1 = 25 %, less than twice the claimed 20 %
    assert line.never.startswith("at most 25.")
    assert line.power is None
    assert asked == []


def test_the_error_reduction_has_room_where_the_gain_has_none(asked):
    line = outlook(ROOMY._replace(early_correlation=0.8), EARLY_GAIN, beside=True)

    assert (line.never, line.not_here) == ("", "")
    assert asked[0][1:] == (EARLY_GAIN, True)


@pytest.mark.parametrize("claim", [SENSITIVITY, STABILITY, EARLY_SIGNAL])
def test_one_seed_never_tells_spread_stability_or_early_signal(asked, claim):
    line = outlook(ROOMY._replace(seeds=1), claim)

    assert "needs two seeds" in line.never
    assert asked == []


def test_too_few_configurations_for_ranks_are_an_obstacle_of_this_design_alone(asked):
    line = outlook(ROOMY._replace(reliability=0.95), EARLY_SIGNAL)

    assert line.never == ""
    assert line.not_here == "needs 32 configurations, got 8"
    assert line.power is not None


def test_ranks_are_simulated_with_no_more_than_can_be_waited_for():
    large = simulated_for_ranks(ROOMY._replace(configurations=1024, seeds=8))
    small = simulated_for_ranks(ROOMY)

    assert (large.configurations, large.seeds) == (MOST_FOR_RANKS, 3)
    assert small == ROOMY


def test_the_claimed_effect_is_seen_from_itself_where_the_design_is_enough():
    above, below, never = (
        made_up(STABILITY, seen=seen, needed=8).seen_from for seen in (0.21, 0.1, None)
    )

    assert (above, below, never) == (0.2, 0.1, 0.2)


def test_where_the_design_is_not_enough_the_smallest_effect_stays_as_simulated():
    assert made_up(STABILITY, seen=0.5, needed=64).seen_from == 0.5
    assert made_up(STABILITY, seen=None, needed=64).seen_from is None
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
            decide_cost(exponential(mean_interval(math.log(ratio) + each)), margin=1.15).verdict
            for each in noise
        ]
        # four standard errors of a share of .8
        assert np.mean([one is verdict for one in verdicts]) == pytest.approx(0.8, abs=0.036)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.2, "20%"), (0.2144, "21.4%"), (0.98, "98%"), (0.0, "0%"), (0.1996, "20%")],
)
def test_a_share_has_a_digit_after_the_point_only_where_it_needs_one(share, text):
    assert percent(share) == text
