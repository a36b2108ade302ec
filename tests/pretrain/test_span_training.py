import shutil
import signal
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stage1.base.errors import ResultsError
from stage1.language_models.resolver import weights_sha256
from stage1.pretrain import corpus, saved_state, span_training
from stage1.pretrain.corpus import TokenStreams
from stage1.pretrain.saved_state import STATE_FILE, Plan, read_state
from stage1.pretrain.span_training import (
    SpanCorruptionModule,
    held_out_batches,
    held_out_loss,
    is_word,
    make_optimizer,
    new_model,
    span_objective,
    steps_within,
    t5_config,
    token_losses,
    train,
    unigram_loss,
)

WORDS = 50


@pytest.fixture(autouse=True, scope="module")
def small():
    """A vocabulary, model and evaluation that train in milliseconds."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        for module in (corpus, span_training):
            patch.setattr(module, "VOCABULARY_SIZE", WORDS)
        patch.setattr(span_training, "HELD_OUT_BATCHES", 1)
        patch.setattr(span_training, "ROWS_PER_STEP", 4)
        tiny = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 24, "num_layers": 2}
        patch.setitem(span_training.DIMENSIONS, "nano", tiny)
        yield


@pytest.fixture(scope="module")
def streams():
    generator = np.random.default_rng(0)
    shares = np.arange(1, WORDS - 2)[::-1] ** 2.0
    tokens = generator.choice(np.arange(3, WORDS), size=4000, p=shares / shares.sum())
    return TokenStreams(tokens[:3000].astype(np.int32), tokens[3000:].astype(np.int32), "abc")


def run(streams, out, *, steps=6, seed=0, budget=None, resume=False):
    return train(Plan("nano", steps, seed, "abc"), streams, out, budget=budget, resume=resume)


@pytest.fixture(scope="module")
def whole(streams, tmp_path_factory):
    """The folder and the module of a training of six steps; tests leave them as they are."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(streams, folder)


class KilledError(Exception):
    pass


@pytest.fixture
def killed_at(monkeypatch):
    """Make the training die while it works on a step."""

    def arrange(step):
        original = SpanCorruptionModule.training_step

        def die(self, batch, batch_index):
            if self.global_step == step:
                raise KilledError
            return original(self, batch, batch_index)

        monkeypatch.setattr(SpanCorruptionModule, "training_step", die)
        return lambda: monkeypatch.setattr(SpanCorruptionModule, "training_step", original)

    return arrange


def sha256(module):
    return weights_sha256(module.model.state_dict())


@pytest.mark.parametrize("step", [1, 4])
def test_a_killed_training_resumes_to_the_same_weights_and_curve_bit_for_bit(
    streams, whole, tmp_path, killed_at, step
):
    revive = killed_at(step)
    with pytest.raises(KilledError):
        run(streams, tmp_path)
    revive()

    resumed = run(streams, tmp_path, resume=True)

    assert sha256(resumed) == sha256(whole[1])
    assert resumed.trainer.global_step == 6
    assert resumed.curve == whole[1].curve
    assert [point.step for point in resumed.curve] == [1, 2, 3, 4, 5, 6]


def test_the_state_remembers_whose_it_is_and_how_far_it_got(streams, tmp_path, killed_at):
    killed_at(3)
    with pytest.raises(KilledError):
        run(streams, tmp_path, steps=9, seed=4)

    saved = read_state(tmp_path / STATE_FILE)

    assert saved.plan == Plan("nano", 9, 4, "abc")
    assert saved.step == 3
    assert saved.seconds > 0


def test_a_state_of_the_last_step_is_gone_on_from_without_another_step(streams, whole, tmp_path):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)

    again = run(streams, tmp_path, resume=True)

    assert sha256(again) == sha256(whole[1])
    assert again.curve == whole[1].curve


def test_the_curve_does_not_depend_on_where_a_budget_cut_the_training(
    streams, tmp_path, monkeypatch
):
    monkeypatch.setattr(saved_state, "EVALUATIONS", 2)  # every third step
    whole = run(streams, tmp_path / "whole")

    cut = run(streams, tmp_path / "cut", budget=timedelta(microseconds=1))
    for _ in range(5):
        last = run(streams, tmp_path / "cut", budget=timedelta(microseconds=1), resume=True)

    assert cut.trainer.global_step == 1
    assert last.trainer.global_step == 6
    assert sha256(last) == sha256(whole)
    assert last.curve == whole.curve
    assert [point.step for point in whole.curve] == [3, 6]


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 12])
def test_a_training_may_be_of_any_length(streams, tmp_path, steps):
    module = run(streams, tmp_path, steps=steps)

    assert module.trainer.global_step == steps
    assert module.curve[-1].step == steps


def test_the_last_step_is_evaluated_however_the_others_fall(streams, tmp_path, monkeypatch):
    monkeypatch.setattr(saved_state, "EVALUATIONS", 3)

    curve = run(streams, tmp_path, steps=8).curve

    assert [point.step for point in curve] == [3, 6, 8]


def test_the_curve_s_training_loss_is_the_mean_of_the_steps_since_the_last_point(
    streams, tmp_path, monkeypatch
):
    monkeypatch.setattr(saved_state, "EVALUATIONS", 2)  # every third step
    original = SpanCorruptionModule.training_step
    losses = []

    def listen(self, batch, batch_index):
        loss = original(self, batch, batch_index)
        losses.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(SpanCorruptionModule, "training_step", listen)

    curve = run(streams, tmp_path).curve

    means = [np.mean(losses[:3]), np.mean(losses[3:])]
    assert [point.training for point in curve] == pytest.approx(means, abs=5e-5)


def test_a_second_ctrl_c_does_not_wait_for_the_end_of_the_step(streams, tmp_path, monkeypatch):
    handler = signal.getsignal(signal.SIGINT)

    def press_twice(self, batch, batch_index):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the step went on")

    monkeypatch.setattr(SpanCorruptionModule, "training_step", press_twice)
    with pytest.raises(KeyboardInterrupt):
        run(streams, tmp_path)

    assert not (tmp_path / STATE_FILE).exists()
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("content", [b"not a state", b""], ids=["garbage", "empty"])
def test_a_state_that_cannot_be_read_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / STATE_FILE).write_bytes(content)

    with pytest.raises(ResultsError, match=r"training_state\.ckpt: must be a checkpoint") as caught:
        read_state(tmp_path / STATE_FILE)

    assert "\n" not in str(caught.value)


def test_training_learns_the_frequencies_of_the_words(streams, tmp_path):
    module = SpanCorruptionModule("nano", steps=1, held_out=streams.held_out)
    untrained = held_out_loss(module.model, streams.held_out)

    trained = run(streams, tmp_path, steps=40).model

    assert held_out_loss(trained, streams.held_out) < untrained - 1


def test_the_steps_of_a_budget_fill_nine_tenths_of_it(streams, monkeypatch):
    clock = SimpleNamespace(perf_counter=iter(np.arange(0.0, 1000.0, 0.5)).__next__)
    monkeypatch.setattr(span_training, "time", clock)

    steps = steps_within(timedelta(seconds=100), Plan("nano", 0, 0, "abc"), streams)

    assert steps == 160  # half a second each; 90 seconds less 20 evaluations of half a second


def test_a_budget_counts_an_evaluation_as_it_is_beside_the_training(streams, monkeypatch):
    fit, evaluate, noted = span_training._fit, held_out_loss, []
    monkeypatch.setattr(span_training, "_fit", lambda *rest: (fit(*rest), noted.append("over")))
    monkeypatch.setattr(
        span_training, "held_out_loss", lambda *rest: (noted.append("timed"), evaluate(*rest))
    )

    steps_within(timedelta(seconds=100), Plan("nano", 0, 0, "abc"), streams)

    assert noted == ["timed", "over"]  # Lightning has the model back on the CPU by then


def test_every_weight_has_the_learning_rate_of_its_kind():
    model = SpanCorruptionModule("nano", steps=1, held_out=np.empty(0, np.int32)).model

    optimizer = make_optimizer(model)

    groups = optimizer.param_groups
    rates = {weight.data_ptr(): group["lr"] for group in groups for weight in group["params"]}
    attention = model.encoder.block[0].layer[0].SelfAttention
    assert len(rates) == len(list(model.parameters()))
    assert rates[model.shared.weight.data_ptr()] == 0.2
    assert rates[model.decoder.final_layer_norm.weight.data_ptr()] == 0.01
    assert rates[attention.q.weight.data_ptr()] == 0.128 / 16
    assert rates[attention.relative_attention_bias.weight.data_ptr()] == 0.05


def test_a_new_model_s_decoder_finds_the_sentinel_that_it_is_given():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = new_model("micro").eval()
    model.set_attn_implementation("eager")
    first = span_objective().first_sentinel
    inputs = torch.tensor([[5, 6, first, 7, 8, first - 1, 9, 1]])

    attentions = model(
        input_ids=inputs,
        decoder_input_ids=torch.tensor([[0, first, 3, first - 1]]),
        output_attentions=True,
    ).cross_attentions

    looked_at = attentions[0].mean(dim=1)[0].argmax(dim=-1)
    assert looked_at[1] == 2
    assert looked_at[3] == 5


def test_a_training_in_bf16_is_another_one_and_the_same_each_time(streams, tmp_path):
    plans = [Plan("nano", 3, 0, "abc", precision=name) for name in ("32-true", *["bf16-mixed"] * 2)]

    trained = [
        train(plan, streams, tmp_path / str(number), budget=None, resume=False)
        for number, plan in enumerate(plans)
    ]

    full, first, second = map(sha256, trained)
    assert full != first == second
    assert trained[1].model.shared.weight.dtype == torch.float32


def test_the_unigram_loss_is_the_mean_surprise_of_the_hidden_words(streams):
    counts = np.ones(WORDS)
    for token in streams.training:
        counts[token] += 1
    words = [
        int(token)
        for _, targets in held_out_batches(streams.held_out)
        for token in targets.flatten()
        if token < WORDS and token != 1
    ]

    loss = unigram_loss(streams)

    assert loss == pytest.approx(-np.mean(np.log(counts[words] / counts.sum())), rel=1e-6)


def test_token_losses_are_the_cross_entropy_of_the_teacher_forced_logits(streams):
    model = SpanCorruptionModule("nano", steps=1, held_out=streams.held_out).model
    inputs, targets = held_out_batches(streams.held_out)[0]

    losses = token_losses(model, inputs, targets)

    start = torch.cat([torch.zeros(len(targets), 1, dtype=torch.long), targets[:, :-1]], dim=1)
    logits = model(input_ids=inputs, decoder_input_ids=start).logits
    expected = -logits.log_softmax(-1).gather(2, targets[:, :, None])[:, :, 0]
    torch.testing.assert_close(losses, expected)


def test_the_sentinels_lie_at_the_vocabulary_s_end_inside_the_table_and_are_not_words():
    objective, config = span_objective(), t5_config("nano")
    targets = torch.tensor([[WORDS - 1, WORDS, WORDS + 99, 1, 2, 5]])

    assert objective.first_sentinel == WORDS + 99
    assert objective.first_sentinel < config.vocab_size
    assert objective.first_sentinel - objective.spans >= WORDS
    assert config.vocab_size % 64 == 0
    assert is_word(targets).tolist() == [[True, False, False, False, True, True]]
