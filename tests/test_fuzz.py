"""Whatever the bytes: every reader of files succeeds or says in a line what is wrong with which.

The examples are the same every time: 200 for each reader, 10,000 with the slow tests.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fuzz import (
    ANY_BYTES,
    BOMB,
    FLOATS,
    INTEGERS,
    LONGEST_LINE,
    as_parquet,
    damaged_bytes,
    damaged_lines,
    damaged_parquet,
    damaged_yaml,
    few_and_many,
    for_all,
    told,
)
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from made_runs import write_synthetic_run
from made_studies import SPACE
from rich.console import Console

from stage1.claims.claim import claims_json
from stage1.claims.judge import evaluate
from stage1.claims.scores import read_run
from stage1.config import Config, load_config
from stage1.data.bars import Repair
from stage1.data.checks import bar_rules, sound_bars
from stage1.data.csv_reader import read_csv
from stage1.data.load import load_bars
from stage1.data.store import read_parquet
from stage1.export import export
from stage1.pages.figures import draw_all
from stage1.pages.markdown import markdown
from stage1.pages.page import html
from stage1.pages.study_page import Report, facts, report_blocks
from stage1.prepare import prepare
from stage1.run.columns import INTEGER, NUMBER, TEST_COLUMNS, TEXT, TIME
from stage1.run.folder import RunFolder
from stage1.run.registration import preregistration_deviations, read_preregistration
from stage1.run.resolved_space import read_space
from stage1.run.tables import (
    read_blocks,
    read_cost,
    read_curves,
    read_test_period,
    read_trials,
    write_table,
)
from stage1.study.study import load_study

ROOT = Path(__file__).parents[1]

# Sums of numbers at the ends of their range overflow; the report shows that as a missing number.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

# --- configurations and search spaces ---

EVERY_KEY = yaml.safe_dump(Config().model_dump(mode="json"), sort_keys=False)
EVERY_KEY_OF_A_STUDY = yaml.safe_dump(
    yaml.safe_load(SPACE)
    | {
        "base": "../configs/sample.yaml",
        "arms": {
            "a": {"data.sampling_probs": {}, "model.cross_pairs": [["m1", "m5"]]},
            "b": {"evaluation.tf_specific_mask_ratios": {"m1": 0.3}},
        },
        "resources": {"cpus": 1, "gpus": 0},
    },
    sort_keys=False,
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the shipped YAML files, to put a damaged one among."""
    for folder in ("configs", "search_spaces"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


@few_and_many()
@pytest.mark.parametrize(
    ("folder", "read", "more"),
    [
        ("configs", load_config, [EVERY_KEY] * 8),
        ("search_spaces", load_study, [EVERY_KEY_OF_A_STUDY] * 6),
    ],
)
def test_a_configuration_or_a_search_space_is_read_or_refused(tree, folder, read, more, examples):
    shipped = sorted((ROOT / folder).glob("*.yaml"))
    texts = [file.read_text(encoding="utf-8") for file in shipped]
    damaged = tree / folder / "damaged.yaml"

    def check(content: bytes) -> None:
        damaged.write_bytes(content)
        told(lambda: read(damaged), name=str(tree))

    for_all(damaged_yaml([*texts, *more]), check, examples)


# --- bars ---

BARS = (
    "timestamp,open,high,low,close,volume\n"
    "1786924800,62831.65,62831.65,62830.32,62830.33,0.003\n"
    "1786924860,62830.33,62852.86,62830.33,62835.19,0.269\n"
    "1786924920,62835.19,62840.67,62833.37,62840.67,0.126\n",
    "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\n"
    "2018.01.02\t03:04\t1.1\t1.2\t1.0\t1.1\t5\n"
    "2018.01.02\t03:05\t1.1\t1.2\t1.0\t1.1\t5\n",
    "20180102 030400;1.1;1.2;1.0;1.1;0\n20180102 030500;1.1;1.2;1.0;1.1;0\n",
    "Gmt time,Open,High,Low,Close,Volume\n"
    "02.01.2018 03:04:00.000,1.1,1.2,1.0,1.1,0\n02.01.2018 03:05:00.000,1.1,1.2,1.0,1.1,0\n",
    "1514862240000,1.1,1.2,1.0,1.1,0,1514862299999,0,0,0,0,0\n"
    "1514862300000,1.1,1.2,1.0,1.1,0,1514862359999,0,0,0,0,0\n",
    "datetime,open,high,low,close\n"
    "2018-01-02T03:04:00+01:00,1.1,1.2,1.0,1.1\n2018-01-02T03:05:00+01:00,1.1,1.2,1.0,1.1\n",
    "2018-11-04 01:59,1,1,1,1\n2018-11-04 01:00,1,1,1,1\n2018-11-04 01:01,1,1,1,1\n",
)
CELLS = (
    *("", "nan", "inf", "-inf", "1e999", "1e-400", "-1", "0", "0x1", "1_0", "1..1", "+", "١٢"),
    *('"', '"a', '""', 'a"b', "\0", "é", "\ud800", "x" * 3000, "9" * 400, "1,2,3", "\t", ";"),
    *("2018-02-30 00:00", "9999-12-31 23:59", "0000-01-01 00:00", "2018-03-11 02:30", "9" * 11),
    *("2018-01-02T03:04:00+99:99", "2018-01-02 03:04:59.9999999999999999999999", "9" * 19, "1e10"),
    *("253402300799", "-1514862240", "%s", "{}", "\x1b[31m", "\u2028", "\x85", "=1+1", "  "),
)


def with_cell(line: str, piece: str) -> str:
    """A line with another cell in the place of one."""
    delimiter = next((sign for sign in "\t;," if sign in line), None)
    if delimiter is None:
        return piece
    cells = line.split(delimiter)
    cells[(len(line) + len(piece)) % len(cells)] = piece
    return delimiter.join(cells)


def csv_files() -> st.SearchStrategy[bytes]:
    spoiled = damaged_lines(BARS, with_cell, CELLS)
    bare = st.one_of(
        spoiled, spoiled, spoiled, damaged_bytes([text.encode() for text in BARS]), ANY_BYTES
    )
    zipped = bare.map(lambda content: gzip.compress(content, 1, mtime=0))
    broken = zipped.flatmap(lambda content: damaged_bytes([content]))
    return st.one_of(bare, bare, bare, zipped, broken)


OPTIONS = st.tuples(
    st.sampled_from(["UTC", "UTC", "America/New_York", "Nowhere/Else", "../x"]),
    st.sampled_from(["auto", "auto", "metatrader", "generic"]),
    st.lists(st.sampled_from(list(Repair)), unique=True),
)


def prepares_or_leaves_nothing(source: Path, options: tuple[str, Any, list[Repair]]) -> None:
    """Prepare a file: a whole folder of bars that load, or a message and nothing beside it."""
    out = source.parent / "out"
    timezone, dialect, repair = options
    with contextlib.redirect_stdout(io.StringIO()):
        message = told(lambda: prepare(source, out, timezone, "m1,m5", dialect, repair))
    if not message:
        assert set(load_bars(out, ("m1", "m5"))) == {"m1", "m5"}
        shutil.rmtree(out)
    assert list(source.parent.iterdir()) == [source]


@few_and_many()
def test_a_text_file_of_bars_is_prepared_or_refused(tmp_path, examples):
    source = tmp_path / "M1.csv"

    def check(case: tuple[bytes, Any]) -> None:
        source.write_bytes(case[0])
        prepares_or_leaves_nothing(source, case[1])

    for_all(st.tuples(csv_files(), OPTIONS), check, examples)


@few_and_many()
def test_a_parquet_file_of_bars_is_prepared_or_refused(tmp_path, examples):
    source = tmp_path / "simple_gap_aware_m1.parquet"
    times = pd.date_range("2026-01-05", periods=6, freq="min")
    frame = pd.DataFrame({"timestamp": times, "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5})
    indexed = io.BytesIO()
    frame.set_index("timestamp").to_parquet(indexed)
    files = damaged_parquet(pa.Table.from_pandas(frame), [indexed.getvalue()])

    def check(case: tuple[bytes, Any]) -> None:
        source.write_bytes(case[0])
        prepares_or_leaves_nothing(source, case[1])

    for_all(st.tuples(files, OPTIONS), check, examples)


# --- run folders ---

READERS: dict[str, Callable[[RunFolder], object]] = {
    "trials.parquet": read_trials,
    "curves.parquet": read_curves,
    "blocks.parquet": read_blocks,
    "cost.parquet": read_cost,
    "test_period.parquet": read_test_period,
    "space.yaml": read_space,
    "prereg.yaml": read_preregistration,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A small sound run; whoever damages it mends it again."""
    path = tmp_path_factory.mktemp("runs") / "run"
    run = write_synthetic_run(path, arms=("pretrained", "random"), configurations=2, seeds=1)
    kinds = {TIME: datetime(2026, 1, 1, tzinfo=UTC), TEXT: "model", INTEGER: 3, NUMBER: 0.5}
    row = {column.name: kinds[column.type] for column in TEST_COLUMNS}
    write_table(run.test_period, TEST_COLUMNS, [row, row | {"of": "interpolation"}])
    return run


def contents(run: RunFolder) -> dict[str, bytes]:
    return {name: (run.path / name).read_bytes() for name in READERS}


@few_and_many()
@pytest.mark.parametrize("name", [name for name in READERS if name.endswith(".parquet")])
def test_a_table_is_read_or_refused(whole, name, examples):
    good, file = contents(whole), whole.path / name
    some_rows = pq.read_table(file).slice(0, 6)

    def check(content: bytes) -> None:
        file.write_bytes(content)
        told(lambda: READERS[name](whole), name=str(file))

    try:
        for_all(damaged_parquet(some_rows, list(good.values())), check, examples)
    finally:
        file.write_bytes(good[name])


@few_and_many()
@pytest.mark.parametrize("name", ["space.yaml", "prereg.yaml"])
def test_a_study_and_its_registration_are_read_or_refused(whole, name, examples):
    file = whole.path / name
    good = file.read_text(encoding="utf-8")

    def check(content: bytes) -> None:
        file.write_bytes(content)
        told(lambda: READERS[name](whole), name=str(file))
        assert all(map(str.isprintable, preregistration_deviations(whole)))

    try:
        for_all(damaged_yaml([good]), check, examples)
    finally:
        file.write_text(good, encoding="utf-8")


VALUES: tuple[Any, ...] = (
    *(None, 0, 1, -1, 2, 3, 5, 100, 0.5, -0.5, 1e-9, 1e300, True, [], {}, [1], ["x", "y"], ["m1"]),
    *("x", "pretrained", "random", "min", "max", "val_loss", "val_skill", "val_corr_m1"),
    *("spectral_delta", "$x$", "<b>|`", "[/]", {"a": 1}, {"a": {}}),
)
PLAUSIBLE = (
    *("", "x", "c0", "c1", "$x$", "[/]", "<b>|", "`", "pretrained", "random", "shuffled"),
    *("vanilla", "design", "search", "confirm", "completed", "failed", "diverged", "stopped", "m1"),
    "close",
)


def key_paths(values: dict[str, Any]) -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = []
    for key, value in values.items():
        below = key_paths(value) if isinstance(value, dict) else []
        paths += [(key,), *((key, *path) for path in below)]
    return paths


def replaced(values: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """With another value at a path; `...` leaves the key out."""
    key, *below = path
    if below:
        return values | {key: replaced(values[key], tuple(below), value)}
    kept = {name: old for name, old in values.items() if name != key}
    return kept if value is ... else values | {key: value}


@st.composite
def edited_yaml(draw: DrawFn, text: bytes) -> bytes:
    """Well-formed YAML with other values of some keys."""
    values = yaml.safe_load(text)
    for _ in range(draw(st.integers(1, 2))):
        paths = [path for path in key_paths(values) if path[0] != "config" or len(path) < 4]
        values = replaced(
            values, draw(st.sampled_from(paths)), draw(st.sampled_from([..., *VALUES]))
        )
    return yaml.safe_dump(values, sort_keys=False).encode()


@st.composite
def edited_table(draw: DrawFn, content: bytes) -> bytes:
    """A table whose types are right and whose values are not."""
    table = pq.read_table(io.BytesIO(content))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, table.num_columns - 1))
        name, column = table.column_names[place], table.column(place)
        match draw(st.sampled_from([*["some"] * 4, "all", "cut", "sort"])):
            case "sort":
                table = table.sort_by([(name, "descending")])
            case "cut":
                table = table.slice(draw(st.integers(0, len(table))))
            case way if pa.types.is_floating(column.type):
                table = spoil(draw, table, place, FLOATS[:-5], way)
            case way if pa.types.is_integer(column.type):
                table = spoil(draw, table, place, INTEGERS, way)
            case way if pa.types.is_string(column.type):
                table = spoil(draw, table, place, PLAUSIBLE, way)
    return as_parquet(table)


def spoil(draw: DrawFn, table: pa.Table, place: int, pool: tuple[Any, ...], way: str) -> pa.Table:
    """With other values in one column: in all rows, or in some."""
    column = table.column(place)
    values = column.to_pylist()
    rows = range(len(values)) if way == "all" else draw(st.lists(st.integers(0, 9), max_size=4))
    value = draw(st.sampled_from(pool))
    for row in rows:
        if row < len(values):
            values[row] = value
    return table.set_column(place, table.column_names[place], pa.array(values, column.type))


@st.composite
def edited_run(draw: DrawFn, good: dict[str, bytes]) -> dict[str, bytes]:
    """Some files of a run, readable each, that do not fit each other."""
    names = draw(st.lists(st.sampled_from(sorted(good)), min_size=1, max_size=3, unique=True))
    edit = {name: edited_yaml if name.endswith(".yaml") else edited_table for name in names}
    return {name: draw(edit[name](good[name])) for name in names}


def report(run: RunFolder) -> None:
    """All of a report but its files: the same as `write_report` does."""
    tables = read_run(run)
    evaluation = evaluate(tables)
    claims_json(evaluation.claims, evaluation.beside, evaluation.looks, facts(evaluation))
    draw_all(tables, evaluation)
    blocks = report_blocks(tables, evaluation, {})
    (markdown(blocks) + html(blocks)).encode()
    Report(tables, evaluation).show(Console(file=io.StringIO()))


# A report takes a third of a second: fewer examples, which the readers do not refuse at once.
@few_and_many(15, 1000)
def test_a_run_whose_files_do_not_fit_is_reported_and_exported_or_refused(
    whole, tmp_path, examples
):
    good, out = contents(whole), tmp_path / "best.yaml"

    def check(files: dict[str, bytes]) -> None:
        for name, content in (good | files).items():
            (whole.path / name).write_bytes(content)
        told(lambda: report(whole))
        message = told(lambda: export(whole, out, force=True))
        assert list(tmp_path.iterdir()) == ([] if message else [out])
        out.unlink(missing_ok=True)

    try:
        for_all(edited_run(good), check, examples)
    finally:
        for name, content in good.items():
            (whole.path / name).write_bytes(content)


# --- what these examples have found ---


MERGES = "".join(
    f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 10)}]}}\n" for a, b in pairwise("abcdefg")
)


def yaml_fault(write: Callable[[str], Path], text: str) -> str:
    file = write(text)
    return told(lambda: load_config(file), name=f"{file}:")


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        pytest.param("0x" + "f" * 5000, "got a whole number beyond 64 bits", id="too many digits"),
        pytest.param("9223372036854775808", "got a whole number beyond 64 bits", id="one too many"),
        pytest.param('"\\ud800"', "got half of a character", id="half of a character"),
        pytest.param("&a [*a]", "got a list or mapping inside itself", id="a list inside itself"),
        pytest.param(f"{BOMB}]", "a file must have at most 10,000 keys", id="lists that multiply"),
        pytest.param("&a {a: 1}\n" + MERGES, "a file must have at most 10,000 keys", id="merges"),
    ],
)
def test_what_no_configuration_means_is_refused_at_a_line(write, value, rule):
    message = yaml_fault(write, f"training:\n  seed: {value}\n")

    assert rule in message


def test_a_file_larger_than_any_is_refused_unread_and_an_absurd_value_does_not_fill_the_message(
    write,
):
    assert "must be at most 1,000,000 bytes long" in yaml_fault(write, "# " + "x" * 1_000_000)

    message = yaml_fault(write, f"data: {{timeframes: [m1, {'x' * 5000}]}}\nextends: 1\n")
    assert len(message) < LONGEST_LINE


def test_a_ragged_line_that_is_no_text_is_refused_without_noise(tmp_path, capfd):
    file = tmp_path / "M1.csv"
    file.write_bytes(b"2018-11-04 01:59,1,1,1,1\n2018-11-04\x9d\xed,1,1\n")

    message = told(lambda: read_csv(file), name=str(file))

    assert "must be text with one bar a line" in message
    assert capfd.readouterr().err == ""


def test_a_control_code_in_a_line_does_not_reach_the_terminal(tmp_path):
    file = tmp_path / "M1.csv"
    file.write_text("2018-11-04 01:59,1,1,1,1\n\x1b[31m,1,1,1\n")

    assert "line must have 5 cells" in told(lambda: sound_bars(read_csv(file), bar_rules(1)))


@pytest.mark.parametrize("off", [0, 1_000])
def test_whole_numbers_of_nanoseconds_are_times(tmp_path, off):
    file = tmp_path / "m1.parquet"
    times = pa.array([1514862240 * 10**9, 1514862300 * 10**9 + off, 2**62])
    prices = {name: pa.array([1.0] * 3) for name in ("open", "high", "low", "close")}
    pq.write_table(pa.table({"timestamp": times, **prices}), file)

    rows = read_parquet(file)

    assert rows.open_time.tolist() == [1514862240, 1514862300 + (off > 0), 2**62 // 10**9]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_a_time_beyond_all_years_is_a_fault_of_its_row(tmp_path, unit):
    file = tmp_path / "m1.parquet"
    times = pa.array([2**62 - 1], pa.int64()).cast(pa.timestamp(unit))
    prices = {name: pa.array([1.0]) for name in ("open", "high", "low", "close")}
    # Parquet has no seconds: what is written in them comes back in milliseconds.
    times = times if unit != "s" else pa.array([2**62 // 1000], pa.timestamp("s"))
    pq.write_table(pa.table({"timestamp": times, **prices}), file)

    message = told(lambda: sound_bars(read_parquet(file), bar_rules(1)), name=str(file))

    assert "row 1: time must be on a whole minute, got" in message


def changed(whole: RunFolder, tmp_path: Path, name: str, change: dict[str, Any]) -> RunFolder:
    """A copy of a run with other values at the top of one of its YAML files."""
    run = RunFolder(Path(shutil.copytree(whole.path, tmp_path / "run")))
    values = yaml.safe_load((run.path / name).read_text(encoding="utf-8"))
    (run.path / name).write_text(yaml.safe_dump(values | change), encoding="utf-8")
    return run


@pytest.mark.parametrize(
    ("name", "change", "rule"),
    [
        pytest.param("prereg.yaml", {"seeds": [1, 1]}, "seeds: must differ", id="a seed twice"),
        pytest.param("prereg.yaml", {"arms": ["random"] * 2}, "arms: must differ", id="an arm"),
        pytest.param("prereg.yaml", {"roles": {"random": "x"}}, "roles: must be of", id="a role"),
        pytest.param("prereg.yaml", {"horizon_epoch": 10**12}, "must be <= 100000", id="no end"),
        pytest.param("space.yaml", {"design": None}, "design: must be a mapping", id="no design"),
        pytest.param("space.yaml", {"arms": {}}, "arms: must have at least 1", id="no arm"),
        pytest.param("space.yaml", {"horizon_epochs": "4"}, "must be a whole number", id="text"),
        pytest.param("space.yaml", {"name": "x" * 101}, "must have at most 100 char", id="long"),
        pytest.param(
            "space.yaml",
            {"objective": {"metric": "trial_id", "mode": "max"}},
            "objective.metric: must be a metric of the tables",
            id="a metric that is none",
        ),
        pytest.param(
            "space.yaml",
            {"space": {"a": {"type": "float", "low": 0, "high": 1, "log": True}}},
            "space.a.low: must be > 0 with log: true",
            id="a range without an end",
        ),
    ],
)
def test_what_no_study_writes_is_refused_at_its_line(tmp_path, whole, name, change, rule):
    run = changed(whole, tmp_path, name, change)

    assert rule in told(lambda: READERS[name](run), name=f"{run.path / name}:")


def test_the_best_arm_must_be_one_of_the_study(tmp_path, whole):
    run = changed(whole, tmp_path, "space.yaml", {"arms": {"other": {}}})

    message = told(lambda: export(run, tmp_path / "best.yaml"), name=str(run.trials))

    assert "arm of the best configuration must be one of other" in message


def test_seconds_that_no_trial_takes_do_not_end_the_report(tmp_path, whole):
    run = RunFolder(Path(shutil.copytree(whole.path, tmp_path / "run")))
    table = pq.read_table(run.trials)
    long = pa.array([3e38] * len(table))
    pq.write_table(
        table.set_column(table.column_names.index("seconds"), "seconds", long), run.trials
    )

    assert told(lambda: report(run)) == ""
