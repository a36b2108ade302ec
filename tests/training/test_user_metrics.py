"""Metrics that a user writes: told apart by what they compute, called on the scored bars alone."""

from __future__ import annotations

import importlib.util
import threading
from functools import partial

import numpy as np
import pytest
import torch
from tiny_training import all_validation, tiny_config

from stage1.base.errors import ConfigError
from stage1.model.metrics import interpolated
from stage1.training.user_metrics import UserMetrics, check_on_baseline, source_hashes

CONFIG = tiny_config()


@pytest.fixture(scope="module")
def batch():
    return all_validation(CONFIG)


def measured(functions, decoded, batch, **options):
    lines = []
    return UserMetrics(functions, lines.append).measure(decoded, batch, **options), lines


def test_a_metric_sees_decoded_and_true_values_of_every_scored_bar_and_of_no_other(batch):
    seen = []
    hidden = batch.scored.numpy()
    order = np.argsort(np.nonzero(hidden)[1], kind="stable")  # timeframe after timeframe
    line = interpolated(batch)

    values, lines = measured({"error": lambda d, t: seen.append((d, t)) or 2}, line, batch)

    assert (values, lines) == ({"metric.error": 2.0}, [])
    for mine, whole in zip(seen[0], (line, batch.targets), strict=True):
        assert mine.dtype == np.float64
        assert np.array_equal(mine, whole.numpy()[hidden][order].astype(np.float64))


@pytest.mark.parametrize(
    ("function", "told"),
    [
        pytest.param(lambda d, t: d.missing, "AttributeError: 'numpy.ndarray'", id="raises"),
        pytest.param(lambda d, t: np.inf, "inf", id="not finite"),
        pytest.param(lambda d, t: d, "TypeError: ", id="no number"),
        pytest.param(lambda d, t: d.fill(0), "ValueError: assignment", id="changes its bars"),
    ],
)
def test_a_metric_that_gives_no_number_is_named_and_harms_no_other(batch, function, told):
    functions = {"odd": function, "mae": lambda d, t: np.abs(d - t).mean()}
    line = interpolated(batch)

    values, (warning,) = measured(functions, line, batch, prefix="baseline_")

    assert np.isnan(values["baseline_metric.odd"])
    assert values["baseline_metric.mae"] > 0
    assert warning.startswith(f"metric odd must give a finite number, got {told}")
    with pytest.raises(ConfigError, match=r"metric odd .* on interpolated bars; mend the function"):
        check_on_baseline(functions, line, batch)


def test_a_metric_that_draws_numbers_changes_no_training(batch):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    measured({"odd": lambda d, t: torch.rand(1)}, batch.targets, batch)

    assert torch.equal(torch.rand(2), expected)


# --- which function it is ---

SOURCE = """
import numpy as np
LIMIT = 0.5
def helper(x):
    return np.abs(x)
def hits(decoded, true):
    return (helper(decoded - true) < LIMIT).mean()
two = [lambda d, t: 1.0, lambda d, t: 2.0]
def within(limit):
    return lambda d, t: (d - t < limit).mean()
"""


def module_of(tmp_path, text, name="mine"):
    file = tmp_path / f"{name}{len(list(tmp_path.iterdir()))}.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hash_of(function):
    return source_hashes({"m": function})["m"]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        pytest.param("    return (helper", "    # why\n\n    return ( helper", True, id="spacing"),
        pytest.param("LIMIT = 0.5", "LIMIT = 0.6", False, id="a number it uses"),
        pytest.param("np.abs(x)", "x", False, id="a function it uses"),
        pytest.param("< LIMIT", "> LIMIT", False, id="itself"),
        pytest.param("1.0", "3.0", True, id="another function of the file"),
    ],
)
def test_a_metric_is_told_by_its_source_and_what_it_uses(tmp_path, old, new, same):
    before = module_of(tmp_path, SOURCE)
    after = module_of(tmp_path, SOURCE.replace(old, new))

    assert (hash_of(before.hits) == hash_of(after.hits)) == same


def test_lambdas_of_one_line_and_closures_of_one_function_are_told_apart(tmp_path):
    module = module_of(tmp_path, SOURCE)

    assert hash_of(module.two[0]) != hash_of(module.two[1])
    assert hash_of(module.within(1)) == hash_of(module.within(1)) != hash_of(module.within(2))


LOCK = threading.Lock()


def locked():
    lock = LOCK
    return lambda d, t: lock.locked()


@pytest.mark.parametrize(
    ("name", "function", "fault"),
    [
        pytest.param("a b", lambda d, t: 0, "must have a name of letters", id="a name"),
        pytest.param("val_loss", lambda d, t: 0, "must have a name of its own", id="ours"),
        pytest.param("m", partial(max, 1), "must be a function of decoded", id="a partial"),
        pytest.param("m", np.mean, "must", id="a function of C"),
        pytest.param("m", eval("lambda d, t: 0"), "must have a source", id="no source"),
        pytest.param("m", locked(), "must be a function that can be sent", id="holds a lock"),
    ],
)
def test_what_cannot_be_a_metric_is_refused_by_its_name(name, function, fault):
    with pytest.raises(ConfigError) as raised:
        source_hashes({name: function, "good": lambda d, t: 0})

    assert str(raised.value).startswith(f"metrics[{name!r}]: {fault}")
    assert "\n" not in str(raised.value)
