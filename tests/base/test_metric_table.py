"""The rows of the metrics: names are found, families stand for every timeframe."""

from __future__ import annotations

import pytest

from stage1.base.metric_table import METRICS, metric_label, metric_names, metric_row


def test_every_name_that_a_training_reports_has_one_row():
    for name in metric_names(("m1", "h4")):
        assert sum(metric.has(name) for metric in METRICS) == 1


@pytest.mark.parametrize(
    ("name", "row", "label"),
    [
        ("val_skill", "val_skill", "validation skill"),
        ("val_skill_m1", "val_skill_*", "validation skill of m1"),
        ("val_corr_x12", "val_corr_*", "validation correlation of x12"),
    ],
)
def test_a_metric_is_found_by_its_name_and_labelled_with_its_timeframe(name, row, label):
    assert metric_row(name).name == row
    assert metric_label(name) == label


@pytest.mark.parametrize("name", ["val_corr_", "val_corr", "val_loss_m1", "seconds", ""])
def test_other_names_are_no_metrics(name):
    assert metric_row(name) is None
    assert metric_label(name) == name
