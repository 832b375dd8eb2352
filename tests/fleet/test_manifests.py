"""The manifests are what Kubernetes takes: rendered by kubectl, held to the API's schemas."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet.tools import tool

pytestmark = pytest.mark.fleet

KUBERNETES = Path(__file__).resolve().parents[2] / "docker" / "kubernetes"
VERSIONS = ["1.33.0", "1.37.0"]  # the oldest and the newest that the schemas are held to
# Kinds of other projects, which Kubernetes has no schema for: what must be in them, by path.
CUSTOM = {
    "ServiceMonitor": ("spec.selector.matchLabels", "spec.endpoints"),
    "ScaledObject": ("spec.scaleTargetRef.name", "spec.triggers"),
    "NIMService": ("spec.image.repository", "spec.storage", "spec.expose.service.port"),
}


def rendered(folder: Path) -> str:
    """What `kubectl apply -k` would send."""
    command = [tool("kubectl", "docker/tools.txt"), "kustomize", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def keda(tmp_path: Path) -> Path:
    """The cpu overlay as its comment says to change it for KEDA."""
    for part in ("base", "components", "overlays/cpu"):
        for file in (KUBERNETES / part).rglob("*.yaml"):
            copy = tmp_path / file.relative_to(KUBERNETES)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(file.read_text())
    overlay = tmp_path / "overlays/cpu/kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("components/hpa]", "components/keda]"))
    return overlay.parent


@pytest.fixture(params=["cpu", "gpu", "keda"])
def manifests(request: pytest.FixtureRequest, tmp_path: Path) -> list[dict[str, Any]]:
    """Every object of an overlay."""
    folder = KUBERNETES / "overlays" / request.param
    text = rendered(keda(tmp_path) if request.param == "keda" else folder)
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_api_s_schemas_hold(
    manifests: list[dict[str, Any]], version: str, tmp_path: Path
) -> None:
    validate = tool("kubernetes-validate", "docker/tools.txt")
    file = tmp_path / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(m for m in manifests if m["kind"] not in CUSTOM))
    done = subprocess.run(
        [validate, "--strict", "-k", version, file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Couldn't find schema" not in done.stdout + done.stderr


def test_the_other_projects_kinds_hold_what_they_must(manifests: list[dict[str, Any]]) -> None:
    for each in manifests:
        for path in CUSTOM.get(each["kind"], ()):
            assert _at(each, path), (each["kind"], path)


def test_the_nim_service_holds_what_it_must() -> None:
    service = yaml.safe_load((KUBERNETES / "nim/nimservice.yaml").read_text())
    assert all(_at(service, path) for path in CUSTOM["NIMService"])


def test_every_selector_finds_the_pods(manifests: list[dict[str, Any]]) -> None:
    kinds = {each["kind"]: each for each in manifests}
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    for kind, path in (
        ("Deployment", "spec.selector.matchLabels"),
        ("Service", "spec.selector"),
        ("PodDisruptionBudget", "spec.selector.matchLabels"),
        ("NetworkPolicy", "spec.podSelector.matchLabels"),
    ):
        assert _at(kinds[kind], path).items() <= labels, kind
    monitored = kinds["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items()
    assert monitored <= kinds["Service"]["metadata"]["labels"].items()


def test_names_in_one_object_are_names_in_another(manifests: list[dict[str, Any]]) -> None:
    # An API server refuses these, or takes them and nothing works; the schemas know neither.
    kinds = {each["kind"]: each for each in manifests}
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {each["name"] for each in container["ports"]}
    probes = [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    assert {probe["httpGet"]["port"] for probe in probes} <= ports
    assert {each["targetPort"] for each in kinds["Service"]["spec"]["ports"]} <= ports
    (ingress,) = kinds["NetworkPolicy"]["spec"]["ingress"]
    assert {each["port"] for each in ingress["ports"]} <= ports
    scraped = {each["port"] for each in kinds["ServiceMonitor"]["spec"]["endpoints"]}
    assert scraped <= {each["name"] for each in kinds["Service"]["spec"]["ports"]}
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert {each["name"] for each in container["volumeMounts"]} == set(volumes)
    for volume in volumes.values():
        if claim := volume.get("persistentVolumeClaim"):
            assert claim["claimName"] == kinds["PersistentVolumeClaim"]["metadata"]["name"]


def test_an_api_server_s_admission_takes_the_pods(manifests: list[dict[str, Any]]) -> None:
    # LimitRanger's and Pod Security's ("restricted") rules, and those between fields.
    kinds = {each["kind"]: each for each in manifests}
    deployment = kinds["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    for name, limit in container["resources"]["limits"].items():
        assert container["resources"]["requests"][name] == limit, name
    assert any(value != 0 for value in deployment["strategy"]["rollingUpdate"].values())
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert not [name for name in pod if name.startswith("host")]
    kinds_of_volume = {key for each in pod["volumes"] for key in each if key != "name"}
    assert kinds_of_volume <= {"emptyDir", "persistentVolumeClaim"}
    budget = kinds["PodDisruptionBudget"]["spec"]
    assert ("minAvailable" in budget) != ("maxUnavailable" in budget)


def test_the_number_of_replicas_is_the_autoscaler_s(manifests: list[dict[str, Any]]) -> None:
    kinds = {each["kind"]: each for each in manifests}
    scaler = kinds.get("HorizontalPodAutoscaler") or kinds["ScaledObject"]
    assert "replicas" not in kinds["Deployment"]["spec"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == kinds["Deployment"]["metadata"]["name"]


def test_only_the_gpu_s_pods_take_a_gpu() -> None:
    assert "nvidia.com/gpu" not in rendered(KUBERNETES / "overlays/cpu")
    deployment = next(
        each
        for each in yaml.safe_load_all(rendered(KUBERNETES / "overlays/gpu"))
        if each["kind"] == "Deployment"
    )
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert "emptyDir" not in volumes["cache"]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert mounts == {"/opt/nim/.cache": "cache", "/dev/shm": "shm"}  # noqa: S108 - a mount


def _at(each: dict[str, Any], path: str) -> Any:
    value: Any = each
    for name in path.split("."):
        value = value[name]
    return value


@pytest.mark.parametrize("file", ["compose.yaml", "docker/kubernetes/nim/rag-blueprint.yaml"])
def test_compose_s_specification_holds(file: str) -> None:
    check = tool("check-jsonschema", "docker/tools.txt")
    command = [check, "--builtin-schema", "vendor.compose-spec", str(KUBERNETES.parents[1] / file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
