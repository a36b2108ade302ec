"""How much memory there is, and work in parts where it does not suffice."""

import gc
import resource
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from compared_by_hand import huber_by_hand
from tiny_training import tiny_batch, tiny_config, tiny_fit

from stage1.base.errors import TrialError
from stage1.model.losses import reconstruction_loss
from stage1.training import memory
from stage1.training.memory import (
    BatchGuard,
    is_out_of_memory,
    out_of_memory_is_a_trial_error,
    peak_rss_mb,
    peak_vram_mb,
    reset_peaks,
    shares,
    split,
    take_device,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="peaks are reset through /proc")


@on_linux
def test_the_peak_rises_with_memory_that_is_used_and_starts_anew_after_a_reset():
    gc.collect()
    reset_peaks(CPU)
    before = peak_rss_mb()
    block = np.ones(64 * 2**20 // 8)
    used = peak_rss_mb()
    del block
    kept = peak_rss_mb()

    reset_peaks(CPU)

    assert used - before == pytest.approx(64, abs=8)
    assert kept == pytest.approx(used, abs=1)
    assert peak_rss_mb() < used - 48


def test_without_proc_the_peak_is_the_whole_process_s(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_PROCESS", tmp_path / "none")

    reset_peaks(CPU)

    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak_rss_mb() == pytest.approx(kibibytes / 1024, rel=0.01)


def test_a_training_on_the_cpu_asks_a_gpu_nothing_and_reports_no_video_memory(monkeypatch):
    def asked(*_, **__):
        raise AssertionError("a GPU was asked")

    for name in ("_lazy_init", "reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, asked)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    rows, _ = tiny_fit(tiny_config(training={"epochs": 1}), accelerator="cpu")

    assert [row["peak_vram_mb"] for row in rows] == [None, None]


@pytest.mark.gpu
def test_the_peak_of_video_memory_is_that_since_the_reset():
    reset_peaks(GPU)
    before = torch.cuda.memory_allocated() / 2**20

    block = torch.ones(16 * 2**20 // 4, device="cuda")
    del block

    assert peak_vram_mb(GPU) - before == pytest.approx(16, abs=1)
    reset_peaks(GPU)
    assert peak_vram_mb(GPU) == pytest.approx(before, abs=1)


@pytest.mark.parametrize(
    ("gpus", "device", "limit"),
    [
        pytest.param(0, "cpu", None, id="on the CPU"),
        pytest.param(1, "cuda", None, id="a GPU of its own"),
        pytest.param(0.25, "cuda", 0.25 - 600 / 8192, id="a share, less what CUDA takes"),
        pytest.param(0.05, "cuda", 0.025, id="at least half of a share"),
    ],
)
def test_a_trial_takes_no_more_memory_than_its_share_of_the_gpu(monkeypatch, gpus, device, limit):
    limits = []
    properties = SimpleNamespace(total_memory=8192 * 2**20)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, device: limits.append(share)
    )

    assert take_device(gpus) == device
    assert limits == ([] if limit is None else [pytest.approx(limit)])


def test_a_gpu_that_torch_does_not_find_is_missed_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(TrialError, match=r"^resources.gpus must be a GPU that torch finds, got"):
        take_device(0.5)


# Work in parts ----------------------------------------------------------------------------------


NO_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.00 GiB free."


def batch_of(windows):
    return tiny_batch(tiny_config(training={"batch_size": windows}))


def error_of(work):
    try:
        work()
    except RuntimeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(torch.OutOfMemoryError(NO_MEMORY), id="of a GPU"),
        pytest.param(torch.OutOfMemoryError(NO_MEMORY, 3), id="with more than its text"),
        pytest.param(torch.OutOfMemoryError(), id="without a text"),
        pytest.param(torch.AcceleratorError("CUDA error: out of memory"), id="of the driver"),
        *(
            pytest.param(RuntimeError(text), id=text)
            for text in (
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
                "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
                "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
                "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
                "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
                "cuFFT error: CUFFT_ALLOC_FAILED",
                "HIP out of memory. Tried to allocate 2.00 GiB.",
            )
        ),
        pytest.param(error_of(lambda: torch.empty(2**50)), id="of the CPU, a real one"),
    ],
)
def test_errors_for_want_of_memory_are_known(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(error_of(lambda: torch.ones(2) @ torch.ones(3)), id="shapes, a real one"),
        pytest.param(RuntimeError("CUDA error: device-side assert triggered"), id="a GPU's"),
        pytest.param(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), id="cuDNN's"),
        pytest.param(ValueError("out of memory"), id="a ValueError"),
        pytest.param(KeyboardInterrupt(), id="Ctrl-C"),
    ],
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("windows", "parts", "sizes"),
    [
        (4, 1, [4]),
        (8, 2, [4, 4]),
        (10, 4, [3, 3, 2, 2]),
        (3, 3, [1, 1, 1]),
        pytest.param(3, 8, [1, 1, 1], id="more parts than windows"),
    ],
)
def test_parts_are_of_equal_size_as_far_as_they_can_be_and_joined_the_batch(windows, parts, sizes):
    batch = batch_of(windows)

    pieces = split(batch, parts)

    assert [len(piece.scored) for piece in pieces] == sizes
    for whole, *tensors in zip(batch, *pieces, strict=True):
        assert torch.equal(whole, torch.cat(tensors))


def test_losses_of_parts_by_their_shares_add_up_to_the_loss_of_the_batch():
    batch = batch_of(7)
    scored = batch.scored.clone()
    scored[0] = False  # parts with unequal numbers of scored bars
    batch = batch._replace(scored=scored)
    parts = split(batch, 3)

    each = [reconstruction_loss(torch.zeros_like(part.targets), part, delta=0.5) for part in parts]
    together = float((shares(parts) * torch.stack(each)).sum())

    assert shares(parts).sum() == pytest.approx(1)
    huber = huber_by_hand(batch.targets.numpy()[scored.numpy()], 0.5)
    assert together == pytest.approx(huber.mean(), rel=1e-6)


def test_parts_without_a_scored_bar_have_no_share():
    batch = batch_of(4)
    batch = batch._replace(scored=torch.zeros_like(batch.scored))

    assert shares(split(batch, 2)).tolist() == [0, 0]


class Work:
    """Sums up windows, as many at once as there is room for; notes what it was given."""

    def __init__(self, room):
        self.room, self.given = room, []

    def __call__(self, parts):
        self.given.append([len(part.scored) for part in parts])
        if max(self.given[-1]) > self.room:
            raise torch.OutOfMemoryError(NO_MEMORY)
        return torch.cat([part.targets for part in parts])


def test_work_that_fits_is_given_the_batch_itself():
    batch, lines = batch_of(4), []

    given = BatchGuard("a step", lines.append).run(batch, lambda parts: parts)

    assert given[0] is batch
    assert len(given) == 1
    assert lines == []


@pytest.fixture
def no_collection(monkeypatch):
    """Looks for forgotten tensors take a tenth of a second each in a process full of tests."""
    monkeypatch.setattr(memory, "garbage_collection_cuda", lambda: None)


def test_parts_are_halved_until_they_fit_which_is_told_and_stay_so(no_collection):
    work, lines = Work(room=3), []
    guard = BatchGuard("a step", lines.append)

    first, *_ = (guard.run(batch, work) for batch in (batch_of(10), batch_of(10), batch_of(3)))

    assert work.given == [[10], [5, 5], [3, 3, 2, 2], [3, 3, 2, 2], [1, 1, 1]]
    assert torch.equal(first, batch_of(10).targets)
    assert guard.parts == 4
    assert lines == [
        "Warning: a step did not fit into memory with 10 windows at a time; from here on it takes "
        "5 at a time, and stays one of all 10",
        "Warning: a step did not fit into memory with 5 windows at a time; from here on it takes "
        "3 at a time, and stays one of all 10",
    ]


def test_a_single_window_that_does_not_fit_says_what_to_do(no_collection):
    lines = []
    guard = BatchGuard("a step", lines.append)

    with pytest.raises(TrialError) as error:
        guard.run(batch_of(3), Work(room=0))

    assert str(error.value) == (
        "a step must fit into memory one window at a time, got CUDA out of memory. Tried to "
        "allocate 2.00 GiB. GPU 0 has 1.00 GiB free; set training.gradient_checkpointing: true, "
        "lower data.seq_len, or choose a smaller language model or encoder"
    )
    assert len(lines) == 2


def test_what_the_failed_attempt_held_is_free_before_the_next_and_its_rest_undone():
    held, alive, undone = [], [], []

    def work(parts):
        activations = torch.ones(3)
        held.append(weakref.ref(activations))
        if len(parts) == 1:
            raise torch.OutOfMemoryError(NO_MEMORY)

    def undo():
        alive.append(held[0]() is not None)
        undone.append(len(held))

    BatchGuard("a step", lambda line: None).run(batch_of(4), work, undo=undo)

    assert alive == [False]
    assert undone == [1]


def test_want_of_memory_where_nothing_can_be_cut_is_an_error_a_user_can_act_on():
    with (
        pytest.raises(TrialError, match=r"must fit into memory, got CUDA .* choose a smaller"),
        out_of_memory_is_a_trial_error(),
    ):
        raise torch.OutOfMemoryError(NO_MEMORY)


def test_other_errors_stay_what_they_are():
    def broken(parts):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        BatchGuard("a step", lambda line: None).run(batch_of(4), broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"), out_of_memory_is_a_trial_error():
        broken([])
