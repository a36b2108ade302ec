import shutil

import numpy as np
import pytest
import torch
from made_runs import arm_scores, changed_study, study_tables, write_run
from small_checkpoint import write_checkpoint, write_market
from synthetic_bars import market
from synthetic_series import series_config, series_of, waves
from tiny_training import all_validation, saved_every_epoch, tiny_config, tiny_fit, tiny_module

from stage1.claims.scores import read_run
from stage1.config import with_values
from stage1.data.batches import MarketWindows
from stage1.data.features import interpolate
from stage1.model.losses import total_loss
from stage1.model.metrics import interpolated
from stage1.pages.markdown import markdown
from stage1.pages.numbers import number
from stage1.pages.provenance import best_blocks
from stage1.pages.study_page import write_report
from stage1.run.registration import read_preregistration
from stage1.run.resolved_space import read_space
from stage1.run.summary import NO_CHECKPOINT, best_configuration
from stage1.run.tables import read_test_period, read_trials
from stage1.training import evaluation
from stage1.training.checkpoint import read_trained
from stage1.training.encoder import trained_model
from stage1.training.evaluation import (
    add_look,
    evaluate_checkpoint,
    excerpt_of,
    excerpts,
    excerpts_of,
    score_chosen,
    windows_to_show,
)

CONFIG = tiny_config()
NAMES = CONFIG.data.timeframes


@pytest.mark.parametrize(
    ("windows", "shown"),
    [
        pytest.param([range(10), [1, 4, 7, 8]], [(2, 0), (7, 0), (4, 1), (8, 1)], id="evenly"),
        pytest.param(
            [[0, 1]] * 6, [(0, 0), (1, 0), (0, 2), (1, 2), (0, 5), (1, 5)], id="ends and middle"
        ),
        pytest.param([[0, 1], [], [0, 1]], [(0, 0), (1, 0), (0, 2), (1, 2)], id="one never scored"),
        pytest.param([[0]], [(0, 0)], id="a single window once"),
        pytest.param([[], []], [], id="nothing scored"),
    ],
)
def test_windows_are_shown_evenly_of_at_most_three_timeframes_that_score_some(windows, shown):
    scored = torch.zeros(10, len(windows), 4, dtype=torch.bool)
    for timeframe, of_timeframe in enumerate(windows):
        scored[list(of_timeframe), timeframe, 1] = True

    assert windows_to_show(scored) == shown


@pytest.mark.parametrize("precision", ["tf32", "16-mixed"])
def test_a_cpu_evaluates_in_float32_what_was_trained_in_arithmetic_of_gpus(
    precision, tmp_path, monkeypatch
):
    tiny_fit(tiny_config(training={"epochs": 1}), **saved_every_epoch(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trained = read_trained(tmp_path / "epoch=0.ckpt")
    config = with_values(trained.record.config, {"training.precision": precision})
    elsewhere = trained._replace(record=trained.record.model_copy(update={"config": config}))
    monkeypatch.setattr(evaluation, "bars_for", lambda *_: market(2000, NAMES))
    scores, lines = [], []

    for one in (trained, elsewhere):
        monkeypatch.setattr(evaluation, "read_trained", lambda path, one=one: one)
        scores.append(evaluate_checkpoint(trained.path, None, warn=lines.append).validation.scores)

    assert scores[0].equals(scores[1])
    assert lines == [f"Warning: decoded in 32-true: {precision} wants a GPU, and none was found"]


@pytest.mark.parametrize(
    ("scored", "first", "length"),
    [
        pytest.param([3, 4], 0, 20, id="a short window whole"),
        pytest.param([100, 101], 69, 64, id="the scored bars in the middle"),
        pytest.param([2, 120, 121, 122], 90, 64, id="most of them"),
        pytest.param([199], 136, 64, id="at the end"),
    ],
)
def test_an_excerpt_has_the_most_scored_bars(scored, first, length):
    bars = np.zeros(20 if length == 20 else 200, dtype=bool)
    bars[scored] = True

    found = excerpt_of(bars)

    counts = [bars[start : start + length].sum() for start in range(len(bars) - length + 1)]
    assert bars[found].sum() == max(counts)
    assert found == slice(first, first + length)


def test_excerpts_are_in_units_of_price():
    batch = all_validation(CONFIG)
    decoded = batch.targets + 0.5

    shown = excerpts(decoded, interpolated(batch), batch, [(3, 1)], CONFIG.data)[0]

    bars = market(2000, NAMES)["m5"]
    places = np.searchsorted(bars.open_time, shown.open_time)
    np.testing.assert_allclose(shown.truth, bars.prices[places], rtol=1e-6)
    half = 0.5 * batch.scale[3, 1].item()
    np.testing.assert_allclose(shown.model, bars.prices[places] * np.exp(half), rtol=1e-6)
    line = interpolate(batch.targets, batch.hidden)[3, 1].double().numpy()
    logs = batch.center[3, 1].item() + batch.scale[3, 1].item() * line
    np.testing.assert_allclose(shown.line, np.exp(logs), rtol=1e-6)
    assert shown.timeframe == "m5"
    assert (shown.scored <= shown.hidden).all()
    assert shown.scored.any()


def test_padding_is_not_shown():
    config = tiny_config(data={"seq_len": 64}, model={"async_sampler": True})
    batch = all_validation(config)
    pairs = windows_to_show(batch.scored)

    found = excerpts(batch.targets, interpolated(batch), batch, pairs, config.data)
    for (window, index), shown in zip(pairs, found, strict=True):
        assert len(shown.truth) == batch.real[window, index].sum()
        assert (np.diff(shown.open_time) > 0).all()


def test_of_a_module_no_other_windows_are_decoded_than_those_that_are_shown(monkeypatch):
    module, batch, decoded = tiny_module(CONFIG), all_validation(CONFIG), []
    monkeypatch.setattr(
        module, "predict_step", lambda part, _: decoded.append(part) or part.targets
    )

    alone = excerpts_of(module)

    pairs = windows_to_show(batch.scored)
    whole = excerpts(batch.targets, interpolated(batch), batch, pairs, CONFIG.data)
    assert len(decoded[0].scored) <= 6 < len(batch.scored)
    for one, other in zip(whole, alone, strict=True):
        assert one.timeframe == other.timeframe
        assert np.array_equal(one.truth, other.truth)
        assert np.array_equal(one.line, other.line)


def test_excerpts_of_a_series_are_in_units_of_their_channels_which_come_in_turn():
    config = series_config(data={"step": "1mo"})
    series = series_of(waves())
    (batch,) = MarketWindows(series, config.data).validation_batches(config.masking)
    pairs = windows_to_show(batch.scored)

    decoded = batch.targets + 0.5
    shown = excerpts(decoded, interpolated(batch), batch, pairs, config.data)

    assert [one.timeframe for one in shown] == ["x1", "x1", "x4", "x4"]
    assert [one.channel for one in shown] == ["wave0", "wave1", "wave2", "wave0"]
    months = np.arange("1970-01", "2010-01", dtype="datetime64[M]").astype("datetime64[s]")
    for turn, (one, (window, index)) in enumerate(zip(shown, pairs, strict=True)):
        channel, bars = turn % 3, series[one.timeframe]
        places = np.searchsorted(months[bars.open_time // 60].astype(np.int64), one.open_time)
        truth = bars.prices[places, channel : channel + 1]
        size = bars.prices[:, channel].std()
        np.testing.assert_allclose(one.truth / size, truth / size, atol=1e-5)
        half = 0.5 * batch.scale[window, index, channel].item()
        np.testing.assert_allclose((one.model - one.truth) / half, 1, atol=1e-5)


# The test period ---------------------------------------------------------------------------------

TESTED = {"data": {"test_share": 0.2}}


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A checkpoint of a training with a test period."""
    path = tmp_path_factory.mktemp("tested") / "x.ckpt"
    write_checkpoint(path, **TESTED)
    return path


def study_with_test_period(path):
    """A finished study whose best configuration is design000 of the pretrained arm."""
    arms = {
        name: arm_scores([[high], [0.7]]) for name, high in (("pretrained", 0.9), ("random", 0.8))
    }
    tables = study_tables(arms)
    config = tiny_config(**TESTED).model_dump(mode="json")
    run = write_run(path, tables._replace(space=changed_study(tables.space, config=config)))
    return run, best_configuration(*tables_of(run)).trial_ids[0]


def tables_of(run):
    return read_trials(run), read_space(run), read_preregistration(run)


def test_the_chosen_configuration_s_kept_weights_are_scored_once_on_the_test_period(
    tmp_path, tested
):
    run, best = study_with_test_period(tmp_path / "run")
    run.checkpoints.mkdir()
    shutil.copy(tested, run.checkpoint(best))
    shutil.copy(tested, run.checkpoint("design001-random-seed1"))
    bars, said = market(2000, NAMES), []

    score_chosen(run, bars, warn=said.append)

    looks = read_test_period(run)
    assert said == []
    assert set(looks["trial_id"]) == {best}
    # As if the bars had no test period, and were validated on their last fifth.
    record = read_trained(tested).record
    last = with_values(record.config, {"data.test_share": 0.0, "data.validation_share": 0.2})
    windows = MarketWindows.of(bars, last, statistics=record.statistics)
    batch = windows.validation_set(last.masking)
    with torch.no_grad():
        decoded = trained_model(read_trained(tested)).eval()(batch.features, batch.hidden)
    mine = looks.set_index(["of", "timeframe"]).loc[("model", "all")]
    assert mine["val_loss"] == pytest.approx(total_loss(decoded, batch, last).item(), rel=1e-5)
    assert mine["windows"] == len(windows.split.validation.ends)
    assert mine["starts_at"].timestamp() == windows.split.validation.starts[0]
    score_chosen(run, bars, warn=said.append)
    assert read_test_period(run).equals(looks)

    report = write_report(run).tables
    text = run.report.read_text()
    told = f"| {best} | 0.9000 | {number(mine['correlation'])} |"
    assert told in text
    assert f"which nothing was chosen by: val_correlation {number(mine['correlation'])}" in text
    assert len(report.test_period) == len(looks)


def test_without_kept_weights_nothing_is_scored_and_that_is_said(tmp_path):
    run, _ = study_with_test_period(tmp_path / "run")
    said = []

    score_chosen(run, market(2000, NAMES), warn=said.append)

    assert said == [f"Not scored on the test period: {NO_CHECKPOINT}"]
    assert not run.test_period.exists()
    assert NO_CHECKPOINT in markdown(best_blocks(read_run(run)))


def test_a_second_look_at_the_test_period_of_a_study_is_told(tmp_path, tested):
    run, best = study_with_test_period(tmp_path / "run")
    run.checkpoints.mkdir()
    names = [best, "design001-random-seed1"]
    for epochs, name in enumerate(names, start=1):
        write_checkpoint(run.checkpoint(name), **TESTED, training={"epochs": epochs})
    score_chosen(run, market(2000, NAMES), warn=print)
    bars = write_market(tmp_path / "bars")
    evaluated = evaluate_checkpoint(run.checkpoint(names[1]), bars, warn=print, test=True)

    for _ in range(2):  # the second time shows the same numbers again
        looks = add_look(evaluated, tmp_path / "elsewhere")

    assert looks.drop_duplicates("looked_at")["trial_id"].tolist() == names
    assert not (tmp_path / "elsewhere").exists()
    assert f"looked at 2 times: {best} (" in markdown(best_blocks(read_run(run)))
