"""The remaining time, on a study that was recorded: the sample run."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from made_studies import SAMPLE, recorded_study, write_space

from stage1.run.columns import COMPLETED, CONFIRM, DESIGN, FAILED, SEARCH
from stage1.run.tables import read_trials
from stage1.study.resume import ended_trials
from stage1.study.stages import expected_by_stage
from stage1.study.study import load_study
from stage1.study.trials import EndedTrial, RunningTrial, TrialSpec
from stage1.workers.progress import RemainingTime

WORKERS = 2


class Recorded(NamedTuple):
    """A trial of the sample run; times in seconds since the first one began."""

    begun: float
    end: float
    trial: EndedTrial


@pytest.fixture(scope="module")
def study():
    return recorded_study()


@pytest.fixture(scope="module")
def recorded(study):
    rows = read_trials(SAMPLE).set_index("trial_id")
    begun = (rows["started_at"] - rows["started_at"].min()).dt.total_seconds()
    found = []
    for trial in ended_trials(SAMPLE, study):
        start = begun[trial.spec.trial_id]
        found.append(Recorded(start, start + trial.seconds, trial))
    return sorted(found, key=lambda one: one.end)


def running_at(recorded, time):
    for one in recorded:
        if one.begun <= time < one.end:
            yield RunningTrial(one.trial.spec, datetime.now(UTC), begun=one.begun)


def estimates(study, recorded):
    """Number of ended trials, estimated and true remaining seconds, whenever a trial ends."""
    remaining, ends, by_stage = RemainingTime(study, workers=WORKERS), Counter(), Counter()
    for number, one in enumerate(recorded, start=1):
        spec = one.trial.spec
        remaining.add(one.trial)
        ends[spec.stage, spec.arm, one.trial.status] += 1
        by_stage[spec.stage] += 1
        expected = expected_by_stage(study, ends)
        left = {stage: count - by_stage[stage] for stage, count in expected.items()}
        estimate = remaining.seconds(left, running_at(recorded, one.end), now=one.end)
        yield number, estimate, recorded[-1].end - one.end


def test_after_a_tenth_of_the_trials_the_estimate_is_within_a_quarter_of_the_truth(study, recorded):
    told = [one for one in estimates(study, recorded) if one[0] >= len(recorded) / 10]

    number, first, truth = told[0]
    assert number == 8
    assert first == pytest.approx(truth, rel=0.25)
    for _, estimate, truth in told:  # and it stays so; at the very end to half a trial
        assert estimate == pytest.approx(truth, rel=0.25, abs=15)


SPACE = """\
name: two_by_two
base: base.yaml
horizon_epochs: 9
arms:
  pretrained: {transfer_learning.initialization: pretrained}
  random: {transfer_learning.initialization: random}
space:
  transfer_learning.patch_len: {type: choice, options: [4, 8]}
design: {configurations: 2, seeds: 1}
search: {trials: 0}
"""
SECONDS = {
    ("pretrained", 4): 40.0,
    ("pretrained", 8): 20.0,
    ("random", 4): 20.0,
    ("random", 8): 10.0,
}


def test_a_configuration_that_was_not_seen_is_put_together_from_those_that_were(tmp_path):
    remaining = RemainingTime(load_study(write_space(tmp_path, SPACE)), workers=1)
    for number in range(50):
        for (arm, patch_len), seconds in SECONDS.items():
            if (arm, patch_len) != ("random", 4):
                values = {"transfer_learning.patch_len": patch_len}
                spec = TrialSpec(SEARCH, arm, f"{arm}-{number}", 0, values)
                remaining.add(EndedTrial(spec, COMPLETED, 0.5, {9: 0.5}, seconds))

    estimate = remaining.seconds({DESIGN: 4, SEARCH: 0, CONFIRM: 0}, [], now=0.0)

    assert estimate == pytest.approx(sum(SECONDS.values()), rel=0.05)


def test_a_trial_without_an_epoch_tells_nothing(study):
    remaining = RemainingTime(study, workers=1)
    spec = TrialSpec(SEARCH, "random", "random-000", 0, {})

    remaining.add(EndedTrial(spec, FAILED, math.nan, {}, 0.0))

    assert remaining.seconds({DESIGN: 48, SEARCH: 18, CONFIRM: 12}, [], now=0.0) is None
