"""A key with other values under other conditions, and null among its options: what holds them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from made_studies import SPACE, Tables, engine_of, epoch_row, simulate, write_space
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from pydantic import TypeAdapter

from stage1.base.errors import ConfigError
from stage1.claims.designs import unit_values
from stage1.claims.importance import partial_variances
from stage1.run.folder import RunFolder
from stage1.run.resolved_space import Domain, ResolvedSpace, searched_values
from stage1.run.tables import RunWriter, read_trials
from stage1.study.study import load_study, model_configs
from stage1.study.trials import ended_trials
from stage1.workers.tensorboard import write_columns, write_trial

NAME, BLOCKS = "transfer_learning.lm_name_or_path", "transfer_learning.n_pretrained_blocks"
NANO, MINI = "english-t5-nano", "english-t5-mini"
LABELLED = f"""\
  {NAME}: {{type: choice, options: [{NANO}, {MINI}]}}
  {BLOCKS}@nano: {{type: choice, options: [1, null], when: {{{NAME}: {NANO}}}}}
  {BLOCKS}@mini: {{type: int, low: 1, high: 4, when: {{{NAME}: {MINI}}}}}
"""
POSSIBLE = {NANO: {1, None}, MINI: {1, 2, 3, 4}}


def study_with(folder, labelled=LABELLED):
    text = SPACE.replace("design: {configurations: 4", f"{labelled}design: {{configurations: 64")
    return load_study(write_space(folder, text))


@pytest.fixture
def study(tmp_path):
    return study_with(tmp_path)


def domains_of(study):
    fields = {n: p.model_dump(mode="json") for n, p in study.space.space.items()}
    return TypeAdapter(dict[str, Domain]).validate_python(fields)


def test_every_point_of_the_design_has_a_value_of_its_own_condition(study):
    seen = {name: {p[BLOCKS] for p in study.points if p[NAME] == name} for name in POSSIBLE}

    assert seen == POSSIBLE


def test_every_value_is_checked_against_its_language_model(study):
    configs = [config.transfer_learning for config in model_configs(study, "pretrained")]

    pairs = {(one.lm_name_or_path, one.n_pretrained_blocks) for one in configs}
    assert pairs == {(name, k) for name, blocks in POSSIBLE.items() for k in blocks}


def test_search_tables_and_resume_keep_each_value_with_its_key(study, tmp_path):
    tables, storage = Tables(), InMemoryStorage()
    engine = simulate(engine_of(study, tables=tables, storage=storage))
    run = RunFolder(tmp_path / "run")
    writer = RunWriter(run)
    for row in tables.rows:
        writer.add_trial(row, tables.curves[row["trial_id"]])

    resumed = {trial.spec.trial_id: trial.spec.values for trial in ended_trials(run, study)}

    assert resumed == {key: trial.spec.values for key, trial in engine.ended.items()}
    assert all(values[BLOCKS] in POSSIBLE[values[NAME]] for values in resumed.values())
    names = set(study.space.space)
    for sampler in engine._samplers.values():
        trials = sampler.study.get_trials(states=[TrialState.COMPLETE])
        assert trials
        assert all(set(trial.params) <= names for trial in trials)
    points = unit_values(ResolvedSpace.model_construct(space=domains_of(study)), values_in(run))
    assert (np.isfinite(points[:, -2:]).sum(axis=1) == 1).all()  # one of the two applies
    again = engine_of(study, ended=ended_trials(run, study), storage=InMemoryStorage())
    assert again.has_finished


def values_in(run):
    trials = read_trials(run)
    columns = [name for name in trials if name.startswith("param.")]
    return trials[columns].rename(columns=lambda name: name.removeprefix("param."))


def test_importances_are_those_of_each_condition(study):
    values = pd.DataFrame(study.points)
    nano_alone = (values[NAME] == NANO) & values[BLOCKS].isna()

    parts = partial_variances(values, nano_alone.to_numpy(dtype=float), domains_of(study))

    assert parts.main[f"{BLOCKS}@nano"] > 5 * parts.main[f"{BLOCKS}@mini"]


def test_a_null_is_a_value_where_it_is_an_option_and_nothing_elsewhere(study):
    domains = domains_of(study)

    assert searched_values(domains, {NAME: NANO, BLOCKS: math.nan})[f"{BLOCKS}@nano"] is None
    assert set(searched_values(domains, {NAME: MINI, BLOCKS: None})) == {NAME}
    assert searched_values(domains, {NAME: MINI, BLOCKS: 2.0}) == {NAME: MINI, f"{BLOCKS}@mini": 2}


def test_tensorboard_shows_one_column_of_the_key(study, tmp_path):
    tables = Tables()
    simulate(engine_of(study, tables=tables), trials=4, row=epoch_row)

    write_columns(tmp_path / "tensorboard", study)
    for row in tables.rows:
        write_trial(tmp_path / "tensorboard", row, tables.curves[row["trial_id"]])

    assert len(list((tmp_path / "tensorboard" / "design").rglob("events*"))) == 4


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        pytest.param(
            f"when: {{{NAME}: {MINI}}}",
            f"when: {{{NAME}: {NANO}}}",
            f"{BLOCKS}@mini: must have another value than {BLOCKS}@nano has",
            id="both apply",
        ),
        pytest.param(
            f", when: {{{NAME}: {MINI}}}", "", "must have another value", id="one always applies"
        ),
        pytest.param("@mini", "@", "must be KEY or KEY@LABEL", id="no label"),
        pytest.param("blocks@mini", "bloks@mini", "did you mean", id="no key"),
    ],
)
def test_labels_that_do_not_tell_apart_are_refused_with_their_line(tmp_path, old, new, fault):
    with pytest.raises(ConfigError, match=r"space\.yaml:\d+") as caught:
        study_with(tmp_path, LABELLED.replace(old, new))

    assert fault in str(caught.value)
