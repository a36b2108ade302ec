"""Everything in a folder is gone through, and what is wrong is named."""

import json
from functools import partial
from hashlib import sha256
from itertools import permutations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import kstest, norm, ortho_group, rankdata
from tiny_t5 import (
    change_config,
    encoder_fields,
    fault_of,
    rewrite,
    save_model,
    tiny_config,
    tiny_t5,
)
from transformers import T5EncoderModel

from stage1.language_models.initialization import build_t5, fresh_weights
from stage1.language_models.resolver import resolve
from stage1.language_models.verification import (
    described,
    gather_evidence,
    normal_scores,
    spectral_concentration,
    standard_score,
    verify,
)


@pytest.fixture
def folder(tmp_path):
    return save_model(tmp_path / "model")


def fault(folder):
    return fault_of(verify, str(folder))


def state_card(folder, stated):
    (folder / "card.json").write_text(json.dumps(stated))


def digest(path):
    return sha256(path.read_bytes()).hexdigest()


def test_a_sound_model_is_described_without_safetensors_of_another_name(folder):
    save_file({"x": torch.ones(1)}, folder / "other.safetensors")

    found = verify(str(folder))

    model = tiny_t5()
    decoder = sum(p.numel() for name, p in model.named_parameters() if name.startswith("decoder."))
    assert found.language_model.sha256 == resolve(str(folder)).sha256
    assert found.dropped == {"token table": 11 * 16, "decoder": decoder}
    assert found.tensors == len(list(model.named_parameters()))
    assert found.sha256 == {"model.safetensors": digest(folder / "model.safetensors")}
    assert not found.agrees_with_card
    assert found.evidence.verdict == "random"


def test_every_shard_has_its_sha256_which_no_card_states(tmp_path):
    folder = save_model(tmp_path, max_shard_size="4KB")
    shards = sorted(folder.glob("model-*.safetensors"))

    assert len(shards) > 1
    assert verify(str(folder)).sha256 == {shard.name: digest(shard) for shard in shards}
    state_card(folder, {"weights_sha256": "0" * 64})
    assert "must be that of the weights" in fault(folder)


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_both_families_are_sound_in_every_format(tmp_path, feed_forward, dtype):
    config = tiny_config(feed_forward, num_decoder_layers=1)

    found = verify(str(save_model(tmp_path, tiny_t5(config), dtype)))

    assert found.evidence.verdict == "random"


def test_of_many_wrong_tensors_three_are_named(folder):
    added = {f"bert.{index}": torch.ones(2) for index in range(5)}
    rewrite(folder, lambda tensors: tensors.update(added))

    assert (
        "got 5 tensors that config.json's T5 has not: 'bert.0', 'bert.1', 'bert.2' and 2 more; "
    ) in fault(folder)


@pytest.mark.parametrize(
    ("value", "message"), [(0.0, "got zeros only"), (torch.nan, "got NaN or infinity")]
)
@pytest.mark.parametrize("name", ["decoder.final_layer_norm.weight", "shared.weight"])
def test_values_are_checked_outside_the_encoder_too(folder, name, value, message):
    rewrite(folder, lambda tensors: tensors[name].fill_(value))

    assert name in fault(folder)
    assert message in fault(folder)


@pytest.mark.parametrize("blocks", [0.5, "two", -1, 0, 10**30])
def test_a_number_of_decoder_blocks_that_is_none_is_an_error(folder, blocks):
    change_config(folder, num_decoder_layers=blocks)

    assert "num_decoder_layers must be an integer in [1, 1000], got " in fault(folder)


def test_a_config_without_decoder_blocks_means_as_many_as_the_encoder_s(folder, tmp_path):
    change_config(folder, num_decoder_layers=None)
    encoder = save_model(tmp_path / "encoder", tiny_t5(kind=T5EncoderModel))

    assert verify(str(folder)).dropped.keys() == {"token table", "decoder"}
    assert verify(str(encoder)).dropped == {"token table": 11 * 16}


def test_a_card_of_other_weights_is_an_error(folder):
    state_card(folder, {"weights_sha256": digest(folder / "model.safetensors")})
    assert verify(str(folder)).agrees_with_card
    rewrite(folder, lambda tensors: tensors["shared.weight"].add_(1))

    assert "card.json: weights_sha256 must be that of the weights, " in fault(folder)


@pytest.mark.parametrize("stated", [{}, [], "text", {"license": "mit"}])
def test_a_card_that_states_no_weights_is_not_ours_and_states_nothing(folder, stated):
    state_card(folder, stated)

    assert not verify(str(folder)).agrees_with_card


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[" * 100_000, "card.json: must be a JSON file, got Rec", id="too deep"),
        pytest.param("{", "card.json: must be a JSON file, got JSON", id="cut off"),
        pytest.param(
            json.dumps({"weights_sha256": "\x1b[31m\n" * 2000}),
            r"got '\x1b[31m\n",
            id="control codes",
        ),
    ],
)
def test_a_broken_card_is_one_short_line(folder, text, message):
    (folder / "card.json").write_text(text)

    assert message in fault(folder)


def test_a_t5_too_narrow_for_any_pattern_is_called_random(tmp_path):
    narrow = tiny_t5(tiny_config(d_model=1, d_kv=1, d_ff=1, num_heads=1))

    lines = described(verify(str(save_model(tmp_path, narrow))))

    assert ("verdict", "random") in lines
    assert any("0 of 7 matrices stand out" in text for _, text in lines)


CONFIG = encoder_fields(d_model=32, d_kv=16, d_ff=48, num_layers=4)


def fourth_powers(matrix):
    """The sum of the fourth powers of the singular values, by numpy's decomposition."""
    return (np.linalg.svd(matrix, compute_uv=False) ** 4).sum()


# --- the statistic ---


def test_the_concentration_is_relative_to_the_mean_over_all_permutations():
    entries = [0.3, -1.2, 2.0, 0.1, -0.4, 5.0]
    matrix = np.reshape(entries, (2, 3))

    found = spectral_concentration(torch.tensor(matrix))

    mean = np.mean([fourth_powers(np.reshape(order, (2, 3))) for order in permutations(entries)])
    assert found == pytest.approx(fourth_powers(matrix) / mean, rel=1e-5)


def test_the_concentration_of_a_matrix_of_signs_and_rank_one_is_known():
    m, n = 6, 10
    matrix = torch.outer(torch.tensor([1.0, -1.0] * 3), torch.tensor([1.0, -1.0] * 5))

    found = spectral_concentration(matrix)

    # (mn)^2 over one, two and four entries with p_1 = p_3 = 0 and p_2 = p_4 = N
    size = m * n
    four = (m - 1) * (n - 1) * 3 / ((size - 1) * (size - 3))
    assert found == pytest.approx(size**2 / (size * (1 + (m + n - 2) + four)), rel=1e-6)


def test_a_constant_matrix_has_no_pattern_and_even_singular_values_concentrate_less_than_chance():
    assert spectral_concentration(torch.full((3, 5), -2.5)) == pytest.approx(1, rel=1e-6)
    assert spectral_concentration(torch.tensor(ortho_group.rvs(24, random_state=1))) < 0.6


def test_the_concentration_is_the_same_at_every_scale_and_for_the_transpose():
    matrix = torch.randn(12, 20, generator=torch.Generator().manual_seed(1))

    expected = spectral_concentration(matrix)

    for other in (matrix * 1e-20, matrix * 1e20, matrix.T):
        assert spectral_concentration(other) == pytest.approx(expected, rel=1e-5)


def test_a_matrix_of_fewer_than_four_entries_is_refused():
    with pytest.raises(ValueError, match="at least 4 entries, got 3"):
        spectral_concentration(torch.ones(1, 3))


@pytest.mark.parametrize("shape", [(64, 64), (32, 96)])
@pytest.mark.parametrize("tails", ["gaussian", "heavy"])
def test_scores_of_matrices_without_a_pattern_are_about_standard_normal(shape, tails):
    draws = np.random.default_rng(3)
    rows, columns = shape

    def score():
        values = draws.standard_normal(shape) if tails == "gaussian" else draws.laplace(size=shape)
        concentration = spectral_concentration(torch.tensor(values))
        return standard_score(concentration, rows=rows, columns=columns)

    scores = [score() for _ in range(200)]

    assert np.mean(scores) == pytest.approx(0, abs=4 / np.sqrt(200))
    assert np.std(scores) == pytest.approx(1, abs=4 / np.sqrt(2 * 200) + 0.1)
    assert kstest(scores, "norm").pvalue > 1e-3


def test_normal_scores_are_the_normal_quantiles_of_the_ranks():
    matrix = torch.randn(12, 20, generator=torch.Generator().manual_seed(1)).exp()

    found = normal_scores(matrix)

    ranks = rankdata(matrix, axis=None).reshape(matrix.shape)
    np.testing.assert_allclose(found, norm.ppf((ranks - 0.5) / matrix.numel()))


def test_equal_entries_get_scores_in_no_order():
    found = normal_scores(torch.ones(64, 64))

    score = standard_score(spectral_concentration(found), rows=64, columns=64)
    assert len(found.unique()) == 64 * 64
    assert abs(score) < 4


# --- the verdict ---


def weights_of(language_model, initialization, **options):
    stack, _ = build_t5(language_model, initialization=initialization, seed=3, **options)
    return dict(stack.state_dict())


@pytest.mark.parametrize("name", ["english-t5-nano", "english-t5-micro", "english-t5-mini"])
def test_a_bundled_model_is_called_pretrained_and_random_once_shuffled_whatever_its_norms(name):
    model = resolve(name)

    evidence = gather_evidence(model.weights, model.config)
    shuffled = gather_evidence(weights_of(model, "shuffled"), model.config)

    assert model.embedding_rms > 0
    assert evidence.verdict == "pretrained"
    assert all(len(block.matrices) == 7 for block in evidence.blocks)
    assert all(block.standing_out >= 6 for block in evidence.blocks)
    assert all(block.varied_norms == block.norms for block in evidence.blocks)
    assert [block.norms for block in evidence.blocks][-2:] == [2, 3]
    assert shuffled.verdict == "random"
    assert all(block.standing_out == 0 for block in shuffled.blocks)
    assert all(block.varied_norms == block.norms for block in shuffled.blocks)


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
@pytest.mark.parametrize("factor", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_fresh_weights_of_any_scale_are_called_random(feed_forward, factor, dtype):
    config = CONFIG | {"feed_forward_proj": feed_forward}
    weights = fresh_weights(config, seed=99, initializer_factor=factor)

    evidence = gather_evidence({key: w.to(dtype) for key, w in weights.items()}, config)

    assert evidence.verdict == "random"
    assert all(block.standing_out == block.varied_norms == 0 for block in evidence.blocks)


def student_t(shape, generator, *, df):
    return torch.from_numpy(generator.standard_t(df, size=shape))


def gaussian_with_few_giants(shape, generator):
    values = generator.standard_normal(shape)
    values.flat[generator.choice(values.size, 10, replace=False)] *= 100
    return torch.from_numpy(values)


@pytest.mark.parametrize(
    "draw",
    [partial(student_t, df=1), partial(student_t, df=2), gaussian_with_few_giants],
    ids=["t of 1", "t of 2", "giants"],
)
def test_weights_drawn_with_heavy_tails_are_called_random(draw):
    generator = np.random.default_rng(0)
    weights = {
        name: draw(weight.shape, generator).float() if weight.ndim == 2 else weight
        for name, weight in fresh_weights(CONFIG, seed=99).items()
    }

    evidence = gather_evidence(weights, CONFIG)

    assert evidence.verdict == "random"


def test_blocks_with_and_without_a_pattern_are_counted_apart():
    model = resolve("english-t5-micro")
    weights = weights_of(model, "pretrained", n_pretrained_blocks=2)

    evidence = gather_evidence(weights, model.config)

    assert evidence.verdict == "pretrained in 2 of 4 blocks"
    assert [block.standing_out for block in evidence.blocks] == [7, 7, 0, 0]
    assert [block.varied_norms for block in evidence.blocks] == [2, 2, 0, 0]


def test_a_faint_pattern_of_rank_one_stands_out_in_its_own_matrix_alone():
    weights = fresh_weights(CONFIG, seed=99)
    name = "block.2.layer.1.DenseReluDense.wo.weight"
    rows, columns = weights[name].shape
    signs = torch.randn(rows + columns, generator=torch.Generator().manual_seed(1)).sign()
    pattern = torch.outer(signs[:rows], signs[rows:])
    weights[name] = weights[name] + pattern * weights[name].std()

    evidence = gather_evidence(weights, CONFIG)

    assert [block.standing_out for block in evidence.blocks] == [0, 0, 1, 0]
    scores = {name: abs(m.score) for name, m in evidence.blocks[2].matrices.items()}
    assert max(scores, key=scores.__getitem__) == "DenseReluDense.wo"
    assert evidence.verdict == "pretrained in 1 of 4 blocks"


def test_gathering_evidence_leaves_global_randomness_alone():
    weights = fresh_weights(CONFIG, seed=99)
    state = torch.get_rng_state()

    first = gather_evidence(weights, CONFIG)

    assert torch.equal(torch.get_rng_state(), state)
    assert gather_evidence(weights, CONFIG) == first
