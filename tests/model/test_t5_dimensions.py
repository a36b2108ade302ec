import json

import pytest
import torch
from huggingface_hub import constants

from stage1.errors import ModelError
from stage1.model import t5_dimensions
from stage1.model.initialization import t5_stack
from stage1.model.t5_dimensions import (
    PUBLIC_CONFIGS,
    bundled_names,
    encoder_config,
    encoder_shapes,
    find_folder,
    hub_reference,
)

TINY = {
    "model_type": "t5",
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 3,
    "feed_forward_proj": "gated-gelu",
}

# Parameters of the whole model, token tables and decoder included, as published: the checkpoints'
# counts on the hub; for T5-Efficient its cards' "million parameters", a quarter of the file's bytes
# and so 10 k too many.
PUBLISHED_PARAMETERS = {
    "google-t5/t5-small": 60_506_624,
    "google-t5/t5-base": 222_903_552,
    "google-t5/t5-large": 737_668_096,
    "google-t5/t5-3b": 2_851_598_336,
    "google/t5-v1_1-small": 76_961_152,
    "google/t5-v1_1-base": 247_577_856,
    "google/t5-v1_1-large": 783_150_080,
    "google/flan-t5-small": 76_961_152,
    "google/flan-t5-base": 247_577_856,
    "google/flan-t5-large": 783_150_080,
    "google/t5-efficient-tiny": 15.58e6,
    "google/t5-efficient-mini": 31.23e6,
}


def write_config(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(TINY | changes))
    return folder


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


@pytest.mark.parametrize("name", PUBLIC_CONFIGS)
def test_a_public_size_adds_up_to_its_published_number_of_parameters(name):
    config = PUBLIC_CONFIGS[name]
    width, inner = config["d_model"], config["d_kv"] * config["num_heads"]
    encoder = sum(torch.Size(shape).numel() for shape in encoder_shapes(config).values())
    cross_attention = config["num_layers"] * (4 * width * inner + width)
    tables = 2 if config["feed_forward_proj"] == "gated-gelu" else 1  # 1.1 does not tie its head

    total = 2 * encoder + cross_attention + tables * 32128 * width

    assert total == pytest.approx(
        PUBLISHED_PARAMETERS[name], rel=1e-3 if "efficient" in name else 0, abs=0
    )


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
def test_names_and_shapes_are_those_of_the_encoder_in_transformers(tmp_path, feed_forward):
    config = encoder_config(str(write_config(tmp_path, feed_forward_proj=feed_forward)))

    stack = t5_stack(config)

    expected = {name: tuple(tensor.shape) for name, tensor in stack.state_dict().items()}
    assert encoder_shapes(config) == expected


def test_parameters_of_t5_large_are_counted_without_memory_weights_or_network(monkeypatch):
    monkeypatch.setattr("socket.socket.connect", pytest.fail)

    with torch.device("meta"):
        stack = t5_stack(encoder_config("t5-large"))

    # 24 blocks of 12 * 1024^2 weights and two norms, one relative bias of 32 x 16, the last norm
    assert sum(p.numel() for p in stack.parameters()) == 24 * (12 * 1024**2 + 2048) + 512 + 1024


def test_a_folder_is_described_by_its_config_and_t5s_defaults(tmp_path):
    config = encoder_config(str(write_config(tmp_path)))

    assert config == {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 24,
        "num_layers": 2,
        "num_heads": 3,
        "feed_forward_proj": "gated-gelu",
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
    }


def test_a_bundled_name_is_described_by_the_package_s_own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(t5_dimensions, "BUNDLED_FOLDER", tmp_path)
    write_config(tmp_path / "english-t5-mini", d_ff=40)
    (tmp_path / "not-a-model").mkdir()

    names, config = bundled_names(), encoder_config("english-t5-mini")

    assert names == ["english-t5-mini"]
    assert config["d_ff"] == 40


def test_a_cached_hub_model_outside_the_table_is_described_from_the_cache(empty_cache):
    repository = empty_cache / "models--somebody--my-t5"
    write_config(repository / "snapshots" / ("a" * 40), d_model=64)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)

    assert encoder_config("somebody/my-t5")["d_model"] == 64


def test_an_unknown_hub_model_is_an_error_that_names_the_known_sizes(empty_cache):
    with pytest.raises(ModelError, match=r"^somebody/my-t5: must .*google-t5/t5-small.*fetch it"):
        encoder_config("somebody/my-t5")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("t5-small", ("google-t5/t5-small", None)),
        ("google/flan-t5-small", ("google/flan-t5-small", None)),
        ("google/t5-efficient-tiny@refs/pr/1", ("google/t5-efficient-tiny", "refs/pr/1")),
    ],
)
def test_a_hub_name_is_split_into_repository_and_revision(name, expected):
    assert hub_reference(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("english-t5-nan0", id="misspelt bundled name"),
        pytest.param("google/../../etc", id="walks up"),
        pytest.param("google/..", id="parent as model"),
        pytest.param("google/t5@../../x", id="revision walks up"),
        pytest.param("a/b/c", id="too many parts"),
        pytest.param("google/t5 small", id="space"),
        pytest.param("google/t5\n", id="line break"),
        pytest.param("http://host/model", id="address"),
    ],
)
def test_what_is_no_hub_name_is_one_line_that_names_three_ways(name):
    with pytest.raises(ModelError) as caught:
        hub_reference(name)

    message = str(caught.value)
    assert "\n" not in message
    assert all(way in message for way in ("bundled", "local folder", "hub model"))


@pytest.mark.parametrize("name", ["./absent", "../absent", "/absent/model", "~/absent", "a\\b"])
def test_a_path_without_a_folder_is_an_error_and_never_sought_on_the_hub(name):
    with pytest.raises(ModelError, match="must be a folder, none is there; name a bundled model"):
        find_folder(name)


def test_a_file_is_not_taken_for_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "model")

    with pytest.raises(ModelError, match="must be a folder"):
        find_folder("model/config.json")


def test_a_folder_wins_over_a_hub_model_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "google" / "flan-t5-small")

    assert encoder_config("google/flan-t5-small")["d_model"] == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"model_type": "bert"}, "model_type must be 't5', got 'bert'", id="BERT"),
        pytest.param({"model_type": None}, "model_type must be 't5', got None", id="no type"),
        pytest.param({"d_ff": None}, "d_ff must be a positive integer, got None", id="no d_ff"),
        pytest.param({"num_heads": 0}, "num_heads must be a positive integer, got 0", id="zero"),
        pytest.param({"d_kv": True}, "d_kv must be a positive integer, got True", id="boolean"),
        pytest.param(
            {"feed_forward_proj": "gelu"},
            "feed_forward_proj must be one of relu, gated-gelu, got 'gelu'",
            id="activation",
        ),
    ],
)
def test_a_config_that_is_no_t5s_is_one_line_with_the_value(tmp_path, changes, message):
    write_config(tmp_path, **changes)

    with pytest.raises(ModelError, match=message):
        encoder_config(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "null", b"\xff\xfe"])
def test_a_config_that_is_no_json_object_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ModelError, match="must be") as caught:
        encoder_config(str(tmp_path))

    assert "\n" not in str(caught.value)
