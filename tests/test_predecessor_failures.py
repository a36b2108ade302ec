"""What went wrong in the system before this one, each as a test that it cannot happen here.

Some are tested where their subject is: freezing, paired arms and the baseline in
`training/test_fit.py`, the size of one T5 for all timeframes in `test_train.py`, the losses in
`model/test_losses.py` and `model/test_consistency.py`, coarse bars over hidden ones in
`test_no_leaks.py`, targets of any price and the change after a hidden span in
`data/test_batches.py`, too little data in `data/test_windows.py`.
"""

from typing import get_args

import numpy as np
import pytest
import torch
from synthetic_bars import data_config, market
from tiny_training import (
    BOTH_KINDS,
    decoded_by,
    tiny_batch,
    tiny_config,
    tiny_fit,
    tiny_language_model,
    tiny_model,
    tiny_windows,
)

from stage1.base.errors import ModelError
from stage1.config import Initialization
from stage1.data.windows import find_windows, split_windows
from stage1.language_models.resolver import resolve, weights_sha256

SOMETIMES_ABSENT = {"sampling_probs": {"m5": 0.7, "m15": 0.7}}


def config_in(calendar):
    """The tiny configuration of either kind; in calendar windows m5 and m15 are often absent."""
    return tiny_config(calendar=calendar, data=SOMETIMES_ABSENT if calendar else {})


def test_a_failed_download_never_becomes_a_random_t5():
    with pytest.raises(ModelError):
        resolve("nobody/has-this-model")


@pytest.mark.parametrize("initialization", get_args(Initialization))
def test_every_training_says_which_t5_weights_it_started_from(initialization):
    config = tiny_config(
        transfer_learning={"initialization": initialization},
        training={"epochs": 1, "steps_per_epoch": 1},
    )

    rows, _ = tiny_fit(config)

    t5 = tiny_model(config).encoder.t5
    assert {row["lm_sha256"] for row in rows} == {weights_sha256(t5.state_dict())}
    is_pretrained = rows[0]["lm_sha256"] == tiny_language_model().sha256
    assert is_pretrained == (initialization == "pretrained")


@BOTH_KINDS
def test_every_timeframe_uses_its_own_projection(calendar):
    config = config_in(calendar)
    model, batch = tiny_model(config), tiny_batch(config)
    there = batch.real.any(dim=2)
    before = decoded_by(model, config, batch)

    for index in range(3):
        with torch.no_grad():
            model.encoder.embedding.projection.weight[index] += 0.1
        after = decoded_by(model, config, batch)
        changed = ((after != before).any(dim=-1) & batch.real).any(dim=2)
        before = after

        assert torch.equal(changed, there & (torch.arange(3) == index))


def test_padding_is_no_nan_inside_the_network():
    config = config_in(True)
    model, batch = tiny_model(config), tiny_batch(config)
    inside = []
    for part in model.modules():
        part.register_forward_hook(lambda module, args, result: inside.append(result))

    decoded_by(model, config, batch)

    assert not batch.real.all()
    tensors = [result for result in inside if isinstance(result, torch.Tensor)]
    assert len(tensors) > 20
    assert all(tensor.isfinite().all() for tensor in tensors)


def test_the_t5_gives_real_tokens_what_it_gives_them_without_padding():
    config = config_in(True)
    model, batch = tiny_model(config), tiny_batch(config)
    calls = []
    hook = model.encoder.t5.register_forward_hook(
        lambda module, args, kwargs, result: calls.append((kwargs, result)), with_kwargs=True
    )
    decoded_by(model, config, batch)
    hook.remove()

    ((given, result),) = calls
    lengths = given["attention_mask"][:, 0, 0].sum(dim=1).tolist()
    assert min(lengths) < max(lengths)
    for row, length in enumerate(lengths):
        alone = model.encoder.t5(inputs_embeds=given["inputs_embeds"][row : row + 1, :length])
        padded = result.last_hidden_state[row : row + 1, :length]
        torch.testing.assert_close(padded, alone.last_hidden_state, rtol=1e-4, atol=1e-5)


@BOTH_KINDS
def test_hidden_bars_change_no_input_and_do_not_look_like_average_ones(calendar):
    config = config_in(calendar)
    model, batch = tiny_model(config), tiny_batch(config)
    average = batch._replace(hidden=torch.zeros_like(batch.hidden))

    as_hidden, as_average = (decoded_by(model, config, some) for some in (batch, average))

    assert not batch.features[batch.hidden].any()
    assert (as_hidden != as_average)[batch.hidden].any(dim=-1).all()


def test_no_bar_of_a_validation_window_is_trained_on_even_through_h4():
    config = data_config(timeframes=("m1", "h4"), seq_len=8, stride=30)
    bars = market(14_000, config.timeframes)

    split = split_windows(find_windows(bars, config), bars, config)

    for column in range(2):
        rows = [
            set((side.last[:, column, None] - np.arange(config.seq_len)).ravel().tolist())
            for side in (split.training, split.validation)
        ]
        assert not rows[0] & rows[1]


def test_no_minute_of_a_validation_window_is_trained_on_in_calendar_windows():
    config = config_in(True)
    split = tiny_windows(config).split

    assert (split.training.ends - split.training.starts == 64 * 60).all()
    assert split.training.ends.max() <= split.validation.starts.min()
