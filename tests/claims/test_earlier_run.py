"""How the scores of a run folder vary, and what to do if it does not tell."""

import math

import pytest
from synthetic_run import write_synthetic_run

from stage1.base.errors import ResultsError
from stage1.claims.synthetic import TYPICAL, model_of_run, variation


def test_the_model_is_that_of_the_random_arm_of_the_run(tmp_path):
    run = write_synthetic_run(tmp_path / "run")

    model = model_of_run(run.path)

    # 0.9 - 0.02 c + 0.004 seed for c = 0..3, seeds 1 and 2
    noise = 0.004**2 / 2
    spread = math.sqrt(0.02**2 * 5 / 3 - noise / 2)
    assert (model.configurations, model.seeds) == (4, 2)
    assert model.final_correlation == pytest.approx(0.9 - 0.03 + 0.006)
    assert model.correlation_spread == pytest.approx(spread)


def test_a_run_without_both_arms_says_what_to_do(tmp_path):
    run = write_synthetic_run(tmp_path / "run", arms=("pretrained", "shuffled"))

    with pytest.raises(ResultsError, match=r"must hold a pretrained and a random arm .*; leave it"):
        model_of_run(run.path)


def test_a_folder_that_is_no_run_is_an_error_of_the_user(tmp_path):
    with pytest.raises(ResultsError, match=str(tmp_path)):
        model_of_run(tmp_path)


def test_the_variation_is_told_with_its_numbers():
    text = variation(TYPICAL._replace(early_correlation=0.123, arm_correlation=0.45))

    assert "val_correlation 0.123 at the early epoch" in text
    assert text.endswith("correlation of the two arms 0.45")
