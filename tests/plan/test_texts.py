"""A plan in words and tables: plain, true, and 80 columns wide."""

import re
from io import StringIO
from pathlib import Path

import pytest
from made_claims import made_outlook
from made_studies import simulated_study
from rich.console import Console

from stage1.claims.catalogue import (
    EARLY_ERROR,
    EARLY_GAIN,
    EARLY_SIGNAL,
    FINAL_ERROR,
    FINAL_GAIN,
    SENSITIVITY,
)
from stage1.plan.gpus import CARDS
from stage1.plan.outlook import CostOutlook
from stage1.plan.resources import VANILLA_ENCODER, Kind, Span
from stage1.plan.texts import (
    busy_text,
    claim_texts,
    claims_table,
    clock,
    disk_text,
    gpu_memory_text,
    hours_text,
    in_words,
    memory_text,
    missing_arm_texts,
    model_text,
    not_contained_text,
    not_timed_text,
    packing_text,
    percent,
    reckoned_text,
    smaller_design_text,
    span,
    states_text,
    time_text,
    timing_table,
    trials_table,
)
from stage1.run.looks import DesignSize
from stage1.study.stages import expected_by_stage
from stage1.training.timing import TrialTiming

COST = CostOutlook(1.03, 1.28)
ROLES = {"pretrained", "random", "shuffled"}


def cells(table):
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (clock(7.4), "7 seconds"),
        (clock(99), "99 seconds"),
        (clock(150), "2 minutes"),
        (clock(9000), "2.5 hours"),
        (span(Span(480, 720)), "8 to 12 minutes"),
        (span(Span(80, 150)), "80 seconds to 2 minutes"),
        (span(Span(480, 490)), "8 minutes"),
        (percent(0.2), "20%"),
        (percent(0.2144), "21.4%"),
        (percent(0.0), "0%"),
        (percent(0.1996), "20%"),
    ],
)
def test_times_and_shares_are_said_as_a_person_would(text, expected):
    assert text == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (not_timed_text(20, 12, []), "12 of 20 combinations were timed"),
        (not_timed_text(3, 3, ["training.batch_size"]), "training.batch_size may change the time"),
        (busy_text(3.2, 2, corrected=True), "leave out"),
        (busy_text(3.2, 2, corrected=False), "steps take less"),
        (gpu_memory_text(1024, per_gpu=1, card_mb=81_920), "about 1.0 GB per GPU, of 80.0 GB."),
        (gpu_memory_text(1024, per_gpu=2, card_mb=4096), "2.0 GB per GPU of 2 trials, of 4.0 GB."),
        (gpu_memory_text(3072, per_gpu=2, card_mb=4096), "too little: raise resources.gpus"),
        (hours_text({1: Span(7200, 7200), 2: Span(3600, 5000)}), "1: 2.0 hours, 2: 60 to 83 min"),
        (packing_text(0.31, 3, now=1), "3 trials per GPU, resources.gpus: 0.333, in place of 1."),
        (packing_text(0.9, 1, now=1), "for about 90% of its time: 1 trial per GPU"),
        (reckoned_text(CARDS["a100"]), "Reckoned for A100 80 GB (80 GB), not measured"),
        (states_text(3_600_000_000, running=7_200_000_000), "3.6 GB of checkpoints"),
        (disk_text(4_400_000, "runs/x"), "Disk: about 4 MB in runs/x."),
        (disk_text(10, "runs/x"), "Disk: about 1 MB in runs/x."),
        (
            memory_text(2048, worker_mb=700, workers=2, machine_mb=4096),
            "Memory: about 2.0 GB: 2 workers of 0.7 GB",
        ),
        (memory_text(2048, worker_mb=700, workers=2, machine_mb=4096), "machine has 4.0 GB."),
        (memory_text(2048, worker_mb=700, workers=2, machine_mb=1024), "too little"),
        (model_text("x", like=Path("runs/a")), "vary as the one in runs/a did: x."),
        (model_text("x", like=None), "--like RUN"),
    ],
)
def test_what_the_study_takes_is_told(text, words):
    assert words in text


def test_trials_are_told_stage_by_stage_with_their_sum(tmp_path):
    study = simulated_study(tmp_path)

    rows = cells(trials_table(study, {"design": 16, "search": 12, "confirm": 8}))

    stages, numbers, _ = zip(*rows, strict=True)
    assert stages == ("design", "search", "confirm", "at most")
    assert numbers == ("16", "12", "8", "36")
    assert rows[0][2] == "4 configurations × 2 seeds × 2 arms, always to epoch 9"
    assert "2.3 of 9 epochs" in rows[1][2]  # 1 + 2/3 + 6/9
    without = cells(trials_table(study, {"design": 16, "search": 0, "confirm": 0}))
    assert without[1:3] == [["search", "0", ""], ["confirm", "0", ""]]


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        pytest.param(
            "{looks: [16, 32], replicated: 4}",
            [
                ("look 16", "40", "16 configurations of pretrained, random, the first 4 with 2"),
                ("look 32", "32", "16 configurations more, unless claim 1 is decided before"),
                ("search", "12", "split over the arms"),
                ("confirm", "4", "the best search point of each arm"),
                ("at most", "88", ""),
                ("control", "36", "beyond these, only if a gain asks for it"),
            ],
            id="first ones twice",
        ),
        pytest.param(
            "{looks: [16], seeds: 2, control: 5}",
            [
                ("look 16", "74", "16 configurations of pretrained, random, shuffled × 2 seeds"),
                ("search", "12", ""),
                ("confirm", "4", ""),
                ("at most", "90", ""),
                ("control", "22", ""),
            ],
            id="all twice, some with shuffled weights",
        ),
    ],
)
def test_a_design_that_grows_is_told_look_by_look_and_its_control_apart(tmp_path, design, expected):
    shuffled = "\n  shuffled: {transfer_learning.initialization: shuffled}"
    random = "{transfer_learning.initialization: random}"
    study = simulated_study(tmp_path, design=design, **{"  random": random + shuffled})

    rows = cells(trials_table(study, expected_by_stage(study, {})))

    for row, (stage, trials, text) in zip(rows, expected, strict=True):
        assert row[:2] == [stage, trials]
        assert text in row[2]


def test_a_kind_that_was_not_timed_has_an_estimate_alone_and_if_all_were_nothing_is_told():
    timings = {Kind("a", 4): TrialTiming(1.0, 0.0334, 0.25, peak_rss_mb=1, peak_vram_mb=None)}
    full = {Kind("a", 4): [10.0, 12.0], Kind(VANILLA_ENCODER, None): [8.0]}

    rows = cells(timing_table(timings, full))

    assert rows == [
        ["a", "4", "33", "0.25", "11.0", "2"],
        ["vanilla encoder", "–", "–", "–", "8.0", "1"],
    ]
    assert not_timed_text(2, 2, []) == ""


def test_time_is_told_as_an_estimate_and_its_ends_only_where_there_is_a_search(tmp_path):
    with_search, without = (
        time_text(Span(480, 720), space=simulated_study(tmp_path, trials=n).space, workers=2)
        for n in (12, 0)
    )

    assert with_search.startswith("Time: about 8 to 12 minutes with 2 workers")
    assert "ASHA" in with_search
    assert "ASHA" not in without
    assert "estimate" in without


def test_a_row_has_the_true_effect_what_is_decided_by_each_look_and_the_direction():
    lines = [made_outlook(SENSITIVITY), made_outlook(EARLY_SIGNAL, looks=(32,), decided=((0.2,),))]

    assert cells(claims_table(lines)) == [
        ["1 sensitivity", "none", "5%", "40%", "0%"],
        ["–", "20%", "0%", "0%", "90%"],
        ["–", "40%", "10%", "50%", "90%"],
        ["5 early signal", "none", "–", "20%", "0%"],
    ]


def test_no_cell_of_the_widest_table_is_cut_at_80_columns():
    looks = tuple(2**power for power in range(4, 11))
    console = Console(width=80, file=StringIO())

    console.print(claims_table([made_outlook(FINAL_GAIN, looks=looks, decided=(7 * [1.0],))]))

    printed = console.file.getvalue()
    assert "by 1,024" in printed
    assert "…" not in printed


@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param(
            made_outlook(SENSITIVITY, needed=(128, None, 64)),
            "1 sensitivity: by 32 configurations decided in 40% of studies if there is no effect, "
            f"in 50% if {SENSITIVITY.subject} is truly 40% smaller. The direction of the latter "
            "shows in 90%. Configurations that decide it in 80%: 128 for no effect, 64 for 40%.",
            id="what it could decide, and what would",
        ),
        pytest.param(
            made_outlook(SENSITIVITY, needed=(128, None, None)),
            "128 for no effect, more than 1,024 for 40%.",
            id="nothing would",
        ),
        pytest.param(
            made_outlook(EARLY_ERROR),
            "2b error reduction: by 32 configurations decided in 40% of studies if there is no "
            "effect, in 50% if what is missing to a perfect correlation is truly 40% less. The "
            "direction of the latter shows in 90%.",
            id="a line that ends no study",
        ),
        pytest.param(
            made_outlook(FINAL_GAIN, decided=((0.0, 0.9), (0.0, 0.1))),
            "20% higher is not possible with scores like these.",
            id="twice the claimed effect cannot be",
        ),
        pytest.param(
            made_outlook(EARLY_GAIN, obstacle="at most 28.2% is possible"),
            "2 early gain: most such studies cannot evaluate it: at most 28.2% is possible.",
            id="most cannot evaluate it",
        ),
    ],
)
def test_each_claim_is_told_in_sentences(line, text):
    assert in_words(line).endswith(text)


def test_expected_trainings_are_told_of_the_claim_that_ends_a_study_if_it_has_looks():
    lines = [made_outlook(SENSITIVITY), made_outlook(FINAL_ERROR)]
    once = made_outlook(SENSITIVITY, looks=(32,), decided=((0.4,), (0.0,), (0.5,)))

    told = claim_texts(lines, None, roles=ROLES, arms=2)

    assert len(told) == 3
    assert "on average 72 (no effect), 70 (20%), 68 (40%) trainings of 2 arms" in told[2]
    assert len(claim_texts([once], None, roles=ROLES, arms=2)) == 1


def test_claims_that_the_design_does_not_contain_are_one_line():
    missing = {"4 stability": "needs an arm", "5 early signal": "needs 32 configurations"}

    assert not_contained_text(missing) == (
        "Not in this design: 4 stability (needs an arm); 5 early signal (needs 32 configurations)."
    )
    assert not_contained_text({}) == ""


def test_cost_is_told_with_both_ratios_that_are_decided():
    (text,) = claim_texts([], COST, roles=ROLES, arms=2)

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
            ["Claims about scores cannot be evaluated: .* has no random arm"],
            id="no comparison",
        ),
        pytest.param(
            {"random"},
            ["Claims about scores .* has no pretrained arm", "6 cost: cannot be evaluated"],
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


def test_a_claim_that_was_simulated_with_fewer_looks_is_named():
    lines = [
        made_outlook(SENSITIVITY, looks=(128, 256)),
        made_outlook(EARLY_SIGNAL, looks=(128,), decided=((0.1,),)),
    ]
    size = DesignSize((128, 256), seeds=2, grows=True)

    text = smaller_design_text(lines, size)

    assert text.startswith("5 early signal was simulated up to 128 configurations only")
    assert smaller_design_text(lines[:1], size) == ""
