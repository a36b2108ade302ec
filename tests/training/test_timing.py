import pytest
from tiny_training import tiny_config, tiny_language_model, tiny_windows

from stage1.training import timing as timing
from stage1.training.timing import TrialTiming, is_single_threaded, time_trial


def test_a_trial_takes_its_start_and_every_epoch_its_steps_and_a_validation():
    parts = TrialTiming(2.0, 0.1, 0.5, peak_rss_mb=700.0, peak_vram_mb=None)

    assert parts.trial_seconds(epochs=3, steps_per_epoch=20) == pytest.approx(2 + 3 * (0.5 + 2))


def test_a_timing_trains_and_validates_for_real_whatever_horizon_and_length_are_set():
    config = tiny_config(training={"epochs": 50, "steps_per_epoch": 1000})

    parts = time_trial(config, tiny_windows(config), tiny_language_model())

    assert 0 < parts.step_seconds < 5
    assert 0 < parts.validation_seconds < 5
    assert 0 < parts.start_seconds < 5
    assert parts.peak_rss_mb > 50


@pytest.fixture
def trained(monkeypatch):
    """Notes the configurations that are trained."""
    configs, fit = [], timing.fit

    def noted_fit(config, *arguments, **options):
        configs.append(config)
        return fit(config, *arguments, **options)

    monkeypatch.setattr(timing, "fit", noted_fit)
    return configs


@pytest.mark.parametrize(
    ("asked", "trained_with"),
    [
        pytest.param(3, 0, id="frozen at first: it learns from the first step"),
        pytest.param(0, 0, id="never frozen"),
        pytest.param(-1, -1, id="always frozen: it stays so"),
    ],
)
def test_the_t5_learns_unless_it_never_does(trained, asked, trained_with):
    config = tiny_config(transfer_learning={"freeze_lm_epochs": asked})

    time_trial(config, tiny_windows(config), tiny_language_model())

    assert [one.transfer_learning.freeze_lm_epochs for one in trained] == [trained_with]


def test_what_other_programs_took_is_left_out_where_one_thread_does_the_work(monkeypatch):
    config = tiny_config()
    arguments = config, tiny_windows(config), tiny_language_model()
    monkeypatch.setattr(timing.time, "process_time", iter([0.0, 0.0]).__next__)

    waited = time_trial(*arguments)

    assert (waited.start_seconds, waited.step_seconds, waited.validation_seconds) == (0, 0, 0)


@pytest.mark.parametrize(
    ("threads", "accelerator", "known"),
    [(1, "cpu", True), (2, "cpu", False), (1, "gpu", False)],
    ids=["one thread", "two threads", "GPU"],
)
def test_is_single_threaded_where_one_thread_does_the_work(threads, accelerator, known):
    config = tiny_config(training={"threads": threads})

    assert is_single_threaded(config, accelerator) is known
