"""What a design could decide: as often as the verdicts of studies played one by one."""

import math

import numpy as np
import pytest

from stage1.claims.catalogue import (
    EARLY_GAIN,
    EARLY_SIGNAL,
    ERROR_RATE,
    FINAL_GAIN,
    SENSITIVITY,
    STABILITY,
)
from stage1.claims.error_rates import count, decided_by, play
from stage1.claims.intervals import exponential, mean_interval
from stage1.claims.surfaces import Setting
from stage1.claims.synthetic import World, draw_studies
from stage1.claims.verdicts import Verdict, decide_cost
from stage1.plan import outlook as module
from stage1.plan.outlook import cost_outlook, not_contained, outlook, simulated_size
from stage1.run.looks import DesignSize

SETTINGS = (Setting(0, True), Setting(0, True), Setting(4, True), Setting(2, False))
WORLD = World(SETTINGS)
ROOMY = World(SETTINGS, early_correlation=0.3, final_correlation=0.4)
SIZE = DesignSize((16, 32), seeds=2, replicated=4, grows=True)
TWICE = SIZE._replace(replicated=None)


@pytest.fixture(autouse=True)
def studies(monkeypatch):
    """Fewer of them, so that this is fast."""

    def draw(world, size, *, studies, seed):
        return draw_studies(world, size, studies=min(studies, 80), seed=seed)

    monkeypatch.setattr(module, "draw_studies", draw)


@pytest.fixture
def sensitivity(monkeypatch):
    """In place of seconds of simulation: notes for which effects larger designs are asked for."""
    asked = []

    def configurations_needed(definition, estimate, *, world, size, look):
        asked.append((round(estimate, 3), look))
        return 128

    monkeypatch.setattr(module, "configurations_needed", configurations_needed)
    return asked


def test_the_power_of_claim_1_is_that_of_other_studies_within_monte_carlo_error(sensitivity):
    line = outlook(WORLD, SIZE, SENSITIVITY)

    others = draw_studies(WORLD, SIZE, studies=120, seed=99)
    assert [prospect.effect for prospect in line.prospects] == pytest.approx([0, 0.2, 0.4])
    for prospect in line.prospects:
        played = play(others, WORLD, SIZE, SENSITIVITY, prospect.effect)
        shares = [share.value for share in decided_by(played)]
        for told, share in zip(prospect.decided, shares, strict=True):
            error = math.sqrt(max(share * (1 - share), 0.01) * (1 / 120 + 1 / 80))
            assert told == pytest.approx(share, abs=3.5 * error)
        found = count(played).found.value
        assert prospect.direction == pytest.approx(found, abs=0.22)
        # 20 trainings of an arm to the first look, 36 to the second
        assert prospect.trainings == pytest.approx(36 - 16 * prospect.decided[0])
    assert line.needed == (128, 128, 128)
    assert sensitivity == [(0.0, 32), (0.2, 32), (0.4, 32)]


def test_a_look_of_the_design_that_decides_is_what_is_needed(sensitivity):
    world = WORLD._replace(arm_correlation=1.0, noise=0.001)

    line = outlook(world, SIZE, SENSITIVITY)

    assert line.needed[0] in SIZE.looks
    assert line.needed[2] in SIZE.looks


@pytest.mark.parametrize(
    ("world", "claim", "effects", "obstacle"),
    [
        pytest.param(ROOMY, FINAL_GAIN, [0.0, 0.1, 0.2], "", id="a gain with room"),
        # 1 / .9 - 1 = 11.1 %: the claimed 10 % can be, twice that cannot
        pytest.param(
            WORLD._replace(final_correlation=0.9), FINAL_GAIN, [0.0, 0.1], None, id="little room"
        ),
        pytest.param(
            WORLD._replace(early_correlation=0.04),
            EARLY_GAIN,
            [0.0, 0.2, 0.4],
            "not clearly above 0.05",
            id="a correlation near 0",
        ),
    ],
)
def test_only_effects_that_scores_can_have_are_told_and_why_most_studies_cannot_tell(
    world, claim, effects, obstacle
):
    line = outlook(world, SIZE, claim)

    assert [prospect.effect for prospect in line.prospects] == pytest.approx(effects)
    if obstacle is not None:
        assert obstacle in line.obstacle
        assert bool(line.obstacle) is bool(obstacle)
    assert line.needed == ()


@pytest.mark.parametrize(
    ("claim", "size", "settings", "roles", "needs"),
    [
        pytest.param(SENSITIVITY, SIZE, 5, set(), "", id="claim 1"),
        pytest.param(SENSITIVITY, DesignSize((8,), 2), 5, set(), "needs 16 c", id="eight points"),
        pytest.param(SENSITIVITY, DesignSize((16,), 2), 6, set(), "needs 32 c", id="many settings"),
        pytest.param(STABILITY, TWICE, 5, set(), "needs an arm of the role random_f", id="no arm"),
        pytest.param(STABILITY, TWICE, 5, {"random_fixed"}, "", id="stability"),
        pytest.param(
            STABILITY,
            SIZE._replace(replicated=2),
            5,
            {"random_fixed"},
            "needs 3 configurations with two seeds",
            id="two of them repeated",
        ),
        pytest.param(EARLY_SIGNAL, TWICE, 5, set(), "", id="ranks"),
        pytest.param(
            EARLY_SIGNAL, SIZE, 5, set(), "needs 32 configurations with two", id="4 of 32"
        ),
        pytest.param(
            EARLY_SIGNAL, TWICE._replace(looks=(16,)), 5, set(), "needs 32 c", id="16 of them"
        ),
    ],
)
def test_a_claim_that_the_design_does_not_contain_says_what_it_needs(
    claim, size, settings, roles, needs
):
    found = not_contained(claim, size, settings=settings, roles={"pretrained", "random"} | roles)

    assert found.startswith(needs)
    assert bool(found) is bool(needs)


def test_ranks_are_simulated_with_no_more_than_can_be_waited_for():
    large = TWICE._replace(looks=(64, 128, 256))

    assert simulated_size(large, EARLY_SIGNAL).looks == (64, 128)
    assert simulated_size(large, SENSITIVITY) == large
    assert simulated_size(TWICE._replace(looks=(256,)), EARLY_SIGNAL).looks == (256,)


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
