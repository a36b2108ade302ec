import numpy as np
import pandas as pd
import pytest
import torch
from small_checkpoint import write_checkpoint, write_market, write_series_checkpoint
from synthetic_bars import market
from synthetic_series import waves, write_folder
from tiny_training import all_validation, tiny_config

from stage1.base.metric_table import ALL_TIMEFRAMES as ALL
from stage1.data.batches import MarketWindows
from stage1.data.store import write_parquet
from stage1.evaluate import evaluate
from stage1.model.losses import total_loss
from stage1.pages.evaluation_page import write_evaluation
from stage1.training.checkpoint import read_trained
from stage1.training.encoder import trained_model
from stage1.training.evaluation import evaluate_checkpoint
from stage1.training.fit import fit
from stage1.training.walk_forward import walk_forward

FILES = ["metrics.parquet", "reconstructions.png", "report.html", "report.md"]


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A checkpoint, the rows of its training, and its bars."""
    folder = tmp_path_factory.mktemp("evaluate")
    rows = write_checkpoint(folder / "last.ckpt", loss={"weights.cross": 0.1})
    return folder / "last.ckpt", rows, write_market(folder / "bars")


@pytest.fixture(scope="module")
def evaluated(places, tmp_path_factory):
    """Scores and Markdown of the checkpoint on the bars it was trained on."""
    checkpoint, _, bars = places
    out = tmp_path_factory.mktemp("report")
    write_evaluation(evaluate_checkpoint(checkpoint, bars, warn=print), out)
    return pd.read_parquet(out / "metrics.parquet"), (out / "report.md").read_text(), out


def scores_of(table, of, timeframe):
    return table[(table["of"] == of) & (table["timeframe"] == timeframe)].iloc[0]


@pytest.mark.parametrize("of", ["model", "interpolation"])
def test_the_metrics_are_those_of_the_training_s_last_epoch(evaluated, places, of):
    table, last = evaluated[0], places[1][-1] | {"baseline_val_skill": 0}
    prefix = "" if of == "model" else "baseline_"

    whole = scores_of(table, of, ALL)

    assert whole["val_loss"] == last[f"{prefix}val_loss"]
    for name in ("consistency_ratio", "spectral_delta"):
        assert whole[name] == last[prefix + name]
    assert (whole["correlation"], whole["skill"]) == (
        last[f"{prefix}val_correlation"],
        last[f"{prefix}val_skill"],
    )
    scored = all_validation(tiny_config()).scored.sum(dim=(0, 2)).tolist()
    for name, count in zip(("m1", "m5", "m15"), scored, strict=True):
        found = scores_of(table, of, name)
        assert found["scored_bars"] == count
        assert found["correlation"] == last[f"{prefix}val_corr_{name}"]
        assert found["skill"] == (last[f"val_skill_{name}"] if of == "model" else 0)


def test_the_report_shows_the_numbers_and_the_picture(evaluated):
    table, report, out = evaluated

    assert sorted(path.name for path in out.iterdir()) == FILES
    assert "](reconstructions.png)" in report
    assert "data:image/png;base64," in (out / "report.html").read_text()
    row = next(line for line in report.splitlines() if line.startswith("| m5 |"))
    mine = scores_of(table, "model", "m5")
    cells = [cell.strip().replace("−", "-") for cell in row.split("|")[2:-1]]
    assert cells[0] == f"{mine['scored_bars']:,}"
    np.testing.assert_allclose(
        [float(cell) for cell in cells[1:]],
        mine[["huber", "correlation", "skill", "consistency_ratio", "spectral_delta"]].astype(
            float
        ),
        atol=5e-4,
    )
    assert "bars: those of its training" in report


def test_the_command_writes_beside_the_checkpoint_and_fits_80_columns(places, call_command):
    checkpoint, _, bars = places

    status, said, errors = call_command(evaluate, checkpoint, "--data-dir", bars)

    assert (status, errors) == (0, "")
    folder = checkpoint.parent / "evaluation"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    table = said[: said.index("Report:")]
    assert max(map(len, table.splitlines())) <= 80
    assert "…" not in table
    assert [line.split()[0] for line in table.splitlines() if line.startswith(" m")] == [
        "m1",
        "m5",
        "m15",
    ]


def test_a_model_that_does_not_beat_the_line_is_said_to(evaluated):
    table, report, _ = evaluated

    assert scores_of(table, "model", ALL)["skill"] < 0  # after nine steps
    assert "> **Warning.** The model does not beat linear interpolation" in report


def test_windows_over_bars_that_were_trained_on_are_told(places, tmp_path, call_command):
    bars = write_market(tmp_path / "bars", 1700)  # the training's split was after 1600

    status, said, _ = call_command(
        evaluate, places[0], "--data-dir", bars, "--out", tmp_path / "out"
    )

    assert status == 0
    words = " ".join(said.split())
    assert "24 of 24 windows begin before the end of the bars that it was trained on" in words
    report = (tmp_path / "out" / "report.md").read_text()
    assert "bars: others than those of its training" in report


def test_zscore_evaluates_other_bars_by_the_statistics_of_the_training(tmp_path, call_command):
    sections = {"data": {"normalization": "zscore"}}
    write_checkpoint(tmp_path / "last.ckpt", **sections)
    later = write_market(tmp_path / "bars", 4000)  # the same bars, and as many behind them

    call_command(evaluate, tmp_path / "last.ckpt", "--data-dir", later, "--out", tmp_path)

    config, trained = tiny_config(**sections), read_trained(tmp_path / "last.ckpt")
    model, bars = trained_model(trained).eval(), market(4000, config.data.timeframes)
    losses = []
    for statistics in (trained.record.statistics, None):
        windows = MarketWindows(bars, config.data, statistics=statistics)
        (batch,) = windows.validation_batches(config.masking)
        with torch.no_grad():
            decoded = model(batch.features, batch.hidden)
        losses.append(total_loss(decoded, batch, config).item())
    found = scores_of(pd.read_parquet(tmp_path / "metrics.parquet"), "model", ALL)["val_loss"]
    assert found == losses[0] != losses[1]


def test_what_cannot_be_evaluated_or_written_is_named_in_one_line(places, tmp_path, call_command):
    checkpoint, _, bars = places
    (tmp_path / "x.ckpt").write_text("no checkpoint")
    without = write_market(tmp_path / "bars", timeframes=("m1",))
    faults = {
        f"error: {tmp_path}/x.ckpt: must be a checkpoint of": (tmp_path / "x.ckpt",),
        "trained on, m1, m5, m15, got m1; make them": (checkpoint, "--data-dir", without),
        "must be a folder that can be written": (
            *(checkpoint, "--data-dir", bars),
            *("--out", tmp_path / "x.ckpt" / "out"),
        ),
    }

    for said, arguments in faults.items():
        status, _, errors = call_command(evaluate, *arguments)

        assert status == 2
        assert said in errors
        assert errors.count("\n") == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bars", "x.ckpt"]


@pytest.mark.parametrize("calendar", [False, True], ids=["equal lengths", "calendar"])
def test_a_series_is_evaluated_as_its_training_was(tmp_path, call_command, calendar):
    sections = {"data": {"seq_len": 64}, "model": {"async_sampler": True}} if calendar else {}
    last = write_series_checkpoint(tmp_path / "last.ckpt", **sections)[-1]
    folder = write_folder(tmp_path / "waves", waves())

    status, _, errors = call_command(evaluate, tmp_path / "last.ckpt", "--data-dir", folder)

    assert (status, errors) == (0, "")
    out = tmp_path / "evaluation"
    assert sorted(path.name for path in out.iterdir()) == FILES
    table, report = pd.read_parquet(out / "metrics.parquet"), (out / "report.md").read_text()
    mine = scores_of(table, "model", ALL)
    assert (mine["val_loss"], mine["skill"]) == (last["val_loss"], last["val_skill"])
    assert scores_of(table, "model", "x4")["correlation"] == last["val_corr_x4"]
    assert mine["consistency_ratio"] == last["consistency_ratio"]
    assert "bars: those of its training" in report
    assert "trained on bars until 1970-01-12 16:00" in report  # 280 hours
    assert "1970-01-17 16:00" in report  # all 400
    assert "begin before the end" not in report


def test_the_test_period_is_shown_beside_the_validation_and_a_second_look_is_told(
    tmp_path, call_command
):
    bars, looked = write_market(tmp_path / "bars"), "The test period was looked at 2 times: a ("
    for epochs, name in enumerate("ab", start=1):
        write_checkpoint(
            tmp_path / f"{name}.ckpt", data={"test_share": 0.2}, training={"epochs": epochs}
        )

        status, said, errors = call_command(
            evaluate, tmp_path / f"{name}.ckpt", "--data-dir", bars, "--out", tmp_path / "out"
        )

        assert (status, errors) == (0, "")
        assert (looked in " ".join(said.split())) == (name == "b")
    report = (tmp_path / "out" / "report.md").read_text()
    section = report[report.index("## On bars that nothing was chosen by") :]
    assert "24 test windows, from 2018-01-03 02:45 UTC to 2018-01-03 09:20 UTC" in section
    assert looked in section
    table = pd.read_parquet(tmp_path / "out" / "test_period.parquet")
    assert table.drop_duplicates("trial_id")["trial_id"].tolist() == ["a", "b"]
    others = write_market(tmp_path / "others", seed=1)
    assert evaluate_checkpoint(tmp_path / "a.ckpt", others, warn=print, test=True).test is None


# Walking forward ---------------------------------------------------------------------------------

VANILLA = {
    "transfer_learning": {"use_pretrained_lm": False},
    "data": {"test_share": 0.2},
    "training": {"epochs": 1},
}


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A checkpoint without a language model, its bars, and three periods of its configuration."""
    folder = tmp_path_factory.mktemp("walked")
    write_checkpoint(folder / "last.ckpt", **VANILLA)
    bars = write_market(folder / "bars", 12_000)
    out = folder / "out"
    return folder / "last.ckpt", bars, walk_forward(folder / "last.ckpt", bars, 3, out, say=print)


def scores_by_period(walk):
    return walk.set_index(["period", "of"])[["val_loss", "correlation", "skill"]]


def test_each_period_lies_behind_all_that_its_model_was_trained_on(walked):
    *_, walk = walked
    first, quarter = market(1)["m1"].open_time[0], 3000 * 60

    for period in (1, 2, 3):
        both = walk[walk["period"] == period]
        mine = both.iloc[0]

        begin, end = (mine[name].timestamp() - first for name in ("starts_at", "ends_at"))
        assert quarter * period <= begin < quarter * period + 15 * 60
        assert end == quarter * (period + 1)
        # All m1 windows that end in the first four fifths, but for those without 16 bars of m15.
        assert mine["training_windows"] == 0.8 * 3000 * period - 16 * 15 + 1
        assert both["of"].tolist() == ["model", "interpolation"]
        assert both["skill"].iloc[1] == 0


def test_what_comes_after_a_period_changes_nothing_of_it(walked, tmp_path):
    checkpoint, _, walk = walked
    changed = market(12_000, ("m1", "m5", "m15"))
    (tmp_path / "bars").mkdir()
    for name, bars in changed.items():
        bars.prices[3 * len(bars.prices) // 4 :] *= 1.1
        write_parquet(bars, tmp_path / "bars" / f"{name}.parquet")

    other = walk_forward(checkpoint, tmp_path / "bars", 3, tmp_path, say=print)

    scores = [scores_by_period(one).loc[[1, 2]] for one in (walk, other)]
    pd.testing.assert_frame_equal(*scores)


def test_a_walk_that_was_cut_off_goes_on_where_it_was(walked, tmp_path, monkeypatch, call_command):
    checkpoint, bars, walk = walked
    arguments = (checkpoint, "--data-dir", bars, "--out", tmp_path, "--walk-forward", 3)

    def interrupted(*arguments, **options):
        if len(pd.read_parquet(tmp_path / "walk_forward.parquet")) == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    with monkeypatch.context() as patch:
        walk_forward(checkpoint, bars, 1, tmp_path, say=print)  # other periods are none of these
        said = []
        patch.setattr("stage1.training.walk_forward.fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            walk_forward(checkpoint, bars, 3, tmp_path, say=said.append)

    status, out, errors = call_command(evaluate, *arguments)

    assert (status, errors) == (0, "")
    assert "period 3 of 3: correlation " in out
    again = pd.read_parquet(tmp_path / "walk_forward.parquet")
    pd.testing.assert_frame_equal(scores_by_period(again), scores_by_period(walk))
    report = (tmp_path / "report.md").read_text()
    assert "| 3 | 2018-01-08 | 2018-01-10 | 6,961 | 24 |" in report


def test_a_period_ends_early_where_the_configuration_does(walked, tmp_path, monkeypatch):
    stop = {"patience": 1, "min_delta": 10.0}  # no gain is as large
    changed = VANILLA["training"] | {"epochs": 4, "early_stop": stop}
    write_checkpoint(tmp_path / "last.ckpt", **VANILLA | {"training": changed})
    epochs = []

    def counted(*arguments, report, **options):
        return fit(*arguments, report=lambda row: epochs.append(row["epoch"]), **options)

    monkeypatch.setattr("stage1.training.walk_forward.fit", counted)
    walk_forward(tmp_path / "last.ckpt", walked[1], 1, tmp_path, say=print)

    assert epochs == [0, 1, 2]


def test_too_many_periods_are_refused_before_any_training(walked, tmp_path, call_command):
    checkpoint, bars, _ = walked

    status, _, errors = call_command(
        evaluate, checkpoint, "--data-dir", bars, "--out", tmp_path, "--walk-forward", 40
    )

    assert status == 2
    assert "error: --walk-forward 40: period 1 must have windows to train, to validate" in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "walk_forward.parquet").exists()
