"""Optuna's dashboard and TensorBoard on the sample run, in a real browser.

What they read is made anew from the tables of the run, as `--resume` does.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys

import pytest
from browser import headless_browser, needs_browser
from command_line import HANG, start, wait_until
from made_studies import SAMPLE, engine_of, recorded_study
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from playwright.sync_api import expect

from stage1.claims.loaded_run import load_run
from stage1.run.tables import read_curves, read_trials
from stage1.study.trials import ended_trials
from stage1.workers.tensorboard import write_columns, write_trial

pytestmark = [pytest.mark.slow, needs_browser]

PARAMETERS = ("lr", "freeze_lm_epochs", "lm_learning_rate_factor", "lm_name_or_path", "patch_len")


@pytest.fixture(scope="module")
def page():
    with headless_browser() as chromium:
        page = chromium.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(1000 * HANG)
        expect.set_options(timeout=1000 * HANG)
        yield page


def serve(*command):
    """Start a server on a free port of the loopback; gives the process and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ("--host", "127.0.0.1", "--port", str(port))
    process = start(sys.executable, *command, *options, stderr=subprocess.DEVNULL)

    def answers():
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    wait_until(lambda: process.poll() is not None or answers())
    assert process.poll() is None, f"{command} does not answer"
    return process, f"http://127.0.0.1:{port}"


# --- Optuna's dashboard, on the journal ---


@pytest.fixture(scope="module")
def optuna_dashboard(tmp_path_factory):
    journal, study = tmp_path_factory.mktemp("optuna") / "optuna.journal", recorded_study()
    storage = JournalStorage(JournalFileBackend(str(journal)))
    engine_of(study, storage=storage, ended=ended_trials(SAMPLE, study))
    main = "from optuna_dashboard._cli import main; main()"
    process, address = serve("-c", main, journal)
    yield f"{address}/dashboard"
    process.terminate()
    process.wait(HANG)


def test_optuna_s_dashboard_lists_a_study_per_arm_and_one_of_all(optuna_dashboard, page):
    page.goto(optuna_dashboard)

    for name in ("transfer-pretrained", "transfer-random", re.compile("transfer$")):
        expect(page.get_by_text(name).first).to_be_visible()


def test_optuna_s_dashboard_has_the_report_s_best_trial(optuna_dashboard, page):
    page.goto(f"{optuna_dashboard}/studies/2")

    best = load_run(SAMPLE.path).best()
    expect(page.get_by_text(str(best.value)).first).to_be_visible()


def test_optuna_s_dashboard_names_the_objective_the_arm_and_the_parameters(optuna_dashboard, page):
    page.goto(f"{optuna_dashboard}/studies/0")

    attributes = page.locator("table").filter(has_text="transfer_learning.initialization")
    expect(attributes).to_contain_text("arm")
    expect(attributes).to_contain_text("pretrained")
    expect(page.locator("svg .ytitle", has_text="val_correlation").first).to_be_visible()
    for name in PARAMETERS:  # with the section, as in the search space
        expect(page.locator("svg text", has_text=f".{name}").first).to_be_visible()
    expect(page.locator("svg .legendtext", has_text="trial #0").first).to_be_visible()


def test_optuna_s_dashboard_shows_states_intermediate_values_and_origin(optuna_dashboard, page):
    trials, curves = (
        table[(table["config_id"] == "design000") & (table["arm"] == "pretrained")]
        for table in (read_trials(SAMPLE), read_curves(SAMPLE))
    )
    first = curves.loc[curves["epoch"] == 0, "val_correlation"].mean()  # over its seeds

    page.goto(f"{optuna_dashboard}/studies/0/trials?numbers=0")

    expect(page.get_by_text("Complete").first).to_be_visible()
    body = page.locator("body")
    expect(body).to_contain_text("design design000")
    expect(body).to_contain_text(
        f"training.optimizer.lr {trials['param.training.optimizer.lr'].iloc[0]}"
    )
    expect(body).to_contain_text(re.compile(rf"Intermediate Values\s*0 {first:.9f}"[:-1]))


# --- TensorBoard ---


@pytest.fixture(scope="module")
def tensorboard(tmp_path_factory):
    folder, curves = tmp_path_factory.mktemp("tensorboard"), read_curves(SAMPLE)
    write_columns(folder, recorded_study())
    for row in read_trials(SAMPLE).to_dict("records"):
        curve = curves[curves["trial_id"] == row["trial_id"]].to_dict("records")
        write_trial(folder, {key: v for key, v in row.items() if v == v and v is not None}, curve)
    process, address = serve("-m", "tensorboard.main", "--logdir", folder)
    yield address
    process.terminate()
    process.wait(HANG)


def test_tensorboard_has_curves_by_arm(tensorboard, page):
    page.goto(f"{tensorboard}/?runFilter=design%2Fpretrained&tagFilter=val_correlation#timeseries")

    expect(page.get_by_text("design/pretrained/design000-pretrained-seed1").first).to_be_visible()
    expect(page.get_by_text("val_correlation").first).to_be_visible()
    expect(page.locator("line-chart").first).to_be_visible()


def test_the_hparams_tab_has_arms_parameters_and_metrics(tensorboard, page):
    page.goto(f"{tensorboard}/#hparams")
    page.reload()

    table = page.locator("tf-hparams-table-view")
    expect(table).to_be_visible()
    for name in ("arm", *PARAMETERS[:3], "val_correlation"):
        expect(table.get_by_text(name, exact=True).first).to_be_visible()
    best = read_trials(SAMPLE)["val_correlation"].max()
    expect(table.get_by_text(f"{best:.5g}").first).to_be_attached()
