"""pyarrow's file system, which states are kept through, against the S3 server of the tests."""

import pytest
from pyarrow.fs import FileSelector, FileSystem
from s3_server import s3_bucket

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch):
    with s3_bucket(monkeypatch) as uri:
        yield uri


def test_an_object_is_written_listed_read_moved_and_deleted(bucket):
    storage, folder = FileSystem.from_uri(f"{bucket}/prefix")
    large = bytes(range(256)) * 50_000  # more than one part of an upload

    with storage.open_output_stream(f"{folder}/one") as stream:
        stream.write(large)
    storage.move(f"{folder}/one", f"{folder}/two")
    with storage.open_input_stream(f"{folder}/two") as stream:
        read = stream.read()
    listed = [info.path for info in storage.get_file_info(FileSelector(folder))]
    storage.delete_file(f"{folder}/two")

    assert read == large
    assert listed == ["bucket/prefix/two"]
    assert storage.get_file_info(FileSelector(folder, allow_not_found=True)) == []


def test_what_is_not_finished_is_not_there(bucket):
    storage, folder = FileSystem.from_uri(f"{bucket}/prefix")

    with storage.open_output_stream(f"{folder}/one") as stream:
        stream.write(b"half")
        before = storage.get_file_info(FileSelector(folder, allow_not_found=True))

    assert before == []
    assert storage.get_file_info(f"{folder}/one").size == 4


def test_a_bucket_that_does_not_exist_is_an_error(bucket):
    storage, folder = FileSystem.from_uri("s3://elsewhere/prefix")

    with pytest.raises(OSError, match="Bucket 'elsewhere' not found"):
        storage.create_dir(folder)
