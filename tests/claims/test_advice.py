"""What would decide an open claim is a statement about power, and true of studies like the run."""

from __future__ import annotations

import numpy as np
import pytest

from stage1.claims import advice as module
from stage1.claims.advice import (
    ENOUGH,
    advice,
    configurations_needed,
    decided_shares,
    further_looks,
)
from stage1.claims.catalogue import COST, EARLY_SIGNAL, FINAL_ERROR, SENSITIVITY
from stage1.claims.surfaces import Setting
from stage1.claims.synthetic import ArmShape, World, arms_of, at_look, draw_study
from stage1.run.looks import DesignSize

WORLD = World((Setting(0, True), Setting(0, True), Setting(4, True), Setting(2, False)))
SIZE = DesignSize((16, 32), seeds=2, replicated=4, grows=True)
LIKE_THIS = "in 80% of studies like this, if the estimate is right"


@pytest.fixture(autouse=True)
def studies(monkeypatch):
    monkeypatch.setattr(module, "STUDIES", 100)


@pytest.fixture
def shares(monkeypatch):
    """In place of simulations: how many studies are decided by each further look."""

    def set_shares(*values):
        monkeypatch.setattr(module, "decided_shares", lambda *_, **__: list(values))

    return set_shares


def test_the_power_that_is_told_is_that_of_studies_played_by_hand():
    estimate = -0.25
    world = WORLD._replace(arm_correlation=0.9)
    generator = np.random.default_rng(77)

    by_64, by_128 = decided_shares(SENSITIVITY, estimate, world=world, size=SIZE, look=32)[:2]

    # The levels of METHODS: .05/24 at 64 configurations after 32, .05/48 at 128.
    decided = np.zeros(2)
    shape = ArmShape(gap=1 - estimate)
    for _ in range(150):
        draw = draw_study(world, SIZE._replace(looks=(128,)), generator)
        arms = arms_of(draw, world, shape)
        verdicts = [
            SENSITIVITY.judge(*at_look(arms, draw, look), error_rate=0.05 / part).decision.verdict
            in ("SUPPORTED", "NOT SUPPORTED", "CONTRADICTED")
            for look, part in ((64, 24), (128, 48))
        ]
        decided += [verdicts[0], any(verdicts)]
    by_hand = decided / 150
    for told, counted in zip((by_64, by_128), by_hand, strict=True):
        error = np.sqrt(max(counted * (1 - counted), 0.01) * (1 / 100 + 1 / 150))
        assert told == pytest.approx(counted, abs=3.5 * error)


@pytest.mark.parametrize(
    ("decided", "size", "text"),
    [
        pytest.param(
            (0.7, 0.8, 0.9, 0.9, 0.9),
            SIZE,
            f"128 configurations would decide it {LIKE_THIS} (--extend)",
            id="the smallest that is enough",
        ),
        pytest.param(
            (0.1, 0.2, 0.3, 0.4, 0.79),
            SIZE,
            f"even 1,024 configurations would not decide it {LIKE_THIS}",
            id="none is enough",
        ),
        pytest.param(
            (0.81, 0.9, 0.9, 0.9, 0.9),
            DesignSize((32,), seeds=2),
            f"64 configurations would decide it {LIKE_THIS} (in a new study with looks)",
            id="a design that does not grow",
        ),
    ],
)
def test_the_smallest_doubling_that_decides_four_of_five_studies_is_told(
    shares, decided, size, text
):
    shares(*decided)

    assert advice(SENSITIVITY, 0.1, world=WORLD, size=size, look=32) == text


@pytest.mark.parametrize("estimate", [-0.4, 0.0, 0.6])
def test_there_is_advice_for_negative_estimates_and_it_is_the_same_each_time(estimate):
    asked = {"world": WORLD, "size": SIZE, "look": 16}

    once, again = (advice(SENSITIVITY, estimate, **asked) for _ in range(2))

    assert once == again
    assert once.endswith(f"configurations would decide it {LIKE_THIS} (--extend)")


def test_a_larger_effect_takes_fewer_configurations():
    needed = [
        configurations_needed(SENSITIVITY, estimate, world=WORLD, size=SIZE, look=16)
        for estimate in (0.35, 0.6)
    ]

    assert needed[0] > needed[1] >= 32


def test_a_clear_effect_on_means_needs_no_more_than_the_next_look():
    needed = configurations_needed(FINAL_ERROR, -0.3, world=WORLD, size=SIZE, look=16)

    assert needed == 32
    assert ENOUGH == 0.8


def test_no_estimate_and_no_scores_have_no_advice():
    assert advice(SENSITIVITY, float("nan"), world=WORLD, size=SIZE, look=16) == ""
    assert advice(COST, 1.1, world=WORLD, size=SIZE, look=16) == ""


@pytest.mark.parametrize(
    ("definition", "settings", "size", "look", "looks"),
    [
        pytest.param(SENSITIVITY, WORLD.settings, SIZE, 256, (512, 1024), id="up to 1,024"),
        pytest.param(EARLY_SIGNAL, WORLD.settings, SIZE, 32, (64, 128), id="ranks take long"),
        pytest.param(
            SENSITIVITY, WORLD.settings, DesignSize((8,), 2), 8, (16, 32), id="from 16 on"
        ),
        # 40 combinations: 64 points hold them all, and 128 no more.
        pytest.param(
            SENSITIVITY, (Setting(5, True), Setting(8, True)), SIZE, 16, (32, 64), id="finite space"
        ),
    ],
)
def test_only_doublings_that_add_configurations_are_tried(definition, settings, size, look, looks):
    tried = further_looks(definition, World(settings), size, look)

    assert tried[: len(looks)] == looks
    if look != 8:
        assert tried == looks


def test_a_space_without_further_configurations_is_said_to_be_at_its_end():
    world = World((Setting(2, True), Setting(3, True)))

    text = advice(SENSITIVITY, 0.1, world=world, size=SIZE, look=16)

    assert text == "no larger design of this space would decide it"
