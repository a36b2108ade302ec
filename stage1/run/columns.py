"""What the tables of a run folder hold: every column by name, type and allowed values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa

from stage1.base.metric_table import BASELINE_PREFIX, LOSS, METRICS, USER_METRIC, evaluation_key

COMPLETED = "completed"
"""Trained to the horizon."""
STOPPED = "stopped"
"""Ended at a rung by the scheduler."""
DIVERGED = "diverged"
"""Ended because its loss left the range of useful numbers."""
FAILED = "failed"
"""Ended by an error; the row says which."""
STATUSES = (COMPLETED, STOPPED, DIVERGED, FAILED)

DESIGN = "design"
"""The fixed paired set of configurations, every arm, full horizon."""
SEARCH = "search"
"""The adaptive part."""
CONFIRM = "confirm"
"""The best search points again, on seeds that neither design nor search used."""
STAGES = (DESIGN, SEARCH, CONFIRM)


def trial_name(stage: str, arm: str, config_id: str, seed: int) -> str:
    """A trial_id: `design004-random-seed1`, `search-random-003-seed7`, `confirm-random-003-seed8`.

    Each part is told once: a configuration of the design has its stage in its name, a point of the
    search its arm.
    """
    where = f"{config_id}-{arm}" if stage == DESIGN else f"{stage}-{config_id}"
    return f"{where}-seed{seed}"


_EARLIER_NAMES = (
    (re.compile(r"design-(.+)-(\d+)"), r"\1-seed\2"),
    (re.compile(r"(search|confirm)-((.+)-\d+)-\3-(\d+)"), r"\1-\2-seed\4"),
)


def present_name(trial_id: str) -> str:
    """The trial_id of today for what an earlier version called `design-design004-random-1`."""
    for earlier, today in _EARLIER_NAMES:
        if match := earlier.fullmatch(trial_id):
            return match.expand(today)
    return trial_id


def with_present_names(table: pa.Table) -> pa.Table:
    """A table of trials with their present names; one without a column of names as it is."""
    places = table.schema.get_all_field_indices("trial_id")
    if len(places) != 1 or table.field(places[0]).type not in (pa.string(), pa.large_string()):
        return table
    earlier = table.column(places[0]).combine_chunks().dictionary_encode()
    names = [name and present_name(name) for name in earlier.dictionary.to_pylist()]
    today = pa.array(names, pa.string()).take(earlier.indices)
    return table.set_column(places[0], "trial_id", today)


PRETRAINED, RANDOM, SHUFFLED, VANILLA = "pretrained", "random", "shuffled", "vanilla"
RANDOM_AGAIN = "random_again"
"""A second stream of random weights: an A/A check of the first."""
RANDOM_FIXED = "random_fixed"
"""One draw of random weights kept across the seeds."""
SHUFFLED_FIXED = "shuffled_fixed"
"""One shuffling of the pretrained weights kept across the seeds."""
LADDER = ("mean_sd", "norms_only", "attention_only", "mlp_only", "spectrum")
"""Initialisations between random and pretrained weights, which are roles as well."""
CONTROLS = (SHUFFLED, RANDOM_AGAIN, RANDOM_FIXED, SHUFFLED_FIXED, *LADDER)
"""Roles of arms that show where a gain comes from and that nobody would train."""
ROLES = (PRETRAINED, RANDOM, VANILLA, *CONTROLS)
"""What an arm can be in a comparison, whatever the study calls it."""

PARAMETER_PREFIX = "param."
"""A searched value's column is this and its dotted key."""

RELATIVE_STEP = "lm_relative_step"
"""How far the T5's weights have moved in an epoch for their size, |now - before| / |before|; 0
while it is frozen, null before the first step and where there is none."""

TEXT, INTEGER, NUMBER = pa.string(), pa.int64(), pa.float64()
TIME = pa.timestamp("us", tz="UTC")


class Column(NamedTuple):
    """A column, or a family of columns if its name ends with `*`."""

    name: str
    type: pa.DataType | None
    """None: that of its values, which are text, integers, numbers or truth values."""
    required: bool = False
    """Never null."""
    allowed: tuple[str, ...] = ()
    """The only values; none = any."""
    added_later: bool = False
    """Tables of an earlier version are without it; it is read as null."""

    @property
    def is_family(self) -> bool:
        """Whether it stands for every column whose name begins like this."""
        return self.name.endswith("*")

    def has(self, name: str) -> bool:
        """Whether a name is that of this column, or of one of the family."""
        prefix = self.name.removesuffix("*")
        return name.startswith(prefix) and (name != prefix) == self.is_family


def column_of(name: str, columns: Iterable[Column]) -> Column | None:
    """The column of that name, or the first family it belongs to."""
    return next((column for column in columns if column.has(name)), None)


IDENTITY_COLUMNS = (
    Column("trial_id", TEXT, required=True),
    Column("stage", TEXT, required=True, allowed=STAGES),
    Column("arm", TEXT, required=True),
    Column("config_id", TEXT, required=True),
    Column("seed", INTEGER, required=True),
)
_METRICS = tuple(Column(m.name, NUMBER, added_later=m.added_later) for m in METRICS)
_BASELINES = tuple(
    Column(BASELINE_PREFIX + m.name, NUMBER, added_later=m.added_later)
    for m in sorted(METRICS, key=lambda metric: metric.is_family)
    if m.baseline is None
)
_USER_METRICS = Column(USER_METRIC + "*", NUMBER, added_later=True)

TRIAL_COLUMNS = (
    *IDENTITY_COLUMNS,
    Column("status", TEXT, required=True, allowed=STATUSES),
    Column("epochs", INTEGER, required=True),
    Column(PARAMETER_PREFIX + "*", None),
    *_METRICS,
    *_BASELINES,
    _USER_METRICS,
    Column(BASELINE_PREFIX + USER_METRIC + "*", NUMBER, added_later=True),
    Column("zero_val_loss", NUMBER, added_later=True),
    Column("accumulation", INTEGER, added_later=True),
    Column("seconds", NUMBER),
    Column("seconds_per_step", NUMBER),
    Column("peak_rss_mb", NUMBER),
    Column("peak_vram_mb", NUMBER),
    Column("parameters", INTEGER),
    Column("lm_sha256", TEXT),
    Column("head_sha256", TEXT),
    Column("order_sha256", TEXT),
    Column("mask_sha256", TEXT),
    Column("steps", INTEGER),
    Column("started_at", TIME),
    Column("node", TEXT),
    Column("would_stop_epoch", INTEGER),
    Column("error", TEXT),
)
"""trials.parquet, in order: one row per trial that has ended, metrics after its last epoch."""
CURVE_COLUMNS = (
    *IDENTITY_COLUMNS,
    Column("epoch", INTEGER, required=True),
    *_METRICS,
    _USER_METRICS,
    Column("train_loss", NUMBER),
    Column("lr", NUMBER),
    Column(RELATIVE_STEP, NUMBER, added_later=True),
    Column("seconds", NUMBER),
)
"""curves.parquet, in order: one row per trial and epoch; epoch 0 is before the first step."""
COST_COLUMNS = (
    Column("arm", TEXT, required=True, allowed=(PRETRAINED, VANILLA)),
    Column("size", TEXT, required=True),
    Column("patch_len", INTEGER, required=True),
    Column("round", INTEGER, required=True),
    Column("steps", INTEGER, required=True),
    Column("seconds", NUMBER, required=True),
    Column("peak_rss_mb", NUMBER),
    Column("peak_vram_mb", NUMBER),
)
"""cost.parquet, in order: `seconds` of wall time for `steps` training steps of a T5 (`size` is the
language model's name) or of the vanilla encoder of its width; the order in which two arms of a
round were timed alternates."""
BLOCK_SUMS = (
    "n",
    "sum_truth",
    "sum_decoded",
    "sum_truth_squared",
    "sum_decoded_squared",
    "sum_product",
)
"""Columns of blocks.parquet that are added over blocks: all that a Pearson correlation needs."""
BLOCK_COLUMNS = (
    *IDENTITY_COLUMNS,
    Column("epoch", INTEGER, required=True),
    Column("timeframe", TEXT, required=True),
    Column("channel", TEXT, required=True),
    Column("block", INTEGER, required=True),
    Column("n", INTEGER, required=True),
    *(Column(name, NUMBER) for name in BLOCK_SUMS[1:]),
)
"""blocks.parquet, in order: sums over the scored bars of the validation windows that end in a block
of time, of the design's trials at the early epoch and at the horizon."""
_SCORES = (
    Column(LOSS, NUMBER),
    *(Column(evaluation_key(metric.name), NUMBER) for metric in METRICS if metric.heading),
)
TEST_COLUMNS = (
    Column("looked_at", TIME, required=True),
    Column("trial_id", TEXT, required=True),
    Column("checkpoint_sha256", TEXT, required=True),
    Column("starts_at", TIME, required=True),
    Column("ends_at", TIME, required=True),
    Column("windows", INTEGER, required=True),
    Column("timeframe", TEXT, required=True),
    Column("of", TEXT, required=True),
    Column("scored_bars", INTEGER, required=True),
    Column("huber", NUMBER),
    *_SCORES,
)
"""test_period.parquet, in order: a row per checkpoint scored on the test period, timeframe and what
decodes, the model or interpolation. Rows that share `looked_at` were added by one look; `trial_id`
is the name of the checkpoint's file, where it is none of a study."""
WALK_COLUMNS = (
    Column("checkpoint_sha256", TEXT, required=True),
    Column("bars_sha256", TEXT, required=True),
    Column("periods", INTEGER, required=True),
    Column("period", INTEGER, required=True),
    Column("starts_at", TIME, required=True),
    Column("ends_at", TIME, required=True),
    Column("training_windows", INTEGER, required=True),
    Column("windows", INTEGER, required=True),
    Column("seconds", NUMBER),
    Column("of", TEXT, required=True),
    *_SCORES,
)
"""walk_forward.parquet, in order: a row per period and what decodes, the model that was trained on
all before it, or interpolation; of a checkpoint's configuration, on bars, in so many periods."""
