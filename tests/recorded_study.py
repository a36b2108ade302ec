"""The study of the sample run as it was recorded, whatever the search spaces say today."""

from __future__ import annotations

from command_line import ROOT

from stage1.config import Config
from stage1.run.folder import RunFolder
from stage1.run.resolved_space import read_space
from stage1.study.space import Space, design_points
from stage1.study.study import Study

SAMPLE = RunFolder(ROOT / "analysis" / "sample_run")


def recorded_study():
    resolved = read_space(SAMPLE)
    written = resolved.model_dump(exclude_unset=True)
    fields = {name: written[name] for name in Space.model_fields if name in written}
    space = Space.model_validate({**fields, "base": "resolved already"})
    points = design_points(space, resolved.seed)
    return Study(space, Config.model_validate(resolved.config), resolved.seed, points)
