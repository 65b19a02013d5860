"""What deploy/k8s promises, by the published schemas and without a cluster."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values
from jsonschema import Draft202012Validator, ValidationError
from kubernetes_validate import validate

from pipeline.metrics import METRICS
from tests.deploy.compose import ROOT
from worker.environment import load

FOLDER = ROOT / "deploy" / "k8s"
VERSIONS = ("1.29", "1.37")
KEDA = Draft202012Validator(json.loads((Path(__file__).parent / "keda-2.21.0.json").read_text()))
TRIGGERS = {
    "kafka": {"bootstrapServers", "consumerGroup", "topic", "lagThreshold", "allowIdleConsumers"},
    "prometheus": {"serverAddress", "query", "threshold"},
}
"""A trigger's type -> its metadata, as KEDA 2.21's code reads it: a schema takes any."""

Resource = dict[str, Any]

KUSTOMIZATION: Resource = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
RESOURCES: list[Resource] = [
    resource
    for name in KUSTOMIZATION["resources"]
    for resource in yaml.safe_load_all((FOLDER / name).read_text())
]


def of_kind(kind: str) -> dict[str, Resource]:
    return {one["metadata"]["name"]: one for one in RESOURCES if one["kind"] == kind}


WORKER = of_kind("StatefulSet")["vigil-worker"]["spec"]
INGEST = of_kind("Deployment")["vigil-ingest"]["spec"]
PODS = [pytest.param(one["template"], id=name) for name, one in {"w": WORKER, "i": INGEST}.items()]


def named(resource: Resource) -> str:
    return f"{resource['kind']} {resource['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "resource", [one for one in RESOURCES if one["kind"] != "ScaledObject"], ids=named
)
def test_every_resource_is_as_kubernetes_publishes_it(resource: Resource, version: str) -> None:
    assert validate(resource, version, strict=True)


def test_the_schemas_refuse_what_is_misspelt() -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "spec": {"port": []}}
    with pytest.raises(ValidationError):
        validate(wrong, VERSIONS[-1], strict=True)
    with pytest.raises(ValidationError):
        KEDA.validate({"spec": {"scaleTargetRef": {"name": "x"}, "triggers": [], "maxReplicas": 3}})


def test_workers_are_scaled_by_what_keda_reads_and_vigil_tells() -> None:
    (scaled,) = of_kind("ScaledObject").values()
    KEDA.validate(scaled)
    spec = scaled["spec"]
    target = spec["scaleTargetRef"]
    assert named({"kind": target["kind"], "metadata": target}) in map(named, RESOURCES)
    triggers = {one["type"]: one["metadata"] for one in spec["triggers"]}
    for name, metadata in triggers.items():
        assert set(metadata) <= TRIGGERS[name]
    settings = load(environment("worker", WORKER["template"]))
    assert triggers["kafka"]["topic"] == settings.kafka.topic
    assert triggers["kafka"]["consumerGroup"] == settings.kafka.group_id
    assert {"vigil_load_level", "vigil_stage_seconds"} <= {metric.name for metric in METRICS}
    assert "vigil_load_level" in triggers["prometheus"]["query"]


def environment(name: str, template: Resource) -> dict[str, str]:
    """What a pod's process gets, with what its secrets are mounted for given by value."""
    (container,) = template["spec"]["containers"]
    (generator,) = [
        one for one in KUSTOMIZATION["configMapGenerator"] if one["name"].endswith(name)
    ]
    assert container["envFrom"] == [{"configMapRef": {"name": generator["name"]}}]
    (file,) = generator["envs"]
    given = {key: said or "" for key, said in dotenv_values(FOLDER / file).items()}
    given |= {one["name"]: one.get("value", "vigil-worker-0") for one in container.get("env", [])}
    mounted = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "secrets"]
    for key, value in list(given.items()):
        if key.endswith("_FILE"):
            assert value.startswith(mounted[0])
            scheme = "redis://h/0" if "REDIS" in key else "rtsp://h/s"
            given[key.removesuffix("_FILE")] = scheme
            del given[key]
    return given


def test_the_settings_are_sound_and_a_pod_finds_its_name_and_outbox_again() -> None:
    settings = load(environment("worker", WORKER["template"]))
    assert settings.worker_id == "vigil-worker-0", "the pod's own: a static member of the group"
    mounts = {
        one["mountPath"] for one in WORKER["template"]["spec"]["containers"][0]["volumeMounts"]
    }
    assert str(Path(settings.outbox.path).parent) in mounts
    assert load(environment("ingest", INGEST["template"])).cameras["gate"].url is not None


@pytest.mark.parametrize("template", PODS)
def test_no_service_is_linked_into_the_environment(template: Resource) -> None:
    """VIGIL_WORKER_SERVICE_HOST would be a setting that nobody knows, and refused."""
    assert template["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("template", PODS)
def test_every_pod_has_no_more_than_it_needs(template: Resource) -> None:
    pod = template["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    uid = pod["securityContext"]["runAsUser"]
    assert f"--uid {uid} " in (ROOT / "deploy" / "Dockerfile").read_text()
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"]["cpu"]
    assert pod["terminationGracePeriodSeconds"] >= 45


@pytest.mark.parametrize("template", PODS)
def test_a_pod_is_asked_whether_it_lives_and_is_ready(template: Resource) -> None:
    (container,) = template["spec"]["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    asked = {
        kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")
    }
    assert {kind: one["path"] for kind, one in asked.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/livez",
    }
    assert {ports[one["port"]] for one in asked.values()} == {9200}


def test_what_names_another_thing_finds_it() -> None:
    labels = {"vigil-worker": WORKER, "vigil-ingest": INGEST}
    for name, service in of_kind("Service").items():
        assert service["spec"]["selector"] == labels[name]["template"]["metadata"]["labels"]
    assert WORKER["serviceName"] in of_kind("Service")
    (budget,) = of_kind("PodDisruptionBudget").values()
    assert budget["spec"]["selector"] == WORKER["selector"]
    for spec in labels.values():
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
        pod = spec["template"]["spec"]
        there: list[Mapping[str, Any]] = [*pod["volumes"]]
        there += [one["metadata"] for one in spec.get("volumeClaimTemplates", [])]
        mounted = {one["name"] for one in pod["containers"][0]["volumeMounts"]}
        assert mounted == {one["name"] for one in there}
        claims = [one["persistentVolumeClaim"] for one in there if "persistentVolumeClaim" in one]
        assert {one["claimName"] for one in claims} <= set(of_kind("PersistentVolumeClaim"))
