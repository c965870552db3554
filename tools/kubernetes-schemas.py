"""Writes tools/kubernetes-schemas/VERSION.json: the strict schemas of some Kubernetes versions, cut down to the kinds of our charts.

usage: python3 tools/kubernetes-schemas.py

Taken from the Python package kubernetes-validate (Apache-2.0), which holds those that Kubernetes publishes. Descriptions are left out, and what no
kind of ours refers to. Such a file changes only with the list of kinds below.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "kubernetes-validate==1.37.0"
VERSIONS = ["1.29.0", "1.33.0", "1.37.0"]
# A kind as the published schemas name it.
KINDS = [
    "io.k8s.api.apps.v1.Deployment",
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    "io.k8s.api.batch.v1.Job",
    "io.k8s.api.core.v1.ConfigMap",
    "io.k8s.api.core.v1.PersistentVolumeClaim",
    "io.k8s.api.core.v1.Pod",
    "io.k8s.api.core.v1.Secret",
    "io.k8s.api.core.v1.Service",
    "io.k8s.api.core.v1.ServiceAccount",
    "io.k8s.api.networking.v1.Ingress",
    "io.k8s.api.networking.v1.NetworkPolicy",
    "io.k8s.api.policy.v1.PodDisruptionBudget",
    "io.k8s.api.rbac.v1.ClusterRole",
    "io.k8s.api.rbac.v1.ClusterRoleBinding",
    "io.k8s.api.scheduling.v1.PriorityClass",
]


def without_descriptions(node):
    if isinstance(node, list):
        return [without_descriptions(each) for each in node]
    if not isinstance(node, dict):
        return node
    kept = {}
    for key, value in node.items():
        if (key == "description" and isinstance(value, str)) or key.startswith("x-kubernetes") or key in ("$schema", "$id"):
            continue
        kept[key] = "#/definitions/" + value.rsplit("/", 1)[1] if key == "$ref" else without_descriptions(value)
    return kept


def refers_to(node):
    if isinstance(node, list):
        for each in node:
            yield from refers_to(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value.rsplit("/", 1)[1]
            else:
                yield from refers_to(value)


def main() -> None:
    out = pathlib.Path(__file__).parent / "kubernetes-schemas"
    out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--dest", folder, PACKAGE]
        subprocess.run(download, check=True)
        with zipfile.ZipFile(next(pathlib.Path(folder).glob("*.whl"))) as wheel:
            for version in VERSIONS:
                inside = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict"
                every = json.loads(wheel.read(f"{inside}/_definitions.json"))["$defs"]
                definitions, left = {}, list(KINDS)
                while left:
                    name = left.pop()
                    if name not in definitions:
                        definitions[name] = without_descriptions(every[name])
                        left.extend(refers_to(definitions[name]))
                kinds = {}
                for name in KINDS:
                    group = every[name]["x-kubernetes-group-version-kind"][0]
                    api = f"{group['group']}/{group['version']}".lstrip("/")
                    kinds[f"{api} {group['kind']}"] = name
                text = json.dumps({"kinds": kinds, "definitions": definitions}, sort_keys=True, separators=(",", ":"))
                (out / f"{version}.json").write_text(text + "\n")
                print(version, len(definitions), "definitions")


main()
