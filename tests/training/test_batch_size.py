import weakref

import pytest
import torch
from tiny_training import tiny_config, tiny_language_model, tiny_windows

from stage1.base.errors import TrialError
from stage1.training import batch_size
from stage1.training.batch_size import AUTO_CAP, ChosenSize, find_batch_size, largest_that_fits
from stage1.training.module import Stage1Module

MANY = 10**6


def linear(*, fixed=100.0, each=10.0, room=MANY):
    """Memory of a step that takes so much for itself and for each window; notes what was tried."""
    tried = []

    def megabytes(windows):
        tried.append(windows)
        return fixed + each * windows if windows <= room else None

    return megabytes, tried


def test_windows_are_doubled_until_memory_refuses():
    megabytes, tried = linear(room=100)

    chosen = largest_that_fits(megabytes, training_windows=MANY, free_mb=None)

    assert chosen == ChosenSize(64, "128 did not fit into memory")
    assert tried == [1, 8, 16, 32, 64, 128]


@pytest.mark.parametrize(
    ("free", "windows"),
    [
        pytest.param((100 + 10 * 128) / 0.8 - 1, 64, id="a little too little for 128"),
        pytest.param((100 + 10 * 128) / 0.8 + 1, 128, id="just enough for 128"),
        pytest.param(1, 8, id="too little for anything: the least"),
    ],
)
def test_what_would_take_more_than_four_fifths_of_the_free_memory_is_not_tried(free, windows):
    megabytes, tried = linear()

    chosen = largest_that_fits(megabytes, training_windows=MANY, free_mb=free)

    assert chosen.windows == windows
    assert max(tried) == windows


def test_the_reason_names_what_the_next_size_would_need():
    megabytes, _ = linear()

    chosen = largest_that_fits(megabytes, training_windows=MANY, free_mb=1500.0)

    assert chosen == ChosenSize(64, "128 would need about 1,380 MB of 1,500 MB free")


def test_memory_that_does_not_grow_never_ends_the_doubling_before_the_cap():
    megabytes, _ = linear(each=-0.5)

    assert largest_that_fits(megabytes, training_windows=MANY, free_mb=1000.0).windows == AUTO_CAP


def test_auto_takes_no_more_than_its_cap():
    megabytes, tried = linear()

    chosen = largest_that_fits(megabytes, training_windows=MANY, free_mb=None)

    assert chosen == ChosenSize(AUTO_CAP, "auto takes no more")
    assert max(tried) == AUTO_CAP == 256


@pytest.mark.parametrize(("count", "windows"), [(1, 1), (5, 5), (8, 8), (15, 8), (100, 64)])
def test_a_step_has_no_more_windows_than_there_are(count, windows):
    megabytes, tried = linear()

    chosen = largest_that_fits(megabytes, training_windows=count, free_mb=None)

    assert chosen == ChosenSize(windows, f"there are {count} to train on")
    assert max(tried) <= count


@pytest.mark.parametrize("room", [0, 3], ids=["not even one", "fewer than the least"])
def test_where_the_least_does_not_fit_it_is_taken_in_parts_later(room):
    megabytes, _ = linear(room=room)

    chosen = largest_that_fits(megabytes, training_windows=MANY, free_mb=None)

    assert chosen == ChosenSize(8, "the least; they did not fit into memory at once")


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
