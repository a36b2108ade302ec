import math

import pytest
import torch
from tiny_training import T5, tiny_config, tiny_model

from stage1.config import with_values
from stage1.language_models.initialization import t5_stack
from stage1.language_models.resolver import LanguageModel, weights_sha256
from stage1.model.stage1_model import T5_PREFIX, build_model
from stage1.training.optimization import build_optimizer, build_schedule, parameter_groups

FACTOR = 0.3
HORIZON = {"epochs": 5, "steps_per_epoch": 8, "optimizer.lr": 0.01, "warmup_share": 0.25}


def config_of(schedule="one_cycle", *, vanilla=False, **training):
    return tiny_config(
        training=HORIZON | {"schedule": schedule} | training,
        transfer_learning={"lm_learning_rate_factor": FACTOR, "use_pretrained_lm": not vanilla},
        model={"stem.width": 6},
    )


def learning_rates(config, steps):
    """(head, T5) learning rate of every step."""
    optimizer = build_optimizer(tiny_model(config), config)
    schedule = build_schedule(optimizer, config)
    rates = []
    for _ in range(steps):
        by_name = {group["name"]: group["lr"] for group in optimizer.param_groups}
        rates.append((by_name["head"], by_name["t5"]))
        optimizer.step()
        schedule.step()
    return torch.tensor(rates, dtype=torch.float64).T


def four_blocks():
    """A language model of four blocks."""
    config = T5 | {"num_layers": 4}
    weights = t5_stack(config).state_dict()
    return LanguageModel("four", config, weights, 2.5, weights_sha256(weights), dropped=0)


def layerwise(decay):
    config = tiny_config(
        training=HORIZON,
        transfer_learning={"lm_learning_rate_factor": FACTOR, "layerwise_lr_decay": decay},
    )
    return config, build_model(config, four_blocks()).model


@pytest.mark.parametrize("kind", ["T5", "T5 with layerwise rates", "vanilla"])
def test_every_parameter_is_in_one_group_and_of_the_t5_only_matrices_decay(kind):
    config = config_of(vanilla=kind == "vanilla")
    config, model = layerwise(0.5) if "layerwise" in kind else (config, tiny_model(config))

    groups = parameter_groups(model, config)

    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    for group in groups:
        if group["name"] == "t5":
            assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] > 0}


@pytest.mark.parametrize(
    ("precision", "fused"),
    [("32-true", True), ("tf32", True), ("bf16-mixed", True), ("16-mixed", False)],
)
def test_adamw_has_the_configured_numbers_and_is_fused_unless_losses_are_scaled(precision, fused):
    config = config_of(precision=precision, **{"optimizer.beta1": 0.8, "optimizer.beta2": 0.9})

    optimizer = build_optimizer(tiny_model(config), config)

    assert isinstance(optimizer, torch.optim.AdamW)
    assert {(one["betas"], one["fused"]) for one in optimizer.param_groups} == {((0.8, 0.9), fused)}


def by_name(model, groups, what="lr"):
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group[what] for group in groups for p in group["params"]}


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("encoder.t5.block.0.layer.0.SelfAttention.q.weight", 0.5**3),
        ("encoder.t5.block.0.layer.0.SelfAttention.relative_attention_bias.weight", 0.5**3),
        ("encoder.t5.block.0.layer.1.layer_norm.weight", 0.5**3),
        ("encoder.t5.block.1.layer.1.DenseReluDense.wo.weight", 0.5**2),
        ("encoder.t5.block.2.layer.0.SelfAttention.o.weight", 0.5),
        ("encoder.t5.block.3.layer.0.SelfAttention.v.weight", 1),
        ("encoder.t5.final_layer_norm.weight", 1),
    ],
)
def test_every_block_of_the_t5_learns_at_a_share_of_the_next_one_s_rate(name, share):
    config, model = layerwise(0.5)

    rates = by_name(model, parameter_groups(model, config))

    assert rates[name] == pytest.approx(0.01 * FACTOR * share)
    assert rates["decoder.1.weight"] == 0.01


def test_without_layerwise_rates_the_t5_has_two_groups_in_the_order_of_its_parameters():
    config, model = layerwise(1.0)
    parameters = dict(model.named_parameters())
    t5 = [name for name in parameters if name.startswith(T5_PREFIX)]
    norms = [name for name in t5 if name.endswith("norm.weight")]
    matrices = [name for name in t5 if name not in norms]

    groups = [group for group in parameter_groups(model, config) if group["name"] == "t5"]

    assert [group["weight_decay"] for group in groups] == [0.01, 0]
    assert [group["lr"] for group in groups] == [0.01 * FACTOR] * 2
    for group, names in zip(groups, (matrices, norms), strict=True):
        assert [id(p) for p in group["params"]] == [id(parameters[name]) for name in names]


@pytest.mark.parametrize("schedule", ["one_cycle", "warmup_cosine"])
def test_layerwise_shares_hold_at_every_step_of_the_schedule(schedule):
    config, model = layerwise(0.8)
    config = with_values(config, {"training.schedule": schedule})
    optimizer = build_optimizer(model, config)
    steps = build_schedule(optimizer, config)
    first, last = (
        "encoder.t5.block.0.layer.0.layer_norm.weight",
        "encoder.t5.final_layer_norm.weight",
    )

    for _ in range(40):
        rates = by_name(model, optimizer.param_groups)
        assert rates[first] == pytest.approx(rates[last] * 0.8**3, rel=1e-12)
        assert rates[last] == pytest.approx(rates["decoder.1.bias"] * FACTOR, rel=1e-12)
        optimizer.step()
        steps.step()


def test_matrices_decay_while_biases_and_norms_do_not():
    config = config_of(**{"optimizer.weight_decay": 0.05})
    model = tiny_model(config)

    decay = by_name(model, parameter_groups(model, config), "weight_decay")

    assert decay["encoder.t5.block.0.layer.0.SelfAttention.q.weight"] == 0.05
    assert decay["encoder.t5.block.0.layer.0.layer_norm.weight"] == 0
    assert decay["decoder.1.weight"] == 0.05
    assert decay["stem.convolution.bias"] == 0
    assert decay["decoder.1.bias"] == 0


def test_one_cycle_rises_and_falls_in_cosines_and_ends_with_the_horizon():
    head, _ = learning_rates(config_of(), 40)

    def cosine(start, end, share):
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    peak, first = 0.01, 0.01 / 25
    turn = 0.25 * 40 - 1
    expected = [
        cosine(first, peak, step / turn)
        if step <= turn
        else cosine(peak, first / 1e4, (step - turn) / (39 - turn))
        for step in range(40)
    ]
    torch.testing.assert_close(head, torch.tensor(expected, dtype=torch.float64))
    assert head.max().item() == pytest.approx(0.01)
    assert head[-1].item() == pytest.approx(first / 1e4)


def test_warmup_cosine_rises_in_a_line_and_reaches_0_with_the_horizon():
    head, _ = learning_rates(config_of("warmup_cosine"), 41)

    rise = [0.01 * (step + 1) / 10 for step in range(10)]
    fall = [0.005 * (1 + math.cos(math.pi * (step - 10) / 30)) for step in range(10, 41)]
    torch.testing.assert_close(head, torch.tensor(rise + fall, dtype=torch.float64))
    assert head[40].item() == pytest.approx(0, abs=1e-12)
    assert (head[:40] > 0).all()


@pytest.mark.parametrize("schedule", ["one_cycle", "warmup_cosine"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_horizons_train(schedule, steps):
    head, _ = learning_rates(config_of(schedule, epochs=1, steps_per_epoch=steps), steps)

    assert (head > 0).all()
    assert head.max().item() <= 0.01 + 1e-12
