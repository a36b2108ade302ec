"""The rows of the metrics: names are found, families stand for every timeframe."""

from __future__ import annotations

import pytest

from stage1.base.metric_table import METRICS, metric_label, metric_names, metric_row


def test_every_name_that_a_training_reports_has_one_row():
    for name in metric_names(("m1", "h4")):
        assert sum(metric.has(name) for metric in METRICS) == 1


@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param("val_skill", "val_skill", id="pooled"),
        pytest.param("val_skill_m1", "val_skill_*", id="of a timeframe"),
        pytest.param("val_corr_x12", "val_corr_*", id="of a series"),
    ],
)
def test_a_metric_is_found_by_its_name(name, row):
    found = metric_row(name)

    assert found is not None
    assert found.name == row


@pytest.mark.parametrize("name", ["val_corr_", "val_corr", "val_loss_m1", "seconds", ""])
def test_other_names_are_no_metrics(name):
    assert metric_row(name) is None
    assert metric_label(name) == name


def test_the_label_of_a_family_names_the_timeframe():
    assert metric_label("val_corr_h4") == "validation correlation of h4"
