"""The cost block around a study: what is timed, what is kept, what a failure leaves."""

from __future__ import annotations

import io

import pytest
from made_runs import synthetic_cost
from made_studies import simulated_study
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError
from rich.console import Console

from stage1.base.errors import TrialError
from stage1.run.folder import RunFolder
from stage1.run.tables import RunWriter, read_cost, write_cost
from stage1.study.space import Resources
from stage1.study.study import cost_config
from stage1.workers import cost_block as cost
from stage1.workers.cost_block import record_cost, time_on_cluster

NAMES = ["english-t5-micro", "english-t5-nano"]
BOTH = "{type: choice, options: [english-t5-nano, english-t5-micro]}"


@pytest.fixture
def study(tmp_path):
    patch_len = "{type: choice, options: [4, 8, 16]}"
    both = f"{patch_len}\n  transfer_learning.lm_name_or_path: {BOTH}"
    return simulated_study(tmp_path, **{"  transfer_learning.patch_len": both})


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    RunWriter(folder)
    return folder


def rows_of(size):
    return [row | {"size": size} for row in synthetic_cost()]


class Timed:
    """In place of the cluster: notes the configurations; some language models cannot be timed."""

    def __init__(self, *, broken=(), error=None):
        self.configs, self.broken = [], broken
        self.error = error or TrialError("OutOfMemoryError: CUDA out of memory")
        self.console = Console(file=io.StringIO(), width=80)

    def __call__(self, config):
        self.configs.append(config)
        name = config.transfer_learning.lm_name_or_path
        if name in self.broken:
            raise self.error
        return rows_of(name)

    @property
    def printed(self):
        return self.console.file.getvalue()


def record(study, run, timed):
    record_cost(study, run, timed.console, time_size=timed)


def sizes(run):
    return read_cost(run)["size"].value_counts().to_dict()


def test_every_language_model_of_the_pretrained_arm_is_timed(study, run):
    timed = Timed()

    record(study, run, timed)

    assert timed.configs == [cost_config(study, name) for name in NAMES]
    assert sizes(run) == dict.fromkeys(NAMES, 12)
    assert timed.printed.splitlines() == [
        f"Timing {name} against a vanilla encoder of the same width ..." for name in NAMES
    ]


def test_what_is_timed_already_is_not_timed_again(study, run):
    record(study, run, Timed())
    before = run.cost.read_bytes()
    again = Timed()

    record(study, run, again)

    assert (again.configs, again.printed) == ([], "")
    assert run.cost.read_bytes() == before


@pytest.mark.parametrize("rounds", [0, 4])
def test_a_language_model_with_too_few_rounds_is_timed_anew_and_the_rest_kept(study, run, rounds):
    write_cost(run, rows_of("english-t5-nano") + rows_of("english-t5-micro")[:rounds])
    before = read_cost(run)
    timed = Timed()

    record(study, run, timed)

    assert timed.configs == [cost_config(study, "english-t5-micro")]
    assert sizes(run) == dict.fromkeys(NAMES, 12)
    nano_before, nano = (
        table[table["size"] == "english-t5-nano"].reset_index(drop=True)
        for table in (before, read_cost(run))
    )
    assert nano.equals(nano_before)


def test_a_language_model_that_cannot_be_timed_is_told_and_the_others_are_written(study, run):
    timed = Timed(broken=["english-t5-micro"])

    record(study, run, timed)

    assert sizes(run) == {"english-t5-nano": 12}
    assert (
        "Warning: english-t5-micro could not be timed, so what it costs stays open: "
        "OutOfMemoryError: CUDA out of memory. The trials are complete; the same command with "
        "--resume tries again.\n"
    ) in timed.printed


def test_where_nothing_can_be_timed_there_is_no_table(study, run):
    record(study, run, Timed(broken=NAMES))

    assert not run.cost.exists()


def test_without_a_pretrained_arm_nothing_is_timed(tmp_path, run):
    study = simulated_study(
        tmp_path, **{"  pretrained": "{transfer_learning.use_pretrained_lm: false}"}
    )
    timed = Timed()

    record(study, run, timed)

    assert (timed.configs, timed.printed) == ([], "")
    assert not run.cost.exists()


def test_an_interruption_leaves_the_table_as_it_was(study, run):
    write_cost(run, rows_of("english-t5-nano"))
    before = run.cost.read_bytes()

    with pytest.raises(KeyboardInterrupt):
        record(study, run, Timed(broken=NAMES, error=KeyboardInterrupt()))

    assert run.cost.read_bytes() == before


class Remote:
    """A Ray task that is never run; its options are those of the last one made."""

    def __init__(self, **options):
        Remote.options = options

    def __call__(self, function):
        return self

    def remote(self, *arguments):
        return arguments


def task_error(cause):
    return RayTaskError("time", "Traceback ...\n  lines\nRuntimeError", cause)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(
            task_error(RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")),
            "RuntimeError: CUDA out of memory",
            id="the training has failed",
        ),
        pytest.param(
            WorkerCrashedError(),
            "WorkerCrashedError: The worker died unexpectedly while executing this task",
            id="the process has died",
        ),
        pytest.param(
            OutOfMemoryError("Task was killed due to the node running low on memory.\nMore"),
            "OutOfMemoryError: Task was killed due to the node running low on memory",
            id="the machine ran out of memory",
        ),
    ],
)
def test_a_failure_on_the_cluster_is_one_line_that_names_it(study, monkeypatch, error, told):
    def fail(reference):
        raise error

    monkeypatch.setattr(cost.ray, "remote", Remote)
    monkeypatch.setattr(cost.ray, "get", fail)

    with pytest.raises(TrialError) as raised:
        time_on_cluster(cost_config(study, "english-t5-nano"), None, Resources())

    assert str(raised.value).startswith(told)
    assert "\n" not in str(raised.value)


def test_a_timing_has_the_resources_of_a_trial_and_a_process_of_its_own(study, monkeypatch):
    monkeypatch.setattr(cost.ray, "remote", Remote)
    monkeypatch.setattr(cost.ray, "get", lambda reference: list(reference))

    config, _, gpus = time_on_cluster(
        cost_config(study, "english-t5-nano"), None, Resources(cpus=3, gpus=0.5)
    )

    assert Remote.options == {"num_cpus": 3, "num_gpus": 0.5, "max_retries": 0, "max_calls": 1}
    assert config["transfer_learning"]["lm_name_or_path"] == "english-t5-nano"
    assert gpus == 0.5
