"""Studies without trainings: one simulated with made-up epochs, and that of the sample run."""

from __future__ import annotations

import math

from command_line import ROOT
from optuna.storages import InMemoryStorage

from stage1.config import Config
from stage1.run.columns import DESIGN
from stage1.run.folder import RunFolder
from stage1.run.registration import trainable_arms
from stage1.run.resolved_space import read_space
from stage1.run.tables import RunWriter
from stage1.study.engine import Leaderboard, StudyEngine
from stage1.study.resume import as_begun
from stage1.study.sampler import arm_samplers
from stage1.study.space import Space, active, sobol_configurations
from stage1.study.study import Study, load_study
from stage1.workers.tune_bridge import ArmHalving

BASE = """\
data: {timeframes: [m1, m5]}
transfer_learning: {lm_name_or_path: english-t5-nano}
"""
SPACE = """\
name: simulated
base: base.yaml
objective: {metric: val_correlation, mode: max}
horizon_epochs: 9
arms:
  pretrained: {transfer_learning.initialization: pretrained}
  random: {transfer_learning.initialization: random}
space:
  training.optimizer.lr: {type: float, low: 1.0e-4, high: 1.0e-1, log: true}
  transfer_learning.freeze_lm_epochs: {type: int, low: 0, high: 3}
  transfer_learning.patch_len: {type: choice, options: [4, 8, 16]}
design: {configurations: 4, seeds: 2}
search: {trials: 12, sampler: tpe, scheduler: {asha: {grace_epochs: 1, reduction_factor: 3}}}
"""


def write_space(folder, text=SPACE, *, base=BASE):
    """Write a space and its base; gives the space's path."""
    (folder / "base.yaml").write_text(base, encoding="utf-8")
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def simulated_study(folder, *, seed=0, trials=None, **replaced):
    """The study above, some of its texts replaced: `horizon_epochs="3"` sets that line."""
    lines = []
    for line in SPACE.splitlines():
        key = line.split(":")[0]
        lines.append(f"{key}: {replaced.pop(key)}" if key in replaced else line)
    assert not replaced
    return load_study(write_space(folder, "\n".join(lines)), seed=seed, trials=trials)


SAMPLE = RunFolder(ROOT / "analysis" / "sample_run")


def recorded_study():
    """The study of the sample run as it was recorded, whatever the search spaces say today."""
    resolved = read_space(SAMPLE)
    written = resolved.model_dump(exclude_unset=True)
    fields = {name: written[name] for name in Space.model_fields if name in written}
    space = Space.model_validate({**fields, "base": "resolved already"})
    points = [active(space, point) for point in sobol_configurations(space, resolved.seed)]
    config = Config.model_validate(resolved.config)
    return as_begun(SAMPLE, Study(space, config, resolved.seed, points))


class WrittenTables(RunWriter):
    """Writes every trial at once."""

    def begin(self, spec):
        """A trial that has begun leaves nothing."""


class Tables:
    """Keeps the rows of ended trials."""

    def __init__(self):
        self.rows, self.curves, self.blocks, self.begun = [], {}, {}, []

    def begin(self, spec):
        self.begun.append(spec)

    def add_trial(self, row, curve, blocks=()):
        self.rows.append(row)
        self.curves[row["trial_id"]] = curve
        self.blocks[row["trial_id"]] = list(blocks)

    @property
    def trial_ids(self):
        return [row["trial_id"] for row in self.rows]


def epoch_row(spec, epoch, **columns):
    """A made-up epoch: best at lr = 10^-2.5 and patch_len 8, better every epoch."""
    distance = abs(math.log10(spec.values["training.optimizer.lr"]) + 2.5)
    distance += 0.1 * (spec.values.get("transfer_learning.patch_len", 8) != 8)
    distance += 0.05 * (spec.arm != "pretrained") + 0.01 * math.sin(7 * spec.seed + epoch)
    correlation = math.exp(-distance) * (1 - math.exp(-(epoch + 1) / 3))
    return {
        "epoch": epoch,
        "val_loss": 1 - correlation,
        "val_correlation": correlation,
        "val_skill": correlation - 0.5,
        "val_corr_m1": correlation,
        "train_loss": math.nan if epoch == 0 else 1 - correlation,
        "lr": 1e-3,
        "seconds": 2.0 * epoch,
        "seconds_per_step": 0.02,
        "steps": 30 * epoch,
        "baseline_val_loss": 0.6,
        "baseline_val_correlation": 0.4,
        "zero_val_loss": 0.7,
        "node": "here",
    } | columns


def engine_of(study, *, tables=None, ended=(), started=(), storage=None, judge=None, earlier=()):
    arms, storage = study.searched_arms, storage or InMemoryStorage()
    return StudyEngine(
        study,
        tables or Tables(),
        ended,
        started,
        samplers=arm_samplers(study.space, arms, seed=study.seed, storage=storage, earlier=earlier),
        halving={arm: ArmHalving(study.space) for arm in study.space.arms},
        leaderboard=Leaderboard(
            study.space, trainable_arms(study.space.arms, study.roles), storage=storage
        ),
        judge=judge,
    )


def started(engine, workers):
    """Start trials until all workers are busy; False once there is no further trial."""
    while len(engine.running) < workers:
        try:
            if engine.next_trial() is None:
                return True
        except StopIteration:
            return False
    return True


def simulate(engine, *, workers=1, trials=math.inf, row=epoch_row):
    """Run an engine to its end, or until so many trials have ended.

    Running trials report in turn. `row` may raise: that trial has failed.
    """
    more = True
    while len(engine.ended) < trials:
        more = more and started(engine, workers)
        if not engine.running:
            assert not more
            return engine
        for trial_id, trial in list(engine.running.items()):
            try:
                made = row(trial.spec, len(trial.curve))
            except RuntimeError as error:
                engine.on_error(trial_id, str(error))
            else:
                engine.on_epoch(trial_id, made)
            if len(engine.ended) >= trials:
                break
    return engine


def design_rows(tables):
    return [row for row in tables.rows if row["stage"] == DESIGN]
