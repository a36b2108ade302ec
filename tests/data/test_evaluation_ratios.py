"""`evaluation.tf_specific_mask_ratios`: a timeframe scored with a share of its own."""

import pytest
import torch
from synthetic_bars import data_config, market

from stage1.config import MaskingConfig
from stage1.data.batches import MarketWindows

TIMEFRAMES = ("m1", "m5", "m15")


def scored_by(calendar, sync, ratios):
    """(windows, timeframes, bars) of the whole validation set, and how many bars are real."""
    data = data_config(timeframes=TIMEFRAMES, seq_len=256, validation_windows=60)
    windows = MarketWindows(MARKET, data, calendar=calendar)
    masking = MaskingConfig(sync_across_tf=sync)
    sets = [windows.validation_batches(masking, some) for some in (None, ratios)]
    scored = [torch.cat([batch.scored for batch in batches]) for batches in sets]
    lengths = torch.cat([batch.real for batch in sets[0]]).sum(dim=2)
    return scored, lengths


MARKET = market(24_000, TIMEFRAMES)
IN_ALL_MODES = pytest.mark.parametrize(
    ("calendar", "sync"), [(False, False), (False, True), (True, False), (True, True)]
)


@IN_ALL_MODES
@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_the_named_timeframe_has_its_own_share_and_the_others_keep_theirs(calendar, sync, ratio):
    (before, after), lengths = scored_by(calendar, sync, {"m5": ratio})

    drawn = after[:, 1].any(dim=1)
    shares = (after[:, 1].sum(dim=1) / lengths[:, 1])[drawn]
    assert shares.mean().item() == pytest.approx(ratio, abs=0.02)
    assert torch.equal(drawn, before[:, 1].any(dim=1))
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])


@IN_ALL_MODES
def test_the_smallest_ratio_still_scores_a_bar_wherever_the_timeframe_is_drawn(calendar, sync):
    (before, after), _ = scored_by(calendar, sync, dict.fromkeys(TIMEFRAMES, 0.001))

    assert torch.equal(after.any(dim=2), before.any(dim=2))
    assert (after.sum(dim=2)[after.any(dim=2)] == 1).all()
    if not (calendar and sync):
        assert (after.sum(dim=2) == 1).all()
