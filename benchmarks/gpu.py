"""Does a GPU train right, and how fast: one command of at most nine minutes.

    python benchmarks/gpu.py [--device cuda|cpu] [--quick] [--minutes 9]

Every line says what was seen and, where there is something to pass, whether it passed; the whole
comes again as a table, and the exit status is 1 where anything failed. What no longer fits into the
time is named, not left out in silence. On a CPU, and with --quick, it tests itself: the numbers
mean nothing. Needs neither Ray nor network: bars and weights are made up, the sizes real.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, NamedTuple

import torch
import typer
from data import random_walk
from pytorch_lightning.callbacks import Callback

from stage1.config import Config, load_config, with_values
from stage1.config.training import GPU_PRECISIONS
from stage1.data.bars import resample_all
from stage1.data.batches import MarketWindows
from stage1.language_models.initialization import t5_stack
from stage1.language_models.resolver import LanguageModel, weights_sha256
from stage1.language_models.t5_dimensions import encoder_config
from stage1.training.fit import EpochRow, fit
from stage1.training.timing import timed_fit, vanilla_counterpart

ROOT = Path(__file__).parents[1]
TINY = "tiny"
TINY_DIMENSIONS = {"d_model": 64, "d_kv": 32, "d_ff": 192, "num_layers": 2, "num_heads": 2}
SIZES = ("google-t5/t5-small", "google-t5/t5-base", "google-t5/t5-large")
PRECISIONS = ("32-true", "tf32", "bf16-mixed", "16-mixed")
QUICK_TIMEFRAMES = ("m1", "m5")
LIMIT_GB = 0.6
"""Of the GPU's memory, where it is made to run out."""


class Line(NamedTuple):
    """What one check or measurement saw."""

    what: str
    seen: str
    passed: bool | None = None
    """None where there is nothing to pass."""


@dataclass
class Session:
    """Where and how long, and what was seen so far."""

    device: str
    quick: bool
    deadline: float
    lines: list[Line] = field(default_factory=list)

    @property
    def accelerator(self) -> str:
        return self.device

    @property
    def precisions(self) -> list[str]:
        """Those that the device has; the last one is not what anybody should train in."""
        return [one for one in PRECISIONS if self.device == "cuda" or one not in GPU_PRECISIONS]

    def note(self, line: Line) -> None:
        self.lines.append(line)
        left = self.deadline - time.monotonic()
        print(f"[{left:4.0f} s left] {line.what}: {line.seen}{verdict(line)}", flush=True)

    def attempt(self, what: str, measure: Callable[[], Line | None], *, seconds: float) -> None:
        """Measure and note; what raises is noted as failed, what no longer fits as not run.

        Args:
            what: Is measured.
            measure: Gives its line, or None where this device has nothing to say.
            seconds: That it takes on a GPU of 2023, roughly.
        """
        if self.deadline - time.monotonic() < seconds and not self.quick:
            self.note(Line(what, f"not run: less than {seconds:.0f} s were left", False))
            return
        try:
            line = measure()
        except Exception as error:  # a check that raises must not take the others with it
            reason = (str(error).splitlines() or [""])[0][:240]
            line = Line(what, f"raised {type(error).__name__}: {reason}", False)
        if line is not None:
            self.note(line)


def verdict(line: Line) -> str:
    return {True: " (passed)", False: " (FAILED)", None: ""}[line.passed]


# Models, bars, trainings ------------------------------------------------------------------------


@cache
def language_model(name: str) -> LanguageModel:
    """A T5 of a real size and random weights."""
    dimensions = encoder_config(SIZES[0] if name == TINY else name)
    if name == TINY:
        dimensions = {**dimensions, **TINY_DIMENSIONS}
    torch.manual_seed(0)
    weights = {key: value.detach() for key, value in t5_stack(dimensions).state_dict().items()}
    return LanguageModel(name, dimensions, weights, 2.5, weights_sha256(weights), dropped=0)


def config_of(name: str, session: Session, changes: dict[str, Any] | None = None) -> Config:
    """The base configuration with a language model; tiny batches with --quick."""
    quick = {
        "training.batch_size": 2,
        "training.steps_per_epoch": 2,
        "data.validation_windows": 16,
        "data.timeframes": list(QUICK_TIMEFRAMES),
    }
    values = {"transfer_learning.lm_name_or_path": name} | (changes or {})
    if session.quick:
        values |= quick
    return with_values(load_config(ROOT / "configs" / "base.yaml"), values)


def tiny_config(session: Session, changes: dict[str, Any] | None = None) -> Config:
    """Three epochs of twenty steps of the tiny T5."""
    values = {
        "training.epochs": 3,
        "training.steps_per_epoch": 20,
        "data.validation_windows": 128,
        "training.optimizer.lr": 4e-3,
    }
    return config_of(TINY, session, values | (changes or {}))


@cache
def _bars(timeframes: tuple[str, ...]) -> dict[str, Any]:
    days = 20 if len(timeframes) == len(QUICK_TIMEFRAMES) else 200
    return resample_all(random_walk(60 * 24 * days), timeframes)


@cache
def windows_of(data: Any) -> MarketWindows:
    """Windows over made-up days; shared, never changed."""
    return MarketWindows(_bars(data.timeframes), data)


def trained(config: Config, accelerator: str, **options: Any) -> list[EpochRow]:
    """The rows of a training."""
    rows: list[EpochRow] = []
    name = config.language_model_name
    model = None if name is None else language_model(name)
    fit(
        config,
        windows_of(config.data),
        model,
        report=rows.append,
        accelerator=accelerator,
        **options,
    )
    return rows


def curve(rows: list[EpochRow]) -> list[tuple[float, float, str]]:
    """What must be equal to the last bit where two trainings are the same."""
    return [(row["val_loss"], row["val_correlation"], str(row["train_loss"])) for row in rows]


# Right ------------------------------------------------------------------------------------------


def marked_tests(session: Session) -> Line | None:
    """The tests that are marked gpu."""
    if session.device == "cpu":
        return None
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    return Line("pytest -m gpu", last, done.returncode == 0)


def same_as_on_the_cpu(session: Session) -> Line:
    """Rounding apart, the device trains what the CPU trains."""
    config = tiny_config(session)
    here, cpu = trained(config, session.accelerator), trained(config, "cpu")
    worst = max(
        abs(a["val_correlation"] - b["val_correlation"]) for a, b in zip(here, cpu, strict=True)
    )
    prints = ("order_sha256", "mask_sha256", "head_sha256", "lm_sha256")
    equal = all(here[-1][key] == cpu[-1][key] for key in prints)
    seen = f"val_correlation differs by at most {worst:.1e}; fingerprints equal: {equal}"
    return Line("the GPU against the CPU, 60 steps", seen, worst < 1e-3 and equal)


def twice_the_same(session: Session) -> Line:
    """Bit-identity, as `fit` promises it."""
    one, two = (curve(trained(tiny_config(session), session.accelerator)) for _ in range(2))
    return Line("two runs equal to the last bit", str(one == two), one == two)


class _Keep(Callback):
    """Saves the state after the first epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


def resumed(session: Session, dropout: float) -> Line:
    """A training that goes on from a state equals one that was never interrupted."""
    config = tiny_config(session, {"model.dropout": dropout})
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.ckpt"
        whole = curve(trained(config, session.accelerator, callbacks=[_Keep(state)]))
        rest = curve(trained(config, session.accelerator, checkpoint=state))
    same = whole[2:] == rest
    return Line(f"resumed, dropout {dropout:g}: as undisturbed", str(same), same)


def precision_trains(session: Session, precision: str, freeze: int) -> Line:
    """No error, and a number at the end."""
    changes = {"training.precision": precision, "transfer_learning.freeze_lm_epochs": freeze}
    rows = trained(tiny_config(session, changes), session.accelerator)
    last = rows[-1]["val_correlation"]
    what = f"{precision}, {freeze} frozen epochs"
    return Line(what, f"val_correlation {last:.4f}", last == last)


def out_of_memory(session: Session) -> Line | None:
    """A batch that does not fit is worked on in parts, and the trial ends."""
    if session.device == "cpu":
        return None
    said: list[str] = []
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(LIMIT_GB * 1e9 / total)
    try:
        changes = {"training.batch_size": 1024, "training.steps_per_epoch": 3}
        rows = trained(tiny_config(session, changes), session.accelerator, warn=said.append)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    parts = rows[-1]["accumulation"]
    what = f"{LIMIT_GB} GB for a batch of 1,024"
    return Line(what, f"in {parts} parts, {len(said)} warnings", parts > 1)


# Fast -------------------------------------------------------------------------------------------


class Busy:
    """Mean share of the time in which the GPU worked, where NVIDIA's library tells."""

    def __init__(self, device: str) -> None:
        self.shares: list[int] = []
        self.asks = device == "cuda" and importlib.util.find_spec("pynvml") is not None

    @contextmanager
    def watching(self) -> Iterator[Busy]:
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                self.shares.append(torch.cuda.utilization())

        watcher = threading.Thread(target=watch, daemon=True)
        if self.asks:
            watcher.start()
        try:
            yield self
        finally:
            done.set()

    def __str__(self) -> str:
        return f"GPU busy {mean(self.shares):.0f} %" if self.shares else "GPU busy: not known"


def step_time(
    session: Session, name: str, precision: str, *, patch_len: int = 8, vanilla: bool = False
) -> Line:
    """Milliseconds per step and peak memory, the first two epochs left out."""
    changes = {"transfer_learning.patch_len": patch_len, "training.precision": precision}
    config, model = config_of(name, session, changes), language_model(name)
    if vanilla:
        config = vanilla_counterpart(config, model.config)
    with Busy(session.device).watching() as busy:
        clock, rows = timed_fit(
            config,
            windows_of(config.data),
            None if vanilla else model,
            epochs=3 if session.quick else 10,
            accelerator=session.accelerator,
            num_sanity_val_steps=0,
            limit_val_batches=1,
        )
    milliseconds = 1000 * sum(clock.seconds[2:]) / sum(clock.steps[2:])
    memory, parts = rows[-1]["peak_vram_mb"] or 0.0, rows[-1]["accumulation"]
    what = f"{'vanilla of ' * vanilla}{name}, patch_len {patch_len}, {precision}"
    seen = f"{milliseconds:.2f} ms/step, peak {memory:,.0f} MiB, {parts} parts, {busy}"
    return Line(what, seen)


class _Save(Callback):
    """Saves the state after every epoch, and notes how long it took and how large it is."""

    def __init__(self, path: Path) -> None:
        self.path, self.seconds, self.size = path, list[float](), 0

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        started = time.perf_counter()
        trainer.save_checkpoint(self.path)
        self.seconds.append(time.perf_counter() - started)
        self.size = self.path.stat().st_size


def state_time(session: Session, name: str) -> Line:
    """Seconds and bytes of a state."""
    changes = {"training.epochs": 2, "training.steps_per_epoch": 3, "data.validation_windows": 64}
    with tempfile.TemporaryDirectory() as folder:
        save = _Save(Path(folder) / "state.ckpt")
        trained(config_of(name, session, changes), session.accelerator, callbacks=[save])
    seconds = ", ".join(f"{second:.2f}" for second in save.seconds)
    return Line(f"a state of {name}", f"{seconds} s, {save.size / 1e9:.2f} GB")


# Packed -----------------------------------------------------------------------------------------


def packed(session: Session, name: str, precision: str, count: int) -> Line:
    """Trials per hour of so many processes on one GPU, each with a training of its own."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        options = ["--device", session.device, *["--quick"] * session.quick]
        command = [sys.executable, __file__, *options, "--child", f"{folder}:{name}:{precision}"]
        children = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        while len(list(folder.glob("ready*"))) < count:
            if any(child.poll() is not None for child in children):
                raise RuntimeError("a process ended before it began")
            time.sleep(0.05)
        with Busy(session.device).watching() as busy:
            started = time.perf_counter()
            (folder / "go").touch()
            outputs = [child.communicate()[0] for child in children]
            wall = time.perf_counter() - started
        if any(child.returncode for child in children):
            raise RuntimeError("a process failed")
    per_hour = count * 3600 / wall
    last = outputs[0].strip().splitlines()[-1]
    return Line(f"{count} at once, {name}, {precision}", f"{per_hour:.0f} trials/h, {busy}, {last}")


def be_child(session: Session, job: str) -> None:
    """One of several processes: makes ready, waits for the start, trains."""
    place, name, precision = job.split(":")
    changes = {
        "training.precision": precision,
        "training.epochs": 3,
        "training.steps_per_epoch": 50,
    }
    config, folder = config_of(name, session, changes), Path(place)
    windows_of(config.data).validation_batches(config.masking)
    language_model(name)
    if session.device == "cuda":
        torch.zeros(1, device="cuda")
    (folder / f"ready{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    last = trained(config, session.accelerator)[-1]
    print(f"{1000 * last['seconds_per_step']:.1f} ms/step in one of them")


# All of it --------------------------------------------------------------------------------------


def run_all(session: Session) -> None:
    """Every check and measurement, the checks first."""
    quick, attempt = session.quick, session.attempt
    attempt("pytest -m gpu", lambda: marked_tests(session), seconds=60)
    attempt("the GPU against the CPU", lambda: same_as_on_the_cpu(session), seconds=20)
    attempt("two runs", lambda: twice_the_same(session), seconds=10)
    for dropout in (0.0, 0.1):
        attempt(f"resumed, {dropout}", lambda d=dropout: resumed(session, d), seconds=8)
    for precision in session.precisions:
        for freeze in (0, 1):
            attempt(
                f"{precision}, freeze {freeze}",
                lambda p=precision, f=freeze: precision_trains(session, p, f),
                seconds=5,
            )
    attempt("out of memory", lambda: out_of_memory(session), seconds=10)
    sizes, usual = (TINY,) if quick else SIZES, session.precisions[1]
    for name in sizes:
        for precision in session.precisions[:3]:
            attempt(name, lambda n=name, p=precision: step_time(session, n, p), seconds=12)
        attempt(name, lambda n=name: step_time(session, n, usual, vanilla=True), seconds=12)
    attempt("patch_len 4", lambda: step_time(session, sizes[-1], usual, patch_len=4), seconds=20)
    for name in sizes:
        attempt(f"state of {name}", lambda n=name: state_time(session, n), seconds=12)
    language_model.cache_clear()
    if session.device == "cuda":
        torch.cuda.empty_cache()
    for name, precision in ((TINY, "32-true"), (SIZES[0], usual))[: 1 if quick else 2]:
        for count in (1,) if quick else (1, 4, 8):
            attempt(
                f"{count} at once",
                lambda n=name, p=precision, c=count: packed(session, n, p, c),
                seconds=25,
            )


def table(lines: list[Line]) -> str:
    """The lines as Markdown, for benchmarks/README.md."""
    marks = {True: "yes", False: "NO", None: ""}
    rows = [f"| {line.what} | {line.seen} | {marks[line.passed]} |" for line in lines]
    return "\n".join(["| what | seen | passed |", "|---|---|---|", *rows])


def main(
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    quick: Annotated[bool, typer.Option("--quick", help="Tiny, to test this script.")] = False,
    minutes: Annotated[float, typer.Option(help="What begins later is named, not run.")] = 9.0,
    child: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        reason = "this machine must have a GPU that torch can use, got none; or give --device cpu"
        print(reason, file=sys.stderr)
        raise typer.Exit(2)
    session = Session(device, quick, time.monotonic() + 60 * minutes)
    if child is not None:
        torch.set_num_threads(1)
        be_child(session, child)
        return
    name = torch.cuda.get_device_name(0) if device == "cuda" else "CPU"
    print(f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, {name}")
    run_all(session)
    print(f"\n{table(session.lines)}")
    failed = sum(line.passed is False for line in session.lines)
    print(f"\n{failed} failed" if failed else "\nall passed")
    raise typer.Exit(int(failed > 0))


if __name__ == "__main__":
    typer.run(main)
