"""`python -m stage1.push`: a checkpoint as a folder, read here and by Hugging Face's code."""

import json
import shutil
import stat

import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open
from small_checkpoint import changed_checkpoint, write_checkpoint, write_market
from synthetic_bars import market
from synthetic_series import waves, write_folder

import stage1
from stage1.base.files import sha256_of_file
from stage1.encode import encode
from stage1.evaluate import evaluate
from stage1.push import push
from stage1.train import train
from stage1.training import model_folder

FILES = ["README.md", "config.json", "model.safetensors"]


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    return write_market(tmp_path_factory.mktemp("push") / "bars")


@pytest.fixture(scope="module")
def model(checkpoint, bars, tmp_path_factory):
    """The checkpoint, pushed."""
    to = tmp_path_factory.mktemp("models") / "mine"
    push(checkpoint, to, str(bars), license="mit")
    return to


def test_three_files_are_written_and_what_to_do_with_them_is_said(
    checkpoint, bars, tmp_path, call_command
):
    to = tmp_path / "new" / "a model"

    status, said, errors = call_command(push, checkpoint, "--to", to, "--data-dir", bars)

    assert (status, errors) == (0, "")
    assert said.splitlines()[-1] == f"hf upload OWNER/'a model' '{to}'"
    assert [path.name for path in to.parent.iterdir()] == ["a model"]
    assert sorted(path.name for path in to.iterdir()) == FILES
    assert {stat.S_IMODE(path.stat().st_mode) for path in to.iterdir()} == {
        stat.S_IMODE((bars / "m1.parquet").stat().st_mode)
    }


def test_the_encoder_of_a_folder_is_that_of_its_checkpoint(checkpoint, model):
    first, second = stage1.load_encoder(checkpoint), stage1.load_encoder(str(model))

    assert first.state_dict().keys() == second.state_dict().keys()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    (batch,) = first.windows(market(300, first.timeframes)).batches(1000)
    with torch.no_grad():
        assert torch.equal(first(batch.features), second(batch.features))


def test_each_folder_has_an_evaluation_of_its_own_and_gets_no_file_of_it(model, bars, call_command):
    assert call_command(evaluate, model, "--data-dir", bars)[0] == 0

    assert (model.with_name(f"{model.name}-evaluation") / "report.html").is_file()
    assert sorted(path.name for path in model.iterdir()) == FILES


def test_encode_and_evaluate_take_a_folder_for_a_checkpoint(
    checkpoint, model, bars, tmp_path, call_command
):
    tables = []
    for place in (checkpoint, model):
        out = tmp_path / place.name
        assert call_command(encode, place, "--data-dir", bars, "--out", out / "e.parquet")[0] == 0
        assert call_command(evaluate, place, "--data-dir", bars, "--out", out)[0] == 0
        tables.append([pd.read_parquet(out / name) for name in ("e.parquet", "metrics.parquet")])

    for first, second in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(first, second)
    assert sorted(path.name for path in model.iterdir()) == FILES
    written = (tmp_path / model.name / "report.md").read_text()
    assert sha256_of_file(model / "model.safetensors")[:12] in written


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({"transfer_learning": {"use_pretrained_lm": False}}, id="vanilla encoder"),
        pytest.param(
            {"data": {"seq_len": 64, "normalization": "zscore"}, "model": {"async_sampler": True}},
            id="calendar, zscore",
        ),
    ],
)
def test_other_models_come_back_whole(tmp_path, bars, call_command, sections):
    write_checkpoint(tmp_path / "x.ckpt", **sections)

    call_command(push, tmp_path / "x.ckpt", "--to", tmp_path / "x", "--data-dir", bars)

    first, second = stage1.load_encoder(tmp_path / "x.ckpt"), stage1.load_encoder(tmp_path / "x")
    (batch,) = second.windows(market(300, second.timeframes)).batches(1000)
    (expected,) = first.windows(market(300, first.timeframes)).batches(1000)
    with torch.no_grad():
        assert torch.equal(
            second.embed(batch.features, batch.real),
            first.embed(expected.features, expected.real),
        )


def test_a_series_is_pushed_with_its_channels(series_checkpoint, tmp_path, call_command):
    folder = write_folder(tmp_path / "waves", waves())

    status, _, errors = call_command(
        push, series_checkpoint, "--to", tmp_path / "x", "--data-dir", folder
    )

    assert (status, errors) == (0, "")
    assert "wave0, wave1, wave2" in (tmp_path / "x" / "README.md").read_text()
    assert stage1.load_encoder(tmp_path / "x").config.data.channels == ("wave0", "wave1", "wave2")


def test_hugging_face_reads_the_weights_and_the_card_and_the_scores_are_those_of_evaluate(
    checkpoint, model, bars, tmp_path, call_command
):
    call_command(evaluate, checkpoint, "--data-dir", bars, "--out", tmp_path)
    scores = pd.read_parquet(tmp_path / "metrics.parquet")
    scores = scores[(scores["of"] == "model") & (scores["timeframe"] == "all")].iloc[0]
    state = torch.load(checkpoint, weights_only=True)["state_dict"]

    card = ModelCard.load(model / "README.md", ignore_metadata_errors=False)
    with safe_open(model / "model.safetensors", "pt") as weights:
        names, format = set(weights.keys()), weights.metadata()["format"]

    assert (card.data.license, card.data.library_name) == ("mit", "stage1")
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    expected = {name: scores[name] for name in ("val_loss", "consistency_ratio", "spectral_delta")}
    expected |= {f"val_{name}": scores[name] for name in ("correlation", "skill")}
    assert results == pytest.approx(expected, rel=1e-12)
    assert (names, format) == ({name.removeprefix("model.") for name in state}, "pt")
    assert sha256_of_file(checkpoint) in card.text
    assert sha256_of_file(model / "model.safetensors") in card.text
    assert "Licence: not stated" in card.text  # of bars that somebody has brought


def test_no_folder_of_this_machine_is_published(checkpoint, bars, tmp_path, call_command):
    def named(content):
        config = content["stage1"]["config"]
        config["data"] |= {"data_dir": str(bars)}
        config["transfer_learning"]["lm_name_or_path"] = str(tmp_path / "own-t5")

    knows = changed_checkpoint(checkpoint, tmp_path / "knows.ckpt", named)

    status, _, errors = call_command(push, knows, "--to", tmp_path / "x")

    assert (status, errors) == (0, "")
    for name in ("README.md", "config.json"):
        text = (tmp_path / "x" / name).read_text()
        assert "own-t5" in text
        assert str(tmp_path) not in text
        assert str(bars) not in text
    config = json.loads((tmp_path / "x" / "config.json").read_text())["config"]
    assert config["data"]["data_dir"] is None


@pytest.mark.parametrize(
    ("values", "base"),
    [
        ({"lm_name_or_path": "t5-small"}, "google-t5/t5-small"),
        ({"lm_name_or_path": "google/flan-t5-small@refs/pr/3"}, "google/flan-t5-small"),
        ({"lm_name_or_path": "google-t5/t5-small", "initialization": "random"}, None),
        ({"lm_name_or_path": "english-t5-nano"}, None),
    ],
)
def test_a_hub_model_whose_weights_it_began_with_is_its_base(
    checkpoint, tmp_path, call_command, values, base
):
    changed = changed_checkpoint(
        checkpoint,
        tmp_path / "x.ckpt",
        lambda content: content["stage1"]["config"]["transfer_learning"].update(values),
    )

    call_command(push, changed, "--to", tmp_path / "x", "--no-metrics")

    card = ModelCard.load(tmp_path / "x" / "README.md")
    assert card.data.base_model == base
    assert card.data.eval_results is None  # it was not measured
    assert "Not measured." in card.text
    licence = "apache-2.0" if values["lm_name_or_path"] == "english-t5-nano" else "not stated"
    assert f"Licence: {licence}" in card.text.partition("the T5")[2]


def test_what_lies_in_the_folder_already_stays(checkpoint, model, tmp_path, call_command):
    before = (model / "README.md").read_text()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()

    for place in (model, tmp_path / "file", tmp_path / "link", tmp_path / "file" / "below"):
        status, said, errors = call_command(push, checkpoint, "--to", place, "--no-metrics")
        assert (status, said, errors.count("\n")) == (2, "", 1)
        assert "give another --to" in errors
    assert call_command(push, checkpoint, "--to", tmp_path / "empty", "--no-metrics")[0] == 0
    assert (model / "README.md").read_text() == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_is_broken_off_leaves_nothing(checkpoint, tmp_path, call_command, monkeypatch, fault):
    def broken(blocks):
        raise fault

    monkeypatch.setattr(model_folder, "markdown", broken)

    status, _, errors = call_command(push, checkpoint, "--to", tmp_path / "x", "--no-metrics")

    assert status == (130 if fault is KeyboardInterrupt else 2)
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def _cut(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _without(name):
    return lambda folder: (folder / name).unlink()


def _config(change):
    def changed(folder):
        content = json.loads((folder / "config.json").read_text())
        change(content)
        (folder / "config.json").write_text(json.dumps(content))

    return changed


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(_cut, "must hold the model's weights, got", id="cut weights"),
        pytest.param(
            _without("model.safetensors"), "must hold the model's weights, got", id="no weights"
        ),
        pytest.param(_without("config.json"), "got one without config.json", id="no config"),
        pytest.param(
            lambda folder: (folder / "config.json").write_text("{"), "be a JSON file", id="no JSON"
        ),
        pytest.param(
            _config(lambda content: content.update(model_type="t5")), "another model's", id="a T5"
        ),
        pytest.param(_config(lambda content: content.pop("t5")), "got no t5", id="a key less"),
        pytest.param(
            _config(lambda content: content["config"]["model"].update(d_model=16)),
            "must hold the weights of its own configuration",
            id="another width",
        ),
    ],
)
def test_a_damaged_folder_is_one_line(model, bars, tmp_path, call_command, spoil, said):
    folder = tmp_path / "damaged"
    shutil.copytree(model, folder)
    spoil(folder)

    status, _, errors = call_command(encode, folder, "--data-dir", bars)

    assert (status, errors.count("\n")) == (2, 1)
    assert said in errors


def test_a_folder_is_not_pushed_again(model, tmp_path, call_command):
    status, _, errors = call_command(push, model, "--to", tmp_path / "x")

    assert (status, errors.count("\n")) == (2, 1)
    assert "got a pushed one; copy the folder" in errors


def test_scores_of_the_test_period_are_on_the_card_and_the_look_is_noted(tmp_path, call_command):
    bars = write_market(tmp_path / "bars")
    write_checkpoint(tmp_path / "x.ckpt", data={"test_share": 0.2})
    named = (tmp_path / "x.ckpt", "--data-dir", bars)

    call_command(push, *named, "--to", tmp_path / "x")

    card = ModelCard.load(tmp_path / "x" / "README.md")
    splits = [result.dataset_split for result in card.data.eval_results]
    assert splits == ["validation"] * 5 + ["test"] * 5
    assert "## On bars that nothing was chosen by" in card.text
    looks = pd.read_parquet(tmp_path / "evaluation" / "test_period.parquet")
    assert set(looks["checkpoint_sha256"]) == {sha256_of_file(tmp_path / "x.ckpt")}


def test_a_training_does_not_go_on_from_a_folder(model, bars, tmp_path, call_command):
    status, _, errors = call_command(
        train, "sample", "--data-dir", bars, "--out", tmp_path / "out", "--resume", model
    )

    assert (status, errors.count("\n")) == (2, 1)
    assert "--resume must be a checkpoint file, got a folder" in errors
