import weakref

import pytest
import torch
from tiny_training import tiny_config, tiny_language_model, tiny_windows

from stage1.base.errors import TrialError
from stage1.training import batch_size
from stage1.training.batch_size import ChosenSize, find_batch_size, largest_that_fits
from stage1.training.module import Stage1Module

MANY = 10**6
DOUBLED = [1, 8, 16, 32, 64, 128, 256]
AT_THE_CAP = ChosenSize(256, "auto takes no more")
IN_PARTS = ChosenSize(8, "the least; they did not fit into memory at once")


def sized(windows, free):
    """Four fifths of the free memory do not suffice for twice as many."""
    need = 100 + 20 * windows
    return ChosenSize(windows, f"{2 * windows} would need about {need:,} MB of {free:,.0f} MB free")


@pytest.mark.parametrize(
    ("limits", "tried", "chosen"),
    [
        pytest.param({}, DOUBLED, AT_THE_CAP, id="as much memory as anybody wants"),
        pytest.param({"each": -0.5, "free": 1e3}, DOUBLED, AT_THE_CAP, id="it does not grow"),
        pytest.param(
            {"room": 100}, DOUBLED[:6], ChosenSize(64, "128 did not fit into memory"), id="refused"
        ),
        pytest.param({"free": 1380 / 0.8 - 1}, DOUBLED[:5], sized(64, 1724), id="just below 128"),
        pytest.param({"free": 1380 / 0.8 + 1}, DOUBLED[:6], sized(128, 1726), id="just above 128"),
        pytest.param({"free": 1}, DOUBLED[:2], sized(8, 1), id="too little for anything"),
        pytest.param({"room": 3}, DOUBLED[:2], IN_PARTS, id="the least does not fit"),
        pytest.param({"room": 0}, DOUBLED[:2], IN_PARTS, id="not even one fits"),
        pytest.param({"there": 1}, [1, 1], ChosenSize(1, "there are 1 to train on"), id="1"),
        pytest.param({"there": 5}, [1, 5], ChosenSize(5, "there are 5 to train on"), id="5"),
        pytest.param({"there": 8}, [1, 8], ChosenSize(8, "there are 8 to train on"), id="8"),
        pytest.param({"there": 15}, [1, 8], ChosenSize(8, "there are 15 to train on"), id="15"),
        pytest.param(
            {"there": 100}, DOUBLED[:5], ChosenSize(64, "there are 100 to train on"), id="100"
        ),
    ],
)
def test_windows_are_doubled_until_memory_or_windows_end_or_auto_takes_no_more(
    limits, tried, chosen
):
    limits = {"each": 10, "room": MANY, "there": MANY, "free": None} | limits
    asked = []

    def megabytes(windows):
        asked.append(windows)
        return 100 + limits["each"] * windows if windows <= limits["room"] else None

    found = largest_that_fits(megabytes, training_windows=limits["there"], free_mb=limits["free"])

    assert found == chosen
    assert asked == tried


@pytest.fixture
def quick(monkeypatch):
    """Looks for forgotten tensors take a tenth of a second each in a process full of tests."""
    monkeypatch.setattr(batch_size, "garbage_collection_cuda", lambda: None)


@pytest.fixture
def losses(monkeypatch):
    """Notes the windows of every loss, and whether each of its parameters learns."""
    noted, loss = [], Stage1Module.loss

    def noted_loss(self, batch):
        learning = {p.requires_grad for n, p in self.model.named_parameters() if "t5" in n}
        noted.append((len(batch.scored), learning))
        return loss(self, batch)

    monkeypatch.setattr(Stage1Module, "loss", noted_loss)
    return noted


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("calendar", [False, True], ids=["synchronous", "calendar windows"])
def test_real_windows_go_through_a_t5_that_learns(quick, losses, calendar, precision):
    config = tiny_config(
        data={"seq_len": 64 if calendar else 16},
        model={"async_sampler": calendar},
        transfer_learning={"freeze_lm_epochs": 2},
        training={"batch_size": "auto", "precision": precision},
    )

    chosen = find_batch_size(config, tiny_windows(config), tiny_language_model(), accelerator="cpu")

    assert chosen == ChosenSize(256, "auto takes no more")
    assert losses == [(size, {True}) for size in (1, 8, 16, 32, 64, 128, 256)]


@pytest.mark.parametrize(
    ("transfer", "learning"),
    [({"freeze_lm_epochs": -1}, {False}), ({"use_pretrained_lm": False}, set())],
    ids=["a T5 frozen for good", "vanilla"],
)
def test_what_never_learns_does_not_count(quick, losses, transfer, learning):
    config = tiny_config(transfer_learning=transfer, training={"batch_size": "auto"})
    model = tiny_language_model() if "freeze_lm_epochs" in transfer else None

    find_batch_size(config, tiny_windows(config), model, accelerator="cpu")

    assert {frozenset(one) for _, one in losses} == {frozenset(learning)}


def test_memory_that_runs_out_on_the_way_back_ends_the_doubling(quick, monkeypatch):
    loss = Stage1Module.loss

    def limited(self, batch):
        value = loss(self, batch)
        if len(batch.scored) > 20:

            def fail(gradient):
                raise torch.OutOfMemoryError("CUDA out of memory")

            value.register_hook(fail)
        return value

    monkeypatch.setattr(Stage1Module, "loss", limited)
    config = tiny_config(training={"batch_size": "auto"})

    chosen = find_batch_size(config, tiny_windows(config), tiny_language_model(), accelerator="cpu")

    assert chosen == ChosenSize(16, "32 did not fit into memory")


def test_other_faults_of_a_step_are_not_taken_for_want_of_memory(monkeypatch):
    def broken(self, batch):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(Stage1Module, "loss", broken)
    config = tiny_config(training={"batch_size": "auto"})

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        find_batch_size(config, tiny_windows(config), tiny_language_model(), accelerator="cpu")


def test_a_model_that_does_not_fit_is_an_error_a_user_can_act_on(monkeypatch):
    def fail(self, *arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Stage1Module, "to", fail)
    config = tiny_config(training={"batch_size": "auto"})

    with pytest.raises(TrialError, match="choose a smaller language model"):
        find_batch_size(config, tiny_windows(config), tiny_language_model(), accelerator="cpu")


def test_the_free_memory_of_the_machine_decides_on_the_cpu(quick, monkeypatch):
    monkeypatch.setattr(batch_size, "available_mb", lambda: 1000.0)
    monkeypatch.setattr(batch_size._Attempts, "megabytes", lambda self, windows: 20.0 * windows)
    config = tiny_config(training={"batch_size": "auto"})

    chosen = find_batch_size(config, tiny_windows(config), tiny_language_model(), accelerator="cpu")

    assert chosen == ChosenSize(32, "64 would need about 1,280 MB of 1,000 MB free")


def test_nothing_is_left_behind_in_memory(monkeypatch):
    modules, loss = [], Stage1Module.loss

    def noted_loss(self, batch):
        modules.append(weakref.ref(self))
        return loss(self, batch)

    monkeypatch.setattr(Stage1Module, "loss", noted_loss)
    monkeypatch.setattr(batch_size, "AUTO_CAP", 8)
    config = tiny_config(training={"batch_size": "auto"})

    find_batch_size(config, tiny_windows(config), tiny_language_model(), accelerator="cpu")

    assert [one() for one in modules] == [None, None]
