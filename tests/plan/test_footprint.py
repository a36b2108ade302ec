"""Memory and disk by formula, against finished run folders."""

import numpy as np
import pytest
from simulated_study import ROOT, simulated_study
from tiny_training import tiny_language_model

from stage1.data.bars import Bars
from stage1.plan.footprint import RAY_MB, disk_bytes, memory_mb
from stage1.plan.stages import trials_by_stage
from stage1.plan.timed import shared_bytes
from stage1.study.study import load_study


def test_memory_is_that_of_the_workers_of_ray_and_twice_what_is_shared():
    needed = memory_mb(700.0, workers=3, shared_bytes=100 * 2**20)

    assert needed == pytest.approx(3 * 700 + RAY_MB + 200)


def test_what_is_shared_is_bars_and_weights():
    model = tiny_language_model()
    weights = sum(tensor.numel() for tensor in model.weights.values())
    bars = Bars(np.zeros(10, dtype=np.int64), np.zeros((10, 4)))

    assert shared_bytes({"m1": bars, "m5": bars}, {"tiny": model}) == 2 * 10 * 5 * 8 + 4 * weights


def test_the_folder_grows_with_trials_epochs_and_blocks(tmp_path):
    small = simulated_study(tmp_path)
    longer = simulated_study(tmp_path, horizon_epochs="90")
    trials = trials_by_stage(small)
    size = disk_bytes(small, trials, blocks=4)

    assert size < disk_bytes(small, trials, blocks=8)
    assert size < disk_bytes(longer, trials, blocks=4)
    assert size < disk_bytes(small, trials | {"search": 100}, blocks=4)


@pytest.mark.slow
def test_a_finished_study_takes_about_the_disk_that_was_planned(finished_study):
    study = load_study(ROOT / "search_spaces" / "smoke.yaml")
    files = [path for path in finished_study.folder.rglob("*") if path.is_file()]

    planned = disk_bytes(study, trials_by_stage(study), blocks=4)

    report = {"report.html", "report.md", "claims.json"}
    tables = sum(
        path.stat().st_size
        for path in files
        if path.name not in report and path.parent.name != "figures"
    )
    assert tables < planned - 3_000_000 < 4 * tables
    assert planned > sum(path.stat().st_size for path in files)
