"""All trials as data for the page: order, columns, places on the axes, curves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_runs import FREEZE, LR, PATCH, arm_scores, changed_study, study_tables

from stage1.pages.blocks import Explorer
from stage1.pages.explorer_section import explorer_blocks

SCORES = {
    "pretrained": arm_scores(np.array([[0.8], [0.9], [0.5]])),
    "random": arm_scores(np.array([[0.7], [0.6], [0.4]])),
}
POINTS = [{LR: 1e-3, PATCH: 8}, {LR: 1e-4, PATCH: 4}, {LR: 1e-2, PATCH: 16}]
SPACE = {
    LR: {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    PATCH: {"type": "choice", "options": [4, 8, 16]},
}


def tables_of(space=SPACE, points=POINTS, *, horizon=2):
    design = {"configurations": 3, "seeds": 1}
    tables = study_tables(SCORES, points=points, design=design, horizon=horizon)
    return tables._replace(space=changed_study(tables.space, space=space))


def data_of(tables):
    """As the page's script reads it."""
    (explorer,) = (block for block in explorer_blocks(tables) if isinstance(block, Explorer))
    return json.loads(json.dumps(explorer.data, allow_nan=False))


def columns_of(tables):
    return {column["key"]: column for column in data_of(tables)["columns"]}


def test_trials_are_in_the_order_of_the_leaderboard():
    data = data_of(tables_of())

    columns = {column["key"]: column for column in data["columns"]}
    assert data["names"] == [f"design00{place}" for place in (1, 0, 0, 1, 2, 2)]
    assert columns["place"]["cells"] == [1, 2, 3, 4, 5, 6]
    assert columns["val_correlation"]["cells"] == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert [columns["arm"]["options"][arm] for arm in columns["arm"]["cells"]][:3] == [
        *("pretrained", "pretrained", "random")
    ]


def test_places_on_an_axis_are_those_of_its_scale():
    columns = columns_of(tables_of())

    assert columns[LR]["axis"]["places"] == [0, 0.5, 0.5, 0, 1, 1]
    assert columns[PATCH]["options"] == ["4", "8", "16"]
    assert columns[PATCH]["axis"]["places"] == [0, 0.5, 0.5, 0, 1, 1]
    assert columns[PATCH]["axis"]["ticks"] == [[0, "4"], [0.5, "8"], [1, "16"]]
    z = np.arctanh([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert columns["val_correlation"]["axis"]["places"] == pytest.approx(
        (z - z[-1]) / (z[0] - z[-1]), abs=1e-4
    )


def test_what_was_not_searched_lies_below_the_foot():
    conditional = SPACE | {FREEZE: {"type": "int", "low": 0, "high": 3, "when": {PATCH: 8}}}
    points = [point | ({FREEZE: 3} if point[PATCH] == 8 else {}) for point in POINTS]

    column = columns_of(tables_of(conditional, points))[FREEZE]

    assert column["cells"] == [None, 3, 3, None, None, None]
    assert {place for place in column["axis"]["places"] if place < 0} == {-0.1}
    assert [(round(3 * place), text) for place, text in column["axis"]["ticks"]] == [
        *((0, "0"), (1, "1"), (2, "2"), (3, "3"))
    ]


def test_options_are_told_as_yaml_writes_them():
    space = SPACE | {PATCH: {"type": "choice", "options": [None, True, 0.5, "a </script>"]}}
    points = [{LR: 1e-3, PATCH: value} for value in (None, True, "a </script>")]

    column = columns_of(tables_of(space, points))[PATCH]

    assert column["options"] == ["null", "true", "0.5", "a </script>"]


def test_a_value_that_all_trials_share_lies_in_the_middle():
    points = [{LR: 1e-3, PATCH: 8}] * 3

    column = columns_of(tables_of(SPACE | {LR: SPACE[LR] | {"low": 1e-3, "high": 1e-3}}, points))

    assert set(column[LR]["axis"]["places"]) == {0.5}


def test_a_study_of_which_nothing_is_scored_has_an_axis_without_ticks_in_use():
    tables = tables_of()
    tables.trials["val_correlation"] = np.nan

    column = columns_of(tables)["val_correlation"]

    assert set(column["cells"]) == {None}
    assert set(column["axis"]["places"]) == {-0.1}


def test_curves_are_those_of_the_table_and_long_ones_are_thinned(monkeypatch):
    tables = tables_of(horizon=20)
    of_best = (tables.curves["arm"] == "pretrained") & (tables.curves["config_id"] == "design001")
    curve = tables.curves[of_best]

    data = data_of(tables)
    monkeypatch.setattr("stage1.pages.explorer_section._MOST_POINTS", 200)
    thinned = data_of(tables)

    assert data["metrics"][0]["name"] == "val_correlation"
    assert data["curves"][0][:2] == [
        curve["epoch"].tolist(),
        pytest.approx(curve["val_correlation"].tolist(), rel=1e-5),
    ]
    epochs = thinned["curves"][0][0]
    assert len(epochs) < len(curve)
    assert epochs[-1] == curve["epoch"].max()
    assert sum(len(values) for trial in thinned["curves"] for values in trial) < 250


def test_a_metric_of_the_users_own_has_a_column_and_curves():
    tables = tables_of()
    tables.trials["metric.hits"], tables.curves["metric.hits"] = 0.25, 0.75
    tables.trials["baseline_metric.hits"] = 0.5

    data = data_of(tables)

    (column,) = (column for column in data["columns"] if column["name"] == "hits")
    assert set(column["cells"]) == {0.25}
    place, metric = next(it for it in enumerate(data["metrics"]) if it[1]["name"] == "hits")
    assert metric["baseline"] == 0.5
    assert set(data["curves"][0][1 + place]) == {0.75}


def test_there_is_nothing_to_explore_before_the_first_trial():
    tables = tables_of()

    assert explorer_blocks(tables._replace(trials=tables.trials[:0])) == []
