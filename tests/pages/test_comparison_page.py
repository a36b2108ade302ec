"""The page: what it says, and that it says no more than that."""

from __future__ import annotations

import io
import re
import shlex
import shutil

import matplotlib.image
import pytest
from made_comparison import made_record
from rich.console import Console

from stage1.base.errors import ResultsError
from stage1.config import Config, with_values
from stage1.pages.blocks import Picture
from stage1.pages.comparison_page import PAGE_FILE, REPORT_FILE, page_blocks, write_page
from stage1.pages.comparison_summary import read_comparison, summarize
from stage1.pages.markdown import markdown
from stage1.run.comparison_record import MachineRecord
from stage1.run.folder import RunFolder


@pytest.fixture
def page_of(comparison, write_comparison):
    """Writes a comparison and gives its page as Markdown, figures left out."""

    def write(**options):
        run = write_comparison(**options) if options else comparison
        names = ("correlation", "loss", "differences", "cost")
        pictures = {name: Picture(name, "", "", b"", "left out") for name in names}
        return markdown(page_blocks(summarize(read_comparison(run)), pictures))

    return write


def test_a_comparison_is_a_page_of_its_own_too(comparison):
    write_page(comparison)

    page = (comparison.path / PAGE_FILE).read_text(encoding="utf-8")
    assert page.count('src="data:image/png') == 4
    assert 'id="result"' in page


def test_what_is_where_the_page_belongs_is_named(comparison, tmp_path):
    run = RunFolder(tmp_path / "comparison")
    shutil.copytree(comparison.path, run.path)
    (run.path / REPORT_FILE).unlink(missing_ok=True)
    (run.path / REPORT_FILE).mkdir()

    with pytest.raises(ResultsError, match=r"must be a folder that can be written.*make room"):
        write_page(run)


def rows_below(text, heading):
    """The cells of the first table below a heading or a caption."""
    table = re.search(r"(?:^\|.*\n?)+", text[text.index(heading) :], flags=re.MULTILINE)
    lines = table[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_main_table_has_a_row_per_configuration_and_the_baseline(page_of):
    rows = rows_below(page_of(), "## Result")

    assert rows == [
        ["late", "2 / 3", "0.5200 ± 0.0283", "0.4200 ± 0.0283", "−0.500", "×0.50"],
        ["plain", "3 / 3", "0.2200 ± 0.0200", "0.8200 ± 0.0200", "0.200", "×1.00"],
        ["free", "3 / 3", "0.1700 ± 0.0755", "0.8500 ± 0.0173", "0.300", "×1.17"],
        ["interpolation", "", "0.3000", "0.5000", "0.000", ""],
    ]


def test_both_metrics_are_told_at_the_plans_epochs_and_the_end(page_of):
    text = page_of()

    assert "| configuration | 1 | 3 | 5 (end) |" in text
    correlations = rows_below(text, "**val_correlation after epoch")
    assert correlations[1] == ["plain", "0.3000 ± 0.1000", "0.7000 ± 0.1000", "0.8200 ± 0.0200"]
    assert correlations[-1] == ["interpolation", "0.5000", "0.5000", "0.5000"]
    losses = rows_below(text, "**val_loss after epoch")
    assert losses[2][:2] == ["free", "0.5000 ± 0.0000"]


def test_convergence_names_the_levels_and_the_epochs(page_of):
    text = page_of()

    assert "reaches 0.8200 (end of plain)" in text
    assert "reaches 0.5000 (interpolation)" in text
    # Means over seeds, plain: 0, 0.3, 0.5, 0.7, 0.8, 0.82; free: 0, 0.5, 0.8, 0.84, 0.85, 0.85.
    height = (0.3 + 0.5 + 0.7 + 0.8 + 0.82 / 2) / 5
    late, plain, free = rows_below(text, "## Convergence")
    assert late[:3] == ["late", "never", "never"]
    assert plain == ["plain", "5", "2", f"{height:.4f}"]
    assert free[:3] == ["free", "3", "1"]


def test_differences_show_mean_and_range_with_their_sign_and_test_nothing(page_of):
    text = page_of()

    late, free = rows_below(text, "## Differences to plain")
    assert free == [
        *("free", "3", "−0.0500", "−0.1000", "+0.0100"),
        *("+0.0300", "+0.0100", "+0.0600"),
    ]
    assert late[1] == "2"
    assert "stage1.tune" in text
    for verdict in ("supported", "significant", "refuted"):
        assert verdict not in text.lower()


def test_cost_is_told_against_the_plans_margin(page_of):
    text = page_of()

    free = rows_below(text, "## Time, memory and cost")[2]
    assert free == ["free", "12.0", "25.2", "×1.17", "×1.10 to ×1.30", "2 of 3", "630"]
    assert "The plan allows ×1.15" in text
    assert "late: its T5 is frozen for 3 of 5 epochs" in text
    assert "free: its T5" not in text


def test_gpu_memory_has_a_column_where_there_is_a_gpu(page_of):
    machine = MachineRecord(cores=8, gpu="NVIDIA H200")

    text = page_of(of={"machine": machine}, peak_vram_mb=512.0)

    assert "| GPU memory, MB |" in text
    assert rows_below(text, "## Time, memory and cost")[0][-1] == "512"
    assert "8 cores, NVIDIA H200, torch 2.13.0" in text


@pytest.mark.parametrize(
    ("seconds", "order"),
    [
        pytest.param(50.0, "in turn", id="begun a minute apart, done within it"),
        pytest.param(90.0, "up to 2 side by side", id="begun a minute apart, done after it"),
    ],
)
def test_trainings_side_by_side_come_with_a_note_on_their_times(page_of, seconds, order):
    text = page_of(seconds=seconds)

    assert f"trainings ran {order}." in text
    assert ("these times are noisier" in text) == (order != "in turn")


def test_every_configuration_below_the_baseline_has_its_warning(page_of):
    text = page_of()

    assert "> **Warning.** late does not beat drawing a straight line across the" in text
    assert "hidden bars (mean val_skill −0.500)" in text
    lost = "late: 1 diverged and 0 failed of 3; the numbers are of the other 2."
    assert f"> **Warning.** {lost}" in text
    assert text.count("**Warning.**") == 2


def test_without_a_vanilla_configuration_the_page_says_who_stands_in(page_of):
    configs = {name: Config() for name in ("late", "plain", "free")}
    text = page_of(
        of={"configs": {k: with_values(c, {"training.epochs": 5}) for k, c in configs.items()}}
    )

    assert "No configuration has the vanilla encoder, so late" in text
    assert "## Differences to late" in text
    assert "In nothing: whatever differs above is chance." in text


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        pytest.param(None, True, id="left to the encoder"),
        pytest.param([["m1", "m5"]], False, id="the same in all"),
    ],
)
def test_cross_scale_attention_that_no_key_shows_is_told(page_of, pairs, told):
    configs = {
        name: with_values(config, {"model.cross_pairs": pairs})
        for name, config in made_record().configs.items()
    }

    text = page_of(of={"configs": configs})

    assert ("not behind those of a T5" in text) == told


def test_what_was_run_and_how_to_run_it_again_is_told(page_of):
    text = page_of()

    assert "3 configurations x 3 seeds (1, 2, 3), 5 epochs each: 9 of 9 trainings ended, 8" in text
    assert "the bundled sample (ffffffffffff)" in text
    assert "2 cores, torch 2.13.0" in text
    assert "| `transfer_learning.use_pretrained_lm` | `True` | `False` | `True` |" in text
    (command,) = re.findall(r"^    (python -m stage1\.compare .*)$", text, flags=re.MULTILINE)
    words = shlex.split(command)
    assert [word.rpartition("/")[2] for word in words[3:6]] == [
        "late.yaml",
        "plain.yaml",
        "free.yaml",
    ]
    assert words[6:] == ["--seeds", "3", "--seed", "0", "--out", "again"]


def test_a_comparison_that_has_just_begun_has_a_page_too(page_of):
    text = page_of(only=(("plain", 1), ("free", 1)))

    assert "2 of 9 trainings ended, 2 completed" in text
    assert rows_below(text, "## Result")[1][:4] == ["plain", "1 / 3", "0.2000", "0.8000"]
    assert rows_below(text, "## Result")[0][1:4] == ["0 / 3", "–", "–"]


@pytest.fixture(scope="module")
def page(comparison):
    return write_page(comparison)


def test_every_picture_of_the_page_is_a_file_beside_it(page):
    linked = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.path.read_text(encoding="utf-8"))

    assert linked == [
        "figures/val_correlation_by_epoch.png",
        "figures/val_loss_by_epoch.png",
        "figures/paired_differences.png",
        "figures/cost.png",
    ]
    for name in linked:
        height, width, _ = matplotlib.image.imread(page.path.parent / name).shape
        assert width > 1000
        assert height > 400


def test_the_terminal_shows_the_main_table_in_80_columns_and_where_the_rest_is(page):
    console = Console(file=io.StringIO(), width=80)

    page.show(console)

    lines = console.file.getvalue().splitlines()
    (row,) = (line for line in lines if line.strip().startswith("free "))
    assert row.split() == [
        *("free", "3", "/", "3", "0.1700", "±", "0.0755"),
        *("0.8500", "±", "0.0173", "0.300", "×1.17"),
    ]
    assert any(line.strip().startswith("Warning: late does not beat") for line in lines)
    html = page.path.with_suffix(".html")
    assert f"Report: {html} (as text: {page.path.name})" in lines
    assert f"Curves: tensorboard --logdir {page.run.tensorboard}" in lines
    assert (
        max(len(line) for line in lines if "/" not in line and not line.startswith("Warning")) <= 80
    )


def test_a_page_of_nothing_says_why_there_are_no_figures_and_removes_old_ones(write_comparison):
    run = write_comparison(only=())
    run.figures.mkdir()
    (run.figures / "cost.png").touch()

    text = write_page(run).path.read_text(encoding="utf-8")

    assert "no training was completed" in text
    assert "![" not in text
    assert "Warning" not in text
    assert rows_below(text, "## Result")[1][:4] == ["plain", "0 / 3", "–", "–"]
    assert list(run.figures.iterdir()) == []


def test_the_page_of_a_folder_that_is_no_comparison_is_an_error(tmp_path):
    with pytest.raises(ResultsError):
        write_page(RunFolder(tmp_path))
