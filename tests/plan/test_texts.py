"""Trials, time, memory and disk in words."""

import pytest
from simulated_study import simulated_study

from stage1.plan.duration import Span
from stage1.plan.stages import VANILLA_ENCODER, Kind
from stage1.plan.texts import (
    busy_text,
    clock,
    disk_text,
    gpu_memory_text,
    memory_text,
    not_timed_text,
    span,
    time_text,
    timing_table,
    trials_table,
)
from stage1.training.timing import TrialTiming


def cells(table):
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7.4, "7 seconds"), (99, "99 seconds"), (150, "2 minutes"), (9000, "2.5 hours")],
)
def test_a_time_is_said_as_a_person_would(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (480, 720, "8 to 12 minutes"),
        (80, 150, "80 seconds to 2 minutes"),
        (480, 490, "8 minutes"),
    ],
)
def test_a_span_has_its_unit_once_if_it_is_the_same(low, high, text):
    assert span(Span(low, high)) == text


def test_trials_are_told_stage_by_stage_with_their_sum(tmp_path):
    space = simulated_study(tmp_path).space

    rows = cells(trials_table(space, {"design": 16, "search": 12, "confirm": 8}))

    assert [row[:2] for row in rows] == [
        ["design", "16"],
        ["search", "12"],
        ["confirm", "8"],
        ["at most", "36"],
    ]
    assert rows[0][2] == "4 configurations × 2 seeds × 2 arms, always to epoch 9"
    assert "2.3 of 9 epochs" in rows[1][2]  # 1 + 2/3 + 6/9


def test_a_stage_without_trials_says_nothing_of_them(tmp_path):
    space = simulated_study(tmp_path, trials=0).space

    rows = cells(trials_table(space, {"design": 16, "search": 0, "confirm": 0}))

    assert rows[1:3] == [["search", "0", ""], ["confirm", "0", ""]]


def test_a_kind_that_was_not_timed_has_an_estimate_and_no_measurement():
    timings = {Kind("a", 4): TrialTiming(1.0, 0.0334, 0.25, peak_rss_mb=1, peak_vram_mb=None)}
    full = {Kind("a", 4): [10.0, 12.0], Kind(VANILLA_ENCODER, None): [8.0]}

    rows = cells(timing_table(timings, full, seeds=3))

    assert rows == [
        ["a", "4", "33", "0.25", "11.0", "6"],
        ["vanilla encoder", "–", "–", "–", "8.0", "3"],
    ]


def test_what_was_not_timed_is_told():
    assert not_timed_text(3, 3, []) == ""
    assert not_timed_text(20, 12, []).startswith("12 of 20 combinations were timed")
    assert "training.batch_size may change the time" in not_timed_text(
        3, 3, ["training.batch_size"]
    )


def test_a_busy_machine_is_told_with_what_it_does_to_the_timings():
    assert "leave out" in busy_text(3.2, 2, corrected=True)
    assert "steps take less" in busy_text(3.2, 2, corrected=False)


def test_time_is_told_as_an_estimate_and_its_ends_only_where_there_is_a_search(tmp_path):
    with_search, without = (
        time_text(Span(480, 720), space=simulated_study(tmp_path, trials=n).space, workers=2)
        for n in (12, 0)
    )

    assert with_search.startswith("Time: about 8 to 12 minutes with 2 workers")
    assert "ASHA" in with_search
    assert "ASHA" not in without
    assert "estimate" in without


def test_memory_that_the_machine_does_not_have_is_told():
    enough, too_much = (
        memory_text(2048, worker_mb=700, workers=2, machine_mb=machine) for machine in (4096, 1024)
    )

    assert enough.startswith("Memory: about 2.0 GB: 2 workers of 0.7 GB")
    assert enough.endswith("This machine has 4.0 GB.")
    assert "too little" in too_much


def test_trials_that_share_a_gpu_add_up():
    assert gpu_memory_text(1024, per_gpu=1) == "GPU memory: about 1.0 GB per GPU."
    assert gpu_memory_text(1024, per_gpu=2) == "GPU memory: about 2.0 GB per GPU of 2 trials."


def test_disk_is_at_least_a_megabyte():
    assert disk_text(4_400_000, "runs/x") == "Disk: about 4 MB in runs/x."
    assert disk_text(10, "runs/x") == "Disk: about 1 MB in runs/x."
