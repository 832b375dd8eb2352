"""The image, compose file and manifests keep their promises, as far as their text goes."""

import os
import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app import nim_environment
from app.settings import Settings, load

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
KUBERNETES = ROOT / "docker" / "kubernetes"
DEPLOYMENT: dict[str, Any] = yaml.safe_load((KUBERNETES / "base/deployment.yaml").read_text())
POD: dict[str, Any] = DEPLOYMENT["spec"]["template"]["spec"]
LAST_WORDS_SECONDS = 5  # app/server.py
LOCKS = ["cpu", "gpu"]


def locked(name: str) -> dict[str, str]:
    """Versions by package; every one must have a hash."""
    text = (ROOT / f"docker/requirements-{name}.lock").read_text()
    entries = re.findall(
        r"^([\w.-]+)==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})+)$", text, re.MULTILINE
    )
    assert len(entries) == len(re.findall(r"^\w", text, re.MULTILINE))
    return {canonicalize_name(package): version for package, version, _ in entries}


def constraints() -> dict[str, str]:
    """The versions this project is tested with."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.partition("==") for line in lines if "==" in line]
    return {canonicalize_name(name): version for name, _, version in pairs}


def needed() -> set[str]:
    """What the service and its otel extra need, as their installed metadata say."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [*project["dependencies"], *project["optional-dependencies"]["otel"]]
    found: dict[str, None] = {}
    while waiting:
        wanted = Requirement(waiting.pop())
        extras = wanted.extras or {""}
        if wanted.marker and not any(wanted.marker.evaluate({"extra": e}) for e in extras):
            continue
        name = canonicalize_name(wanted.name)
        key = f"{name}[{','.join(sorted(wanted.extras))}]"
        if key not in found and not name.startswith(("nvidia-", "cuda-", "triton")):
            found[key] = None
            waiting += _below(name, extras)
    return {key.partition("[")[0] for key in found}


def _below(name: str, extras: set[str]) -> list[str]:
    try:
        below = [Requirement(text) for text in requires(name) or []]
    except PackageNotFoundError:
        return []
    return [
        f"{each.name}[{','.join(each.extras)}]"
        for each in below
        if not each.marker or any(each.marker.evaluate({"extra": e}) for e in extras)
    ]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_everything_the_service_needs(name: str) -> None:
    assert needed() - {"torch"} <= set(locked(name))


@pytest.mark.parametrize("name", [*LOCKS, "torch-cpu", "tensorrt"])
def test_a_lock_s_versions_are_those_that_are_tested(name: str) -> None:
    tested = constraints()
    apart = {
        package: (version, tested[package])
        for package, version in locked(name).items()
        if package in tested and version.partition("+")[0] != tested[package]
    }
    assert apart == {}


def test_only_the_cpu_s_torch_comes_from_elsewhere() -> None:
    assert set(locked("torch-cpu")) == {"torch"}
    assert "torch" in locked("gpu")
    assert not any(n.startswith(("torch", "nvidia", "cuda", "triton")) for n in locked("cpu"))


def test_tensorrt_has_a_lock_of_its_own_that_an_image_can_leave_out() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = [Requirement(text) for text in extras["optional-dependencies"]["tensorrt"]]
    lock = locked("tensorrt")
    assert all(each.specifier.contains(lock[canonicalize_name(each.name)]) for each in pinned)
    assert {name.split("-")[0] for name in lock} == {"tensorrt"}
    assert not set(lock) & set(locked("gpu"))


def test_every_layer_says_why_it_is_there() -> None:
    lines = DOCKERFILE.splitlines()
    explained = False
    for previous, line in zip(["", *lines], lines, strict=False):
        if re.match(r"(RUN|ENV|HEALTHCHECK|ENTRYPOINT|USER|LABEL|EXPOSE) ", line):
            assert explained, line
        if previous == "":
            explained = False
        explained = explained or line.startswith("#")


def test_the_image_s_version_is_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"ARG VERSION={project['version']}\n" in DOCKERFILE


def test_the_image_is_what_nvidia_s_operator_and_charts_expect() -> None:
    assert 'com.nvidia.nim.model_download_protocol="native-v1"' in DOCKERFILE
    assert "install -y --no-install-recommends curl" in DOCKERFILE
    assert "/opt/nim/.cache" in DOCKERFILE
    targets = re.findall(r"^FROM base AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert {"cpu", "gpu"} <= set(targets)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {"download-to-cache", "list-model-profiles", "create-model-store"} <= set(scripts)


def test_an_operator_s_values_win_over_the_image_s(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = dict(re.findall(r"^(?:ENV|   ) ((?:NIM|CROSSRANK)_\w+)=(\S+)", DOCKERFILE, re.M))
    assert set(environment) == {"NIM_CACHE_PATH", "NIM_ENGINE_MODEL_NAME"}
    settings = load(environment)
    assert str(settings.cache_dir) == "/opt/nim/.cache"
    assert settings.checkpoint == "nvidia/llama-nemotron-rerank-1b-v2"
    operator = {"NIM_CACHE_PATH": "/model-store", "NIM_HTTP_API_PORT": "9000"}
    assert str(load(environment | operator).cache_dir) == "/model-store"
    assert load(environment | operator).port == 9000
    monkeypatch.setenv("CROSSRANK_CHECKPOINT", "/m")
    assert load(environment | dict(os.environ)).checkpoint == "/m"


def test_what_nvidia_s_operator_and_blueprint_set_is_understood_or_ignored() -> None:
    operator = {
        "NIM_CACHE_PATH": "/model-store",
        "OUTLINES_CACHE_DIR": "/tmp/outlines",  # noqa: S108 - the operator's value
        "NIM_SERVER_PORT": "8000",
        "NIM_HTTP_API_PORT": "8000",
        "NIM_JSONL_LOGGING": "1",
        "NIM_LOG_LEVEL": "INFO",
        "NGC_API_KEY": "x",
        "NIM_GRPC_API_PORT": "8001",
        "NIM_TRITON_GRPC_PORT": "8001",
        "NIM_TRITON_METRICS_PORT": "8002",
        "NIM_SDK_USE_NATIVE_TLS": "1",
        "NO_PROXY": "localhost",
    }
    settings = load(operator)
    assert (settings.port, settings.log_format) == (8000, "json")
    assert "NIM_TRITON_METRICS_PORT" in nim_environment.ignored(operator)
    job = {"NIM_ENGINE_MODEL_DOWNLOAD_ONLY": "1", "NIM_ENGINE_MODEL_PATH": "/model/reranker"}
    assert load(job).download_only


def test_the_health_check_follows_the_port_s_names() -> None:
    script = (ROOT / "docker/healthcheck.sh").read_text()
    named = {
        name
        for names, _ in nim_environment.TABLE
        for name in names
        if name.endswith(("BIND_ADDR", "_PORT"))
    }
    assert named | {"CROSSRANK_PORT", "NIM_TLS_CERT_PATH"} <= set(re.findall(r"[A-Z_]{6,}", script))


def test_torch_s_kernels_are_kept_in_the_cache_also_on_its_first_use(tmp_path: Path) -> None:
    tell = tmp_path / "crossrank"
    tell.write_text('#!/bin/sh\necho "$1 ${TORCHINDUCTOR_CACHE_DIR:-none}"\n')
    tell.chmod(0o755)

    def told(cache: Path) -> str:
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CROSSRANK_CACHE_DIR": str(cache)}
        command = [str(ROOT / "docker" / "entrypoint.sh"), "serve"]
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert told(tmp_path / "new") == f"serve {tmp_path / 'new' / 'torchinductor'}\n"
    assert told(tell) == "serve none\n", "a file is no folder"


@pytest.mark.parametrize("name", ["cpu", "gpu", "replica"])
def test_compose_s_replicas_can_do_nothing_they_need_not(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert _drain() + LAST_WORDS_SECONDS <= int(service["stop_grace_period"].removesuffix("s"))


def test_compose_has_the_profiles_that_are_documented() -> None:
    profiles = {name for service in COMPOSE["services"].values() for name in service["profiles"]}
    assert profiles == {"cpu", "gpu", "scale", "observability"}
    documented = re.findall(r"--profile (\w+)", (ROOT / "docker/README.md").read_text())
    assert profiles == set(documented)


def test_every_file_that_compose_mounts_exists() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (ROOT / source).exists(), source


def test_the_proxy_waits_longer_than_the_service() -> None:
    config = (ROOT / "docker/haproxy/haproxy.cfg").read_text()
    timeouts = [int(s) for s in re.findall(r"timeout (?:client|server) (\d+)s", config)]
    assert len(timeouts) == 2
    limit = Settings.model_fields["request_timeout_seconds"].default
    assert all(seconds > limit for seconds in timeouts)


def test_a_stopping_pod_has_time_to_drain() -> None:
    container = POD["containers"][0]
    environment = {e["name"]: e["value"] for e in container["env"]}
    hook = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = int(environment["CROSSRANK_SHUTDOWN_SECONDS"])
    assert drain == _drain()
    assert hook + drain + LAST_WORDS_SECONDS < POD["terminationGracePeriodSeconds"]
    load(environment)


def test_a_pod_can_do_nothing_it_need_not() -> None:
    security = POD["containers"][0]["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security["allowPrivilegeEscalation"]
    assert POD["securityContext"]["runAsNonRoot"]
    assert not POD["automountServiceAccountToken"]


def test_the_service_s_name_does_not_become_a_setting() -> None:
    # Kubernetes sets CROSSRANK_PORT=tcp://… for a Service of that name, unless told not to;
    # tests/app/test_service_links.py is for pods that others write.
    assert POD["enableServiceLinks"] is False


def test_both_autoscalers_aim_at_the_same() -> None:
    hpa = yaml.safe_load((KUBERNETES / "components/hpa/hpa.yaml").read_text())["spec"]
    keda = yaml.safe_load((KUBERNETES / "components/keda/scaledobject.yaml").read_text())["spec"]
    pods, trigger = hpa["metrics"][0]["pods"], keda["triggers"][0]
    assert pods["target"]["averageValue"] == trigger["metadata"]["threshold"]
    assert pods["metric"]["name"] in trigger["metadata"]["query"]
    assert hpa["minReplicas"] == keda["minReplicaCount"]
    assert hpa["maxReplicas"] == keda["maxReplicaCount"]


def _drain() -> int:
    return int(Settings.model_fields["shutdown_seconds"].default)
