"""All claims of a run, in health and in every kind of trouble."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import yaml
from made_runs import (
    SIZE,
    arm_scores,
    changed_study,
    drawn_arm,
    study_tables,
    synthetic_preregistration,
    synthetic_space,
    timed_cost,
    write_synthetic_run,
)
from scipy import stats

from stage1.claims.claim import claims_json
from stage1.claims.evaluate import evaluate
from stage1.claims.scores import read_run
from stage1.claims.verdicts import (
    ATTRIBUTABLE,
    NO_GAIN,
    NOT_ATTRIBUTABLE,
    NOT_TESTED,
    Verdict,
)
from stage1.run.columns import ROLES, SEARCH
from stage1.run.folder import RunFolder
from stage1.run.tables import RunWriter

CONFIGURATIONS = 6
LABEL_SWAP, TIME_BLOCKS = "label swap", "blocks of validation time"


def arm(mean=0.5, *, stream=0, **shape):
    generator = np.random.default_rng([stream, round(1e4 * abs(mean))])
    return drawn_arm(generator, mean=mean, **{"configurations": CONFIGURATIONS} | shape)


@pytest.fixture
def tables():
    """A study in which the pretrained arm is far better than the random one."""
    return study_tables({"pretrained": arm(0.7), "random": arm(0.5)})


def by_id(evaluation):
    return {claim.id: claim for claim in [*evaluation.claims, *evaluation.beside]}


def about_scores(evaluation):
    return [claim for number, claim in by_id(evaluation).items() if number != "6"]


def read_strictly(evaluation):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = claims_json(evaluation.claims, evaluation.beside, {})
    return json.loads(text, parse_constant=refuse)


# --- in health ---


def test_a_run_has_six_claims_and_two_lines_beside_them(tables):
    evaluation = evaluate(tables)

    assert [claim.id for claim in evaluation.claims] == ["1", "2", "3", "4", "5", "6"]
    assert [claim.id for claim in evaluation.beside] == ["2b", "3b"]
    assert [claim.id for claim in evaluation.lines] == ["1", "2", "2b", "3", "3b", "4", "5", "6"]
    assert all(claim.arm_pair == ("pretrained", "random") for claim in about_scores(evaluation))


def test_the_gain_of_a_run_is_that_of_its_tables(tables):
    claim = by_id(evaluate(tables))["3"]

    ends = tables.trials.pivot_table("val_correlation", "config_id", "arm")
    assert claim.interval.estimate == pytest.approx(
        ends["pretrained"].mean() / ends["random"].mean() - 1
    )
    p = stats.ttest_rel(ends["pretrained"], ends["random"]).pvalue
    assert claim.p == pytest.approx(6 * p)
    assert claim.verdict is Verdict.SUPPORTED


def test_every_number_of_a_claim_names_the_arm_it_is_of(tables):
    for claim in about_scores(evaluate(tables)):
        names = " ".join(claim.shown)
        assert "pretrained" in names
        assert "first arm" not in names
        assert "second arm" not in names


def test_robustness_lines_stand_beside_the_claims_they_are_of(tables):
    claims = by_id(evaluate(tables))

    assert all(LABEL_SWAP in claims[number].robustness for number in "12345")
    assert [number for number in claims if TIME_BLOCKS in claims[number].robustness] == ["2", "3"]
    assert claims["6"].robustness == claims["2b"].robustness == {}


def test_a_run_is_evaluated_from_its_folder(tmp_path):
    evaluation = evaluate(read_run(write_synthetic_run(tmp_path / "run")))

    content = read_strictly(evaluation)
    assert [claim["id"] for claim in content["claims"]] == list("123456")
    assert evaluation.scores.complete == 4
    assert by_id(evaluation)["6"].verdict is Verdict.SUPPORTED
    assert "12 blocks" in by_id(evaluation)["3"].robustness[TIME_BLOCKS]
    assert evaluation.deviations == []


def test_a_run_is_evaluated_before_its_first_trial_has_ended(tmp_path):
    run, space = RunFolder(tmp_path), synthetic_space()
    run.space.write_text(yaml.safe_dump(space), encoding="utf-8")
    run.prereg.write_text(synthetic_preregistration(run, space), encoding="utf-8")
    RunWriter(run)

    evaluation = evaluate(read_run(run))

    assert len(read_strictly(evaluation)["claims"]) == 6
    assert_nothing_can_be_told(evaluation, "0 of 24 trials of the design have ended")


def test_arms_are_known_by_their_roles_not_their_names():
    study = study_tables(
        {"t5": arm(0.7), "fresh": arm(0.5)}, roles={"pretrained": "t5", "random": "fresh"}
    )

    claim = by_id(evaluate(study))["3"]

    assert claim.arm_pair == ("t5", "fresh")
    assert claim.verdict is Verdict.SUPPORTED
    assert "With t5 weights" in claim.sentence
    assert "mean val_correlation, fresh" in claim.shown


def test_arms_without_a_role_in_a_claim_do_not_change_it(tables):
    pair = {"pretrained": arm(0.7), "random": arm(0.5)}
    others = {"shuffled": arm(0.52), "vanilla": arm(0.3), "random_fixed": arm(0.9)}

    five = evaluate(study_tables({**others, **pair}))

    assert by_id(five)["3"].interval == by_id(evaluate(tables))["3"].interval
    assert set(five.scores.correlation) == {*pair, *others}


# --- attribution ---


@pytest.mark.parametrize(
    ("shuffled", "attribution"),
    [
        pytest.param(0.5, ATTRIBUTABLE, id="no better than random"),
        pytest.param(0.7, NOT_ATTRIBUTABLE, id="as good as pretrained"),
        pytest.param(0.8, NOT_ATTRIBUTABLE, id="better than pretrained"),
        pytest.param(None, NOT_TESTED, id="not there"),
    ],
)
def test_a_gain_is_attributable_where_shuffled_weights_do_worse(shuffled, attribution):
    arms = {"pretrained": arm(0.7), "random": arm(0.5)}
    if shuffled:
        arms["shuffled"] = arm(shuffled, stream=1)

    claim = by_id(evaluate(study_tables(arms)))["3"]

    assert claim.verdict is Verdict.SUPPORTED
    assert claim.attribution == attribution


def test_attribution_takes_the_interval_that_decides():
    """A difference to the shuffled arm that 95 % would show and the deciding level does not."""
    pretrained, shuffled = arm(0.7, noise=0.0), arm(0.7, noise=0.0, stream=1)
    differences = (pretrained.final - shuffled.final).mean(axis=1)
    error = differences.std(ddof=1) / math.sqrt(CONFIGURATIONS)
    moved = shuffled.final + differences.mean() - 3 * error  # p of t = 3 at 5 degrees: .03
    arms = {"pretrained": pretrained, "random": arm(0.5), "shuffled": arm_scores(moved)}

    claim = by_id(evaluate(study_tables(arms)))["3"]

    assert claim.attribution == NOT_ATTRIBUTABLE


def test_what_is_not_evaluable_is_not_attributed():
    study = study_tables({"pretrained": arm(0.95), "random": arm(0.9), "shuffled": arm(0.9)})

    claim = by_id(evaluate(study))["3"]

    assert claim.verdict is Verdict.NOT_EVALUABLE
    assert claim.attribution == NOT_TESTED


# --- what stands in the way of every claim about scores ---


def assert_nothing_can_be_told(evaluation, reason):
    for claim in about_scores(evaluation):
        assert claim.verdict is Verdict.NOT_EVALUABLE
        assert reason in claim.reason
        assert reason in claim.sentence


@pytest.mark.parametrize("there", ["pretrained", "random"])
def test_one_arm_alone_is_compared_with_nothing(there):
    absent = {"pretrained": "random", "random": "pretrained"}[there]

    evaluation = evaluate(study_tables({there: arm(0.7)}))

    assert_nothing_can_be_told(evaluation, f"the study has no {absent} arm")


@pytest.mark.parametrize("name", ["pretrained", "random"])
def test_weights_without_a_fingerprint_cannot_be_compared(tables, name):
    tables.trials.loc[tables.trials["arm"] == name, "lm_sha256"] = None

    assert_nothing_can_be_told(evaluate(tables), "fingerprint")


def test_an_unfinished_design_waits_for_its_end(tables):
    cut = tables._replace(trials=tables.trials.iloc[:-1])

    evaluation = evaluate(cut)

    assert_nothing_can_be_told(evaluation, "23 of 24 trials of the design have ended")
    assert any("23 of 24" in text for text in evaluation.deviations)


def test_a_failed_trial_has_ended():
    failed = arm(0.7)
    failed.final[3, 1] = math.nan

    evaluation = evaluate(study_tables({"pretrained": failed, "random": arm(0.5)}))

    assert by_id(evaluation)["3"].verdict is Verdict.SUPPORTED
    assert evaluation.scores.left_out == {"failed in an arm": 1}


def diverging(scores, count):
    diverged = (np.arange(scores.final.size) < count).reshape(scores.final.shape)
    return scores._replace(diverged=diverged)


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (3, 2), (2, 12), (0, 6)])
def test_more_than_a_fifth_diverged_in_both_arms_leaves_nothing_to_tell(ours, theirs):
    study = study_tables(
        {"pretrained": diverging(arm(0.7), ours), "random": diverging(arm(0.5), theirs)}
    )

    evaluation = evaluate(study)

    too_many = min(ours, theirs) / 12 > 0.2
    told = [claim.reason for claim in about_scores(evaluation) if "diverged, more" in claim.reason]
    assert len(told) == (7 if too_many else 0)
    assert sum("diverged" in text for text in evaluation.warnings) == (1 if ours == 0 else 2)


@pytest.mark.parametrize("mean", [0.3, 0.7])
def test_two_random_arms_that_differ_raise_an_alarm_on_the_claims_they_differ_by(mean):
    study = study_tables(
        {"pretrained": arm(0.7), "random": arm(0.5), "random_again": arm(mean, stream=1)}
    )

    claims = by_id(evaluate(study))

    for number in ("2", "3", "2b", "3b"):
        assert claims[number].verdict is Verdict.NOT_EVALUABLE
        assert "two random arms differ" in claims[number].reason


def test_two_random_arms_that_agree_raise_no_alarm(tables):
    study = study_tables(
        {"pretrained": arm(0.7), "random": arm(0.5), "random_again": arm(0.5, stream=1)}
    )

    assert by_id(evaluate(study))["3"].interval == by_id(evaluate(tables))["3"].interval
    assert by_id(evaluate(study))["3"].verdict is Verdict.SUPPORTED


# --- what does not enter ---


def test_configurations_beyond_the_registration_are_named_and_do_not_count():
    arms = {"pretrained": arm(0.7), "random": arm(0.5)}
    first = {name: arm_scores(scores.final[:5]) for name, scores in arms.items()}

    more = evaluate(study_tables(arms, configurations=5))

    assert any("6 configurations, 5 were registered" in text for text in more.deviations)
    assert by_id(more)["3"].interval == by_id(evaluate(study_tables(first)))["3"].interval


def test_seeds_beyond_the_registration_are_named_and_do_not_count(tables):
    arms = {"pretrained": arm(0.7), "random": arm(0.5)}
    one = {name: arm_scores(scores.final[:, :1]) for name, scores in arms.items()}

    more = evaluate(study_tables(arms, seeds=[1]))

    assert any("seeds [2]" in text for text in more.deviations)
    assert by_id(more)["3"].interval == by_id(evaluate(study_tables(one)))["3"].interval


def test_a_search_beside_the_design_changes_no_verdict(tables):
    search = study_tables({"pretrained": arm(0.2), "random": arm(0.9)})
    renamed = {
        name: frame.assign(stage=SEARCH, trial_id="search" + frame["trial_id"])
        for name, frame in (("trials", search.trials), ("curves", search.curves))
    }
    renamed["trials"].loc[::2, "status"] = "stopped"

    both = evaluate(
        tables._replace(
            **{name: pd.concat([getattr(tables, name), frame]) for name, frame in renamed.items()}
        )
    )

    expected = evaluate(tables)
    assert list(map(repr, both.claims[:2])) == list(map(repr, expected.claims[:2]))
    assert [claim.verdict for claim in both.claims] == [claim.verdict for claim in expected.claims]


# --- cost ---


@pytest.fixture
def timed():
    """A study of one arm: the cost needs no other."""
    return study_tables({"pretrained": arm(0.7)})


CLOSE = [1.1, 1.101, 1.099, 1.1, 1.1]


def test_the_registered_size_decides_about_cost(timed):
    cost = pd.concat([timed_cost([1.3, 1.31, 1.29], size="large"), timed_cost(CLOSE)])

    evaluation = evaluate(timed._replace(cost=cost))

    claim = by_id(evaluation)["6"]
    assert claim.interval.estimate == pytest.approx(math.prod(CLOSE) ** (1 / 5))
    assert claim.verdict is Verdict.SUPPORTED
    assert claim.arm_pair == ("pretrained", "vanilla")
    assert claim.claimed == 1.15
    assert [cost.size for cost in evaluation.costs] == [SIZE, "large"]


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.30, 1.31, 1.29], Verdict.CONTRADICTED),
        ([1.10, 1.30, 0.95], Verdict.INCONCLUSIVE),
        ([0.80, 0.81, 0.79], Verdict.SUPPORTED),
    ],
)
def test_the_cost_is_judged_against_the_margin(timed, ratios, verdict):
    claim = by_id(evaluate(timed._replace(cost=timed_cost(2 * ratios))))["6"]

    assert claim.verdict is verdict


def test_four_rounds_of_timing_are_too_few(timed):
    claim = by_id(evaluate(timed._replace(cost=timed_cost([1.0, 1.01, 0.99, 1.0]))))["6"]

    assert claim.verdict is Verdict.NOT_EVALUABLE
    assert claim.reason == "needs 5 rounds of timing, got 4"


@pytest.mark.parametrize(
    "cost",
    [
        pytest.param([], id="nothing"),
        pytest.param([1.1], id="one round"),
    ],
)
def test_without_timings_nothing_is_told_about_cost(timed, cost):
    block = timed_cost(cost) if cost else timed.cost

    claim = by_id(evaluate(timed._replace(cost=block)))["6"]

    assert claim.verdict is Verdict.NOT_EVALUABLE
    assert f"{SIZE} was not timed" in claim.sentence


def test_another_size_does_not_stand_in_for_the_registered_one(timed):
    claim = by_id(evaluate(timed._replace(cost=timed_cost(CLOSE, patch_len=16))))["6"]

    assert claim.verdict is Verdict.NOT_EVALUABLE


def test_the_cost_is_told_while_the_design_still_runs(timed):
    running = timed._replace(trials=timed.trials.iloc[:3], cost=timed_cost(CLOSE))

    assert by_id(evaluate(running))["6"].verdict is Verdict.SUPPORTED


def test_pretrained_and_random_trials_are_compared_in_their_seconds_per_step(tables):
    claim = by_id(evaluate(tables))["6"]

    name = "seconds per step of trials, pretrained / random"
    assert claim.shown[name] == pytest.approx(0.03 / 0.02)


def test_a_study_without_a_t5_has_no_cost():
    evaluation = evaluate(study_tables({"random": arm(0.5)}))

    claim = by_id(evaluation)["6"]
    assert read_strictly(evaluation)["claims"][5]["claimed"] is None
    assert claim.verdict is Verdict.NOT_EVALUABLE
    assert "no T5" in claim.reason


# --- in trouble ---


def constant(value):
    return arm_scores(
        np.full((CONFIGURATIONS, 2), value), log_loss=np.full((CONFIGURATIONS, 2), -1)
    )


def nothing_but(status):
    pair = study_tables({"pretrained": arm(0.7), "random": arm(0.5)})
    return pair._replace(trials=pair.trials.assign(status=status))


def without_curves(*, after):
    pair = study_tables({"pretrained": arm(0.7), "random": arm(0.5)})
    return pair._replace(curves=pair.curves[pair.curves["epoch"] <= after])


def of_an_earlier_version():
    pair = study_tables({"pretrained": arm(0.7), "random": arm(0.5)})
    unknown = ["lm_sha256", "head_sha256", "order_sha256", "mask_sha256"]
    return pair._replace(
        trials=pair.trials.assign(zero_val_loss=math.nan, **dict.fromkeys(unknown))
    )


def pair_of(ours, theirs):
    return study_tables({"pretrained": ours, "random": theirs})


def without_trials():
    pair = study_tables({"pretrained": arm(0.7), "random": arm(0.5)})
    return pair._replace(trials=pair.trials.iloc[:0], curves=pair.curves.iloc[:0])


def a_search_alone():
    pair = study_tables({"pretrained": arm(0.7), "random": arm(0.5)})
    return pair._replace(trials=pair.trials.assign(stage=SEARCH))


TROUBLES = {
    "no trial": without_trials,
    "a search alone": a_search_alone,
    "arms without a role": lambda: study_tables({"one": arm(), "other": arm()}),
    "one configuration": lambda: pair_of(arm(configurations=1), arm(configurations=1)),
    "one seed": lambda: pair_of(arm(0.7, seeds=1), arm(0.5, seeds=1)),
    "two configurations": lambda: pair_of(arm(configurations=2), arm(configurations=2)),
    "three configurations": lambda: pair_of(arm(configurations=3), arm(configurations=3)),
    "six arms": lambda: study_tables({role: arm(0.5 + len(role) / 100) for role in ROLES}),
    "all failed": lambda: nothing_but("failed"),
    "all stopped": lambda: nothing_but("stopped"),
    "all diverged at once": lambda: pair_of(diverging(arm(), 12), diverging(arm(), 12)),
    "one arm diverged": lambda: pair_of(diverging(arm(), 12), arm()),
    "other arm diverged": lambda: pair_of(arm(), diverging(arm(), 12)),
    "no curves": lambda: without_curves(after=-1),
    "curves of epoch 0 alone": lambda: without_curves(after=0),
    "constant metrics": lambda: pair_of(constant(0.5), constant(0.5)),
    "one constant arm": lambda: pair_of(constant(0.5), arm()),
    "correlations of zero": lambda: pair_of(constant(0.0), constant(0.0)),
    "perfect correlations": lambda: pair_of(constant(1.0), constant(1.0)),
    "negative correlations": lambda: pair_of(constant(-0.3), arm(-0.2)),
    "ties": lambda: pair_of(*(arm_scores(arm(mean).final.round(1)) for mean in (0.7, 0.5))),
    "losses above that of predicting zero": lambda: pair_of(
        arm()._replace(log_loss=arm().log_loss + 9), arm()._replace(log_loss=arm().log_loss + 9)
    ),
    "an earlier version": of_an_earlier_version,
    "cut in the middle": lambda: (t := nothing_but("completed"))._replace(trials=t.trials[:9]),
    "cut after one trial": lambda: (t := nothing_but("completed"))._replace(trials=t.trials[:1]),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_every_run_has_six_verdicts_in_strict_json(trouble):
    evaluation = evaluate(TROUBLES[trouble]())

    claims = read_strictly(evaluation)["claims"]
    assert [claim["id"] for claim in claims] == list("123456")
    for claim in claims:
        assert claim["verdict"] in {verdict.value for verdict in Verdict}
        assert claim["sentence"].endswith(".")
        assert "nan" not in claim["sentence"]


# --- what a look at the edges found ---


def test_a_registered_level_widens_the_interval_that_decides():
    arms = {"pretrained": arm(0.7), "random": arm(0.5)}

    usual = by_id(evaluate(study_tables(arms)))["3"].interval
    stricter = by_id(evaluate(study_tables(arms, level=0.05 / 12)))["3"].interval

    assert stricter.low < usual.low < usual.high < stricter.high


def test_nothing_is_looked_at_before_the_design_has_ended(tables):
    running = tables._replace(trials=tables.trials.iloc[:-1])

    for claim in about_scores(evaluate(running)):
        assert math.isnan(claim.interval.estimate)
        assert claim.shown == {}
        assert claim.robustness == {}


def test_trials_that_were_not_registered_do_not_finish_a_design():
    study = study_tables({"pretrained": arm(0.7), "random": arm(0.5)}, seeds=[1])
    first_seed = study.trials[study.trials["seed"] == 1]

    evaluation = evaluate(study._replace(trials=study.trials.drop(first_seed.index[3:])))

    assert_nothing_can_be_told(evaluation, "trials of the design have ended")


def test_an_arm_that_was_not_registered_takes_nothing_from_the_others():
    arms = {"pretrained": arm(0.7), "random": arm(0.5)}
    stranger = arm_scores(np.full((CONFIGURATIONS, 2), np.nan))
    registered = study_tables(arms)

    study = study_tables({**arms, "stranger": stranger})._replace(
        registration=registered.registration
    )

    assert by_id(evaluate(study))["3"].interval == by_id(evaluate(registered))["3"].interval


def test_arms_that_began_with_the_same_weights_cannot_be_compared(tables):
    tables.trials["lm_sha256"] = "the same"

    evaluation = evaluate(tables)

    assert_nothing_can_be_told(evaluation, "with the same T5 weights")
    assert any("not paired" in warning for warning in evaluation.warnings)


@pytest.mark.parametrize("shuffled", [0.0, None], ids=["no correlation", "all diverged"])
def test_a_gain_over_hopeless_shuffled_weights_is_not_called_unattributable(shuffled):
    hopeless = arm(0.0, stream=1) if shuffled is not None else diverged_everywhere()
    arms = {"pretrained": arm(0.6), "random": arm(0.45), "shuffled": hopeless}

    claim = by_id(evaluate(study_tables(arms)))["3"]

    assert claim.verdict is Verdict.SUPPORTED
    assert claim.attribution.startswith(NOT_TESTED)


def diverged_everywhere():
    scores = arm_scores(np.zeros((CONFIGURATIONS, 2)))
    return scores._replace(diverged=np.ones((CONFIGURATIONS, 2), dtype=bool))


def test_a_loss_has_nothing_to_attribute():
    arms = {"pretrained": arm(0.4), "random": arm(0.5), "shuffled": arm(0.5, stream=1)}

    claim = by_id(evaluate(study_tables(arms)))["3"]

    assert claim.verdict is Verdict.CONTRADICTED
    assert claim.attribution == NO_GAIN


def test_two_random_arms_that_differ_spoil_every_claim():
    arms = {"pretrained": arm(0.7), "random": arm(0.5), "random_again": arm(0.6, stream=3)}

    assert_nothing_can_be_told(evaluate(study_tables(arms)), "two random arms differ")


def test_the_objective_of_one_timeframe_needs_no_trial_to_exist(tables):
    objective = {"metric": "val_corr_h4", "mode": "max"}
    tables = tables._replace(space=changed_study(tables.space, objective=objective))

    assert len(evaluate(tables).claims) == 6
