from itertools import combinations

import numpy as np
import pytest
from pydantic import TypeAdapter

from stage1.claims.surfaces import (
    Setting,
    random_pocket,
    random_surfaces,
    reference_points,
    rounded,
    settings_of,
    true_gaps,
)
from stage1.run.resolved_space import Domain

SETTINGS = (Setting(0, True), Setting(4, True), Setting(3, False))
REFERENCE = 1024


def surfaces(points, *, count=1, roughness=0.3, seed=0, settings=SETTINGS):
    generator = np.random.default_rng(seed)
    return random_surfaces(
        settings, points, surfaces=count, roughness=roughness, generator=generator
    )


@pytest.mark.parametrize("roughness", [0.0, 0.3, 1.0])
def test_surfaces_have_mean_0_and_variance_1_over_the_space(roughness):
    points = rounded(np.random.default_rng(1).random((20_000, 3)), SETTINGS)

    values = surfaces(points, count=3, roughness=roughness)

    assert values.shape == (3, REFERENCE + 20_000)
    everywhere = values[:, :REFERENCE]
    assert everywhere.mean(axis=1) == pytest.approx(np.zeros(3), abs=1e-9)
    assert everywhere.var(axis=1) == pytest.approx(np.ones(3))
    assert values[:, REFERENCE:].mean(axis=1) == pytest.approx(np.zeros(3), abs=0.08)


def test_surfaces_have_nothing_in_common_and_the_heights_at_a_point_are_those_of_the_space():
    points = reference_points(SETTINGS)[:5]

    values = surfaces(points, count=2)

    assert values[:, REFERENCE:] == pytest.approx(values[:, :5])
    assert not np.allclose(values[0], values[1])


def test_points_are_moved_to_the_middle_of_their_level():
    points = np.array([[0.37, 0.0, 0.99], [0.9, 0.6, 0.34]])

    moved = rounded(points, SETTINGS)

    assert moved == pytest.approx(np.array([[0.37, 0.125, 5 / 6], [0.9, 0.625, 0.5]]))


def test_a_surface_without_waves_is_a_sum_over_settings():
    low, high = np.array([0.2, 0.125, 0.5]), np.array([0.7, 0.875, 5 / 6])
    changed = [np.where(np.arange(3) == place, high, low) for place in range(3)]

    at = surfaces(np.stack([low, high, *changed]), roughness=0.0)[0, REFERENCE:]

    assert at[1] - at[0] == pytest.approx((at[2:] - at[0]).sum())


def test_a_setting_that_stands_still_makes_a_level_surface_and_no_division_by_nothing():
    still = (Setting(1, True),)

    values = surfaces(np.full((4, 1), 0.5), roughness=0.0, settings=still)

    assert (values == 0).all()
    assert true_gaps(values[:, :REFERENCE]) == pytest.approx([0.0])


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        pytest.param((Setting(0, True),) * 3, 0.1, id="ranges"),
        # Two levels cannot hold less than a half: the corner of two of them is a quarter.
        pytest.param((Setting(2, True),) * 2, 0.25, id="two levels"),
    ],
)
def test_a_pocket_holds_its_share_of_the_space_as_far_as_the_settings_allow(settings, share):
    points = rounded(np.random.default_rng(1).random((50_000, len(settings))), settings)

    pocket = random_pocket(points, 0.1, np.random.default_rng(0))

    inside = pocket > 0
    assert inside.mean() == pytest.approx(share, abs=0.01)
    assert 0.5 <= pocket[inside].min() <= pocket[inside].max() <= 1


def test_the_true_gap_is_the_mean_of_best_minus_middle_over_samples_of_three():
    values = surfaces(reference_points(SETTINGS)[:1], seed=5)[:, :REFERENCE]
    few = np.random.default_rng(0).choice(values[0], 60, replace=False)

    gaps = true_gaps(values)

    samples = [sorted(sample) for sample in combinations(few, 3)]
    assert gaps == pytest.approx([np.mean([s[2] - s[1] for s in samples])], rel=0.2)


def test_settings_are_as_fine_as_what_was_searched():
    space = TypeAdapter(dict[str, Domain]).validate_python(
        {
            "lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
            "freeze": {"type": "int", "low": 0, "high": 3},
            "patch": {"type": "choice", "options": [4, 8, 16]},
            "size": {"type": "choice", "options": ["a", "b"]},
            "bias": {"type": "choice", "options": [True, False]},
        }
    )

    assert settings_of(space) == (
        Setting(0, ordered=True),
        Setting(4, ordered=True),
        Setting(3, ordered=True),
        Setting(2, ordered=False),
        Setting(2, ordered=False),
    )
