"""All figures of whatever a run holds: drawn and readable, or missing with a reason."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_claims import made_evaluation, made_scores
from made_runs import FREEZE, LR, changed_study, write_rich_run
from matplotlib.text import Text

from stage1.claims.scores import design_scores, read_run
from stage1.claims.step_cost import size_costs
from stage1.pages.figures import draw_all
from stage1.pages.figures.importance_figures import variances_figure
from stage1.pages.figures.tuning_figures import rate_figure

NAMES = [
    *("verdict_forest", "tuning_value", "paired_slopes", "performance_profile", "expected_best"),
    *("learning_rate", "partial_variances", "learning_curves", "early_signal"),
    *("sensitivity_and_performance", "cost"),
]
CONFIGURATIONS = 36  # of which 35 have a score with every seed
LONG = (
    "pretrained_with_frozen_embeddings_and_long_warmup",
    "random_initialisation_factor_one",
    "shuffled",
    "random_again",
    "randomfixedweightsacrossseeds",
)


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "rich"
    return read_run(write_rich_run(folder, configurations=CONFIGURATIONS))


def evaluation_of(tables):
    scores = design_scores(tables.trials, tables.curves, tables.space, tables.registration)
    return made_evaluation(
        scores=scores, costs=size_costs(tables.cost, margin=1.15, error_rate=0.05 / 6)
    )


def missing(figures):
    for one in figures:
        assert (one.figure is None) == bool(one.missing) == (not one.caption)
    return {one.name: one.missing for one in figures if one.figure is None}


@pytest.fixture(scope="module", autouse=True)
def fewer_shuffles():
    """How far chance goes is not the subject here, and takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stage1.pages.figures.importance_figures._SHUFFLES", 1)
        yield


@pytest.fixture(scope="module")
def figures(rich):
    return draw_all(rich, evaluation_of(rich))


def test_a_whole_run_has_all_figures_in_order_titled_and_equally_wide(figures):
    assert [one.name for one in figures] == NAMES
    assert missing(figures) == {}
    assert [one.figure.get_suptitle().replace("\n", " ") for one in figures] == [
        one.title for one in figures
    ]
    assert {one.figure.get_figwidth() for one in figures} == {5.4}


def readable(figure):
    """Texts and where they are, those of ticks beyond their axis left out."""
    figure.draw_without_rendering()
    beyond = set()
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in axis.get_major_ticks():
                if not min(limits) <= tick.get_loc() <= max(limits):
                    beyond.add(tick.label1)
                beyond.add(tick.label2)
    texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
    return [(text, text.get_window_extent()) for text in texts if text not in beyond]


def overlap(one, other):
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > 2 and height > 3


@pytest.fixture(scope="module", params=["short names", "five long names"])
def to_read(request, rich, figures):
    if request.param == "short names":
        return figures
    generator = np.random.default_rng(0)
    shape = (CONFIGURATIONS, 2, 5)
    scores = made_scores({arm: np.tanh(generator.normal(1, 0.3, shape)) for arm in LONG})
    timeframes = {arm: np.tanh(generator.normal(1, 0.3, (*shape[:2], 2))) for arm in LONG}
    evaluation = evaluation_of(rich)
    values = evaluation.scores.values.set_axis(list(scores.configurations))
    scores = scores._replace(timeframes=timeframes, timeframe_names=("m1", "m5"), values=values)
    costs = [cost._replace(size="google/t5-efficient-base-nl48") for cost in evaluation.costs]
    registration = rich.registration.model_copy(
        update={"roles": {"pretrained": LONG[0], "random": LONG[1]}}
    )
    tables = rich._replace(registration=registration)
    return draw_all(tables, made_evaluation(scores=scores, costs=costs))


@pytest.mark.parametrize("place", range(len(NAMES)), ids=NAMES)
def test_no_text_is_small_or_outside_or_on_another(to_read, place):
    figure = to_read[place].figure

    texts = readable(figure)

    assert min(text.get_fontsize() for text, _ in texts) >= 9
    for number, (text, box) in enumerate(texts):
        assert box.x0 > -3, text
        assert box.x1 < figure.bbox.width + 3, text
        assert box.y0 > -3, text
        assert box.y1 < figure.bbox.height + 3, text
        for other, place_of_other in texts[number + 1 :]:
            assert not overlap(box, place_of_other), (text, other)


def of_one_arm(tables):
    rows = tables.trials["arm"] == "random"
    curves = tables.curves["arm"] == "random"
    registration = tables.registration.model_copy(update={"arms": ["random"]})
    return tables._replace(
        trials=tables.trials[rows],
        curves=tables.curves[curves],
        space=changed_study(tables.space, arms={"random": {}}),
        registration=registration,
    )


def of_one_seed(tables):
    registration = tables.registration.model_copy(update={"seeds": [1]})
    return tables._replace(registration=registration)


def of_one_configuration(tables):
    registration = tables.registration.model_copy(update={"configurations": 1})
    return tables._replace(registration=registration)


def with_scores(tables, value):
    columns = [name for name in tables.trials if name.startswith(("val_corr", "val_loss"))]
    scored = tables.trials["status"] == "completed"
    trials, curves = tables.trials.copy(), tables.curves.copy()
    trials.loc[scored, columns] = value
    curves[["val_correlation", "val_loss"]] = value
    return tables._replace(trials=trials, curves=curves)


def of_nothing_scored(tables):
    return with_scores(tables, math.nan)


def of_equal_scores(tables):
    completed = tables.trials[tables.trials["status"] == "completed"]
    return with_scores(tables._replace(trials=completed), 0.3)


def untimed(tables):
    return tables._replace(cost=tables.cost.iloc[:0])


def of_one_timeframe(tables):
    config = tables.space.config
    config = config | {"data": config["data"] | {"timeframes": ["m1"]}}
    return tables._replace(space=changed_study(tables.space, config=config))


def of_another_space(tables):
    narrow = {"training.optimizer.lr": {"type": "float", "low": 1.0, "high": 2.0, "log": True}}
    return tables._replace(space=changed_study(tables.space, space=narrow))


def of_choices_only(tables):
    key = "transfer_learning.patch_len"
    only_patch = {key: tables.space.space[key]}
    return tables._replace(space=changed_study(tables.space, space=only_patch))


SCORED = {*NAMES} - {"verdict_forest", "cost"}


@pytest.mark.parametrize(
    ("change", "without"),
    [
        (of_one_arm, {"paired_slopes", "tuning_value"}),
        (of_one_seed, {"early_signal"}),
        (of_one_configuration, {"partial_variances", "early_signal", "tuning_value"}),
        (of_nothing_scored, SCORED),
        (of_equal_scores, {"partial_variances", "early_signal", "tuning_value"}),
        (untimed, {"cost"}),
        (of_one_timeframe, {"sensitivity_and_performance"}),
        (of_another_space, {"partial_variances"}),
        (of_choices_only, {"learning_rate"}),
    ],
)
def test_a_figure_without_data_says_why_and_the_others_are_drawn(rich, change, without):
    tables = change(rich)

    reasons = missing(draw_all(tables, evaluation_of(tables)))

    assert set(reasons) == without
    assert all("\n" not in reason for reason in reasons.values())


def test_before_the_first_trial_there_is_nothing_to_draw(rich):
    nothing = made_scores({"pretrained": np.zeros((0, 2, 5)), "random": np.zeros((0, 2, 5))})
    tables = rich._replace(trials=rich.trials.iloc[:0], curves=rich.curves.iloc[:0])

    reasons = missing(draw_all(tables, made_evaluation(scores=nothing)))

    assert set(reasons) == {*NAMES} - {"verdict_forest"}


def test_what_few_or_aliased_configurations_cannot_tell_is_not_drawn(rich):
    evaluation = evaluation_of(rich)
    scores = evaluation.scores
    losses = {
        arm: np.where(np.arange(CONFIGURATIONS)[:, None, None] < 31, loss, math.nan)
        for arm, loss in scores.log_loss.items()
    }
    together = scores.values.assign(**{FREEZE: 3 * (scores.values[LR] > 1e-3).astype(int)})

    fewer = variances_figure(rich, evaluation._replace(scores=scores._replace(log_loss=losses)))
    aliased = evaluation._replace(scores=scores._replace(values=together))

    assert fewer.missing == "needs 32 configurations, 31 have a score"
    for drawn in (variances_figure(rich, aliased), rate_figure(rich, aliased)):
        assert "cannot tell training.optimizer.lr from" in drawn.missing
