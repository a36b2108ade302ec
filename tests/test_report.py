"""The report: what it says of a finished run, and that no run is too broken to report on."""

from __future__ import annotations

import json
import math
import re
from itertools import takewhile

import numpy as np
import pytest
import yaml
from made_runs import (
    ERRORS,
    arm_scores,
    study_tables,
    synthetic_curve,
    synthetic_preregistration,
    synthetic_space,
    synthetic_trial,
    write_rich_run,
    write_run,
    write_synthetic_run,
)

from stage1.base.errors import ResultsError
from stage1.pages.study_page import write_report
from stage1.run.folder import RunFolder
from stage1.run.tables import RunWriter

UNDEFINED = "–"
PIXEL = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with its report."""
    run = write_synthetic_run(tmp_path_factory.mktemp("runs") / "synthetic")
    write_report(run)
    return run


@pytest.fixture
def unpainted(monkeypatch):
    """Figures are drawn but their pixels are not computed, which takes seconds."""

    def save(figure, path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(PIXEL)

    monkeypatch.setattr("stage1.pages.page.save_figure", save)


@pytest.fixture
def started(tmp_path, unpainted):
    """A run folder before its first trial."""
    run = RunFolder(tmp_path / "synthetic")
    RunWriter(run)
    space = synthetic_space(arms=("pretrained", "random"), configurations=2)
    run.space.write_text(yaml.safe_dump(space, sort_keys=False), encoding="utf-8")
    run.prereg.write_text(synthetic_preregistration(run, space), encoding="utf-8")
    return run


def scores_of(*arms, configurations=4, seeds=2):
    """Scores of arms that get better from one to the next."""
    c, seed = np.mgrid[:configurations, 1 : seeds + 1]
    return {
        arm: arm_scores(0.5 + 0.02 * place + 0.03 * c + 0.01 * (seed + place) * (c % 2))
        for place, arm in enumerate(arms)
    }


def finished_run(path, scores=None):
    """A run whose every planned trial ended."""
    return write_run(path, study_tables(scores or scores_of("pretrained", "random"), horizon=4))


def text_of(run):
    write_report(run)
    return run.report.read_text(encoding="utf-8")


def claims_of(run):
    return json.loads(run.claims.read_text(encoding="utf-8"))


def verdict_rows(text):
    """Cells of the verdict table by the claim's number."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    start = next(place for place, row in enumerate(rows) if row[:2] == ["claim", "claimed"])
    verdicts = takewhile(lambda row: len(row) == len(rows[start]), rows[start + 2 :])
    return {row[0].strip("*").split()[0]: row for row in verdicts}


def test_the_page_shows_no_mark_of_markdown(finished):
    page = finished.report_html.read_text(encoding="utf-8")

    text = re.sub(r"(?s)<(style|script|code)\b.*?</\1>|<[^>]*>", "", page)
    assert "How to go on" in text
    assert not re.search(r"`|\*\*|\]\(|^#|^- ", text, flags=re.MULTILINE)


def test_figures_stand_beside_the_claims_that_they_show(finished):
    text = finished.report.read_text(encoding="utf-8")

    beside, heading = {}, ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if match := re.search(r"\(figures/(\w+)\.png\)", line):
            beside[match[1]] = heading
    assert sorted(beside) == sorted(file.stem for file in finished.figures.iterdir())
    expected = {
        "verdict_forest": "Verdicts",
        "expected_best": "Leaderboard",
        "tuning_value": "1 sensitivity",
        "learning_curves": "2 early gain",
        "paired_slopes": "3 gain at the horizon",
        "cost": "6 cost",
        "learning_rate": "Hyperparameters",
    }
    assert beside == beside | {name: expected[name] for name in beside.keys() & expected}
    assert len(beside.keys() & expected) > 4


def test_the_report_has_its_parts_in_order(finished):
    text = finished.report.read_text(encoding="utf-8")

    parts = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert parts == [
        *("Verdicts", "Leaderboard", "All trials", "The claims in words"),
        *("The plan's table", "Cost", "Design and exclusions"),
        *("Hyperparameters", "val_correlation by arm", "Best configuration", "How to go on"),
        *("Environment", "How to reproduce", "Words"),
    ]
    assert text.startswith("# synthetic\n\n**Does pretraining help here?** ")
    head = text[: text.index("## Verdicts")]
    assert head.index("**Is it easier to tune?** ") < head.index("**What to train?** pretrained")
    assert "Ended: 24 of 24 design and 3 of 3 search trials." in head


def test_every_claim_has_a_row_and_a_sentence_and_is_the_same_for_programs(finished):
    text, claims = finished.report.read_text(encoding="utf-8"), claims_of(finished)

    rows = verdict_rows(text)
    assert list(rows) == ["1", "2", "2b", "3", "3b", "6"]
    assert "\nNot in this design: 4 stability (" in text
    for number, row in rows.items():
        assert f"### {number} " in text
        assert row[5].strip("*").isupper()
    told = {row[0].strip("*").split()[0]: row[5].strip("*") for row in rows.values()}
    lines = [*claims["claims"], *claims["beside"]]
    assert {line["id"]: line["verdict"] for line in lines if line["id"] not in "45"} == told
    assert (claims["early_epoch"], claims["horizon_epoch"], claims["seeds"]) == (1, 4, [1, 2])
    assert claims["complete_configurations"] == 4


def test_the_report_has_the_best_configuration_exclusions_and_commands(finished):
    text = finished.report.read_text(encoding="utf-8")

    assert "| pretrained | 9 completed | 4 | 0.9160 |" in text
    assert "`design000` of arm **pretrained**, the best of 8 complete configurations" in text
    assert "**0.9160** = mean of 0.9140 (seed 1), 0.9180 (seed 2)" in text
    assert "| `training.optimizer.lr` | `0.001` |" in text
    assert "| shuffled | diverged | val_loss is not finite at epoch 1 | 1 |" in text
    assert f"python -m stage1.export {finished.path} --final\n" in text
    assert "python -m stage1.train configs/synthetic-final.yaml\n" in text
    assert f"python -m stage1.report {finished.path}" in text
    assert "python -m stage1.tune SPACE.yaml --seed 0 --trials 3 --out again" in text
    assert "| random | 8 | 8 | 0 | 0 | 0 | 8 | 0.0% |" in text
    assert "| torch 2.13.0 |" in text
    assert "> **" not in text  # no warning, no deviation
    assert "Nothing deviates" in text


def test_every_picture_of_the_report_is_a_file_and_inside_the_page(finished):
    text, page = (
        path.read_text(encoding="utf-8") for path in (finished.report, finished.report_html)
    )

    linked = [
        line.split("](")[1].removesuffix(")") for line in text.splitlines() if "](fig" in line
    ]
    assert linked
    assert {path.name for path in finished.figures.iterdir()} == {
        path.removeprefix("figures/") for path in linked
    }
    assert all((finished.path / path).read_bytes().startswith(PIXEL) for path in linked)
    assert page.count('src="data:image/png;base64,') == len(linked)
    assert "figures/" not in page


def test_the_same_tables_give_the_same_report(tmp_path, unpainted):
    run = finished_run(tmp_path / "run")
    files = (run.report, run.report_html, run.claims)
    write_report(run)
    before = [path.read_bytes() for path in files]

    write_report(run)

    assert [path.read_bytes() for path in files] == before


def test_a_figure_that_is_no_longer_drawn_goes_and_a_strangers_file_stays(started):
    started.figures.mkdir()
    for name in ("cost.png", "mine.png"):
        (started.figures / name).write_bytes(PIXEL)

    write_report(started)

    assert [path.name for path in started.figures.iterdir()] == ["mine.png"]


def test_nothing_but_the_report_is_left_in_the_folder(finished):
    assert {path.name for path in finished.path.iterdir()} == {
        *("blocks.parquet", "cost.parquet", "curves.parquet", "trials.parquet"),
        *("space.yaml", "prereg.yaml"),
        *("claims.json", "report.md", "report.html", "figures"),
    }


def test_a_run_without_a_trial_says_so(started):
    text = text_of(started)

    assert "Ended so far: 0 of 8 design and 0 of 2 search trials" in text
    assert "No trial has ended yet" in text
    assert "> **Deviation.**" in text  # 8 trials are missing
    assert "](figures/" not in text
    rows = verdict_rows(text)
    assert {row[5] for row in rows.values()} == {"**NOT EVALUABLE**"}
    assert {row[2] for row in rows.values()} == {UNDEFINED}
    assert "0 of 8 trials of the design have ended" in text


def test_a_run_in_progress_gives_no_verdict_yet(started):
    RunWriter(started).add_trial(synthetic_trial("t0"), synthetic_curve(0.9))

    text = text_of(started)

    assert "1 of 8 design" in text
    assert "--resume" in text
    assert "No configuration has completed with every seed" in text
    assert "None yet" in text
    assert "| random | 4 | 1 | 0 | 0 | 3 | 0 |" in text
    assert {row[5] for row in verdict_rows(text).values()} == {"**NOT EVALUABLE**"}


def test_a_run_of_failures_only_shows_their_reasons(started):
    writer = RunWriter(started)
    for place in range(3):
        row = synthetic_trial(
            f"t{place}",
            **{"seed": place, "status": "failed", "epochs": 0, "val_correlation": None},
            error="no | memory <here>\nat 3",
        )
        writer.add_trial(row, [])

    text = text_of(started)

    assert f"| random | 3 failed | 0 | {' | '.join([UNDEFINED] * 4)} |" in text
    assert "| random | failed | no \\| memory &lt;here> | 3 |" in text
    assert "tune with --retry-failed" in text
    assert "no | memory &lt;here&gt;" in started.report_html.read_text(encoding="utf-8")


def test_models_that_do_not_beat_interpolation_get_a_warning_in_plain_words(started):
    writer = RunWriter(started)
    for seed in (1, 2):
        writer.add_trial(synthetic_trial(f"t{seed}", seed=seed, val_skill=math.nan), [])

    assert "> **Warning.** No configuration beats drawing a straight line" in text_of(started)


BOTH = ("pretrained", "random")


@pytest.mark.parametrize(
    ("scores", "unknown", "reason"),
    [
        pytest.param(scores_of("random"), "12345", "no pretrained arm", id="random alone"),
        pytest.param(scores_of("pretrained"), "12345", "no random arm", id="pretrained alone"),
        pytest.param(scores_of("pretrained", "shuffled"), "12345", "no random arm", id="no random"),
        pytest.param(
            scores_of(*BOTH, seeds=1), "1", "configurations with two seeds", id="one seed"
        ),
        pytest.param(
            scores_of(*BOTH, configurations=1), "1236", "needs two configurations", id="one point"
        ),
    ],
)
def test_a_study_that_is_too_small_says_what_is_missing(
    tmp_path, unpainted, scores, unknown, reason
):
    text = text_of(finished_run(tmp_path / "run", scores))

    rows = verdict_rows(text)
    assert {rows[number][5] for number in unknown} == {"**NOT EVALUABLE**"}
    assert (rows["2"][2] == UNDEFINED) == ("2" in unknown)
    assert reason in text
    assert "Best configuration" in text


def test_further_arms_are_described_and_do_not_disturb(tmp_path, unpainted):
    arms = (*BOTH, "shuffled", "first_block", "vanilla")

    text = text_of(finished_run(tmp_path / "run", scores_of(*arms)))

    for arm in arms:
        assert f"\n| {arm} | 8 |" in text
    assert "pretrained against random" in text


def test_ties_everywhere_are_no_effect_and_no_crash(tmp_path, unpainted):
    run = finished_run(tmp_path / "run", dict.fromkeys(BOTH, arm_scores(np.full((4, 2), 0.5))))

    rows = verdict_rows(text_of(run))

    assert rows["2"][2:4] == ["+0.0%", "[+0.0%, +0.0%]"]
    assert "SUPPORTED" not in {row[5].strip("*") for row in rows.values()}


def test_diverged_failed_and_missing_trials_are_counted_and_explained(tmp_path, unpainted):
    scores = scores_of(*BOTH)
    scores["random"].diverged[0, 0] = True
    scores["pretrained"].final[1, 1] = math.nan

    text = text_of(finished_run(tmp_path / "run", scores))

    assert "| pretrained | 8 | 7 | 0 | 1 | 0 | 7 | 0.0% |" in text
    assert "| random | 8 | 7 | 1 | 0 | 0 | 7 | 14.3% |" in text
    assert "| failed in an arm | 1 |" in text
    assert f"| random | diverged | {ERRORS['diverged']} | 1 |" in text
    assert f"| pretrained | failed | {ERRORS['failed']} | 1 |" in text


def test_an_arm_that_always_diverges_is_not_compared(tmp_path, unpainted):
    gone = arm_scores(np.full((4, 2), 0.5), diverged=np.ones((4, 2), dtype=bool))

    text = text_of(finished_run(tmp_path / "run", dict.fromkeys(BOTH, gone)))

    assert "**NOT EVALUABLE**" in text
    assert "| random | 8 | 0 | 8 | 0 | 0 | 8 | 100.0% |" in text


def test_a_folder_that_is_no_run_is_an_error_and_stays_as_it_was(tmp_path):
    with pytest.raises(ResultsError, match=r"must hold trials\.parquet"):
        write_report(RunFolder(tmp_path))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_five_hundred_trials_have_a_report_of_a_few_megabytes(tmp_path):
    run = write_rich_run(tmp_path / "rich", configurations=82)

    write_report(run)

    assert 500_000 < run.report_html.stat().st_size < 5_000_000


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda arms: arms, id="a comment"),
        pytest.param(lambda arms: arms | {"extra": {}}, id="an arm more"),
        pytest.param(lambda arms: {"a": {}, "b": {}, "c": {}}, id="other names"),
    ],
)
def test_an_edited_study_is_a_deviation_at_the_top(tmp_path, unpainted, edit):
    run = finished_run(tmp_path / "run")
    space = yaml.safe_load(run.space.read_text())
    space["arms"] = edit(space["arms"])
    run.space.write_text("# edited\n" + yaml.safe_dump(space, sort_keys=False))

    text = text_of(run)

    head = text[: text.index("## Verdicts")]
    assert "> **Deviation.** space.yaml is not the file that was registered" in head
    assert claims_of(run)["deviations"]
    assert verdict_rows(text)["3b"][5] != "**NOT EVALUABLE**"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("early_epoch: 1", "early_epoch: 99", "early_epoch"),
        ("seeds:\n- 1\n- 2\n", "seeds: []\n", "seeds"),
    ],
)
def test_a_registration_that_makes_no_sense_is_one_line(tmp_path, old, new, key):
    run = finished_run(tmp_path / "run")
    text = run.prereg.read_text()
    assert old in text
    run.prereg.write_text(text.replace(old, new))

    with pytest.raises(ResultsError, match=rf"prereg.yaml:\d+: {key}") as raised:
        write_report(run)

    assert "\n" not in str(raised.value)
