"""Where the best configurations lie at an end of what was searched."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml
from made_runs import changed_study, registered, synthetic_study, synthetic_trial

from stage1.run.columns import PARAMETER_PREFIX, SEARCH
from stage1.run.edges import BEST, edges

LR = "training.optimizer.lr"
PATCH = "transfer_learning.patch_len"
FREEZE = "transfer_learning.freeze_lm_epochs"
DROPOUT = "model.dropout"
LR_DOMAIN = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}
FOUR = {"type": "int", "low": 0, "high": 3}


def found(key, domain, values, *, mode="max", **columns):
    """The edges of a study of one arm with one parameter, by its values, best first."""
    metric = {"max": "val_correlation", "min": "val_loss"}[mode]
    space = changed_study(
        synthetic_study(arms=("random",)),
        space={key: domain},
        objective={"metric": metric, "mode": mode},
    )
    scores = [
        {"val_correlation": 1 - place / 100, "val_loss": place / 100}
        for place in range(len(values))
    ]
    trials = [
        synthetic_trial(f"t{place}", config_id=f"c{place}")
        | {PARAMETER_PREFIX + key: value, **score}
        | columns
        for place, (value, score) in enumerate(zip(values, scores, strict=True))
    ]
    return edges(pd.DataFrame(trials), space, registered(space))


def test_most_of_the_best_near_an_end_are_named_with_what_to_write():
    (edge,) = found(LR, LR_DOMAIN, [8.3e-3, 7e-3, 1e-3, 9e-3, 5e-3, *[2e-4] * 20])

    assert (edge.arm, edge.end, edge.near) == ("random", 1e-2, 4)  # beyond 10^-2.4 = 0.004
    assert edge.values == [8.3e-3, 7e-3, 1e-3, 9e-3, 5e-3]
    assert yaml.safe_load(edge.line) == {
        LR: {"type": "float", "low": 1e-4, "high": 0.03, "log": True}  # a quarter: 10^0.5 further
    }


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_best_are_those_of_the_objective(mode):
    values = [8e-3] * BEST + [1.1e-4] * BEST

    (edge,) = found(LR, LR_DOMAIN, values, mode=mode)

    assert edge.end == 1e-2


@pytest.mark.parametrize(
    ("key", "domain", "values", "written"),
    [
        pytest.param(LR, LR_DOMAIN, [1.5e-4] * 5, {"low": 3e-5}, id="the lower end, by exponent"),
        pytest.param(
            DROPOUT,
            {"type": "float", "low": 0.1, "high": 0.3},
            [0.29] * 5,
            {"high": 0.35},
            id="linear",
        ),
        pytest.param(FREEZE, FOUR, [3] * 5, {"high": 4}, id="whole numbers"),
        pytest.param(
            "training.batch_size",
            {"type": "int", "low": 16, "high": 256, "log": True},
            [250] * 5,
            {"high": 512},
            id="whole numbers by exponent",
        ),
        pytest.param(
            PATCH,
            {"type": "choice", "options": [8, 4, 16]},
            [16] * 5,
            {"options": [8, 4, 16, 32]},
            id="a choice of numbers, by their ratio",
        ),
        pytest.param(
            PATCH,
            {"type": "choice", "options": [4, 8, 16]},
            [4] * 5,
            {"options": [2, 4, 8, 16]},
            id="its lower end",
        ),
    ],
)
def test_what_to_search_is_wider_on_its_own_scale(key, domain, values, written):
    (edge,) = found(key, domain, values)

    assert yaml.safe_load(edge.line) == {key: domain | written}


@pytest.mark.parametrize(
    ("key", "domain", "values"),
    [
        pytest.param(LR, LR_DOMAIN, [8e-3] * 3 + [1e-3] * 2, id="three of five"),
        pytest.param(LR, LR_DOMAIN, [8e-3] * 4, id="too few configurations"),
        pytest.param(FREEZE, FOUR, [3, 3, 3, 3, 2], id="four of five where a quarter lies there"),
        pytest.param(PATCH, {"type": "choice", "options": [4, 8]}, [8] * 5, id="of two values"),
        pytest.param(FREEZE, FOUR, [0] * 5, id="none are fewer than 0"),
        pytest.param(
            DROPOUT, {"type": "float", "low": 0.0, "high": 0.4}, [0.01] * 5, id="a share ends at 0"
        ),
        pytest.param(
            "transfer_learning.lm_name_or_path",
            {"type": "choice", "options": ["a", "b", "c", "d"]},
            ["d"] * 5,
            id="names have no order",
        ),
        pytest.param(LR, LR_DOMAIN | {"low": 1e-2}, [1e-2] * 5, id="a single value"),
        pytest.param(
            PATCH,
            {"type": "choice", "options": [16, 32, 64]},
            [64] * 5,
            id="the configuration takes no more: a window has 64 bars",
        ),
    ],
)
def test_what_chance_brings_and_what_has_nothing_beyond_is_not_named(key, domain, values):
    assert found(key, domain, values) == []


def test_configurations_that_were_stopped_are_not_among_the_best():
    assert found(LR, LR_DOMAIN, [8e-3] * 9, stage=SEARCH, status="stopped", epochs=1) == []


def test_chance_names_an_end_in_one_study_of_fifty_or_less():
    rng = np.random.default_rng(0)
    draws = np.exp(rng.uniform(np.log(1e-4), np.log(1e-2), size=(100, 16)))

    named = sum(bool(found(LR, LR_DOMAIN, values)) for values in draws.tolist())

    assert named <= 5  # 2 x 0.0067 of 100 are 1.3; more than 5 come in one case of 400
