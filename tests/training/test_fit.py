import hashlib
import math

import pytest
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from tiny_training import tiny_batch, tiny_config, tiny_language_model, tiny_windows

from stage1.base.metric_table import BLOCKS, metric_names
from stage1.data.features import interpolate
from stage1.model.metrics import evaluate, interpolated
from stage1.model.stage1_model import T5_PREFIX, build_model
from stage1.training.fit import StepClock, fit

MODES = [pytest.param(False, id="synchronous windows"), pytest.param(True, id="calendar windows")]
MEASURED = {"seconds", "seconds_per_step", "peak_rss_mb", "peak_vram_mb"}
HASHES = ("head_sha256", "order_sha256", "mask_sha256")


def config_of(*, calendar, **sections):
    model = {"async_sampler": calendar, **sections.pop("model", {})}
    return tiny_config(data={"seq_len": 64 if calendar else 16}, model=model, **sections)


def train(config, *, callbacks=(), report=None, **options):
    """The rows of a training, and what it trained."""
    rows = []
    language_model = tiny_language_model() if config.transfer_learning.use_pretrained_lm else None
    module = fit(
        config,
        tiny_windows(config),
        language_model,
        report=report or rows.append,
        callbacks=callbacks,
        **options,
    )
    return rows, module


def without_times(rows):
    """Rows as text, so that NaN equals NaN."""
    return [str({key: row[key] for key in row if key not in MEASURED}) for row in rows]


def t5_weights(module):
    return {n: p.detach().clone() for n, p in module.model.named_parameters() if T5_PREFIX in n}


def every_epoch(folder):
    """Keeps the state after every epoch, as `stage1.train` does."""
    return ModelCheckpoint(
        folder,
        "{epoch}",
        save_top_k=-1,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


class Watch(Callback):
    """Notes what every step trains with, and the T5's weights after every epoch."""

    def __init__(self):
        self.inputs, self.modes, self.learning, self.rates, self.weights = [], [], [], [], []
        self.states, self.losses = [], []

    def on_train_start(self, trainer, module):
        self.weights.append(t5_weights(module))

    def on_train_batch_start(self, trainer, module, batch, batch_index):
        self.inputs.append(batch)
        self.modes.append({part.training for part in module.model.modules()})
        self.learning.append(
            {p.requires_grad for n, p in module.model.named_parameters() if T5_PREFIX in n}
        )
        groups = trainer.optimizers[0].param_groups
        self.rates.append({group["name"]: group["lr"] for group in groups})

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        self.losses.append(outputs["loss"].item())
        states = trainer.optimizers[0].state
        self.states.append(
            {p in states for n, p in module.model.named_parameters() if T5_PREFIX in n}
        )

    def on_train_epoch_end(self, trainer, module):
        self.weights.append(t5_weights(module))


def watched(config):
    watch = Watch()
    rows, module = train(config, callbacks=[watch])
    return watch, rows, module


def equal(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def test_there_is_a_row_before_the_first_step_and_one_after_every_epoch():
    rows, _ = train(tiny_config())

    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert [row["steps"] for row in rows] == [0, 3, 6, 9]
    assert math.isnan(rows[0]["train_loss"])
    assert all(math.isfinite(row["train_loss"]) for row in rows[1:])


def test_the_first_row_measures_the_model_as_it_was_built():
    config = tiny_config()
    windows = tiny_windows(config)
    model = build_model(config, tiny_language_model()).model.eval()

    rows, _ = train(config)

    (batch,) = windows.validation_batches(config.masking)
    with torch.no_grad():
        decoded = model(batch.features, batch.hidden)
    expected = evaluate(decoded, interpolated(batch), batch, config)
    assert {name: rows[0][name] for name in expected} == pytest.approx(expected)


def test_every_row_has_all_metrics_with_interpolation_s_beside():
    config = tiny_config()

    rows, _ = train(config)

    (batch,) = tiny_windows(config).validation_batches(config.masking)
    interpolation = interpolate(batch.targets, batch.hidden)
    line = evaluate(interpolation, interpolation, batch, config)
    for row in rows:
        assert set(metric_names(config.data.timeframes)) <= row.keys()
        assert row["baseline_val_correlation"] == line["val_correlation"]
        assert row["baseline_val_loss"] == line["val_loss"]
        assert row["parameters"] == rows[0]["parameters"] > 0
        assert not any("/" in key for key in row)


@pytest.mark.parametrize("calendar", MODES)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_same_training_twice_gives_the_same_rows_to_the_last_bit(dropout, calendar):
    config = config_of(
        calendar=calendar,
        model={"dropout": dropout},
        transfer_learning={"initialization": "random"},
    )

    first, _ = train(config)
    torch.rand(7)
    second, _ = train(config)

    assert without_times(first) == without_times(second)


def test_another_seed_gives_another_training():
    first, second = (train(tiny_config(training={"seed": seed}))[0] for seed in (0, 1))

    assert first[-1]["val_loss"] != second[-1]["val_loss"]
    assert all(first[-1][name] != second[-1][name] for name in HASHES)
    assert first[-1]["lm_sha256"] == second[-1]["lm_sha256"]  # pretrained weights are no draw


def test_training_lowers_the_loss():
    config = tiny_config(training={"epochs": 4, "steps_per_epoch": 20, "optimizer.lr": 1e-2})

    rows, _ = train(config)

    losses = [row["val_loss"] for row in rows]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("calendar", MODES)
def test_arms_of_one_seed_share_all_but_the_t5(calendar):
    watches, rows = {}, {}
    for arm in ("pretrained", "random", "shuffled"):
        config = config_of(calendar=calendar, transfer_learning={"initialization": arm})
        watches[arm], rows[arm], _ = watched(config)

    for arm in ("random", "shuffled"):
        for one, two in zip(rows["pretrained"], rows[arm], strict=True):
            assert all(one[name] == two[name] for name in HASHES)
        assert rows[arm][0]["baseline_val_loss"] == rows["pretrained"][0]["baseline_val_loss"]
        for one, two in zip(watches["pretrained"].inputs, watches[arm].inputs, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert len({row[0]["lm_sha256"] for row in rows.values()}) == 3
    assert len({row[-1]["val_loss"] for row in rows.values()}) == 3


STARTS = {
    "pretrained": {"initialization": "pretrained"},
    "random": {"initialization": "random"},
    "shuffled": {"initialization": "shuffled"},
    "one block pretrained": {"n_pretrained_blocks": 1},
    "one block shuffled": {"initialization": "shuffled", "n_pretrained_blocks": 1},
    "random and small": {"initialization": "random", "initializer_factor": 0.05},
}


def test_the_t5_a_training_starts_from_is_the_same_in_every_kind_of_window():
    hashes = {
        calendar: {
            name: train(
                config_of(calendar=calendar, transfer_learning=start),
                max_epochs=1,
                limit_train_batches=1,
            )[0][0]["lm_sha256"]
            for name, start in STARTS.items()
        }
        for calendar in (False, True)
    }

    assert hashes[False] == hashes[True]
    assert len(set(hashes[False].values())) == len(STARTS)


@pytest.mark.parametrize("calendar", MODES)
def test_layerwise_rates_train_the_t5_s_blocks_by_their_share(calendar):
    config = config_of(
        calendar=calendar,
        transfer_learning={"layerwise_lr_decay": 0.01},
        training={"optimizer.weight_decay": 0.0, "epochs": 1},
    )

    watch, _, _ = watched(config)

    start, end = watch.weights
    moved = {name: (end[name] - start[name]).abs().max().item() for name in start}
    first = max(value for name, value in moved.items() if "t5.block.0." in name)
    last = min(value for name, value in moved.items() if "t5.block.1." in name)
    assert 0 < first < 0.1 * last


def test_the_hashes_cover_every_epoch_trained_so_far_and_no_other():
    config = tiny_config()
    windows = tiny_windows(config)

    rows, _ = train(config)

    order, masks = "", ""
    for epoch, row in enumerate(rows[1:]):
        plan = windows.plan_epoch(config, epoch)
        order = hashlib.sha256(order.encode() + plan.order.tobytes()).hexdigest()
        masks = hashlib.sha256(masks.encode() + plan.uniforms.tobytes()).hexdigest()
        assert (row["order_sha256"], row["mask_sha256"]) == (order, masks)


def test_a_step_trains_on_the_planned_batch():
    config = tiny_config()

    watch, _, _ = watched(config)

    assert len(watch.inputs) == 9
    expected = tiny_batch(config)
    assert all(torch.equal(a, b) for a, b in zip(watch.inputs[0], expected, strict=True))


@pytest.mark.parametrize("calendar", MODES)
@pytest.mark.parametrize("freeze", [0, 1, 2])
def test_the_t5_s_weights_stand_still_until_they_are_freed_and_then_move(freeze, calendar):
    config = config_of(calendar=calendar, transfer_learning={"freeze_lm_epochs": freeze})

    watch, _, _ = watched(config)

    start, *after = watch.weights
    assert [equal(start, weights) for weights in after] == [epoch < freeze for epoch in range(3)]
    for step, learning in enumerate(watch.learning):
        assert learning == {step // 3 >= freeze}
    assert all(not torch.equal(start[name], after[-1][name]) for name in start)


@pytest.mark.parametrize("calendar", MODES)
@pytest.mark.parametrize("freeze", [0, 1, 2, -1])
def test_the_optimiser_keeps_nothing_of_the_t5_before_it_learns_and_all_of_it_after(
    freeze, calendar
):
    config = config_of(calendar=calendar, transfer_learning={"freeze_lm_epochs": freeze})

    watch, _, _ = watched(config)

    assert watch.states == [{freeze >= 0 and step // 3 >= freeze} for step in range(9)]


@pytest.mark.parametrize("calendar", MODES)
def test_a_t5_that_never_learns_keeps_its_weights_while_the_heads_learn(calendar):
    config = config_of(calendar=calendar, transfer_learning={"freeze_lm_epochs": -1})

    watch, rows, _ = watched(config)

    assert all(equal(watch.weights[0], weights) for weights in watch.weights)
    assert all(learning == {False} for learning in watch.learning)
    assert rows[-1]["val_loss"] != rows[0]["val_loss"]


@pytest.mark.parametrize("calendar", MODES)
@pytest.mark.parametrize("schedule", ["one_cycle", "warmup_cosine"])
def test_the_t5_s_rate_follows_the_schedule_as_if_it_had_never_been_frozen(schedule, calendar):
    watches = [
        watched(
            config_of(
                calendar=calendar,
                training={"schedule": schedule},
                transfer_learning={"lm_learning_rate_factor": 0.3, "freeze_lm_epochs": freeze},
            )
        )[0]
        for freeze in (0, 2, -1)
    ]

    free, *frozen = (watch.rates for watch in watches)
    assert frozen == [free, free]
    assert len(free) == 9
    for rate in free:
        assert rate["t5"] == pytest.approx(0.3 * rate["head"], rel=1e-12)


def test_the_schedule_ends_with_the_horizon():
    config = tiny_config(training={"optimizer.lr": 0.01, "epochs": 2, "steps_per_epoch": 7})

    watch, rows, _ = watched(config)

    rates = [rate["head"] for rate in watch.rates]
    assert len(rates) == 14
    assert max(rates) > 0.009
    assert rates[-1] == min(rates) < 1e-6
    assert [row["steps"] for row in rows] == [0, 7, 14]


@pytest.mark.parametrize(
    "transfer",
    [
        {"initialization": "pretrained"},
        {"initialization": "random"},
        {"initialization": "shuffled"},
        {"use_pretrained_lm": False},
    ],
    ids=["pretrained", "random", "shuffled", "vanilla"],
)
def test_every_step_of_every_arm_trains_with_dropout_on(transfer):
    config = tiny_config(model={"dropout": 0.1}, transfer_learning=transfer, training={"epochs": 2})

    watch, _, _ = watched(config)

    assert watch.modes == [{True}] * 6


def test_dropout_changes_the_training_and_not_the_measurement():
    plain, _ = train(tiny_config())
    dropped, _ = train(tiny_config(model={"dropout": 0.3}))

    assert plain[0]["val_loss"] == dropped[0]["val_loss"]
    assert plain[1]["train_loss"] != dropped[1]["train_loss"]


@pytest.mark.parametrize("calendar", MODES)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize(
    ("freeze", "done"),
    [
        pytest.param(0, 1, id="never frozen"),
        pytest.param(2, 1, id="from before the T5 is freed"),
        pytest.param(1, 1, id="from the moment before"),
        pytest.param(1, 2, id="from after the T5 was freed"),
        pytest.param(-1, 2, id="frozen for good"),
    ],
)
def test_going_on_from_a_checkpoint_gives_the_same_rows_to_the_last_bit(
    tmp_path, dropout, freeze, done, calendar
):
    config = config_of(
        calendar=calendar,
        model={"dropout": dropout},
        transfer_learning={"freeze_lm_epochs": freeze},
    )
    whole, module = train(config, callbacks=[every_epoch(tmp_path)], enable_checkpointing=True)

    rest, resumed = train(
        config,
        callbacks=[every_epoch(tmp_path)],
        enable_checkpointing=True,
        checkpoint=tmp_path / f"epoch={done - 1}.ckpt",
    )

    assert without_times(rest) == without_times(whole)[done + 1 :]
    assert equal(module.model.state_dict(), resumed.model.state_dict())


def test_the_training_loss_of_a_row_is_the_mean_over_its_epoch_s_steps():
    watch, rows, _ = watched(tiny_config())

    losses = torch.tensor(watch.losses).reshape(3, 3)
    assert [row["train_loss"] for row in rows[1:]] == pytest.approx(losses.mean(dim=1).tolist())
    assert len(set(watch.losses)) == 9


def test_what_report_raises_ends_the_training():
    rows = []

    def stop(row):
        rows.append(row)
        if row["epoch"] == 1:
            raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        train(tiny_config(), report=stop)

    assert [row["epoch"] for row in rows] == [0, 1]


def test_the_vanilla_encoder_trains_without_a_language_model():
    rows, module = train(tiny_config(transfer_learning={"use_pretrained_lm": False}))

    assert rows[-1]["val_loss"] != rows[0]["val_loss"]
    assert rows[0]["lm_sha256"] is None
    assert not t5_weights(module)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_weights_and_metrics_are_float32_in_every_precision(precision):
    rows, module = train(tiny_config(training={"precision": precision}))

    assert {p.dtype for p in module.model.parameters()} == {torch.float32}
    assert math.isfinite(rows[-1]["val_loss"])


def test_a_training_sets_the_threads_it_is_configured_for():
    before = torch.get_num_threads()
    try:
        train(tiny_config(training={"threads": 2, "epochs": 1}))

        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def correlation_from(sums):
    """Mean over timeframes and prices of Pearson's r, from sums over all blocks."""
    n, truth, mine, truth_2, mine_2, product = sums.sum(axis=2).transpose(2, 0, 1)
    covariance = product / n - truth * mine / n**2
    variances = (truth_2 / n - (truth / n) ** 2) * (mine_2 / n - (mine / n) ** 2)
    return (covariance / variances**0.5).mean()


def test_the_sums_of_the_validation_s_blocks_give_the_recorded_correlation():
    rows, _ = train(tiny_config(), block_epochs=[1, 3])

    assert [BLOCKS in row for row in rows] == [False, True, False, True]
    for row in (rows[1], rows[3]):
        assert correlation_from(row[BLOCKS]) == pytest.approx(row["val_correlation"], abs=1e-6)


def test_the_sums_count_every_scored_bar_of_the_validation_set():
    config = tiny_config()
    (batch,) = tiny_windows(config).validation_batches(config.masking)

    rows, _ = train(config, block_epochs=[0])

    counts = rows[0][BLOCKS][..., 0].sum(axis=2)
    scored = batch.scored.sum(dim=(0, 2)).tolist()
    assert counts.tolist() == [[number] * 4 for number in scored]


def test_without_being_asked_a_training_adds_up_nothing(monkeypatch):
    def never(*arguments):
        raise AssertionError

    monkeypatch.setattr("stage1.training.module.block_sums", never)

    rows, _ = train(tiny_config())

    assert not any(BLOCKS in row for row in rows)


def test_sums_on_the_way_change_no_row():
    plain, _ = train(tiny_config())
    with_sums, _ = train(tiny_config(), block_epochs=[1, 3])

    without = [{key: row[key] for key in row if key != BLOCKS} for row in with_sums]
    assert without_times(plain) == without_times(without)


def test_the_clock_times_the_steps_of_every_epoch():
    clock = StepClock()

    rows, _ = train(tiny_config(), callbacks=[clock])

    assert clock.steps == [3, 3, 3]
    assert all(0 < seconds < rows[-1]["seconds"] for seconds in clock.seconds)
    assert clock.seconds_per_step == pytest.approx(sum(clock.seconds) / 9)
    assert rows[-1]["seconds_per_step"] == pytest.approx(clock.seconds_per_step, rel=0.5)


def test_before_the_first_step_there_is_no_time_per_step():
    assert StepClock().seconds_per_step == 0
