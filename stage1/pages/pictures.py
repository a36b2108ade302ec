"""Figures as files beside a page."""

from __future__ import annotations

from stage1.pages.blocks import Picture
from stage1.pages.figures import DrawnFigure, save_figure
from stage1.run.folder import RunFolder


def saved_picture(drawn: DrawnFigure, run: RunFolder) -> Picture:
    """A figure as its file; the file of an earlier page goes where there is no figure now."""
    path = run.figures / f"{drawn.name}.png"
    if drawn.figure is None:
        path.unlink(missing_ok=True)
        return Picture(drawn.title, drawn.caption, "", b"", drawn.missing)
    save_figure(drawn.figure, path)
    shown = path.relative_to(run.path).as_posix()
    return Picture(drawn.title, drawn.caption, shown, path.read_bytes(), "")
