"""The command that plans a study: what it prints, and that it leaves nothing behind."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import stage1, without_loading_lines
from made_claims import made_outlook
from made_runs import write_rich_run
from made_studies import ROOT, SPACE, write_space

from stage1.claims.synthetic import world_of_run
from stage1.plan import __main__ as command
from stage1.plan import resources
from stage1.training.timing import TrialTiming

BASE = """\
data: {timeframes: [m1, m5, m15], seq_len: 64}
transfer_learning: {lm_name_or_path: english-t5-nano}
training: {steps_per_epoch: 10}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(call_command):
    """Call the command with arguments; gives status, stdout and stderr."""
    return partial(call_command, command.plan)


@pytest.fixture
def simulated(monkeypatch):
    """In place of seconds of simulation: notes world, design and claim that are asked for."""
    asked = []

    def outlook(world, size, definition):
        asked.append((world, size, definition.number))
        return made_outlook(definition, looks=size.looks, decided=3 * (len(size.looks) * [0.5],))

    monkeypatch.setattr(command, "outlook", outlook)
    return asked


@pytest.fixture
def timed_configs(monkeypatch):
    """In place of trainings: a tenth of a second per step; notes what is timed."""
    configs = []

    def time_trial(config, windows, language_model, *, accelerator):
        configs.append(config)
        return TrialTiming(1.0, 0.1, 0.5, peak_rss_mb=1024.0, peak_vram_mb=None)

    monkeypatch.setattr(resources, "time_trial", time_trial)
    return configs


def space_of(folder, *replaced, base=BASE):
    """The small study of the tests on the bundled bars, with some of its text replaced."""
    text = SPACE
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    return write_space(folder, text, base=base)


def plain(text):
    """Printed text without its line breaks."""
    return " ".join(text.split())


def test_a_plan_tells_trials_time_memory_disk_claims_and_the_next_command_and_writes_nothing(
    call, folder, simulated, timed_configs
):
    space = space_of(folder)
    before = sorted(folder.rglob("*"))

    status, out, err = call(space, "--workers", 2)

    text = plain(out)
    assert (status, err) == (0, "")
    assert "design 16 4 configurations × 2 seeds × 2 arms" in text
    assert "at most 36" in text  # 16 + 12 + 2 x 2 x 2
    # A trial: 1 + 9 (0.5 + 10 x 0.1) = 14.5 s, so the design 16 x 14.5 / 2 = 116 s. Then, at the
    # low end, 12 x (1 + 2/3 + 2/3) / 9 of a trial and 8 trials; at the high end 20 whole trials;
    # 6 x 2 x (1 + 15 x 0.1) = 30 s of cost block and 30 s of start: 257 to 321 s.
    assert "Time: about 4 to 5 minutes with 2 workers" in text
    # 2 GB and Ray's 900 MB; bars and weights of nano are a few MB
    assert "Memory: about 2.9 GB: 2 workers of 1.0 GB" in text
    assert f"MB in {Path('runs/simulated')}." in text
    assert "3b error reduction" in text
    assert "6 cost: decided if" in text
    assert out.endswith(f"  python -m stage1.tune {space} --workers 2\n")
    assert sorted(folder.rglob("*")) == before


def test_no_more_than_a_dozen_kinds_are_timed(call, folder, simulated, timed_configs):
    sizes = "{type: choice, options: [english-t5-nano, english-t5-micro]}"
    space = space_of(
        folder,
        ("space:\n", f"space:\n  transfer_learning.lm_name_or_path: {sizes}\n"),
        ("[4, 8, 16]", "[1, 2, 4, 8, 16, 32, 64]"),
        ("configurations: 4", "configurations: 128"),
    )

    _, out, _ = call(space)

    assert len(timed_configs) == 12
    assert "12 of 14 combinations were timed" in plain(out)


def test_without_timing_no_model_is_opened(call, folder, simulated, timed_configs):
    space = space_of(folder, base=BASE.replace("english-t5-nano", "google-t5/t5-nowhere"))

    status, out, _ = call(space, "--no-timing")

    assert status == 0
    assert "Time and memory: not measured, as --no-timing asks." in out
    assert "Disk: about" in out
    assert timed_configs == []


@pytest.mark.parametrize(
    ("options", "card"), [((), "H100 (80 GB)"), (("--gpu", "l4"), "L4 (24 GB)")]
)
def test_where_a_trial_wants_a_gpu_and_there_is_none_its_time_is_reckoned_for_a_card(
    call, folder, simulated, timed_configs, monkeypatch, options, card
):
    monkeypatch.setattr(command.torch.cuda, "device_count", lambda: 0)
    space = space_of(folder, ("search: {", "resources: {cpus: 1, gpus: 0.5}\nsearch: {"))

    status, out, _ = call(space, *options)

    text = plain(out)
    assert status == 0
    assert f"Reckoned for {card}, not measured" in text
    assert "with 2 workers" in text
    assert "Time by GPUs of this kind: 1: " in text
    assert "per GPU, resources.gpus: " in text
    assert "Memory: about" not in text.replace("GPU memory: about", "")
    assert timed_configs == []


def test_a_card_that_nobody_knows_is_refused(call, folder):
    status, _, err = call(space_of(folder), "--gpu", "h1000")

    assert status == 2
    assert "--gpu must be one of t4, l4" in err


@pytest.mark.parametrize(
    ("gpus_each", "per_gpu", "workers"),
    [(1, "1.0 GB per GPU, of 80.0", 2), (0.5, "2 trials", 4), (0.7, "1.0 GB per GPU, of", 2)],
)
def test_gpus_limit_the_trials_at_once_and_their_memory_is_told(
    call, folder, simulated, monkeypatch, gpus_each, per_gpu, workers
):
    monkeypatch.setattr(command.torch.cuda, "device_count", lambda: 2)
    card = SimpleNamespace(name="NVIDIA H100 80GB HBM3", total_memory=80 * 2**30)
    monkeypatch.setattr(command.torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(
        resources, "time_trial", lambda *_, **__: TrialTiming(1.0, 0.1, 0.5, 700.0, 1024.0)
    )
    space = space_of(
        folder, ("search: {", f"resources: {{cpus: 1, gpus: {gpus_each}}}\nsearch: {{")
    )

    _, out, _ = call(space, "--workers", 16)

    assert f"with {workers} workers" in plain(out)
    assert per_gpu in plain(out)
    assert "8 trials per GPU" in plain(out)  # a tenth of a second per step, which takes it less


def test_studies_are_simulated_on_the_space_and_design_of_the_file(call, folder, simulated):
    space = space_of(folder, ("{configurations: 4, seeds: 2}", "{looks: [16, 32], replicated: 4}"))

    _, out, _ = call(space, "--no-timing")

    worlds, sizes, numbers = zip(*simulated, strict=True)
    assert {tuple(setting.levels for setting in world.settings) for world in worlds} == {(0, 4, 3)}
    assert all(setting.ordered for setting in worlds[0].settings)
    assert {(size.looks, size.seeds, size.replicated) for size in sizes} == {((16, 32), 2, 4)}
    assert numbers == ("1", "2", "2b", "3", "3b")
    text = plain(out)
    assert "as is typical of the bundled bars" in text
    assert "Not in this design: 4 stability (needs an arm of the role random_fixed); 5 ear" in text
    assert "72 (no effect), 70 (20%), 68 (40%) trainings of 2 arms" in text


def test_a_design_of_four_configurations_does_not_contain_claim_1(call, folder, simulated):
    _, out, _ = call(space_of(folder), "--no-timing")

    assert [number for _, _, number in simulated] == ["2", "2b", "3", "3b"]
    assert "Not in this design: 1 sensitivity (needs 16 configurations);" in plain(out)


def test_scores_vary_as_in_an_earlier_run_on_the_space_of_the_plan(call, folder, simulated):
    write_rich_run(folder / "earlier", configurations=8)
    earlier = world_of_run(folder / "earlier")

    _, out, _ = call(space_of(folder), "--no-timing", "--like", "earlier")

    worlds, sizes, _ = zip(*simulated, strict=True)
    assert {len(world.settings) for world in worlds} == {3}
    assert {world._replace(settings=earlier.settings) for world in worlds} == {earlier}
    assert {size.looks for size in sizes} == {(4,)}
    assert "vary as the one in earlier did" in plain(out)


def test_a_study_of_one_arm_simulates_nothing_and_says_what_falls_away(call, folder, simulated):
    space = space_of(folder, ("  random: {transfer_learning.initialization: random}\n", ""))

    status, out, _ = call(space, "--no-timing")

    assert (status, simulated) == (0, [])
    assert "the study has no random arm" in plain(out)
    assert "6 cost: decided if" in plain(out)
    assert "Simulated studies" not in out


def test_a_study_without_a_t5_has_no_claim_left(call, folder, simulated, timed_configs):
    space = space_of(
        folder,
        ("  pretrained: {transfer_learning.initialization: pretrained}\n", ""),
        (
            "random: {transfer_learning.initialization: random}",
            "v: {transfer_learning.use_pretrained_lm: false}",
        ),
    )

    status, out, _ = call(space)

    text = plain(out)
    assert status == 0
    assert "no pretrained and no random arm" in text
    assert "6 cost: cannot be evaluated" in text
    assert "What this design would decide" not in text
    assert "vanilla encoder –" in text
    assert len(timed_configs) == 1


def test_the_next_command_has_the_options_of_the_plan(call, folder, simulated):
    options = ("--trials", "5", "--seed", "3", "--out", "my runs")

    _, out, _ = call(space_of(folder), "--no-timing", *options)

    start = f"python -m stage1.tune {folder / 'space.yaml'} --trials 5 --seed 3 --out 'my runs'"
    assert out.endswith(f"Next:\n  {start}\n")
    assert "search 5" in plain(out)


def test_a_study_that_has_begun_is_gone_on_with(call, folder, simulated):
    Path("runs/simulated").mkdir(parents=True)

    _, out, _ = call(space_of(folder), "--no-timing")

    assert "runs/simulated has begun already" in out
    assert out.endswith(" --resume\n")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        pytest.param(["nope.yaml"], "nope.yaml: must be an existing file", id="no space"),
        pytest.param(["space.yaml", "--data-dir", "nope"], "nope", id="no such data folder"),
        pytest.param(["space.yaml", "--like", "nope"], "nope", id="no such run"),
        pytest.param(["space.yaml", "--workers", "0"], "--workers", id="no workers"),
        pytest.param(["space.yaml", "--trials", "-1"], "--trials", id="less than no trials"),
        pytest.param(["space.yaml", "--like"], "--like", id="an option without its value"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(call, folder, simulated, arguments, fault):
    space_of(folder)

    status, out, err = call(*arguments)

    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert fault in err
    assert err.count("\n") == 1


def test_a_language_model_that_cannot_be_had_is_an_error_where_it_is_timed(call, folder, simulated):
    space = space_of(folder, base=BASE.replace("english-t5-nano", "google-t5/t5-nowhere"))

    status, _, err = call(space)

    assert status == 2
    assert "google-t5/t5-nowhere" in err


def test_ctrl_c_is_status_130(call, folder, simulated, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(resources, "time_trial", interrupted)

    status, _, err = call(space_of(folder))

    assert status == 130
    assert "Traceback" not in err


@pytest.mark.slow
def test_the_smoke_study_is_planned_for_80_columns():
    done = stage1("stage1.plan", ROOT / "search_spaces" / "smoke.yaml", env={"COLUMNS": "80"})

    assert without_loading_lines(done.stderr) == ""
    lines = done.stdout.splitlines()
    assert max(len(line.rstrip()) for line in lines if "stage1.tune" not in line) <= 80
    assert "…" not in done.stdout
