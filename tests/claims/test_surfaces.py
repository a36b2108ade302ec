from itertools import combinations

import numpy as np
import pytest

from stage1.claims.surfaces import (
    Cliff,
    Setting,
    random_pocket,
    random_surface,
    reference_points,
    rounded,
    true_gap,
    with_cliff,
    with_gap,
)

SETTINGS = (Setting(0, True), Setting(4, True), Setting(3, False))


@pytest.mark.parametrize("roughness", [0.0, 0.3, 1.0])
def test_a_surface_has_mean_0_and_variance_1_over_the_space(roughness):
    surface = random_surface(
        SETTINGS, roughness=roughness, generator=np.random.default_rng(int(10 * roughness))
    )

    values = surface(np.random.default_rng(1).random((40_000, 3)))

    assert values.mean() == pytest.approx(0, abs=0.08)
    assert values.var() == pytest.approx(1, abs=0.25)


def test_points_are_moved_to_the_middle_of_their_level():
    points = np.array([[0.37, 0.0, 0.99], [0.9, 0.6, 0.34]])

    moved = rounded(points, SETTINGS)

    assert moved == pytest.approx(np.array([[0.37, 0.125, 5 / 6], [0.9, 0.625, 0.5]]))


def test_a_surface_without_waves_is_a_sum_over_settings():
    surface = random_surface(SETTINGS, roughness=0.0, generator=np.random.default_rng(3))
    low, high = np.array([0.2, 0.125, 0.5]), np.array([0.7, 0.875, 5 / 6])

    changed = [np.where(np.arange(3) == place, high, low) for place in range(3)]
    one_by_one = sum(surface(point[None]) - surface(low[None]) for point in changed)

    assert surface(high[None]) - surface(low[None]) == pytest.approx(one_by_one)


def test_a_pocket_holds_its_share_of_the_space_and_a_cliff_lies_in_it_alone():
    pocket = random_pocket((Setting(0, True),) * 3, 0.1, np.random.default_rng(0))
    cut = with_cliff(lambda points: np.zeros(len(points)), Cliff(0.1, 4.0), pocket)
    points = np.random.default_rng(1).random((50_000, 3))

    inside = pocket(points) > 0

    assert inside.mean() == pytest.approx(0.1, abs=0.01)
    assert (cut(points)[~inside] == 0).all()
    assert -4.0 <= cut(points)[inside].min() < cut(points)[inside].max() <= -2.0


def test_the_true_gap_is_the_mean_of_best_minus_middle_over_samples_of_three():
    surface = random_surface(SETTINGS, roughness=0.3, generator=np.random.default_rng(5))
    values = surface(reference_points(SETTINGS))
    few = np.random.default_rng(0).choice(values, 60, replace=False)

    gap = true_gap(surface, SETTINGS)

    samples = [sorted(sample) for sample in combinations(few, 3)]
    assert gap == pytest.approx(np.mean([s[2] - s[1] for s in samples]), rel=0.2)


def test_a_stretched_surface_has_the_gap_that_was_asked_for_and_the_same_mean():
    surface = random_surface(SETTINGS, roughness=0.3, generator=np.random.default_rng(5))

    stretched = with_gap(surface, 0.25, SETTINGS)

    assert true_gap(stretched, SETTINGS) == pytest.approx(0.25)
    everywhere = reference_points(SETTINGS)
    assert stretched(everywhere).mean() == pytest.approx(surface(everywhere).mean())
