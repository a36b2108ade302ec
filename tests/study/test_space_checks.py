"""What a search space can get wrong: each fault with file, line, key, rule and value."""

from __future__ import annotations

import pytest
from made_studies import BASE, write_space

from stage1.base.errors import ConfigError
from stage1.study.study import load_study

HEAD = """\
name: s
base: base.yaml
horizon_epochs: 3
"""
ARMS = "arms: {pretrained: {transfer_learning.initialization: pretrained}}\n"
PARAMETERS = "space:\n  training.optimizer.lr: {type: float, low: 1.0e-4, high: 1.0e-2}\n"


NONE = "is no key of the configuration"
SHARED = "must be set in the base configuration, the same for all trials"


@pytest.fixture
def faults(tmp_path):
    """The lines of the error that a space gives, without the path before the line number."""

    def faults_of(text, *, base=BASE):
        path = write_space(tmp_path, text, base=base)
        with pytest.raises(ConfigError) as raised:
            load_study(path)
        return [line.removeprefix(f"{path}:") for line in str(raised.value).split("\n")]

    return faults_of


def parameter(key, definition):
    return f"{HEAD}{ARMS}space:\n  {key}: {definition}\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param(
            HEAD + "horizon: 3\n" + ARMS + PARAMETERS,
            "4: horizon: unknown key; did you mean 'horizon_epochs'?",
            id="at the top",
        ),
        pytest.param(
            HEAD + ARMS + PARAMETERS + "search:\n  scheduler:\n    asha: {grace_epoch: 1}\n",
            "9: search.scheduler.asha.grace_epoch: unknown key; did you mean 'grace_epochs'?",
            id="in a section of a section",
        ),
        pytest.param(
            parameter("training.optimizer.lr", "\n    type: float\n    lwo: 1\n    high: 2"),
            "8: space.training.optimizer.lr.lwo: unknown key; did you mean 'low'?",
            id="in a parameter",
        ),
        pytest.param(
            parameter("transfer_learning.patch_len", "{type: choice, options: [4], log: true}"),
            "6: space.transfer_learning.patch_len.log: unknown key; known: when, type, options",
            id="in a parameter of another type",
        ),
    ],
)
def test_an_unknown_word_is_reported_with_the_one_that_was_meant(faults, text, fault):
    assert fault in faults(text)


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("training.optimiser.lr", f"'optimiser' {NONE}; did you mean 'optimizer'?"),
        (
            "training.optimizer.learning",
            f"'learning' {NONE}; known: lr, weight_decay, beta1, beta2",
        ),
        ("training.optimizer.lr.x", f"'x' {NONE}"),
        ("training.optimizer", "must be a single value's key such as training.optimizer.lr"),
        ("training.epochs", "must be left to horizon_epochs"),
        ("training.seed", "must be left to --seed and design.seeds"),
        ("data.timeframes", SHARED),
        ("data.kind", SHARED),
    ],
)
def test_a_key_that_cannot_be_set_is_reported_in_space_and_arm(faults, key, fault):
    searched = parameter(key, "{type: float, low: 1, high: 2}")
    arm = f"{HEAD}arms:\n  one:\n    {key}: 1\n{PARAMETERS}"

    assert faults(searched) == [f"6: space.{key}: {fault}"]
    assert faults(arm) == [f"6: arms.one.{key}: {fault}"]


@pytest.mark.parametrize(
    ("objective", "fault"),
    [
        (
            "{metric: val_corelation}",
            "metric: must be a metric, got 'val_corelation'; did you mean 'val_correlation'?",
        ),
        (
            "{metric: val_corr_h4}",
            "metric: must be a metric, got 'val_corr_h4'; did you mean 'val_corr_m5'?",
        ),
        ("{metric: val_loss}", "mode: must be min for val_loss, got max"),
        ("{metric: val_skill, mode: min}", "mode: must be max for val_skill, got min"),
    ],
)
def test_an_objective_that_cannot_be_is_reported(faults, objective, fault):
    lines = faults(f"{HEAD}{ARMS}{PARAMETERS}\nobjective: {objective}\n")

    assert lines == [f"8: objective.{fault}"]


@pytest.mark.parametrize(
    ("definition", "fault"),
    [
        (
            "{type: float, low: 1.0e-2, high: 1.0e-4}",
            ".low: must be <= high=0.0001, got 0.01; swap them",
        ),
        ("{type: float, low: 0, high: 1, log: true}", ".low: must be > 0 with log: true, got 0.0"),
        ("{type: int, low: 2, high: 1}", ".low: must be <= high=1, got 2; swap them"),
        ("{type: int, low: -1, high: 1, log: true}", ".low: must be > 0 with log: true, got -1"),
        ("{type: float, low: -1, high: 1}", ": must be > 0, got -1.0"),
        ("{type: float, low: 1}", ".high: must be given"),
        ("{low: 1, high: 2}", ": 'type' must be given"),
        (
            "{type: real, low: 1, high: 2}",
            ".type: must be one of 'float', 'int', 'choice', got 'real'",
        ),
        ("3", ": must be a mapping of keys to values, got 3"),
        (
            "{type: choice, options: [1.0e-3, fast]}",
            ".options: must be all text, all numbers or all true/false, got [0.001, 'fast']",
        ),
        ("{type: choice, options: [fast, slow]}", ": must be a number, got 'fast'"),
        ("{type: choice, options: []}", ".options: must have at least 1 entries, got []"),
    ],
)
def test_a_parameter_without_a_sound_range_is_reported(faults, definition, fault):
    lines = faults(parameter("training.optimizer.lr", definition))

    assert lines[0] == f"6: space.training.optimizer.lr{fault}"


@pytest.mark.parametrize(
    ("key", "definition", "expected"),
    [
        (
            "transfer_learning.patch_len",
            "{type: choice, options: [4, 5, 7]}",
            [f": must divide data.seq_len=64, got {value}" for value in (5, 7)],
        ),
        (
            "transfer_learning.patch_len",
            "{type: int, low: 4, high: 8}",
            [": must divide data.seq_len=64, got 5"],
        ),
        (
            "masking.mask_span_min",
            "{type: choice, options: [3, 8]}",
            [": masking.mask_span_max: must be >= masking.mask_span_min=8, got 7"],
        ),
        (
            "transfer_learning.freeze_lm_epochs",
            "{type: float, low: 0, high: 3}",
            [f".type: must not be float for a key with values such as {end}" for end in (0, 3)],
        ),
    ],
)
def test_a_value_that_the_configuration_cannot_take_is_reported(faults, key, definition, expected):
    assert faults(parameter(key, definition)) == [f"6: space.{key}{fault}" for fault in expected]


def test_parameters_that_do_not_fit_together_are_found_in_the_design(faults):
    space = (
        "space:\n"
        "  masking.mask_span_min: {type: choice, options: [3, 7]}\n"
        "  masking.mask_span_max: {type: choice, options: [4, 8]}\n"
    )

    (line,) = faults(HEAD + ARMS + space)

    assert line.startswith("5: space: configuration ")
    assert (
        "arm pretrained: masking.mask_span_max: must be >= masking.mask_span_min=7, got 4" in line
    )


PATCH, SHARE = "transfer_learning.patch_len", "training.warmup_share"
EARLIER = "must be an earlier key of the space;"
GIVEN = "must be a value that the search gives"


@pytest.mark.parametrize(
    ("other", "wanted", "fault"),
    [
        pytest.param(f"{PATCH}gth", 8, f"{EARLIER} did you mean '{PATCH}'?", id="unknown key"),
        pytest.param("data.stride", 8, f"{EARLIER} known: {PATCH}, {SHARE}", id="later key"),
        pytest.param("training.optimizer.lr", 8, f"{EARLIER} known: {PATCH}, {SHARE}", id="itself"),
        pytest.param(PATCH, 32, f"{GIVEN} {PATCH}, got 32", id="a value that never comes"),
        pytest.param(SHARE, 0.1, f"{GIVEN} {SHARE}, got 0.1", id="a real number, never met"),
    ],
)
def test_a_condition_that_cannot_hold_is_reported_at_its_line(faults, other, wanted, fault):
    space = (
        "space:\n"
        "  transfer_learning.patch_len: {type: choice, options: [4, 8]}\n"
        "  training.warmup_share: {type: float, low: 0.1, high: 0.2}\n"
        "  training.optimizer.lr:\n"
        "    type: float\n"
        "    low: 1.0e-4\n"
        "    high: 1.0e-2\n"
        f"    when: {{{other}: {wanted}}}\n"
        "  data.stride: {type: int, low: 8, high: 9}\n"
    )

    assert faults(HEAD + ARMS + space) == [f"12: space.training.optimizer.lr.when.{other}: {fault}"]


def test_what_depends_on_a_faulty_parameter_is_reported_once_more_only(faults):
    space = (
        "space:\n"
        "  training.batch_size: {type: int, low: 8, high: 9, when: {training.optimizer.lr: 1}}\n"
        "  training.optimizer.lr: {type: float, low: 1, high: 2, when: {training.batch_size: 8}}\n"
    )

    lines = faults(HEAD + ARMS + space)

    assert [line.split(": must")[0] for line in lines] == [
        "6: space.training.batch_size.when.training.optimizer.lr",
        "7: space.training.optimizer.lr.when.training.batch_size",
    ]


def test_a_conditional_value_is_checked_where_its_condition_holds(tmp_path):
    space = (
        "space:\n"
        "  data.seq_len: {type: choice, options: [64, 80]}\n"
        "  transfer_learning.patch_len:\n"
        "    {type: choice, options: [5, 10], when: {data.seq_len: 80}}\n"
        "  training.optimizer.lr: {type: float, low: 1.0e-4, high: 1.0e-2}\n"
    )

    study = load_study(write_space(tmp_path, HEAD + ARMS + space))

    assert study.space.space["transfer_learning.patch_len"].options == (5, 10)


@pytest.mark.parametrize(
    ("arms", "fault"),
    [
        ("arms: {}", "4: arms: must have at least 1 entries, got {}"),
        ("arms:\n  random:", "5: arms.random: must be a mapping of keys to values, got None"),
        (
            "arms:\n  random:\n    transfer_learning.initialization: radnom",
            "6: arms.random.transfer_learning.initialization: must be 'pretrained', 'random', "
            "'shuffled', 'mean_sd', 'norms_only', 'attention_only', 'mlp_only' or 'spectrum', got "
            "'radnom'",
        ),
        (
            "arms:\n  one:\n    training.optimizer.lr: 1.0e-3",
            "6: arms.one.training.optimizer.lr: must not be searched too",
        ),
        (
            "arms:\n  my arm: {training.batch_size: 8}",
            "5: arms.my arm: must match ^[A-Za-z0-9_]+$, got 'my arm'",
        ),
        (
            "arms:\n  long:\n    masking.mask_span_min: 8\n    masking.mask_span_max: 7",
            "7: arms.long.masking.mask_span_max: must be >= masking.mask_span_min=8, got 7",
        ),
    ],
)
def test_an_arm_that_cannot_be_is_reported(faults, arms, fault):
    assert faults(f"{HEAD}{arms}\n{PARAMETERS}") == [fault]


def test_settings_of_an_arm_are_checked_together_not_one_by_one(tmp_path):
    arms = "arms:\n  long: {masking.mask_span_min: 8, masking.mask_span_max: 9}\n"

    study = load_study(write_space(tmp_path, HEAD + arms + PARAMETERS))

    assert list(study.space.arms) == ["long"]


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("design: {configurations: 6}", "design.configurations: must be a power of two, got 6"),
        ("design: {configurations: 1}", "design.configurations: must be >= 2, got 1"),
        ("design: {seeds: 0}", "design.seeds: must be >= 1, got 0"),
        ("search: {trials: -1}", "search.trials: must be >= 0, got -1"),
        ("search: {sampler: tpee}", "search.sampler: must be 'tpe' or 'random', got 'tpee'"),
        (
            "search: {scheduler: {asha: {grace_epochs: 4}}}",
            "search.scheduler.asha.grace_epochs: must be <= horizon_epochs=3, got 4",
        ),
        (
            "search: {scheduler: {asha: {reduction_factor: 1}}}",
            "search.scheduler.asha.reduction_factor: must be > 1, got 1",
        ),
        ("resources: {cpus: 0}", "resources.cpus: must be > 0, got 0"),
    ],
)
def test_a_plan_that_cannot_be_is_reported(faults, key, fault):
    assert faults(HEAD + ARMS + PARAMETERS + key + "\n") == [f"7: {fault}"]


LABELLED = """\
space:
  training.optimizer.lr: {type: float, low: 1.0e-4, high: 1.0e-2, log: true}
  transfer_learning.patch_len: {type: choice, options: [4, 8]}
  transfer_learning.freeze_lm_epochs: {type: int, low: 0, high: 3,
                                       when: {transfer_learning.patch_len: 8}}
"""
LR, PATCH, FREEZE = (
    "training.optimizer.lr",
    "transfer_learning.patch_len",
    "transfer_learning.freeze_lm_epochs",
)


@pytest.mark.parametrize(
    ("point", "fault"),
    [
        (f"{{{LR}: 3e-2}}", f"{LR}: must be from 0.0001 to 0.01, got 0.03"),
        (f"{{{LR}: much}}", f"{LR}: must be a number, got 'much'"),
        (f"{{{PATCH}: 16}}", f"{PATCH}: must be one of 4, 8, got 16"),
        (f"{{{FREEZE}: 2}}", f"{FREEZE}: must stand beside {PATCH} = 8, got {{'{FREEZE}': 2}}"),
        (f"{{{PATCH}: 8, {FREEZE}: 1.5}}", f"{FREEZE}: must be a whole number, got 1.5"),
        ("{}", "must name a key of the space, got none"),
        ("{training.optimizer.lrr: 1}", "training.optimizer.lrr: must be a key of the space"),
        (f"{{{LR}: 3e-3}}", f"must differ from the others, got {{'{LR}': '3e-3'}} twice"),
    ],
)
def test_a_point_to_start_from_that_is_none_of_the_space_is_reported(faults, point, fault):
    start = f"search: {{start: [{{{LR}: 3e-3}}, {point}]}}\n"

    (line,) = faults(HEAD + ARMS + LABELLED + start)

    assert line.startswith(f"10: search.start: point 2: {fault}")


def test_points_to_start_from_are_typed_as_the_configuration_is(tmp_path):
    start = f"search: {{trials: 1, start: [{{{LR}: 3e-3, {PATCH}: 8.0}}, {{{LR}: 1}}]}}\n"

    with pytest.raises(ConfigError, match="point 2"):
        load_study(write_space(tmp_path, HEAD + ARMS + LABELLED + start))
    study = load_study(
        write_space(tmp_path, HEAD + ARMS + LABELLED + start.replace(f"{LR}: 1}}", f"{LR}: 1e-3}}"))
    )

    first, second = study.space.search.start
    assert first == {LR: 3e-3, PATCH: 8}
    assert isinstance(first[PATCH], int)
    assert second == {LR: 1e-3}
    assert study.cautions == [
        "search.start has 2 points for each of 1 arm, and search.trials is 1: the last ones are "
        "not tried"
    ]


def test_a_missing_base_is_reported_with_line_and_path(faults, tmp_path):
    (line,) = faults(f"name: s\nbase: configs/nope.yaml\n{ARMS}{PARAMETERS}")

    assert line == f"2: base: must be an existing file, got {tmp_path}/configs/nope.yaml"


def test_faults_of_the_base_are_reported_in_the_base(tmp_path):
    path = write_space(tmp_path, HEAD + ARMS + PARAMETERS, base="data:\n  seq_len: 1\n")

    with pytest.raises(ConfigError) as raised:
        load_study(path)

    assert str(raised.value) == f"{tmp_path}/base.yaml:2: data.seq_len: must be >= 8, got 1"


def test_missing_keys_are_reported_in_the_file(faults):
    lines = faults("horizon_epochs: 3\n")

    assert lines == [f" {key}: must be given" for key in ("name", "base", "arms", "space")]


def test_all_faults_are_told_at_once_each_with_its_line(faults):
    lines = faults(
        HEAD
        + "arms:\n"
        + "  one: {training.batch: 8}\n"
        + "  two: {training.precision: 8-bit}\n"
        + "space:\n"
        + "  transfer_learning.patch_len: {type: choice, options: [5]}\n"
        + "  training.optimizer.lr: {type: float, low: -1, high: 1}\n"
        + "objective: {metric: val_los}\n"
    )

    assert [line.split(": ")[0] for line in lines] == ["5", "6", "8", "9", "10"]


def test_a_timeframe_that_is_context_in_calendar_windows_cannot_be_the_objective(faults):
    base = BASE.replace("m5]", "m5, m15], seq_len: 64") + "model: {async_sampler: true}\n"
    objective = "objective: {metric: val_corr_m15, mode: max}\n"

    (fault,) = faults(HEAD + objective + ARMS + PARAMETERS, base=base)

    assert fault == (
        "4: objective.metric: must be of a timeframe with 8 bars in a window, got 'val_corr_m15': "
        "64 minutes are too few for m15"
    )


@pytest.mark.parametrize(
    ("base", "text", "fault"),
    [
        pytest.param(
            BASE + "training: {batch_size: auto}\n",
            HEAD + ARMS + PARAMETERS,
            "2: base: must set training.batch_size to a number, since all trials share it, "
            "got auto",
            id="in the base configuration",
        ),
        pytest.param(
            BASE,
            HEAD
            + ARMS.replace("pretrained}}", "pretrained, training.batch_size: auto}}")
            + PARAMETERS,
            "4: arms.pretrained.training.batch_size: must be a number, since all trials share it, "
            "got auto",
            id="in an arm",
        ),
    ],
)
def test_all_trials_share_one_batch_size_so_auto_is_refused(faults, base, text, fault):
    assert faults(text, base=base) == [fault]


ON_A_CPU = "must be 32-true or bf16-mixed where no CUDA GPU trains, got"
GIVE = "set one of them, or give the training a GPU: resources: {gpus: 1}"


@pytest.mark.parametrize(
    ("base", "text", "fault"),
    [
        pytest.param(
            BASE + "training: {precision: tf32}\n",
            HEAD + ARMS + PARAMETERS,
            f"2: base: training.precision {ON_A_CPU} tf32; {GIVE}",
            id="in the base configuration",
        ),
        pytest.param(
            BASE,
            HEAD
            + ARMS.replace("pretrained}}", "pretrained, training.precision: 16-mixed}}")
            + PARAMETERS,
            f"4: arms.pretrained.training.precision: {ON_A_CPU} 16-mixed; {GIVE}",
            id="in an arm",
        ),
        pytest.param(
            BASE + "training: {precision: tf32}\n",
            parameter("training.precision", "{type: choice, options: [32-true, 16-mixed]}"),
            f"6: space.training.precision: {ON_A_CPU} 16-mixed; {GIVE}",
            id="in the search",
        ),
    ],
)
def test_arithmetic_that_a_cpu_does_not_have_is_refused_where_trials_have_no_gpu(
    faults, base, text, fault, tmp_path
):
    assert faults(text, base=base) == [fault]

    on_gpus = "design: {configurations: 2}\nresources: {gpus: 0.5}\n"
    load_study(write_space(tmp_path, text + on_gpus, base=base))


def test_a_training_uses_one_gpu_at_most(faults):
    text = HEAD + ARMS + PARAMETERS + "resources: {gpus: 2}\n"

    assert faults(text) == ["7: resources.gpus: must be <= 1, got 2"]


# --- what a design can tell apart ---

FIVE = (
    "space:\n"
    "  training.optimizer.lr: {type: float, low: 1.0e-3, high: 1.0e-2, log: true}\n"
    "  transfer_learning.lm_learning_rate_factor: {type: float, low: 0.03, high: 3, log: true}\n"
    "  transfer_learning.freeze_lm_epochs: {type: int, low: 0, high: 3}\n"
    "  transfer_learning.patch_len: {type: choice, options: [8, 16]}\n"
    "  transfer_learning.lm_name_or_path:"
    " {type: choice, options: [english-t5-nano, english-t5-micro]}\n"
)
SIXTH = "  masking.mask_ratio: {type: float, low: 0.1, high: 0.3}\n"
EVER_MORE = "".join(
    f"  {key}: {{type: float, low: 0.1, high: 0.2}}\n"
    for key in (
        *("training.warmup_share", "training.gradient_clip", "training.optimizer.weight_decay"),
        *("model.dropout", "transfer_learning.input_scale", "transfer_learning.initializer_factor"),
    )
)


def cautions_of(tmp_path, text, *, seed=0):
    return load_study(write_space(tmp_path, HEAD + ARMS + text), seed=seed).cautions


@pytest.mark.parametrize("seed", range(3))
def test_eight_configurations_of_the_default_settings_run_with_a_warning(tmp_path, seed):
    (text,) = cautions_of(tmp_path, f"{FIVE}design: {{configurations: 8, seeds: 2}}\n", seed=seed)

    assert text == (
        "claim 1 will be NOT EVALUABLE: it needs 16 configurations, got 8; 8 configurations "
        "cannot tell lr from lm_name_or_path, freeze_lm_epochs from patch_len; design: {looks: "
        "[16, 32]} would do"
    )


@pytest.mark.parametrize(
    ("parameters", "design"),
    [
        pytest.param(FIVE, "{configurations: 16, seeds: 1}", id="16 for 5 settings"),
        pytest.param(FIVE, "{looks: [16, 32]}", id="with looks"),
        pytest.param(FIVE + SIXTH, "{looks: [32, 64]}", id="32 for 6 settings"),
        pytest.param(
            FIVE + SIXTH.replace("high: 0.3", "high: 0.1"), "{looks: [16]}", id="a single value"
        ),
        pytest.param(
            FIVE + SIXTH.replace("}", ", when: {transfer_learning.patch_len: 8}}"),
            "{looks: [16]}",
            id="a condition",
        ),
    ],
)
def test_settings_that_can_be_told_apart_need_no_warning(tmp_path, parameters, design):
    assert cautions_of(tmp_path, f"{parameters}design: {design}\n") == []


def test_looks_that_begin_too_early_for_the_settings_say_what_would_do(faults):
    (line,) = faults(f"{HEAD}{ARMS}{FIVE}{SIXTH}design: {{looks: [16, 32]}}\n")

    assert line.startswith("12: design.looks: must begin with 32 for 6 settings, got 16")
    assert line.endswith("; write looks: [32, 64]")


def test_pairs_of_settings_that_a_first_look_cannot_tell_apart_are_named(faults, tmp_path):
    text = f"{HEAD}{ARMS}{FIVE}{SIXTH}{EVER_MORE}"

    (line,) = faults(f"{text}design: {{looks: [32]}}\n")

    assert "18: design.looks: must begin with 64 for 12 settings, got 32, which cannot tell" in line
    assert " from " in line
    enough = load_study(write_space(tmp_path, f"{text}design: {{looks: [64]}}\n"))
    assert enough.cautions == []


FREEZE = "  transfer_learning.freeze_lm_epochs: {type: int, low: 0, high: 3}\n"


@pytest.mark.parametrize(
    ("parameters", "design", "fault"),
    [
        pytest.param(
            "  transfer_learning.patch_len: {type: choice, options: [4, 8]}\n" + FREEZE,
            "{looks: [16]}",
            "design.looks: must hold at least 12 distinct configurations, got 8 among 16 points",
            id="few with looks",
        ),
        pytest.param(
            "  transfer_learning.patch_len: {type: choice, options: [4]}\n",
            "{configurations: 8, seeds: 1}",
            "design.configurations: must hold at least 2 distinct configurations, got 1 among 8",
            id="a single one without",
        ),
    ],
)
def test_a_design_of_few_distinct_configurations_is_refused(faults, parameters, design, fault):
    (line,) = faults(f"{HEAD}{ARMS}space:\n{parameters}design: {design}\n")

    assert fault in line
    assert "give the space more values" in line


def test_fewer_distinct_configurations_than_asked_for_are_said(tmp_path):
    space = (
        "space:\n"
        "  transfer_learning.patch_len: {type: choice, options: [4, 8]}\n"
        "  transfer_learning.freeze_lm_epochs: {type: int, low: 0, high: 1}\n"
    )

    first, _, search = cautions_of(tmp_path, f"{space}design: {{configurations: 8, seeds: 2}}\n")

    assert first == "4 distinct configurations of 8 points"
    assert search == (
        "search.trials is 24, and 4 are run: the space holds 4 configurations, and none is trained "
        "twice"
    )
