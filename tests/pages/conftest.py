"""What the tests of a comparison's page share."""

from __future__ import annotations

from functools import partial

import pytest
from made_comparison import write_made


@pytest.fixture
def write_comparison(tmp_path):
    """Writes a variant of the hand-made comparison, as `write_made` does."""
    return partial(write_made, tmp_path / "comparison")


@pytest.fixture(scope="session")
def comparison(tmp_path_factory):
    """The folder of the hand-made comparison; tests share it and leave it as it is."""
    return write_made(tmp_path_factory.mktemp("made") / "comparison")
