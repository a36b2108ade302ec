"""All claims of a run, in health and in every kind of trouble."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import yaml
from made_claims import read_strictly
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

from stage1.claims.catalogue import ABOUT_SCORES, DEFINITIONS, ERROR_RATE, PLANNED
from stage1.claims.claim import claims_json
from stage1.claims.judge import evaluate
from stage1.claims.scores import read_run
from stage1.claims.verdicts import (
    ATTRIBUTABLE,
    NO_GAIN,
    NOT_ATTRIBUTABLE,
    NOT_SHOWN,
    NOT_TESTED,
    Verdict,
)
from stage1.run.columns import ROLES, SEARCH
from stage1.run.folder import RunFolder
from stage1.run.tables import RunWriter

CONFIGURATIONS = 6
TIME_BLOCKS = "blocks of validation time"


def arm(mean=0.5, *, stream=0, **shape):
    generator = np.random.default_rng([stream, round(1e4 * abs(mean))])
    return drawn_arm(generator, mean=mean, **{"configurations": CONFIGURATIONS} | shape)


def study(registered=(), /, **arms):
    """A finished study; an arm may be given by its mean val_correlation."""
    drawn = {name: arm(one) if isinstance(one, float) else one for name, one in arms.items()}
    return study_tables(drawn, **dict(registered))


def diverging(scores, count):
    diverged = (np.arange(scores.final.size) < count).reshape(scores.final.shape)
    return scores._replace(diverged=diverged)


@pytest.fixture
def tables():
    """A study in which the pretrained arm is far better than the random one."""
    return study(pretrained=0.7, random=0.5)


def by_id(tables):
    return {claim.id: claim for claim in evaluate(tables).lines}


def about_scores(evaluation):
    return [claim for claim in evaluation.lines if claim.definition in ABOUT_SCORES]


def written_claims(evaluation):
    """As claims.json holds them."""
    return read_strictly(claims_json(evaluation.claims, evaluation.beside, evaluation.looks, {}))[
        "claims"
    ]


# --- in health ---


def test_a_run_has_every_claim_and_beside_them_lines_robustness_and_seconds_per_step(tables):
    evaluation = evaluate(tables)

    assert [claim.definition for claim in evaluation.claims] == list(PLANNED)
    assert [claim.id for claim in evaluation.beside] == ["2b", "3b"]
    assert [claim.definition for claim in evaluation.lines] == list(DEFINITIONS)
    claims = {claim.id: claim for claim in evaluation.lines}
    assert claims["4"].arm_pair == ("pretrained", "random_fixed")
    others = [claim for claim in about_scores(evaluation) if claim.id != "4"]
    assert all(claim.arm_pair == ("pretrained", "random") for claim in others)
    assert all("label swap" in claims[number].robustness for number in "1235")
    assert [number for number in claims if TIME_BLOCKS in claims[number].robustness] == ["2", "3"]
    assert claims["6"].robustness == claims["2b"].robustness == {}
    seconds = claims["6"].shown["seconds per step of trials, pretrained / random"]
    assert seconds == pytest.approx(0.03 / 0.02)


def test_the_gain_of_a_run_is_that_of_its_tables(tables):
    claim = by_id(tables)["3"]

    ends = tables.trials.pivot_table("val_correlation", "config_id", "arm")
    gain = ends["pretrained"].mean() / ends["random"].mean() - 1
    p = stats.ttest_rel(ends["pretrained"], ends["random"]).pvalue
    assert (claim.interval.estimate, claim.p) == pytest.approx((gain, p / ERROR_RATE * 0.05))
    assert claim.verdict is Verdict.SUPPORTED


def test_a_run_is_evaluated_from_its_folder(tmp_path):
    evaluation = evaluate(read_run(write_synthetic_run(tmp_path / "run")))

    claims = {claim.id: claim for claim in evaluation.claims}
    assert len(written_claims(evaluation)) == len(PLANNED)
    assert evaluation.scores.complete == 4
    assert claims["6"].verdict is Verdict.SUPPORTED
    assert "12 blocks" in claims["3"].robustness[TIME_BLOCKS]
    assert evaluation.deviations == []


def test_a_run_is_evaluated_before_its_first_trial_has_ended(tmp_path):
    run, space = RunFolder(tmp_path), synthetic_space()
    run.space.write_text(yaml.safe_dump(space), encoding="utf-8")
    run.prereg.write_text(synthetic_preregistration(run, space), encoding="utf-8")
    RunWriter(run)

    assert_nothing_can_be_told(read_run(run), "0 of 24 trials of the design have ended")


def test_arms_are_known_by_their_roles_and_named_by_their_names():
    tables = study({"roles": {"pretrained": "t5", "random": "fresh"}}, t5=0.7, fresh=0.5)

    claim = by_id(tables)["3"]

    assert claim.arm_pair == ("t5", "fresh")
    assert claim.verdict is Verdict.SUPPORTED
    assert "With t5 weights" in claim.sentence
    assert {"mean val_correlation, t5", "mean val_correlation, fresh"} <= set(claim.shown)


def test_arms_without_a_role_in_a_claim_do_not_change_it(tables):
    others = {"shuffled": 0.52, "vanilla": 0.3, "random_fixed": 0.9}
    strangers = study(pretrained=0.7, random=0.5, stranger=arm_scores(np.full((6, 2), np.nan)))

    five = study(**others, pretrained=0.7, random=0.5)
    unregistered = strangers._replace(registration=tables.registration)

    interval = by_id(tables)["3"].interval
    assert by_id(five)["3"].interval == by_id(unregistered)["3"].interval == interval


def test_a_search_beside_the_design_changes_no_verdict(tables):
    search = study(pretrained=0.2, random=0.9)
    renamed = {
        name: frame.assign(stage=SEARCH, trial_id="search" + frame["trial_id"])
        for name, frame in (("trials", search.trials), ("curves", search.curves))
    }
    renamed["trials"].loc[::2, "status"] = "stopped"

    both = {name: pd.concat([getattr(tables, name), frame]) for name, frame in renamed.items()}

    claims, expected = (evaluate(one).claims for one in (tables._replace(**both), tables))
    assert list(map(repr, claims[:2])) == list(map(repr, expected[:2]))
    assert [claim.verdict for claim in claims] == [claim.verdict for claim in expected]


def test_a_registered_level_widens_the_interval_that_decides(tables):
    usual = by_id(tables)["3"].interval
    stricter = by_id(study({"level": 0.05 / 12}, pretrained=0.7, random=0.5))["3"].interval

    assert stricter.low < usual.low < usual.high < stricter.high


# --- attribution ---


@pytest.mark.parametrize(
    ("pair", "shuffled", "verdict", "attribution"),
    [
        pytest.param((0.7, 0.5), arm(0.5, stream=1), "SUPPORTED", ATTRIBUTABLE, id="as random"),
        pytest.param((0.7, 0.5), arm(0.7, stream=1), "SUPPORTED", NOT_SHOWN, id="as good"),
        pytest.param((0.7, 0.5), arm(0.9, stream=1), "SUPPORTED", NOT_ATTRIBUTABLE, id="better"),
        pytest.param((0.7, 0.5), None, "SUPPORTED", NOT_TESTED, id="no shuffled arm"),
        pytest.param((0.97, 0.9), arm(0.9), "NOT EVALUABLE", NO_GAIN, id="not evaluable"),
        pytest.param((0.5, 0.5), arm(0.5, stream=1), "NOT SUPPORTED", NO_GAIN, id="none"),
        pytest.param((0.4, 0.5), arm(0.5, stream=1), "CONTRADICTED", NO_GAIN, id="a loss"),
        # Where the shuffled arm is hopeless, its ratio has no interval.
        pytest.param((0.6, 0.45), arm(0.0, stream=1), "SUPPORTED", NOT_SHOWN, id="at zero"),
        pytest.param((0.6, 0.45), diverging(arm(), 12), "SUPPORTED", NOT_SHOWN, id="diverged"),
    ],
)
def test_a_gain_is_attributable_where_shuffled_weights_do_worse(
    pair, shuffled, verdict, attribution
):
    control = {} if shuffled is None else {"shuffled": shuffled}

    claim = by_id(study(pretrained=pair[0], random=pair[1], **control))["3"]

    assert claim.verdict.value == verdict
    assert claim.attribution == attribution


def test_attribution_takes_the_interval_that_decides():
    """A difference to the shuffled arm that 95 % would show and the deciding level does not."""
    pretrained, shuffled = arm(0.7, noise=0.0), arm(0.7, noise=0.0, stream=1)
    differences = (pretrained.final - shuffled.final).mean(axis=1)
    error = differences.std(ddof=1) / math.sqrt(CONFIGURATIONS)
    moved = shuffled.final + differences.mean() - 3 * error  # p of t = 3 at 5 degrees: .03

    claim = by_id(study(pretrained=pretrained, random=0.5, shuffled=arm_scores(moved)))["3"]

    assert claim.attribution == NOT_SHOWN


# --- what stands in the way of every claim about scores ---


def assert_nothing_can_be_told(tables, reason):
    for claim in about_scores(evaluate(tables)):
        assert claim.verdict is Verdict.NOT_EVALUABLE
        assert reason in claim.reason
        assert reason in claim.sentence


@pytest.mark.parametrize(("there", "absent"), [("pretrained", "random"), ("random", "pretrained")])
def test_one_arm_alone_is_compared_with_nothing(there, absent):
    assert_nothing_can_be_told(study(**{there: 0.7}), f"the study has no {absent} arm")


@pytest.mark.parametrize("name", ["pretrained", "random"])
def test_weights_without_a_fingerprint_cannot_be_compared(tables, name):
    tables.trials.loc[tables.trials["arm"] == name, "lm_sha256"] = None

    assert_nothing_can_be_told(tables, "fingerprint")


def test_arms_that_began_with_the_same_weights_cannot_be_compared(tables):
    tables.trials["lm_sha256"] = "the same"

    assert_nothing_can_be_told(tables, "with the same T5 weights")
    assert any("not paired" in warning for warning in evaluate(tables).warnings)


def test_nothing_is_looked_at_before_the_design_has_ended(tables):
    running = tables._replace(trials=tables.trials.iloc[:-1])

    assert_nothing_can_be_told(running, "23 of 24 trials of the design have ended")
    for claim in about_scores(evaluate(running)):
        assert math.isnan(claim.interval.estimate)
        assert claim.shown == claim.robustness == {}


def test_trials_that_were_not_registered_do_not_finish_a_design():
    tables = study({"seeds": [1]}, pretrained=0.7, random=0.5)
    first_seed = tables.trials[tables.trials["seed"] == 1]

    unfinished = tables._replace(trials=tables.trials.drop(first_seed.index[3:]))

    assert_nothing_can_be_told(unfinished, "trials of the design have ended")


def test_a_failed_trial_has_ended():
    failed = arm(0.7)
    failed.final[3, 1] = math.nan

    tables = study(pretrained=failed, random=0.5)

    assert by_id(tables)["3"].verdict is Verdict.SUPPORTED
    assert evaluate(tables).scores.left_out == {"failed in an arm": 1}


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (3, 2), (2, 12), (0, 6)])
def test_more_than_a_fifth_diverged_in_both_arms_leaves_nothing_to_tell(ours, theirs):
    tables = study(pretrained=diverging(arm(0.7), ours), random=diverging(arm(0.5), theirs))

    evaluation = evaluate(tables)

    too_many = min(ours, theirs) / 12 > 0.2
    stopped = [claim for claim in about_scores(evaluation) if "diverged, more" in claim.reason]
    assert len(stopped) == (len(ABOUT_SCORES) if too_many else 0)
    assert sum("diverged" in text for text in evaluation.warnings) == (1 if ours == 0 else 2)


@pytest.mark.parametrize("again", [0.3, 0.7])
def test_two_random_arms_that_differ_spoil_every_claim(again):
    tables = study(pretrained=0.7, random=0.5, random_again=arm(again, stream=1))

    assert_nothing_can_be_told(tables, "two random arms differ")


def test_two_random_arms_that_agree_raise_no_alarm(tables):
    agreeing = study(pretrained=0.7, random=0.5, random_again=arm(0.5, stream=1))

    assert by_id(agreeing)["3"].interval == by_id(tables)["3"].interval
    assert by_id(agreeing)["3"].verdict is Verdict.SUPPORTED


# --- cost ---


CLOSE = [1.1, 1.101, 1.099, 1.1, 1.1]


@pytest.fixture
def timed():
    """A study of one arm: the cost needs no other."""
    return study(pretrained=0.7)


def test_the_registered_size_decides_about_cost(timed):
    cost = pd.concat([timed_cost([1.3, 1.31, 1.29], size="large"), timed_cost(CLOSE)])

    evaluation = evaluate(timed._replace(cost=cost))

    (claim,) = [claim for claim in evaluation.claims if claim.id == "6"]
    assert claim.interval.estimate == pytest.approx(math.prod(CLOSE) ** (1 / 5))
    assert (claim.id, claim.verdict, claim.claimed) == ("6", Verdict.SUPPORTED, 1.15)
    assert claim.arm_pair == ("pretrained", "vanilla")
    assert [cost.size for cost in evaluation.costs] == [SIZE, "large"]


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.30, 1.31, 1.29], Verdict.CONTRADICTED),
        ([1.10, 1.30, 0.95], Verdict.INCONCLUSIVE),
        ([0.80, 0.81, 0.79], Verdict.SUPPORTED),
    ],
)
@pytest.mark.parametrize("trials", [12, 3], ids=["ended", "running"])
def test_the_cost_is_judged_against_the_margin_while_the_design_runs_too(
    timed, ratios, verdict, trials
):
    tables = timed._replace(trials=timed.trials.iloc[:trials], cost=timed_cost(2 * ratios))

    assert by_id(tables)["6"].verdict is verdict


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        pytest.param(None, f"{SIZE} was not timed", id="no timings"),
        pytest.param(timed_cost([1.1]), f"{SIZE} was not timed", id="one round"),
        pytest.param(timed_cost(CLOSE, patch_len=16), "was not timed", id="another size"),
        pytest.param(timed_cost(CLOSE[:4]), "needs 5 rounds of timing, got 4", id="four rounds"),
    ],
)
def test_without_enough_timings_nothing_is_told_about_cost(timed, cost, reason):
    claim = by_id(timed if cost is None else timed._replace(cost=cost))["6"]

    assert claim.verdict is Verdict.NOT_EVALUABLE
    assert reason in claim.reason
    assert reason in claim.sentence


def test_a_study_without_a_t5_has_no_cost():
    evaluation = evaluate(study(random=0.5))

    (cost,) = [claim for claim in written_claims(evaluation) if claim["name"] == "cost"]
    assert cost["claimed"] is None
    assert cost["verdict"] == "NOT EVALUABLE"
    assert "no T5" in cost["reason"]


# --- in trouble ---


def constant(value):
    return arm_scores(
        np.full((CONFIGURATIONS, 2), value), log_loss=np.full((CONFIGURATIONS, 2), -1)
    )


def alike(scores):
    """A study whose two arms have the same scores."""
    return study(pretrained=scores, random=scores)


def changed(**trials):
    pair = study(pretrained=0.7, random=0.5)
    return pair._replace(trials=pair.trials.assign(**trials))


def cut(tables, *, trials=None, after=None):
    """Only so many trials, and no epoch after this one."""
    curves = tables.curves if after is None else tables.curves[tables.curves["epoch"] <= after]
    return tables._replace(trials=tables.trials.iloc[:trials], curves=curves)


HASHES = dict.fromkeys(["lm_sha256", "head_sha256", "order_sha256", "mask_sha256"])
TROUBLES = {
    "no trial": lambda: cut(changed(), trials=0, after=-1),
    "a search alone": lambda: changed(stage=SEARCH),
    "arms without a role": lambda: study(one=0.5, other=0.5),
    "one configuration": lambda: alike(arm(configurations=1)),
    "one seed": lambda: study(pretrained=arm(0.7, seeds=1), random=arm(0.5, seeds=1)),
    "two configurations": lambda: alike(arm(configurations=2)),
    "three configurations": lambda: alike(arm(configurations=3)),
    "six arms": lambda: study(**{role: 0.5 + len(role) / 100 for role in ROLES}),
    "all failed": lambda: changed(status="failed"),
    "all stopped": lambda: changed(status="stopped"),
    "all diverged at once": lambda: alike(diverging(arm(), 12)),
    "one arm diverged": lambda: study(pretrained=diverging(arm(), 12), random=0.5),
    "other arm diverged": lambda: study(pretrained=0.5, random=diverging(arm(), 12)),
    "no curves": lambda: cut(changed(), after=-1),
    "curves of epoch 0 alone": lambda: cut(changed(), after=0),
    "constant metrics": lambda: alike(constant(0.5)),
    "one constant arm": lambda: study(pretrained=constant(0.5), random=0.5),
    "correlations of zero": lambda: alike(constant(0.0)),
    "perfect correlations": lambda: alike(constant(1.0)),
    "negative correlations": lambda: study(pretrained=constant(-0.3), random=-0.2),
    "ties": lambda: study(
        pretrained=arm_scores(arm(0.7).final.round(1)), random=arm_scores(arm(0.5).final.round(1))
    ),
    "losses above that of predicting zero": lambda: alike(
        arm()._replace(log_loss=arm().log_loss + 9)
    ),
    "an earlier version": lambda: changed(zero_val_loss=math.nan, **HASHES),
    "cut in the middle": lambda: cut(changed(), trials=9),
    "cut after one trial": lambda: cut(changed(), trials=1),
    "an objective that no trial has": lambda: changed()._replace(
        space=changed_study(changed().space, objective={"metric": "val_corr_h4", "mode": "max"})
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_every_run_has_all_verdicts_in_strict_json(trouble):
    evaluation = evaluate(TROUBLES[trouble]())

    claims = written_claims(evaluation)
    assert [claim["id"] for claim in claims] == [claim.number for claim in PLANNED]
    for claim in claims:
        assert claim["verdict"] in {verdict.value for verdict in Verdict}
        assert claim["sentence"].endswith(".")
        assert "nan" not in claim["sentence"]


# --- looks ---


@pytest.fixture
def grown():
    """A design that was looked at after 16 and 32 configurations, four with a second seed."""
    shape = {"configurations": 32, "spread": 0.01}
    return study_tables(
        {"pretrained": arm(0.7, **shape), "random": arm(0.5, **shape)},
        design={"looks": [16, 32], "replicated": 4},
    )


def configurations(tables, count):
    """What a run had when so many configurations of its design had ended."""
    gone = [f"design{number:03d}" for number in range(count, 32)]
    return tables._replace(
        trials=tables.trials[~tables.trials["config_id"].isin(gone)],
        curves=tables.curves[~tables.curves["config_id"].isin(gone)],
    )


def test_a_look_rests_on_its_configurations_at_its_level_and_names_the_looks_before(grown):
    last, first = evaluate(grown), evaluate(grown, 16)

    assert repr(first) == repr(evaluate(configurations(grown, 16)))
    assert repr(first) == repr(evaluate(configurations(grown, 31)))
    assert [len(one.scores.configurations) for one in (first, last)] == [16, 32]
    assert [look.configurations for look in last.looks] == [16, 32]
    assert [look.level for look in last.looks] == pytest.approx([0.05 / 48, 0.05 / 16])
    for before, now in zip(about_scores(first), about_scores(last), strict=True):
        assert (before.look, before.level) == (16, pytest.approx(0.05 / 48))
        assert (now.look, now.level) == (32, pytest.approx(0.05 / 16))
        assert before.earlier == ()
        assert repr([*map(tuple, now.earlier)]) == repr(
            [(16, before.verdict, *before.interval[:3])]
        )
    assert last.looks[0].verdicts == first.looks[0].verdicts
    assert last.looks[1].verdicts == {
        claim.id: claim.verdict for claim in last.claims if claim.id != "6"
    }


def test_the_cost_has_no_looks(grown):
    claim = by_id(grown._replace(cost=timed_cost(CLOSE)))["6"]

    assert (claim.look, claim.level, claim.earlier) == (0, 0.05 / 6, ())
    assert claim.verdict is Verdict.SUPPORTED


def test_p_is_below_5_percent_where_the_interval_of_the_look_excludes_no_effect(grown):
    claim = by_id(configurations(grown, 16))["3"]

    assert claim.p == pytest.approx(min(48 * claim.interval.p, 1))
    assert claim.p < 0.05
    assert claim.interval.low > 0


def test_looks_are_written_into_claims_json(grown):
    evaluation = evaluate(grown)

    content = read_strictly(claims_json(evaluation.claims, evaluation.beside, evaluation.looks, {}))
    gain = content["claims"][2]
    assert [look["configurations"] for look in content["looks"]] == [16, 32]
    assert content["looks"][1]["verdicts"]["3"] == gain["verdict"] == "SUPPORTED"
    assert (gain["look"], gain["level"]) == (32, pytest.approx(0.05 / 16))
    (earlier,) = gain["earlier"]
    assert set(earlier) == {"look", "verdict", "estimate", "low", "high"}


@pytest.mark.parametrize("asked", [8, 32, 64])
def test_only_a_look_that_was_taken_can_be_asked_for(grown, asked):
    with pytest.raises(ValueError, match=f"got {asked}"):
        evaluate(configurations(grown, 31), asked)


def test_before_the_first_look_its_trials_are_waited_for(grown):
    waiting = configurations(grown, 15)

    reason = "38 of 40 trials of the design have ended, and verdicts are given at 16 configurations"
    assert_nothing_can_be_told(waiting, reason)
    assert evaluate(waiting).looks == []
    assert {claim.look for claim in evaluate(waiting).claims} == {0}


def test_random_arms_are_compared_at_the_level_of_a_claim_at_every_look():
    """t = 3.3 at 15 degrees has p = .005, which the first look's level would not show."""
    shape = {"configurations": 16, "noise": 0.0}
    arms = {name: arm(0.5, stream=place, **shape) for place, name in enumerate(["random", "again"])}
    differences = (arms["again"].final - arms["random"].final).mean(axis=1)
    moved = differences.mean() - 3.3 * differences.std(ddof=1) / math.sqrt(16)
    again = arm_scores(arms["again"].final - moved, early=arms["again"].early)
    tables = study_tables(
        {"pretrained": arm(0.7, **shape), "random": arms["random"], "random_again": again},
        design={"looks": [16, 32]},
    )

    assert_nothing_can_be_told(tables, "gain at the horizon by these very tests")


def test_a_gain_asks_for_shuffled_weights_and_no_gain_does_not(grown):
    shape = {"configurations": 32, "spread": 0.01}
    alike = study_tables(
        {"pretrained": arm(0.5, **shape), "random": arm(0.5, stream=1, **shape)},
        design={"looks": [16, 32], "replicated": 4},
    )

    assert evaluate(grown).asks_for_control
    assert not evaluate(alike).asks_for_control


def test_a_design_that_was_extended_is_no_deviation(grown):
    extended = grown.registration.model_copy(update={"configurations": 16, "looks": [16]})

    evaluation = evaluate(grown._replace(registration=extended))

    assert evaluation.deviations == []
    assert [look.configurations for look in evaluation.looks] == [16, 32]
