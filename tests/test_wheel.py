"""The package carried away: built, installed elsewhere, used in an empty folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import ROOT, python, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Where the wheel is installed that was built from the source distribution."""
    pytest.importorskip("build", reason="`make test-all` installs build")
    folder = tmp_path_factory.mktemp("package")
    python("-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    options = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    python("-m", "pip", "install", *options, "--target", folder / "to", wheel)
    return folder / "to"


def test_a_study_begins_in_an_empty_folder_without_the_repository(installed, tmp_path):
    here = {"cwd": tmp_path, "env": {"PYTHONPATH": str(installed)}}

    def stage1(*arguments):
        return run(installed / "bin" / "stage1", *arguments, **here).stdout

    module = "import stage1; print(stage1.__file__)"
    found = python("-c", module, **here).stdout
    version = stage1("--version")
    stage1("new", "x")
    own = stage1("tune", "x/space.yaml", "--check")
    shipped = stage1("tune", "transfer", "--check")

    assert found == f"{installed}/stage1/__init__.py\n"
    assert version.startswith("stage1 ")
    assert own.startswith("x/space.yaml: sound. ")
    assert "language models: english-t5-micro, english-t5-nano." in own
    assert shipped == own.replace("x/space.yaml", "transfer")
    assert os.listdir(tmp_path) == ["x"]
