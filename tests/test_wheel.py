"""The package carried away: built, installed elsewhere, used in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Where the wheel is installed that was built from the source distribution."""
    pytest.importorskip("build", reason="`make test-all` installs build")
    folder = tmp_path_factory.mktemp("package")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    options = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "install", *options, "--target", folder / "to", wheel)
    return folder / "to"


def test_a_study_begins_in_an_empty_folder_without_the_repository(installed, tmp_path):
    def stage1(*arguments):
        command = installed / "bin" / "stage1"
        return run(command, *arguments, cwd=tmp_path, PYTHONPATH=str(installed))

    module = "import stage1; print(stage1.__file__)"
    found = run(sys.executable, "-c", module, cwd=tmp_path, PYTHONPATH=str(installed))
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


def run(*command, cwd: Path = ROOT, **environment: str) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
