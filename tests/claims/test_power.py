"""What a design can see: the ends of the search for the smallest effect."""

import pytest

from stage1.claims import error_rates as module
from stage1.claims.error_rates import MOST_CONFIGURATIONS, Counts, Share, claim_power
from stage1.claims.finding import CLAIMED, EARLY_SIGNAL, FINAL_GAIN, SENSITIVITY
from stage1.claims.synthetic import ScoreModel

DESIGN = ScoreModel(configurations=16, seeds=2)


@pytest.fixture
def seen_from(monkeypatch):
    """In place of simulations: an effect is seen from a size on, which falls as a root does."""

    def set_threshold(at_sixteen):
        def simulate(model, claim, effect, *, studies, seed, beside):
            least = at_sixteen * (16 / model.configurations) ** 0.5
            share = Share(studies if effect >= least else 0, studies)
            return Counts(share, share, share, Share(studies, studies))

        monkeypatch.setattr(module, "simulate", simulate)

    return set_threshold


def test_the_smallest_effect_is_found_to_a_160th_of_the_largest(seen_from):
    seen_from(0.4321)

    power = claim_power(DESIGN, SENSITIVITY)

    assert 0.4321 <= power.smallest_seen <= 0.4321 + 1 / 160


def test_a_design_that_sees_the_claimed_effect_is_enough(seen_from):
    seen_from(0.9 * CLAIMED[SENSITIVITY])

    power = claim_power(DESIGN, SENSITIVITY)

    assert power.configurations == 16
    assert power.at_claimed.positive.value == 1


@pytest.mark.parametrize(("times", "needed"), [(2, 64), (3, 256), (9, None)])
def test_a_design_that_does_not_is_doubled_until_it_does(seen_from, times, needed):
    seen_from(0.999 * times * CLAIMED[SENSITIVITY])

    power = claim_power(DESIGN, SENSITIVITY)

    # An effect `times` too small takes the square of that as many configurations.
    assert power.configurations == needed
    assert power.at_claimed.positive.value == 0
    assert MOST_CONFIGURATIONS < 81 * 16


@pytest.mark.parametrize(
    ("claim", "model"),
    [
        (EARLY_SIGNAL, DESIGN._replace(early_agreement=0.95, reliability=0.95)),
        (FINAL_GAIN, DESIGN._replace(final_correlation=0.92)),
    ],
)
def test_a_claimed_effect_that_no_scores_can_have_is_not_simulated(seen_from, claim, model):
    seen_from(0.01)

    power = claim_power(model, claim)

    assert power.at_claimed is None
    assert power.configurations is None
    assert power.smallest_seen < CLAIMED[claim]


def test_a_gain_on_no_correlation_is_never_seen(seen_from):
    seen_from(0.01)

    power = claim_power(DESIGN._replace(final_correlation=0.0), FINAL_GAIN, beside=True)

    assert power.smallest_seen is None
    assert power.at_claimed is None
