"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import subprocess

import pytest
from small_disk import on_a_small_disk

from stage1.base.errors import ResultsError
from stage1.base.files import (
    atomic_path,
    checksum_holds,
    must_be_writable,
    scratch_folder,
    sha256_of_file,
    system_faults,
    with_checksum,
    write_text,
)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_with_its_whole_content_and_nothing_beside_it(tmp_path):
    target = tmp_path / "new" / "report.md"

    write_text(target, "größer ≥\n")

    assert target.read_bytes() == "größer ≥\n".encode()
    assert names_in(target.parent) == ["report.md"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_half_way_leaves_the_old_file_or_folder_and_no_trace(tmp_path, error):
    file, folder = tmp_path / "table.parquet", tmp_path / "model"
    file.write_text("old")
    (folder / "old").mkdir(parents=True)

    def write_half(target, write):
        with atomic_path(target) as path:
            write(path)
            raise error

    with pytest.raises(error):
        write_half(file, lambda path: path.write_text("half"))
    with pytest.raises(error):
        write_half(folder, lambda path: path.mkdir())

    assert file.read_text() == "old"
    assert names_in(folder) == ["old"]
    assert names_in(tmp_path) == ["model", "table.parquet"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "table.parquet"
    target.write_text("old")

    with atomic_path(target) as path:
        path.write_text("new")
        seen = target.read_text()

    assert seen == "old"
    assert target.read_text() == "new"


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()

    with atomic_path(target) as path:
        path.mkdir()
        (path / "new").touch()

    assert names_in(target) == ["new"]
    assert names_in(tmp_path) == ["model"]


def test_a_folder_that_may_not_be_replaced_stays(tmp_path):
    target = tmp_path / "run"
    target.mkdir()
    (target / "file").write_text("old")

    def replace():
        with atomic_path(target, replace=False) as path:
            path.mkdir()
            (path / "file").write_text("new")

    with pytest.raises(OSError, match="not empty"):
        replace()

    assert (target / "file").read_text() == "old"
    assert names_in(tmp_path) == ["run"]


def test_the_hash_is_sha_256(tmp_path):
    path = tmp_path / "bytes"
    path.write_bytes(b"abc")

    published = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4
    assert sha256_of_file(path) == published


# --- a full disk ---

FULL_DISK = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from stage1.base.checkpoints import save_checkpoint
from stage1.base.files import atomic_path

target = Path(sys.argv[1]) / "file"
target.write_text("old")
tensors = {name: torch.ones(500_000) for name in "abc"}
for write in (
    lambda path: save_checkpoint(tensors, path),
    lambda path: save_file(tensors, path),
    lambda path: path.write_bytes(bytes(6_000_000)),
):
    try:
        with atomic_path(target) as path:
            write(path)
    except OSError as error:
        print(error.errno, [file.name for file in target.parent.iterdir()], target.read_text())
"""


def test_on_a_full_disk_every_library_s_writing_fails_alike_and_the_old_file_stays(tmp_path):
    printed = on_a_small_disk(FULL_DISK, tmp_path / "disk", megabytes=4)

    assert printed.splitlines() == [f"{errno.ENOSPC} ['file'] old"] * 3


def wrapped(fault):
    """As torch raises its own error while it closes the file that could not be written."""
    try:
        raise fault
    except OSError:
        raise RuntimeError("unexpected pos 768 vs 662")  # noqa: B904


def test_a_fault_that_another_error_hides_is_what_a_place_is_said_to_have(tmp_path):
    fault = OSError(errno.ENOSPC, "No space left on device")

    said = r"got \[Errno 28\] No space left on device; make room"
    with pytest.raises(ResultsError, match=said), must_be_writable(tmp_path, advice="make room"):
        wrapped(fault)


@pytest.mark.parametrize("error", [RuntimeError("a defect"), ResultsError("a fault, explained")])
def test_an_error_that_hides_no_fault_stays_what_it_is(error):
    with pytest.raises(type(error)) as raised, system_faults():
        raise error

    assert raised.value is error


# --- checksums ---


def test_a_text_with_a_checksum_begins_with_the_hash_of_the_rest():
    text = with_checksum("a: 1\n", "Written by us; ")

    first, rest = text.split("\n", 1)
    assert rest == "a: 1\n"
    digest = hashlib.sha256(b"a: 1\n").hexdigest()
    assert first == f"# Written by us; sha256 of what follows this line: {digest}"


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        pytest.param(lambda text: text, True, id="as written"),
        pytest.param(lambda text: text.replace("a: 1", "a: 2"), False, id="a value"),
        pytest.param(lambda text: text + "\n", False, id="a line more"),
        pytest.param(lambda text: text.split("\n", 1)[1], None, id="first line gone"),
        pytest.param(lambda text: "", None, id="nothing left"),
        pytest.param(lambda text: text.replace("Written", "Copied"), None, id="another label"),
    ],
)
def test_an_edit_shows(change, holds):
    text = change(with_checksum("a: 1\n", "Written; "))

    assert checksum_holds(text, "Written; ") is holds


def test_a_scratch_folder_is_gone_afterwards(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with scratch_folder() as folder:
        (folder / "file").write_text("x")

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_has_left_is_removed_and_what_others_use_stays(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder() as folder:
        own, machine = folder.name, folder.name.split("-")[1]
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = f"s1-{machine}-{ended.pid}-abcdefgh"
    kept = [
        own,  # of a process that runs
        f"s1-000000-{ended.pid}-abcdefgh",  # of another machine or container
        f"s1-{machine}-20251101120000-abcdefgh",
        "s1-20251101-backup",
        "s1-",
    ]
    for name in (left, *kept):
        (tmp_path / name).mkdir()

    with scratch_folder():
        pass

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
