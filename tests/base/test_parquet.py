"""A Parquet file is read unless it would take absurdly much memory."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from stage1.base import parquet
from stage1.base.errors import DataError, ResultsError
from stage1.base.parquet import read_parquet_table
from stage1.data.store import read_parquet
from stage1.run.tables import load_table

ROWS = 20_001
REPEATED = pa.DictionaryArray.from_arrays(pa.nulls(ROWS, pa.int32()).fill_null(0), ["x" * 1000])
BARS = dict.fromkeys(("timestamp", "open", "high", "low", "close"), REPEATED)


@pytest.fixture
def small_memory(monkeypatch):
    monkeypatch.setattr(parquet, "MOST_BYTES", 150_000)
    monkeypatch.setattr(parquet, "MOST_TIMES", 10)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "x.parquet"


@pytest.mark.parametrize(
    ("column", "as_arrow"),
    [
        pytest.param(REPEATED, False, id="text"),
        pytest.param(REPEATED, True, id="text that stays a dictionary"),
        pytest.param(pa.nulls(ROWS, pa.float64()).fill_null(1.0), False, id="one number"),
        pytest.param(pa.nulls(ROWS, pa.binary(100)), False, id="nothing"),
    ],
)
def test_what_a_small_file_would_take_is_counted_before_it_is_taken(
    small_memory, file, column, as_arrow
):
    pq.write_table(pa.table({"a": column}), file, store_schema=as_arrow)

    assert file.stat().st_size < 10_000
    with pytest.raises(ValueError, match="bytes of memory are needed, more than the 150,000 "):
        read_parquet_table(file)


def test_a_column_of_lists_has_no_such_count(file):
    pq.write_table(pa.table({"a": [[1.0]]}), file)

    with pytest.raises(ValueError, match="column a must hold single values, got list"):
        read_parquet_table(file)


@pytest.mark.parametrize("columns", [None, ["c", "a"]])
def test_what_is_large_in_its_file_may_be_large_in_memory(small_memory, file, columns):
    values = [str(number) for number in range(ROWS)]
    labels = pa.array(["r", None] * (ROWS // 2) + ["r"]).dictionary_encode()
    table = pa.table({"a": values, "b": pa.array(values, pa.large_string()), "c": labels})
    pq.write_table(table, file, row_group_size=ROWS // 3)

    assert table.nbytes > parquet.MOST_BYTES
    assert read_parquet_table(file, columns).equals(table.select(columns or table.column_names))


@pytest.mark.parametrize(
    ("read", "kind", "error"),
    [
        pytest.param(load_table, "parquet", ResultsError, id="a table of a run"),
        pytest.param(read_parquet, "parquet", DataError, id="bars"),
        pytest.param(read_parquet, "feather", DataError, id="bars, Feather"),
    ],
)
def test_every_door_counts(small_memory, tmp_path, read, kind, error):
    file = tmp_path / f"x.{kind}"
    write = pyarrow.feather.write_feather if kind == "feather" else pq.write_table
    write(pa.table(BARS), file)

    with pytest.raises(error, match=r"^[^\n]*x\.\w+: must be .* bytes of memory are needed"):
        read(file)
