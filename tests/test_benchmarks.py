"""The benchmark of trials an hour: its arithmetic, and one tiny run of all its ways."""

import math
from pathlib import Path

import pytest
from command_line import python

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """The modules that hold a trial and a round."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import throughput_parts.results as results

    def trial(started, ended, *, lr=1e-5, val_loss=0.5, steps=90):
        return results.Trial(lr, 1, started, started + 0.5, ended, val_loss, steps, 8 * steps, 100)

    def one_round(trials, *, way="a", number=0, began=0.0):
        return results.Round(way, number, "32-true", 2, began, math.nan, trials)

    return trial, one_round, results


def test_the_steady_rate_begins_where_the_first_trial_of_each_slot_ends(benchmark):
    trial, one_round, _ = benchmark
    slow = [trial(10, 30), trial(30, 40), trial(40, 50)]  # 2 trials in 20 s behind the first
    fast = [trial(11, 20.5), trial(21, 25.5)]  # 1 in 5 s

    measured = one_round([*slow, *fast], began=4.0)

    assert measured.trials_per_hour == pytest.approx(3600 * (2 / 20 + 1 / 5))
    assert measured.startup == pytest.approx(6.5)
    assert measured.whole == pytest.approx(46)


def test_a_ratio_is_taken_within_each_round(benchmark):
    trial, one_round, tables = benchmark
    rounds = [
        one_round([trial(0, t), trial(0, t), trial(t, 2 * t), trial(t, 2 * t)], way=w, number=n)
        for w, n, t in (("a", 0, 1), ("b", 0, 3), ("a", 1, 10), ("b", 1, 20))
    ]

    line = tables.throughput_table(rounds).splitlines()[-1]

    assert "| 2.50 (2.00-3.00) |" in line


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        pytest.param({"val_loss": 0.501}, "val_loss of c", id="another loss"),
        pytest.param({"steps": 89}, "steps must be the same", id="fewer steps"),
        pytest.param({"lr": 2e-5}, "must run the trials", id="another trial"),
    ],
)
def test_ways_that_do_not_do_the_same_are_refused(benchmark, changed, complaint):
    trial, one_round, tables = benchmark
    rounds = [one_round([trial(0, 1)]), one_round([trial(0, 1, **changed)], way="c")]

    with pytest.raises(SystemExit, match=complaint):
        tables.check_same_work(rounds)


@pytest.mark.slow
def test_a_quick_run_of_all_ways_gives_both_tables():
    result = python(BENCHMARKS / "throughput.py", "--quick")

    ways, parts = (
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        for table in result.stdout.strip().split("\n\n")[1:]
    )
    assert [line[0][:2] for line in ways] == ["wa", "--", "a:", "b:", "c:", "d:"]
    assert {len(line) for line in ways} == {8}
    assert {len(line) for line in parts} == {3}
    assert {"steps", "validation", "checkpoint", "sum"} <= {line[0] for line in parts}


def test_what_a_process_counts_of_the_claims_comes_back_to_the_one_that_prints():
    """Through `multiprocessing`, which cannot send functions such as a definition's."""
    result = python("-c", COUNT_IN_A_PROCESS, cwd=BENCHMARKS)

    assert "| gain at the horizon |" in result.stdout
    assert "| at least one of the six" in result.stdout


COUNT_IN_A_PROCESS = """
from multiprocessing import Pool
from claims import DEFINITIONS, OTHERS, ErrorRates, definition_of, play_others, print_others

if __name__ == "__main__":
    jobs = [(world, one.number, 1) for world in OTHERS for one in DEFINITIONS]
    with Pool(1) as pool:
        played = pool.map(play_others, jobs)
    print_others({key: ErrorRates(definition_of(key[1]), *rates) for key, rates in played})
"""


def test_the_gpu_check_works_on_a_cpu_and_passes_what_a_cpu_can_show():
    shown = python(BENCHMARKS / "gpu.py", "--device", "cpu", "--quick").stdout

    rows = [line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("| ")]
    marks = {row[0]: row[-1] for row in rows[1:]}
    for check in (
        "the GPU against the CPU, 60 steps",
        "two runs equal to the last bit",
        "resumed, dropout 0.1: as undisturbed",
        "bf16-mixed, 1 frozen epochs",
    ):
        assert marks[check] == "yes"
    assert any("trials/h" in row[1] for row in rows)
    assert shown.endswith("all passed\n")
