"""The commands of README and docs, run as they stand there, on the smoke study and a small file."""

import gzip
import re
import shlex
from importlib import import_module

import pandas as pd
import pytest
import yaml
from command_line import ROOT
from made_runs import write_synthetic_run
from synthetic_series import frame_of, waves, write_frame

from stage1.__main__ import COMMANDS
from stage1.plan import outlook
from stage1.study.study import load_study

README = (ROOT / "README.md").read_text()
LINE = re.compile(r"^    python -m (stage1\.[^#\n]+?) *(?:#.*)?$", flags=re.MULTILINE)
PAGES = [page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))]
SHOWN = "\n".join([README, *PAGES]).replace("SPACE.yaml", "search_spaces/transfer.yaml")
LINES = list(dict.fromkeys(LINE.findall(SHOWN)))
ENTRIES = {each.module.removesuffix(".__main__"): each for each in COMMANDS.values()}
EXTRA = {
    "stage1.plan": ["--no-timing"],
    "stage1.tune": ["--check"],  # it runs, and is resumed, in test_study_end_to_end.py
    "stage1.claims": ["--studies", "100"],
    "stage1.compare": ["--check"],
    "stage1.evaluate": ["--out", "evaluation"],
    "stage1.encode": ["--out", "embeddings.parquet"],
    "stage1.pretrain": ["--help"],  # a quarter of an hour
    "stage1.track": ["--help"],  # its packages need not be there; test_track.py has it run
    "stage1.pretrain.fetch": ["--help"],  # asks npm's registry
}
"""Options that make a command short."""
SAMPLE = ROOT / "stage1" / "sample" / "bitstamp_btcusd_1min_14d.csv.gz"


@pytest.fixture(scope="module")
def places(tmp_path_factory, finished_study):
    """What the README's names stand for here."""
    folder = tmp_path_factory.mktemp("readme")
    with gzip.open(SAMPLE) as stream:
        bars = pd.read_csv(stream)
    local = pd.to_datetime(bars["timestamp"], unit="s", utc=True).dt.tz_convert("America/New_York")
    bars.insert(0, "stamp", local.dt.strftime("%Y%m%d %H%M%S"))
    columns = ["stamp", "open", "high", "low", "close", "volume"]
    bars[columns].to_csv(folder / "bars.csv", sep=";", header=False, index=False)
    bars.index = pd.to_datetime(bars["timestamp"], unit="s", utc=True)
    rules = {"open": "first", "high": "max", "low": "min", "close": "last"}
    bars.resample("1h").agg(rules).to_csv(folder / "hourly.csv")
    for name, freq in (("loads", "1h"), ("eeg", "1s"), ("co2", "7D")):
        write_frame(frame_of(waves(400), freq=freq), folder / f"{name}.csv")
    study, best = finished_study.folder, folder / "best.yaml"
    return {
        "stage1.export runs/transfer": f"stage1.export {study} --out {best}",
        "configs/transfer-final.yaml": best,
        "runs/train/transfer-final/best.ckpt": next((study / "checkpoints").glob("*.ckpt")),
        "loads.csv": folder / "loads.csv",
        "data/loads": folder / "loads",
        "eeg.csv": folder / "eeg.csv",
        "data/eeg": folder / "eeg",
        "co2.csv": folder / "co2.csv",
        "data/co2": folder / "co2",
        "co2/space.yaml": "search_spaces/series.yaml",
        "runs/series": study,
        "stage1.train configs/eeg.yaml": "stage1.train configs/series.yaml",
        "configs/eeg.yaml": folder / "eeg.yaml",
        "bars.csv": folder / "bars.csv",
        "data/derived": folder / "derived",
        "hourly.csv": folder / "hourly.csv",
        "data/hourly": folder / "hourly",
        "stage1.compare_runs runs/transfer": f"stage1.compare_runs {study}",
        "runs/seed7": write_synthetic_run(folder / "seed7").path,
        "half/config.yaml": "configs/sample.yaml",
        "runs/train/half/last.ckpt": next((study / "checkpoints").glob("*.ckpt")),
        "runs/mine": folder / "runs",
        "runs/mine/transfer": study,
        "runs/train/transfer/last.ckpt": next((study / "checkpoints").glob("*.ckpt")),
        "runs/transfer": study,
        "configs/transfer.yaml": best,
        "search_spaces/transfer.yaml": "search_spaces/smoke.yaml",
        "google-t5/t5-small": "english-t5-nano",  # there without a network
    }


def test_the_readme_shows_every_command_of_a_first_study():
    shown = {command.split()[0] for command in LINE.findall(README)}

    study = ("prepare", "plan", "tune", "report", "claims", "export", "train")
    several = ("compare", "compare_runs", "new", "track")
    encoder = ("evaluate", "encode", "push")
    language_models = ("models", "pretrain", "pretrain.fetch")
    assert shown == {f"stage1.{name}" for name in (*study, *several, *encoder, *language_models)}


@pytest.mark.parametrize("command", LINES)
def test_a_command_of_the_readme_runs(command, places, tmp_path, monkeypatch, call_command):
    monkeypatch.chdir(tmp_path)
    for folder in ("configs", "search_spaces"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    draw = outlook.draw_studies  # a few studies take the way of hundreds
    few = {"studies": 20}
    monkeypatch.setattr(
        outlook, "draw_studies", lambda *these, **named: draw(*these, **named | few)
    )
    for name, place in places.items():
        command = re.sub(rf"(?<!\S){re.escape(name)}(?!\S)", str(place), command)
    module, *arguments = shlex.split(command)
    extra = EXTRA.get(module, [])
    if module == "stage1.train" and "--dry-run" not in arguments:
        extra = ["--fast-dev-run"]

    entry = ENTRIES[module]
    command = getattr(import_module(entry.module), entry.entry)
    status, out, err = call_command(command, *arguments, *extra)

    # A hundred made-up studies may by chance show a rate that is too high, and then say so.
    assert status == (1 if "DEFECT: " in out else 0), out + err


def test_the_first_commands_of_the_readme_are_targets_and_the_set_up_says_what_it_says():
    makefile = (ROOT / "Makefile").read_text()

    for told in ("2.7 GB", "0.2 GB", "--index-url https://download.pytorch.org/whl/cpu"):
        assert told in README
        assert told in makefile

    for target in re.findall(r"^    make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_the_page_on_hyperparameters_shows_a_space_that_loads(tmp_path):
    page = (ROOT / "docs" / "hyperparameter.md").read_text()
    shown = re.findall(r"^ {4}(.*)$", page, flags=re.MULTILINE)
    space = yaml.safe_load("\n".join(line for line in shown if line.startswith(("space:", "  "))))
    smoke = yaml.safe_load((ROOT / "search_spaces" / "smoke.yaml").read_text())
    file = tmp_path / "space.yaml"
    base = {"base": str(ROOT / "configs" / "sample.yaml")}
    file.write_text(yaml.safe_dump(smoke | base | space, sort_keys=False))

    study = load_study(file)

    assert len(study.space.space) == 8
    assert study.space.space["transfer_learning.n_pretrained_blocks@nano"].options == (1, None)
    assert study.space.space["transfer_learning.layerwise_lr_decay"].when
