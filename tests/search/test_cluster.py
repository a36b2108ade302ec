import socket

import pytest

from stage1.errors import TrialError
from stage1.search.cluster import ray_cluster
from stage1.search.space import Resources


def test_an_address_where_nothing_listens_is_an_error_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    cluster = ray_cluster(Resources(), workers=None, address=address, storage=None)

    with pytest.raises(TrialError, match=f"^--address .* got {address}"):
        cluster.__enter__()
