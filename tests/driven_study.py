"""A made-up study in a process of its own, which tests can kill, on a Ray that runs already."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from itertools import count
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import made_up_study
import optuna
import pandas as pd
import psutil
from command_line import HANG, ROOT, heeding_ctrl_c, start
from made_studies import BASE, write_space
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from stage1.run.folder import RunFolder
from stage1.run.tables import load_table

IMPORTS = ["stage1.workers.launch", "ray.tune", "pandas", "optuna"]
CONTEXT = multiprocessing.get_context("forkserver")
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-that-both-sides-know-0123456789"}


START_RAY = """
import json, os, sys, ray
from stage1.workers.cluster import RAY_SETTINGS
os.environ.update(RAY_SETTINGS)
options = {"include_dashboard": False, "log_to_driver": False, "_node_ip_address": "127.0.0.1"}
ray.init(address="local", **options, **json.loads(sys.argv[1]))
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def running_ray(*, env=None, **options):
    """A Ray in a process of its own, which has its `address`; options are those of `ray.init`."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    words = (sys.executable, "-c", START_RAY, json.dumps(options))
    process = start(*words, env=TOKEN | (env or {}), **pipes)
    process.address = process.stdout.readline().strip()
    yield process
    process.communicate(timeout=HANG)


def start_process(*command):
    """Start a program that knows the token; what it prints is kept."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return start(sys.executable, *command, env=TOKEN, **pipes)


def finish(process):
    """Wait for its end, which must be a good one; what it printed."""
    printed, _ = process.communicate(timeout=HANG)
    assert process.returncode == 0, printed
    return printed


class Forked:
    """A script that runs, by the names that `subprocess.Popen` has for it.

    Its imports, which take ten seconds, are done: each is forked from a process that has made them
    once. What it prints goes to a file.
    """

    def __init__(self, script: Path, *arguments: object, output: Path) -> None:
        CONTEXT.set_forkserver_preload(IMPORTS)
        words = [str(script), *map(str, arguments)]
        self._output = output
        output.touch()
        self._process = CONTEXT.Process(target=_run_script, args=(words, output))
        with heeding_ctrl_c(), mock.patch.dict(os.environ, TOKEN):  # Ray reads it on import
            forkserver.ensure_running()
            self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float = HANG) -> tuple[str, None]:
        """Wait for its end; gives what it printed."""
        self._process.join(timeout)
        assert self.returncode is not None, f"{self._process} hangs"
        return self._output.read_text(encoding="utf-8"), None


def _run_script(words: list[str], output: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(Path(words[0]).parents[1])
    with output.open("w", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")


class Driver:
    """The process that runs a tiny study at an address of Ray."""

    def __init__(self, address, folder, space=made_up_study.SPACE, **options):
        write_space(folder, space, base=BASE)
        self.address, self.options, self.numbers = address, options, count()
        self.space, self.run = folder / "space.yaml", RunFolder(folder / "tiny")

    def start(self, *further):
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self.options.items()]
        script = ROOT / "benchmarks" / "made_up_study.py"
        output = self.run.path.with_suffix(f".{next(self.numbers)}.txt")
        arguments = (self.space, self.run.path, self.address, *options, *further)
        return Forked(script, *arguments, output=output)

    def written(self):
        """How many trials are in the table, which can be read at any time.

        Not by `pd.read_parquet(path)`: it opens the file twice, and may find a newer one.
        """
        return load_table(self.run.trials).num_rows if self.run.trials.exists() else 0

    def trials(self):
        return pd.read_parquet(self.run.trials)

    def curves(self):
        return pd.read_parquet(self.run.curves)

    def looks(self):
        """The looks in the order in which they were judged, each with the trials on disk."""
        file = self.run.path.with_suffix(".looks")
        lines = file.read_text().splitlines() if file.exists() else []
        return [tuple(map(int, line.split())) for line in lines]

    def work(self):
        """How often each epoch of each trial was worked out."""
        return {
            file.name: Counter(map(int, file.read_text().split()))
            for file in self.run.path.with_suffix(".work").iterdir()
            if not file.suffix
        }

    def repeated(self):
        """How many epochs were worked out more than once, by trial."""
        return {
            trial_id: sum(count - 1 for count in epochs.values())
            for trial_id, epochs in self.work().items()
        }

    def nodes(self):
        """The nodes that each trial has run on, in order."""
        return {
            file.stem: file.read_text().split()
            for file in self.run.path.with_suffix(".work").glob("*.nodes")
        }

    def optuna_trials(self):
        """The trials of both arms' samplers."""
        storage = JournalStorage(JournalFileBackend(str(self.run.journal)))
        return [
            trial
            for arm in ("pretrained", "random")
            for trial in optuna.load_study(study_name=f"tiny-{arm}", storage=storage).trials
        ]


def workers_of(process):
    """Processes of a Ray in which trials run."""
    family = psutil.Process(process.pid).children(recursive=True)
    return [process for process in family if "ImplicitFunc" in "".join(cmdline(process))]


def cmdline(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []
