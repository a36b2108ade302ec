import gc
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stage1.training import memory
from stage1.training.memory import available_mb, peak_rss_mb, peak_vram_mb, reset_peaks

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="peaks are reset through /proc")


@on_linux
def test_the_peak_rises_with_memory_that_is_used_and_starts_anew_after_a_reset():
    gc.collect()
    reset_peaks()
    before = peak_rss_mb()
    block = np.ones(64 * 2**20 // 8)
    used = peak_rss_mb()
    del block
    kept = peak_rss_mb()

    reset_peaks()

    assert used - before == pytest.approx(64, abs=8)
    assert kept == pytest.approx(used, abs=1)
    assert peak_rss_mb() < used - 48


def test_without_proc_the_peak_is_that_of_the_whole_process(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_PROCESS", tmp_path / "none")

    reset_peaks()

    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak_rss_mb() == pytest.approx(kibibytes / 1024, rel=0.01)


@on_linux
def test_the_memory_that_can_be_taken_is_what_the_system_says():
    free = next(
        line for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in line
    )

    assert available_mb() == pytest.approx(int(free.split()[1]) / 1024, rel=0.2)


def test_without_proc_nobody_knows_what_memory_can_be_taken(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_MACHINE", tmp_path / "none")

    assert available_mb() is None


def test_without_a_gpu_there_is_no_video_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert peak_vram_mb() is None


@pytest.mark.gpu
def test_the_peak_of_video_memory_is_that_since_the_reset():
    reset_peaks()
    before = torch.cuda.memory_allocated() / 2**20

    block = torch.ones(16 * 2**20 // 4, device="cuda")
    del block

    assert peak_vram_mb() - before == pytest.approx(16, abs=1)
    reset_peaks()
    assert peak_vram_mb() == pytest.approx(before, abs=1)
