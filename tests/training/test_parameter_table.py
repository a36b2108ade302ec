import io

import pytest
from rich.console import Console

from stage1.config import Config, with_values
from stage1.language_models.resolver import resolve
from stage1.model.stage1_model import T5_PART as T5
from stage1.model.stage1_model import build_model, parameter_counts
from stage1.train import parameter_table

SIX = ("m1", "m5", "m15", "m30", "h1", "h4")
T5_LARGE_BLOCK = 4 * 1024 * 1024 + 2 * 1024 * 4096 + 2 * 1024
"""Queries, keys, values, outputs; the feed-forward layer's two matrices; two norms."""
T5_LARGE = 24 * T5_LARGE_BLOCK + 32 * 16 + 1024
"""Blocks, relative attention bias, final norm: without the token table."""


def config_of(**values):
    start = {"data.timeframes": ["m1", "m5", "m15"]}
    return with_values(Config(), start | {k.replace("__", "."): v for k, v in values.items()})


def large(timeframes=SIX, **values):
    name = "google-t5/t5-large"
    return config_of(data__timeframes=timeframes, transfer_learning__lm_name_or_path=name, **values)


def printed(config):
    console = Console(file=io.StringIO(), width=100)
    console.print(parameter_table(config))
    return console.file.getvalue()


VARIANTS = {
    "synchronous": {},
    "calendar windows": {"model__async_sampler": True},
    "gradient checkpointing": {"training__gradient_checkpointing": True},
    "cross pairs": {"model__cross_pairs": [["m1", "m5"], ["m5", "m15"]]},
    "a batch size still to be found": {"training__batch_size": "auto"},
    "no stem": {"model__stem__width": 0},
    "a bottleneck": {"model__bottleneck_stride": 2},
}


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("t5", [True, False], ids=["T5", "vanilla"])
def test_the_counts_are_those_of_the_model_that_is_trained(values, t5):
    name = "english-t5-nano"
    config = config_of(
        transfer_learning__use_pretrained_lm=t5,
        transfer_learning__lm_name_or_path=name,
        **values,
    )
    model = build_model(config, resolve(name) if t5 else None).model

    counts = parameter_counts(config)

    assert sum(counts.values()) == sum(p.numel() for p in model.parameters())
    assert counts.get(T5, 0) == sum(
        p.numel() for n, p in model.named_parameters() if n.startswith("encoder.t5.")
    )
    assert (T5 in counts) is t5


def test_a_t5_large_is_there_once_whatever_the_timeframes():
    one = parameter_counts(large(["m1"]))
    six = parameter_counts(large(model__async_sampler=True, data__seq_len=2160))

    assert one[T5] == six[T5] == T5_LARGE == 302_040_576
    assert sum(six.values()) < 431_000_000


def test_numbers_are_printed_in_full_with_what_one_t5_per_timeframe_would_take():
    config = large(training__gradient_checkpointing=True)
    total = sum(parameter_counts(config).values())

    lines = printed(config).splitlines()

    assert lines[0].strip() == "Parameters: google-t5/t5-large, 6 timeframes"
    rows = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in lines if "│" in line}
    assert rows["T5 (one, shared)"] == "302,040,576"
    assert rows["total"] == f"{total:,}"
    assert rows["with 6 T5s, one per timeframe"] == f"{total + 5 * T5_LARGE:,}"


def test_without_a_t5_nothing_is_said_about_several():
    text = printed(config_of(transfer_learning__use_pretrained_lm=False))

    assert text.splitlines()[0].strip() == "Parameters: vanilla encoder, 3 timeframes"
    assert "T5" not in text


def test_cross_pairs_have_a_row_of_their_own():
    without, with_pairs = (
        parameter_counts(config_of(model__cross_pairs=pairs, transfer_learning__patch_len=8))
        for pairs in ([], [["m1", "m15"]])
    )

    more = with_pairs.pop("encoder, cross scale")
    assert with_pairs == without
    # A norm, a vector per timeframe, queries, keys, values and outputs with their biases.
    assert more == 2 * 512 + 3 * 512 + 4 * (512 * 512 + 512)


def test_a_series_whose_channels_are_not_known_counts_as_one_channel_and_says_so():
    values = {"data__kind": "series", "data__timeframes": ["x1"], "model__stem__width": 0}
    values |= {"transfer_learning__lm_name_or_path": "english-t5-nano"}
    unknown = config_of(**values)
    one, three = (config_of(**values, data__channels=names) for names in (["a"], ["a", "b", "c"]))

    per_channel = (parameter_counts(three)["decoder"] - parameter_counts(one)["decoder"]) // 2

    assert parameter_counts(unknown) == parameter_counts(one)
    assert per_channel == unknown.model.d_model + 1
    assert "1 channel (data.channels is null)" in printed(unknown)
    assert "channel" not in printed(three).splitlines()[0]
