"""Nothing is lost on a full disk: a study whose disk fills up at ten random moments."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from command_line import ROOT
from made_studies import write_space
from small_disk import on_a_small_disk

from stage1.run.folder import RunFolder

BASE = f"""\
extends: {ROOT}/configs/sample.yaml
data: {{validation_windows: 16, seq_len: 32}}
transfer_learning: {{patch_len: 8}}
training: {{steps_per_epoch: 2, batch_size: 4}}
"""
SPACE = """\
name: full
base: base.yaml
horizon_epochs: 4
arms:
  pretrained: {transfer_learning.initialization: pretrained}
  random: {transfer_learning.initialization: random}
space:
  training.optimizer.lr: {type: float, low: 1.0e-3, high: 1.0e-2, log: true}
design: {configurations: 8, seeds: 1}
search: {trials: 4, scheduler: {asha: {reduction_factor: 2}}}
"""
SCRIPT = """
import json, os, random, shutil, sys, threading, time
from dataclasses import replace
from pathlib import Path
from rich.console import Console
from stage1.base.errors import Stage1Error
from stage1.claims.catalogue import REGISTERED
from stage1.run.folder import RunFolder
from stage1.study.inputs import load_inputs
from stage1.study.resume import as_begun, begin_run, check_same_study, data_description
from stage1.study.study import load_study
from stage1.workers import launch
from stage1.workers.cluster import ray_cluster

disk, space, undisturbed = map(Path, sys.argv[1:])
os.dup2(1, 2)
launch.record_cost = lambda *_, **__: None  # times of steps are no table to compare
inputs = load_inputs(load_study(space), None)
data, models = data_description(inputs.study.config.data), inputs.language_models


class Filler(threading.Thread):
    # Fills the disk after so many states or tables were written, to the last byte after a while.

    def __init__(self, folder, moments):
        super().__init__(daemon=True)
        self.folder, self.after = folder, moments.randint(1, 3)
        self.left_free = moments.randint(0, 3_000_000)
        self.over = threading.Event()

    def seen(self):
        found = set()
        for file in (self.folder / "trials.parquet", *self.folder.glob("running/*.ckpt")):
            try:
                found.add((file, file.stat().st_mtime_ns))
            except OSError:
                pass
        return found

    def run(self):
        last, changes = self.seen(), 0
        while changes < self.after and not self.over.wait(0.005):
            now = self.seen()
            changes, last = changes + (now != last), now
        with open(disk / "filler", "ab", buffering=0) as file:
            while not self.over.wait(0.005):
                try:
                    file.write(b"x" * max(shutil.disk_usage(disk).free - self.left_free, 0))
                except OSError:
                    pass
                self.left_free = self.left_free * 98 // 100


def session(run, cluster):
    study = inputs.study
    if run.path.exists():
        check_same_study(run, study, data=data, models=models)
        study = as_begun(run, study)
    else:
        begin_run(run, study, data=data, models=models, claims=REGISTERED, training_windows=1)
    return launch.run_study(replace(inputs, study=study), run, cluster=cluster, console=Console())


moments, ends = random.Random(7), []
with ray_cluster(inputs.study.space.resources, workers=1, address=None, storage=None) as cluster:
    session(RunFolder(undisturbed), cluster)
    run = RunFolder(disk / "full")
    begin_run(run, inputs.study, data=data, models=models, claims=REGISTERED, training_windows=1)
    while len(ends) < 10:
        filler = Filler(run.path, moments)
        filler.start()
        try:
            session(run, cluster)
            break
        except Stage1Error as error:
            ends.append(str(error))
        finally:
            filler.over.set()
            filler.join()
            (disk / "filler").unlink(missing_ok=True)
    session(run, cluster)
shutil.copytree(run.path, undisturbed.with_name("after"))
print(json.dumps(ends))
"""
MEASURED = ["started_at", "seconds", "seconds_per_step", "peak_rss_mb"]


@pytest.mark.slow
def test_after_a_full_disk_at_ten_moments_a_study_ends_with_the_tables_of_an_undisturbed_one(
    tmp_path,
):
    space = write_space(tmp_path, SPACE, base=BASE)

    printed = on_a_small_disk(
        SCRIPT, tmp_path / "disk", space, tmp_path / "undisturbed", megabytes=40
    )

    ends = json.loads(printed.splitlines()[-1])
    assert len(ends) == 10
    for end in ends:
        assert "No space left on device" in end
        assert "go on with --resume" in end
        assert "\n" not in end
    assert "Traceback" not in printed
    after, undisturbed = (RunFolder(tmp_path / name) for name in ("after", "undisturbed"))
    for name in ("trials", "curves"):
        found, expected = (
            pd.read_parquet(getattr(run, name)).drop(columns=MEASURED, errors="ignore")
            for run in (after, undisturbed)
        )
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert not after.begun.exists()
    assert not after.running.exists()
