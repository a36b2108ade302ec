"""Table and sentences of the claims: plain, true, and 80 columns wide."""

import re
from io import StringIO
from pathlib import Path

import pytest
from planned_claims import made_up, undecidable
from rich.console import Console

from stage1.claims.finding import EARLY_GAIN, EARLY_SIGNAL, FINAL_GAIN, SENSITIVITY, STABILITY
from stage1.plan.claims import (
    claim_texts,
    claims_table,
    in_words,
    missing_arm_texts,
    model_text,
    smaller_design_text,
)
from stage1.plan.outlook import CostOutlook
from stage1.study.space import Design

COST = CostOutlook(1.03, 1.28)


def rows_of(*lines, cost=None):
    """The table's rows, cell by cell."""
    table = claims_table(list(lines), cost)
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


# --- table ---


def test_a_row_has_what_is_claimed_seen_found_supported_and_needed():
    line = made_up(STABILITY, seen=0.5, needed=1024, positive=60, supported=2)

    assert rows_of(line) == [["4 stability", "≥ 20%", "50%", "15%", "0%", "1,024"]]


def test_an_effect_that_is_never_seen_and_a_design_that_was_not_found_are_told():
    line = made_up(EARLY_SIGNAL, evaluable=0)

    assert rows_of(line) == [["5 early signal", "≥ 0.10", "none", "0%", "0%", "> 128"]]


def test_what_no_design_decides_has_no_numbers():
    row, impossible = rows_of(
        undecidable(EARLY_GAIN, "at most 28% is possible"), made_up(FINAL_GAIN, possible=False)
    )

    assert row == ["2 early gain", "≥ 20%", "none", "–", "–", "–"]
    assert impossible == ["3 gain at the horizon", "≥ 10%", "none", "–", "–", "–"]


def test_cost_has_the_ratio_up_to_which_it_is_found_to_be_within_the_margin():
    assert rows_of(cost=COST) == [["6 cost", "≤ ×1.15", "≤ ×1.03", "–", "–", "–"]]


def test_no_cell_of_the_widest_table_is_cut_at_80_columns():
    lines = [
        made_up(FINAL_GAIN, seen=0.214, needed=1024, positive=400, supported=400),
        made_up(EARLY_SIGNAL),
    ]
    console = Console(width=80, file=StringIO())

    console.print(claims_table(lines, COST))

    printed = console.file.getvalue()
    assert "SUPPORTED" in printed
    assert "…" not in printed


# --- sentences ---


@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param(
            made_up(SENSITIVITY, needed=256),
            "1 sensitivity: not seen with 8 configurations, however much smaller the spread "
            "between configurations is; 20% is claimed, which 256 configurations would see.",
            id="nothing is seen, a larger design would",
        ),
        pytest.param(
            made_up(STABILITY),
            "4 stability: not seen with 8 configurations, however much smaller the variance "
            "between seeds is; 20% is claimed, which even 1,024 configurations would not see.",
            id="nothing is seen, none would",
        ),
        pytest.param(
            made_up(FINAL_GAIN, beside=True, seen=0.214, needed=32),
            "3b error reduction: seen only if the error (1 - val_correlation) at the horizon is "
            "at least 21.4% smaller; 10% is claimed, which 32 configurations would see.",
            id="only more than claimed is seen",
        ),
        pytest.param(
            made_up(EARLY_GAIN, beside=True, seen=0.141, needed=8, positive=398),
            "2b error reduction: seen if the error (1 - val_correlation) at the early epoch is at "
            "least 14.1% smaller; 20% is claimed.",
            id="the claimed effect is seen",
        ),
        pytest.param(
            undecidable(EARLY_GAIN, "at most 28.2% is possible"),
            "2 early gain: no number of configurations decides it: at most 28.2% is possible.",
            id="undecidable",
        ),
        pytest.param(
            made_up(EARLY_SIGNAL, not_here="needs 32 configurations, got 8", evaluable=0),
            "5 early signal: cannot be evaluated: needs 32 configurations, got 8; 0.10 is "
            "claimed, which even 128 configurations would not see.",
            id="not with this design",
        ),
        pytest.param(
            made_up(SENSITIVITY, not_here="only 45% is not noise", evaluable=150, needed=64),
            "1 sensitivity: most such studies cannot evaluate it: only 45% is not noise; 20% is "
            "claimed, which 64 configurations would see.",
            id="seldom with this design",
        ),
        pytest.param(
            made_up(SENSITIVITY, seen=0.5, needed=64, evaluable=300),
            "1 sensitivity: seen only if the spread between configurations is at least 50% "
            "smaller; 20% is claimed, which 64 configurations would see. Only 75% of such studies "
            "can evaluate it at all.",
            id="not always evaluable",
        ),
        pytest.param(
            made_up(EARLY_SIGNAL, seen=0.05, possible=False, configurations=64),
            "5 early signal: seen if the rank correlation of early and final scores is at least "
            "0.05 higher; 0.10 is claimed, which is not possible with scores like these.",
            id="the claimed effect cannot be",
        ),
    ],
)
def test_each_claim_is_told_in_a_sentence(line, text):
    assert in_words(line) == text


def test_cost_is_told_with_both_ratios_that_are_decided():
    (text,) = claim_texts([], COST, roles={"pretrained", "random", "shuffled"})

    assert text.startswith(
        "6 cost: decided if a step with the T5 takes at most 1.03 or at least 1.28"
    )


@pytest.mark.parametrize(
    ("roles", "told"),
    [
        pytest.param({"pretrained", "random", "shuffled"}, [], id="complete"),
        pytest.param({"pretrained", "random"}, ["Without a shuffled arm"], id="no control"),
        pytest.param(
            {"pretrained", "shuffled"},
            ["Claims 1 to 5 cannot be evaluated: .* has no random arm"],
            id="no comparison",
        ),
        pytest.param(
            {"random"},
            ["Claims 1 to 5 .* has no pretrained arm", "6 cost: cannot be evaluated"],
            id="nothing to compare",
        ),
        pytest.param(
            {"vanilla"},
            ["has no pretrained and no random arm", "6 cost: cannot be evaluated"],
            id="no T5",
        ),
    ],
)
def test_what_falls_away_with_a_missing_arm_is_told(roles, told):
    texts = missing_arm_texts(roles)

    assert len(texts) == len(told)
    for text, expected in zip(texts, told, strict=True):
        assert re.search(expected, text)


def test_where_variances_come_from_is_told():
    assert model_text("x", like=Path("runs/a")) == (
        "Simulated studies vary as the one in runs/a did: x."
    )
    assert "--like RUN" in model_text("x", like=None)


def test_a_claim_that_was_simulated_with_a_smaller_design_is_named():
    lines = [made_up(SENSITIVITY, configurations=256), made_up(EARLY_SIGNAL, configurations=128)]

    text = smaller_design_text(lines, Design(configurations=256, seeds=2))

    assert text.startswith("5 early signal was simulated with 128 configurations and 2 seeds only")
    assert smaller_design_text(lines[:1], Design(configurations=256, seeds=2)) == ""
