"""What starts a cluster: accepted by its readers, closed to others, of the size of a trial."""

import copy
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
import yaml
from command_line import HANG, ROOT
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start as ray_start

from stage1.tune import tune
from stage1.workers.cluster import RAY_SETTINGS

CLUSTER = ROOT / "cluster"
LAUNCHERS = ("autoscaler.yaml", "on_premises.yaml")
MANIFEST = {
    document["kind"]: document
    for document in yaml.safe_load_all((CLUSTER / "kuberay.yaml").read_text(encoding="utf-8"))
}
RAY_CLUSTER = MANIFEST["RayCluster"]["spec"]
HEAD = RAY_CLUSTER["headGroupSpec"]
WORKERS = RAY_CLUSTER["workerGroupSpecs"]
SCHEMA = yaml.safe_load((Path(__file__).parent / "kuberay_schema.yaml").read_text(encoding="utf-8"))
RESOURCES = yaml.safe_load((ROOT / "search_spaces" / "transfer_full.yaml").read_text())["resources"]
(RAY_VERSION,) = re.findall(
    r"^ray==(.+)$", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE
)
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
DOCKERFILE = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")


def launcher(name):
    return yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))


def containers():
    templates = [HEAD["template"], *(group["template"] for group in WORKERS)]
    return [container for pod in templates for container in pod["spec"]["containers"]]


def environments():
    """Of every container of the manifest, KubeRay's autoscaler beside the head among them."""
    listed = [RAY_CLUSTER["autoscalerOptions"]["env"], *(each["env"] for each in containers())]
    return [{entry["name"]: entry for entry in entries} for entries in listed]


def start_commands(name):
    config = launcher(name)
    lines = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    return [line for line in lines if "ray start" in line]


def options_of(command):
    """`--name=value` after `ray start`, as a dict."""
    words = shlex.split(command.partition("ray start")[2])
    return dict(word.removeprefix("--").partition("=")[::2] for word in words)


# --- accepted ---


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_launcher_file_is_one_that_ray_up_takes(name):
    validate_config(prepare_config(launcher(name)))


def test_ray_up_refuses_a_key_that_it_does_not_know():
    misspelled = launcher("autoscaler.yaml") | {"max_worker": 3}

    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        validate_config(prepare_config(misspelled))


@pytest.mark.parametrize("kind", MANIFEST)
def test_the_manifest_is_one_that_kubernetes_takes(kind):
    jsonschema.validate(MANIFEST[kind], {"$defs": SCHEMA["$defs"], **SCHEMA["kinds"][kind]})


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        pytest.param(["spec"], "workerGroupSpec", [], id="a misspelled key"),
        pytest.param(["spec", "headGroupSpec", "rayStartParams"], "num-cpus", 0, id="a number"),
        pytest.param(["spec", "autoscalerOptions"], "upscalingMode", "Fast", id="an unknown mode"),
    ],
)
def test_the_schema_of_the_tests_refuses_what_kuberay_would(path, key, value):
    broken = copy.deepcopy(MANIFEST["RayCluster"])
    place = broken
    for step in path:
        place = place[step]
    place[key] = value

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, {"$defs": SCHEMA["$defs"], **SCHEMA["kinds"]["RayCluster"]})


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(HEAD["rayStartParams"], id="kuberay head"),
        *(pytest.param(group["rayStartParams"], id="kuberay workers") for group in WORKERS),
        *(
            pytest.param(options_of(line), id=name)
            for name in LAUNCHERS
            for line in start_commands(name)
        ),
    ],
)
def test_every_option_of_a_node_is_one_of_ray_start(options):
    known = {option.removeprefix("--") for each in ray_start.params for option in each.opts}

    assert options.keys() <= known


def test_names_within_the_manifest_agree():
    volumes = [each for pod in (HEAD, *WORKERS) for each in pod["template"]["spec"]["volumes"]]
    policy = MANIFEST["NetworkPolicy"]["spec"]

    claims = {volume["persistentVolumeClaim"]["claimName"] for volume in volumes}
    assert claims == {MANIFEST["PersistentVolumeClaim"]["metadata"]["name"]}
    cluster = {"ray.io/cluster": MANIFEST["RayCluster"]["metadata"]["name"]}
    assert policy["podSelector"]["matchLabels"] == cluster
    for group, port in [(HEAD, 6379), *((group, 6380) for group in WORKERS)]:
        assert int(group["rayStartParams"].get("node-manager-port", 6379)) == port
        (container,) = group["template"]["spec"]["containers"]
        probes = (container["readinessProbe"], container["livenessProbe"])
        assert {probe["tcpSocket"]["port"] for probe in probes} == {port}


# --- closed ---


def test_nothing_of_the_manifest_or_on_aws_is_reached_from_outside_of_the_cluster():
    policy = MANIFEST["NetworkPolicy"]["spec"]

    assert set(MANIFEST) == {"PersistentVolumeClaim", "NetworkPolicy", "RayCluster"}
    assert HEAD["serviceType"] == "ClusterIP"
    assert HEAD["enableIngress"] is False
    assert not [container for container in containers() if "ports" in container]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"from": [{"podSelector": policy["podSelector"]}]}]
    assert "security_group" not in launcher("autoscaler.yaml")["provider"]  # Ray's: ssh alone


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(HEAD["rayStartParams"], id="kuberay.yaml"),
        *(pytest.param(options_of(start_commands(name)[0]), id=name) for name in LAUNCHERS),
    ],
)
def test_the_dashboard_is_off_and_would_listen_on_the_loopback(options):
    assert options["include-dashboard"] == "false"
    assert options["dashboard-host"] == "127.0.0.1"


def test_every_container_asks_for_the_token_of_the_secret_and_reports_no_usage():
    for environment in environments():
        assert environment["RAY_AUTH_MODE"]["value"] == "token"
        assert "secretKeyRef" in environment["RAY_AUTH_TOKEN"]["valueFrom"]
        assert environment["RAY_USAGE_STATS_ENABLED"]["value"] == "0"


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_node_of_a_launcher_asks_for_the_token_and_reports_no_usage(name):
    config = launcher(name)
    everywhere = " ".join(config.get("docker", {}).get("run_options", []))

    for command in start_commands(name):
        told = f"{everywhere} {command.partition('ray start')[0]}"
        assert "RAY_AUTH_MODE=token" in told
        assert "RAY_USAGE_STATS_ENABLED=0" in told
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_no_file_holds_a_secret():
    for path in CLUSTER.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"AKIA[0-9A-Z]{16}|\b[0-9a-f]{32,}\b|PRIVATE KEY", text), path
        assert not re.search(r"(TOKEN|SECRET_ACCESS_KEY)[=:] *\S*[0-9a-z]{8}", text), path


# --- SLURM ---

JOB = (CLUSTER / "slurm.sh").read_text(encoding="utf-8")


def test_the_batch_script_is_one_that_bash_takes_and_has_no_dashboard_and_a_token_of_its_own():
    subprocess.run(["bash", "-n", CLUSTER / "slurm.sh"], check=True)

    known = {option for each in ray_start.params for option in each.opts}
    head = re.search(r"--head .*?127\.0\.0\.1", JOB, flags=re.DOTALL)[0]
    assert set(re.findall(r"--[a-z-]+", head)) | {"--block", "--num-cpus", "--num-gpus"} <= known
    assert "--include-dashboard=false" in head
    for told in ("RAY_AUTH_MODE=token", "RAY_USAGE_STATS_ENABLED=0", "RAY_worker_niceness=0"):
        assert told in JOB
    for option in ("address", "storage"):
        assert option in inspect.signature(tune).parameters
        assert f"--{option} " in JOB


SRUN = """\
#!/bin/bash
while [[ $1 == --* ]]; do [[ $1 == --ntasks=* ]] && tasks=${1#*=}; shift; done
trap 'kill $(jobs -p) 2> /dev/null; wait; exit 143' TERM
for ((i = 0; i < tasks; i++)); do "$@" & done
wait
"""


def test_a_job_whose_other_nodes_end_at_once_does_not_wait_for_them(tmp_path):
    bodies = {"ray": "exec sleep 60", "python": "echo 1", "srun": "exit 1"}
    for name, body in bodies.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o700)
    job = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURMD_NODENAME": "here",
        "STAGE1_BIN": str(tmp_path),
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }

    ended = subprocess.run(
        ["bash", CLUSTER / "slurm.sh", "smoke"],
        env=os.environ | job,
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )

    assert ended.returncode == 2
    assert "Ray must start on 2 nodes within ten minutes, got 1" in ended.stderr


@pytest.mark.slow
def test_a_job_runs_a_study_on_two_nodes_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "bin").mkdir()
    srun = tmp_path / "bin" / "srun"
    srun.write_text(SRUN, encoding="utf-8")
    srun.chmod(0o700)
    job = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURMD_NODENAME": "here",
        "STAGE1_BIN": str(Path(sys.executable).parent),
        "RAY_START_OPTIONS": "--object-store-memory=100000000",
        "RAY_raylet_start_wait_time_s": "300",  # a busy machine
        "PATH": f"{srun.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    words = ["bash", CLUSTER / "slurm.sh", "smoke", "--trials", "0"]

    ended = subprocess.run(
        words, env=os.environ | job, capture_output=True, text=True, timeout=HANG, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    trials = pd.read_parquet(tmp_path / "runs" / "smoke" / "trials.parquet")
    assert trials["status"].tolist() == ["completed"] * 16
    assert not list(Path("/tmp").glob(f"stage1-{os.getpid()}"))


# --- of the right version and size ---


@pytest.mark.parametrize("name", ["RAY_worker_niceness", "MALLOC_ARENA_MAX"])
def test_nodes_start_with_what_ray_starts_with_on_one_machine(name):
    told = [
        *(environment[name]["value"] for environment in environments()),
        *re.findall(
            rf"--env {name}=(\S+)", " ".join(launcher("autoscaler.yaml")["docker"]["run_options"])
        ),
        *re.findall(rf"{name}=(\S+) ", " ".join(start_commands("on_premises.yaml"))),
        *re.findall(rf"{name}=(\S+)", PAGE),
    ]

    assert told == [RAY_SETTINGS[name]] * (3 + 1 + 2 + 1)


def test_every_image_says_the_ray_version_of_the_lock():
    images = [container["image"] for container in containers()]
    images.append(launcher("autoscaler.yaml")["docker"]["image"])
    images += re.findall(r"--tag (\S+)", DOCKERFILE)

    assert {image.rpartition(":")[2] for image in images} == {f"ray-{RAY_VERSION}"}
    assert RAY_CLUSTER["rayVersion"] == RAY_VERSION


def test_every_node_for_trials_holds_a_whole_number_of_them():
    nodes = [group["template"]["spec"]["containers"][0]["resources"] for group in WORKERS]
    offers = [(node["limits"]["cpu"], node["limits"]["nvidia.com/gpu"]) for node in nodes]
    aws = launcher("autoscaler.yaml")["available_node_types"]["trials"]["resources"]
    offers.append((aws["CPU"], aws["GPU"]))
    local = options_of(start_commands("on_premises.yaml")[1])
    offers.append((local["num-cpus"], local["num-gpus"]))

    for cpus, gpus in offers:
        trials = int(cpus) / RESOURCES["cpus"]
        assert trials >= 1
        assert trials == int(trials) == int(gpus) / RESOURCES["gpus"]


def test_the_nodes_that_the_manifest_names_hold_its_pods_and_let_them_in():
    has = {"g5.xlarge": (4, 16), "g5.2xlarge": (8, 32)}  # vCPU and GiB, by AWS's table
    text = (CLUSTER / "kuberay.yaml").read_text(encoding="utf-8")
    (node,) = re.findall(r"instance-type: ([\w.]+)", text)
    (pod,) = (group["template"]["spec"] for group in WORKERS)
    asked = pod["containers"][0]["resources"]["requests"]

    cpus, gibibytes = has[node]

    assert int(asked["cpu"]) < cpus
    assert int(asked["memory"].removesuffix("Gi")) < gibibytes - 1
    # What clouds keep other pods off their GPUs with.
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in (
        pod["tolerations"]
    )


def test_no_trial_runs_on_a_head_and_a_study_finds_a_node_when_it_starts():
    nodes = launcher("autoscaler.yaml")["available_node_types"]
    heads = [HEAD["rayStartParams"], *(options_of(start_commands(name)[0]) for name in LAUNCHERS)]

    assert [head["num-cpus"] for head in heads] == ["0"] * 3
    assert nodes["head"]["resources"] == {"CPU": 0}
    assert all(group["minReplicas"] >= 1 for group in WORKERS)
    assert nodes["trials"]["min_workers"] >= 1


def test_the_image_is_built_from_what_there_is():
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, flags=re.MULTILINE)
    pinned = (ROOT / "requirements-all.lock").read_text(encoding="utf-8")
    (wanted,) = re.findall(r"\^\((.+)\)==", DOCKERFILE)

    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
    assert {"requirements.lock", "stage1"} <= set(" ".join(copied).split())
    for package in wanted.split("|"):
        assert re.search(rf"^{package}==", pinned, flags=re.MULTILINE), package


# --- the page about it ---


def test_the_page_names_files_that_exist_and_options_that_tune_has():
    names = set(re.findall(r"\b(?:cluster|search_spaces)/[\w.]*\w", PAGE))
    commands = re.findall(r"python -m stage1\.tune(?:[^\n]+\\\n)*[^\n]+", PAGE)
    options = {
        each.replace("-", "_") for line in commands for each in re.findall(r"--([\w-]+)", line)
    }

    assert {f"cluster/{name}" for name in ("kuberay.yaml", *LAUNCHERS)} <= names
    assert [name for name in names if not (ROOT / name).exists()] == []
    assert {"address", "storage", "workers"} <= options <= set(inspect.signature(tune).parameters)


def test_the_page_says_the_parameters_that_the_models_have():
    # 12 bytes a parameter: weights and both moments of AdamW, in 4 bytes each
    rows = re.findall(
        r"^\| (\S+) \| ([\d,]+) \| ([\d.]+) GB \| ([\d.]+) GB", PAGE, flags=re.MULTILINE
    )

    assert len(rows) == 3
    for _, parameters, weights, state in rows:
        count = int(parameters.replace(",", ""))
        assert float(weights) == pytest.approx(4 * count / 1e9, abs=0.005)
        assert float(state) == pytest.approx(12 * count / 1e9, abs=0.05)
