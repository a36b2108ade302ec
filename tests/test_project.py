"""The promises of the tree itself: sizes, import order, safe loading, packaging, commands."""

from __future__ import annotations

import ast
import re
import shutil
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from command_line import ROOT, python, run
from importlinter.cli import lint_imports
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stage1.__main__ import COMMANDS

PACKAGE = ROOT / "stage1"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LOCK_ALL = (ROOT / "requirements-all.lock").read_text(encoding="utf-8")

MOST_MODULES = 185
LONGEST_MODULE, LONGEST_FUNCTION = 500, 60
"""In lines."""
SAME_THING_IN_TWO_ROOMS = {"__init__", "__main__", "training"}
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
    "pandas.read_pickle",
    "pd.read_pickle",
}
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|root|farm|home/\w+|Users/\w+)/")

FOLDERS = (
    ".ci",
    "analysis",
    "benchmarks",
    "cluster",
    "configs",
    "docs",
    "search_spaces",
    "stage1",
    "tests",
)

TARGETS = ("tune", "test", "test-all", "lint")
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


# --- modules ---


def test_the_root_of_the_package_holds_the_commands_and_folders():
    modules = {each.module for each in COMMANDS.values()}
    commands = {name.removeprefix("stage1.") for name in modules if name.count(".") == 1}

    assert {path.stem for path in PACKAGE.glob("*.py")} == commands | {"__init__", "__main__"}


def test_the_package_has_few_modules_and_each_has_a_name_of_its_own():
    names = Counter(module.stem for module in MODULES)

    assert len(MODULES) <= MOST_MODULES
    assert {name for name, times in names.items() if times > 1} <= SAME_THING_IN_TWO_ROOMS


def test_no_module_and_no_function_is_longer_than_a_reader_holds_in_mind():
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    lengths = {str(module.relative_to(ROOT)): len(lines_of(module)) for module in MODULES}
    too_long = {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE}

    too_long |= {
        f"{module.relative_to(ROOT)}: {node.name}": code_lines(node)
        for module in MODULES
        for node in ast.walk(tree_of(module))
        if isinstance(node, functions) and code_lines(node) > LONGEST_FUNCTION
    }

    assert too_long == {}


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function after its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def lines_of(module: Path) -> list[str]:
    return module.read_text(encoding="utf-8").splitlines()


def test_the_import_contracts_hold(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    # it would switch off every logger that there is, for the tests that come after
    monkeypatch.setattr("logging.config.dictConfig", lambda configuration: None)

    status = lint_imports(no_cache=True, no_logo=True)

    assert status == 0, capsys.readouterr().out


TRAINING = {"torch", "pytorch_lightning", "ray", "transformers"}
TABLES = {"pandas", "matplotlib", "optuna"}
LIGHT = {
    "import stage1": {*TRAINING, *TABLES, "numpy", "pydantic", "yaml"},
    "from stage1.__main__ import main; help_of(main)": {*TRAINING, *TABLES, "numpy", "pydantic"},
    "from stage1.data.load import load_bars; load_bars(None, ('m1', 'h4'))": TRAINING | TABLES,
    "import stage1.report, stage1.export, stage1.pages.comparison_page": TRAINING,
}
"""What must not be loaded after each line, in a process that runs all of them in turn."""
HELP = """
import sys

def help_of(main):
    sys.argv = ["stage1", "--help"]
    try:
        main()
    except SystemExit:
        pass
"""


def test_what_needs_no_library_loads_none():
    say = "print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    program = "\n".join([HELP, *(f"{line}\n{say}" for line in LIGHT)])

    printed = python("-c", program).stdout.splitlines()

    loaded = [set(line.split()) for line in printed if line.startswith("loaded:")]
    wrong = [names & LIGHT[line] for line, names in zip(LIGHT, loaded, strict=True)]
    assert wrong == [set()] * len(LIGHT)


# --- safe loading ---


def unsafe_loads(tree: ast.Module) -> Iterator[str]:
    """What in a module could run code out of a data file: unpicklers and full YAML loaders."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if root_of(name.name) in UNPICKLERS)
            case ast.ImportFrom(module=str(module), names=names):
                imported = {f"{module}.{name.name}" for name in names}
                yield from imported & (UNSAFE_CALLS | {"torch.load"})
                if root_of(module) in UNPICKLERS and imported != {"pickle.UnpicklingError"}:
                    yield module
            case ast.Call(func=function, keywords=keywords):
                options = {option.arg: ast.unparse(option.value) for option in keywords}
                called = ast.unparse(function)
                if called in UNSAFE_CALLS or options.get("allow_pickle", "False") != "False":
                    yield called
                if called == "torch.load" and options.get("weights_only") != "True":
                    yield called


def root_of(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        pytest.param("import pickle", ["pickle"], id="an unpickler"),
        pytest.param("from joblib.numpy_pickle import load", ["joblib.numpy_pickle"], id="a part"),
        pytest.param("from yaml import load", ["yaml.load"], id="a loader by its own name"),
        pytest.param("yaml.load(text, Loader=L)", ["yaml.load"], id="yaml with a loader"),
        pytest.param("torch.load(path)", ["torch.load"], id="torch without weights_only"),
        pytest.param("torch.load(p, weights_only=False)", ["torch.load"], id="torch, all objects"),
        pytest.param("np.load(p, allow_pickle=True)", ["np.load"], id="numpy with objects"),
        pytest.param("torch.load(p, weights_only=True)", [], id="torch, tensors only"),
        pytest.param("yaml.safe_load(text); np.load(p)", [], id="safe loaders"),
    ],
)
def test_the_search_for_unsafe_loads_finds_each_kind_and_no_other(source, found):
    assert list(unsafe_loads(ast.parse(source))) == found


def test_nothing_in_the_package_can_run_code_out_of_a_data_file():
    found = {
        str(module.relative_to(ROOT)): unsafe
        for module in MODULES
        if (unsafe := list(unsafe_loads(tree_of(module))))
    }

    assert found == {}


# --- dependencies and packaging ---


def requirements_of(group: str) -> Iterator[Requirement]:
    for entry in PROJECT["dependency-groups"][group]:
        if isinstance(entry, str):
            yield Requirement(entry)
        else:
            yield from requirements_of(entry["include-group"])


def runtime_requirements() -> list[Requirement]:
    return [Requirement(entry) for entry in PROJECT["project"]["dependencies"]]


def pins(lock: str = LOCK) -> dict[str, str]:
    lines = [line.split("==") for line in lock.splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in lines}


@pytest.mark.parametrize(
    ("requirements", "pinned"),
    [
        pytest.param([*runtime_requirements(), *requirements_of("dev")], pins(), id="all"),
        pytest.param(requirements_of("test-all"), pins() | pins(LOCK_ALL), id="slow tests"),
    ],
)
def test_the_locks_pin_every_dependency_at_a_version_the_project_allows(requirements, pinned):
    refused = [
        str(requirement)
        for requirement in requirements
        if not requirement.specifier.contains(pinned.get(canonicalize_name(requirement.name), "0"))
    ]

    assert refused == []


def test_the_lock_of_the_slow_tests_repeats_nothing():
    assert pins().keys() & pins(LOCK_ALL).keys() == set()


@pytest.mark.parametrize("lock", [pytest.param(LOCK, id="all"), pytest.param(LOCK_ALL, id="slow")])
def test_the_lock_holds_exact_versions_only(lock):
    lines = [line for line in lock.splitlines() if not line.startswith("#")]

    inexact = [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]

    assert inexact == []


def test_everything_the_package_imports_is_a_declared_dependency():
    declared = {canonicalize_name(requirement.name) for requirement in runtime_requirements()}
    providers = packages_distributions()

    imported = {name for module in MODULES for name in third_party_imports(module)}
    undeclared = {
        name
        for name in imported
        if not {canonicalize_name(x) for x in providers.get(name, [name])} & declared
    }

    assert undeclared == set()


def third_party_imports(module: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(module)):
        match node:
            case ast.Import(names=names):
                roots = {root_of(name.name) for name in names}
            case ast.ImportFrom(module=str(source), level=0):
                roots = {root_of(source)}
            case _:
                continue
        yield from roots - sys.stdlib_module_names - {"stage1", "__future__"}


def test_the_wheel_carries_every_file_of_the_package_and_what_lies_beside_it(tmp_path):
    python("-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)

    (wheel,) = tmp_path.glob("*.whl")
    carried = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("stage1/")}

    expected = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    beside = {
        f"stage1/{folder}/{path.name}"
        for folder in ("configs", "search_spaces")
        for path in (ROOT / folder).iterdir()
    }
    assert carried == expected | beside


# --- commands ---


@needs_make
def test_make_tune_starts_the_default_study_and_resumes_a_begun_one(tmp_path):
    (tmp_path / "transfer").mkdir()

    first = recipe_of("tune", f"OUT={tmp_path}")
    (tmp_path / "transfer" / "prereg.yaml").touch()
    second = recipe_of("tune", f"OUT={tmp_path}")

    assert "-m stage1.tune search_spaces/transfer.yaml" in first
    assert "--resume" not in first
    assert "--resume" in second


@needs_make
def test_make_test_checks_style_types_and_imports_before_the_tests():
    recipe = recipe_of("test")

    steps = [recipe.index(tool) for tool in ("ruff check", "mypy", "lint-imports", "-m pytest")]
    assert steps == sorted(steps)


@needs_make
def test_only_make_test_all_installs_what_only_the_slow_tests_need():
    installing = [target for target in TARGETS if "requirements-all.lock" in recipe_of(target)]

    assert installing == ["test-all"]


@needs_make
def test_make_help_lists_the_targets_a_newcomer_needs():
    assert set(TARGETS) <= set(run("make", "help").stdout.split())


def recipe_of(*words: object) -> str:
    """What `make` would run."""
    return run("make", "--dry-run", "--always-make", *words).stdout


def test_continuous_integration_runs_make_test():
    script = ROOT / ".ci" / "run"

    assert script.read_text(encoding="utf-8").rstrip().endswith("make test")
    assert script.stat().st_mode & 0o111


# --- text ---


def test_no_text_of_the_project_names_a_path_of_one_machine():
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    beside = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]

    named = [
        path
        for path in (*inside, *beside)
        if (text := text_of(path)) and MACHINE_PATHS.search(text)
    ]

    assert len(inside) > 100
    assert named == []


def text_of(path: Path) -> str | None:
    """The text of a file; None where there is none (binary, or deleted and not yet committed)."""
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, FileNotFoundError):
        return None
