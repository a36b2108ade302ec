"""Files from strangers: they run no code, write nowhere else, and cannot disguise a report."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fuzz import ends_in_time, told
from made_runs import write_synthetic_run
from markdown_it import MarkdownIt
from rich.console import Console

from stage1.base.errors import ModelError
from stage1.claims.importance import partial_variances
from stage1.claims.judge import evaluate
from stage1.claims.scores import read_run
from stage1.config import load_config
from stage1.export import export
from stage1.language_models.resolver import resolve
from stage1.pages.blocks import Code, Commands, cautions, paragraph
from stage1.pages.figures import draw_all
from stage1.pages.markdown import markdown
from stage1.pages.study_page import write_report
from stage1.run.folder import RunFolder
from stage1.run.resolved_space import read_space
from stage1.run.summary import best_configuration, count_statuses, summarize_arms
from stage1.run.tables import read_trials
from stage1.study.study import load_study

TABLES = ("trials", "curves", "blocks", "cost")
WRITTEN = {"claims.json", "report.md", "report.html", "figures"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("runs") / "run"
    return write_synthetic_run(path, arms=("pretrained", "random"), configurations=2, seeds=1)


@pytest.fixture
def run(tmp_path: Path, sound: RunFolder) -> RunFolder:
    """A copy of a sound run, to be tampered with."""
    return RunFolder(Path(shutil.copytree(sound.path, tmp_path / "runs" / "run")))


def analyse(run: RunFolder) -> None:
    """What the notebooks compute of a run."""
    tables = read_run(run)
    evaluation = evaluate(tables)
    draw_all(tables, evaluation)
    cautions(evaluation.warnings, evaluation.deviations)
    count_statuses(tables.trials)
    summarize_arms(tables.trials, tables.space, tables.registration)
    best_configuration(tables.trials, tables.space, tables.registration)
    scores = evaluation.scores
    partial_variances(scores.values, np.zeros(len(scores.values)), tables.space.space)


def opened(run: RunFolder) -> list[str]:
    """What report, export and the notebooks say of a run, each nothing where all goes well."""
    out = run.path.parent / "best.yaml"
    actions: list[Callable[[], object]] = [
        lambda: write_report(run),
        lambda: export(run, out),
        lambda: analyse(run),
    ]
    with ends_in_time():
        return [told(action) for action in actions]


# --- code in files ---


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


@pytest.fixture
def trap(marker: Path) -> bytes:
    return pickle.dumps(Trap(marker))


def test_the_trap_springs_where_something_unpickles_it(trap, marker):
    pickle.loads(trap)

    assert marker.is_dir()


@pytest.mark.parametrize("name", ["space.yaml", "prereg.yaml", *(f"{t}.parquet" for t in TABLES)])
def test_a_pickle_in_place_of_a_file_is_refused(run, trap, marker, name):
    file = run.path / name
    file.write_bytes(trap)

    messages = opened(run)

    assert f"{file}: must be readable" in messages[0]
    assert messages[0] == messages[2]
    assert not marker.exists()


@pytest.mark.parametrize("name", ["space.yaml", "prereg.yaml"])
@pytest.mark.parametrize(
    "tag", ["object/apply:os.mkdir", "object/new:os.mkdir", "name:os.mkdir", "module:os"]
)
def test_a_python_object_in_yaml_is_refused(run, marker, name, tag):
    file = run.path / name
    text = file.read_text(encoding="utf-8")
    file.write_text(f"{text}later: !!python/{tag} ['{marker}']\n", encoding="utf-8")

    messages = opened(run)

    assert f"{file}: must be readable" in messages[0]
    assert not marker.exists()


def test_files_that_no_report_reads_stay_unread(run, trap, marker):
    for name in (
        *("optuna.journal", "claims.json", "report.md", "begun.json", "figures/x.png"),
        *("checkpoints/best.ckpt", "tensorboard/t0/events.out.tfevents.1.x.1.0", "later.pkl"),
    ):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_bytes(trap)

    assert opened(run) == ["", "", ""]

    assert not marker.exists()
    assert (run.path / "checkpoints" / "best.ckpt").read_bytes() == trap


@pytest.mark.parametrize(
    "extension",
    ["arrow.py_extension_type", "arrow.opaque", "pandas.period", "pandas.interval", "x"],
)
def test_an_extension_type_of_a_column_runs_nothing(run, trap, marker, extension):
    names = {b"ARROW:extension:name": extension.encode(), b"ARROW:extension:metadata": trap}
    for table in TABLES:
        file = run.path / f"{table}.parquet"
        whole = pq.read_table(file)
        fields = [field.with_metadata(names) for field in whole.schema]
        pq.write_table(whole.cast(pa.schema(fields)), file)

    for read in (read_run, read_trials):
        told(lambda read=read: read(run))  # type: ignore[misc]

    assert not marker.exists()


def test_pandas_metadata_of_a_table_is_not_believed(run, trap, marker):
    whole = pq.read_table(run.trials)
    note = (
        '{"index_columns": ["seed", "x"], "column_indexes": [{"name": null, "field_name": null, '
        '"pandas_type": "object", "numpy_type": "object", "metadata": null}], "columns": '
        '[{"name": "node", "field_name": "node", "pandas_type": "object", "numpy_type": "object", '
        '"metadata": null}]}'
    )
    pickles = pa.array([trap] * len(whole), pa.binary())
    table = whole.append_column("later", pickles).replace_schema_metadata({b"pandas": note})
    pq.write_table(table, run.trials)

    assert opened(run) == ["", "", ""]

    assert "seed" in read_trials(run)
    assert not marker.exists()


# --- files that are no files, and ways out of the folder ---


def in_place(path: Path, kind: str) -> None:
    if path.is_file():
        path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a link to a device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a link to a device"])
@pytest.mark.parametrize("name", ["space.yaml", "prereg.yaml", *(f"{t}.parquet" for t in TABLES)])
def test_what_is_no_file_is_refused_and_not_waited_for(run, name, kind):
    in_place(run.path / name, kind)

    with ends_in_time():
        message = told(lambda: read_run(run), name=str(run.path))

    assert name in message


@pytest.mark.parametrize(
    ("name", "kind"),
    [*product(["claims.json", "report.md", "report.html"], ["a folder"]), ("figures", "a file")],
)
def test_what_is_where_the_report_belongs_is_named(run, name, kind):
    in_place(run.path / name, kind)

    message = told(lambda: write_report(run), name=str(run.path))

    assert "must be a folder that can be written" in message
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]


def test_figures_are_not_written_through_a_link(run, tmp_path):
    elsewhere = tmp_path / "pictures"
    elsewhere.mkdir()
    (elsewhere / "forest.png").write_bytes(b"mine")
    run.figures.symlink_to(elsewhere)

    message = told(lambda: write_report(run), name=str(run.figures))

    assert "got a link to another" in message
    assert [path.name for path in elsewhere.iterdir()] == ["forest.png"]


def test_a_report_replaces_a_link_and_not_what_it_leads_to(run, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in ("claims.json", "report.md", "report.html"):
        (run.path / name).symlink_to(mine)

    assert told(lambda: write_report(run)) == ""

    assert mine.read_text() == "mine"
    assert run.report.read_text(encoding="utf-8").startswith("# synthetic")


@pytest.mark.parametrize("kind", ["a folder", "a file"])
def test_an_export_that_cannot_be_written_says_so(run, tmp_path, kind):
    in_place(tmp_path / "x", kind)
    out = tmp_path / "x" if kind == "a folder" else tmp_path / "x" / "best.yaml"

    assert str(out) in told(lambda: export(run, out, force=True))


# --- names ---

BAD_NAMES = (
    *("../x", "..", ".", "/etc/x", "a/b", "a\\b", "~", "C:x", ".hidden", "-rf"),
    *("", "x.", "x ", "a b", "a\n", "a\nb", "con\0", "x" * 5000, "\x1b[31m"),
    *("a*", "$(id)", "[red]", "<b>x</b>", "a|b", "$x$"),
    *("r\u0430ndom", "\uff58", "x\u202e"),
)
"""Ways out of a folder, what file systems and shells read otherwise, markup, disguises."""
bad_names = pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name[:20]))


@pytest.fixture
def space(tmp_path: Path) -> Callable[..., Path]:
    """Writes a search space with a change, beside its base, and gives its path."""
    (tmp_path / "base.yaml").write_text("data: {timeframes: [m1, m5]}\n", encoding="utf-8")

    def write(**change: Any) -> Path:
        sound = {
            "name": "study",
            "base": "base.yaml",
            "arms": {"random": {"transfer_learning.initialization": "random"}},
            "space": {"training.optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-2}},
        }
        file = tmp_path / "space.yaml"
        file.write_text(yaml.safe_dump(sound | change, sort_keys=False), encoding="utf-8")
        return file

    return write


@bad_names
def test_the_names_of_a_study_and_its_arms_cannot_leave_its_folder(space, name):
    assert load_study(space()).space.name == "study"

    file = space(name=name)
    assert told(lambda: load_study(file), name=f"{file}:1: name: must ")
    file = space(arms={name: {"transfer_learning.initialization": "random"}})
    assert "arms." in told(lambda: load_study(file), name=f"{file}:")


@bad_names
def test_a_timeframe_is_one_of_those_there_are(write, name):
    file = write(yaml.safe_dump({"data": {"timeframes": ["m1", name]}}))

    message = told(lambda: load_config(file), name=f"{file}:")

    assert "data.timeframes: must be among m1" in message


@bad_names
def test_a_language_model_that_is_none_is_refused_and_nothing_written(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(ModelError):
        resolve(name)

    assert list(tmp_path.iterdir()) == []


def test_a_base_elsewhere_is_read_and_nothing_is_written_there(space, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "base.yaml").write_text("data: {timeframes: [m1]}\n", encoding="utf-8")

    study = load_study(space(base="elsewhere/../elsewhere/base.yaml"))

    assert study.config.data.timeframes == ("m1",)
    assert [path.name for path in elsewhere.iterdir()] == ["base.yaml"]


# --- names that a folder brings along ---


def edit_space(run: RunFolder, **change: Any) -> None:
    space = yaml.safe_load(run.space.read_text(encoding="utf-8"))
    run.space.write_text(yaml.safe_dump(space | change, sort_keys=False), encoding="utf-8")


def edit_table(file: Path, column: str, change: Callable[[Any], Any]) -> None:
    table = pq.read_table(file)
    place = table.column_names.index(column)
    values = [change(value) for value in table.column(place).to_pylist()]
    pq.write_table(table.set_column(place, column, pa.array(values)), file)


@bad_names
def test_a_foreign_study_s_names_are_held_to_the_same_rules(run, name):
    edit_space(run, name=name)
    assert told(lambda: read_space(run), name=f"{run.space}:1: name: must ")

    edit_space(run, name="study", arms={name: {}})
    assert "arms." in told(lambda: read_space(run), name=f"{run.space}:")


@pytest.mark.parametrize("column", ["trial_id", "arm", "config_id"])
@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a\\b", ".", "..", "", "a\0", "a\nb", "x" * 300]
)
def test_a_name_that_becomes_a_file_s_cannot_leave_the_folder(run, column, name):
    edit_table(run.trials, column, lambda value: f"{name}{value}" if len(name) > 2 else name)

    message = told(lambda: read_trials(run), name=str(run.trials))

    assert f"{column} must " in message


HOSTILE = (
    "</td><script>alert(1)</script><img src=x onerror=alert(1)>|`` ` [a](javascript:x) $x$ *[/b]*"
)


class Tags(HTMLParser):
    """The elements of a page, and its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def disguise(run: RunFolder) -> None:
    """Put markup into every text that a run may hold."""
    model = HOSTILE.replace("/", "")
    edit_table(run.trials, "config_id", lambda value: f"{value} {model}")
    edit_table(run.trials, "trial_id", lambda value: f"{value} {model}")
    edit_table(run.curves, "trial_id", lambda value: f"{value} {model}")
    edit_table(run.curves, "config_id", lambda value: f"{value} {model}")
    edit_table(run.trials, "node", lambda value: f"{HOSTILE}\n# x\x1b[31m")
    edit_table(run.trials, "error", lambda value: f"{HOSTILE}\n# x" if value else value)
    edit_table(run.cost, "size", lambda value: HOSTILE)
    edit_space(run, data={"data_dir": HOSTILE, "fingerprint": HOSTILE})
    registered = yaml.safe_load(run.prereg.read_text(encoding="utf-8"))
    registered["cost"]["size"] = HOSTILE
    registered["language_models"] = {HOSTILE: HOSTILE}
    registered["versions"] = {HOSTILE: HOSTILE}
    run.prereg.write_text(yaml.safe_dump(registered), encoding="utf-8")


def test_markup_in_names_is_text_in_report_and_terminal_and_nothing_is_written_elsewhere(
    run, tmp_path, capsys
):
    honest, foreign = Tags(), Tags()
    write_report(run)
    honest.feed(run.report_html.read_text(encoding="utf-8"))
    disguise(run)
    before = {path for path in tmp_path.rglob("*") if run.path not in path.parents}
    in_run = {path.name for path in run.path.iterdir()}

    with ends_in_time():
        write_report(run).show(Console(width=200))

    assert "\x1b[31m" not in capsys.readouterr().out
    page, text = run.report_html.read_text(encoding="utf-8"), run.report.read_text(encoding="utf-8")
    foreign.feed(page)
    assert "alert(1)" in page
    assert (foreign.tags, foreign.attributes) == (honest.tags, honest.attributes)
    assert "\x1b" not in text
    assert not_ours(text) == []
    assert {path for path in tmp_path.rglob("*") if run.path not in path.parents} == before
    assert {path.name for path in run.path.iterdir()} == in_run | WRITTEN


def not_ours(text: str) -> list[str]:
    """HTML, links and further headings in Markdown that a report of ours does not have."""
    found = []
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        for part in [token, *(token.children or [])]:
            if part.type in ("html_block", "html_inline") and "details" not in part.content:
                found.append(part.content)
            if part.type == "link_open":
                found.append(str(part.attrs))
        if token.type == "inline" and token.level == 1 and token.content == "x":
            found.append("a heading of theirs")
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a\n| b", "`a | b`", id="a line break"),
        pytest.param("a``b`c", "```a``b`c```", id="more backticks than the fence"),
        pytest.param("`a`", "`` `a` ``", id="backticks at the ends"),
        pytest.param("a\x1b[31m", "`a\N{REPLACEMENT CHARACTER}[31m`", id="a control code"),
    ],
)
def test_code_stays_one_piece_of_a_line(text, expected):
    assert markdown([paragraph(Code(text))]) == f"{expected}\n"


def test_a_command_over_two_lines_stays_in_its_block():
    assert markdown([Commands(["a 'b\n<script>'"])]) == "    a 'b\n    <script>'\n"
