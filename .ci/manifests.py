"""Checks deploy/kubernetes and deploy/compose.yaml: against the schemas of Kubernetes, and for what no schema knows.

    python3 .ci/manifests.py

Needs the packages kubernetes-validate and PyYAML (.ci/requirements.txt).
"""

import pathlib
import re
import sys

import kubernetes_validate
import yaml

DEPLOY = pathlib.Path(__file__).resolve().parent.parent / "deploy"
VERSION = "1.30"


def fail(text):
    sys.exit(f"manifests: {text}")


def confined(name, container):
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("capabilities", {}).get("drop") != ["ALL"]:
        fail(f"{name}: {container['name']} has privileges")
    if not context.get("readOnlyRootFilesystem"):
        fail(f"{name}: {container['name']} can write its image")


def kubernetes():
    documents = [d for d in yaml.safe_load_all((DEPLOY / "kubernetes/node.yaml").read_text()) if d]
    for document in documents:
        try:
            kubernetes_validate.validate(document, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            fail(f"{document['kind']} at {'.'.join(map(str, error.path))}: {error.message}")
        if document["kind"] != "Namespace" and document["metadata"]["namespace"] != "amicus":
            fail(f"{document['kind']} is in another namespace")
    kinds = [document["kind"] for document in documents]
    if sorted(kinds) != ["Namespace", "NetworkPolicy", "Service", "ServiceAccount", "StatefulSet"]:
        fail(f"deploy/kubernetes has {kinds}")
    node = next(d for d in documents if d["kind"] == "StatefulSet")["spec"]
    if node["replicas"] != 1 or [c["spec"]["accessModes"] for c in node["volumeClaimTemplates"]] != [["ReadWriteOncePod"]]:
        fail("a node is one process with one folder")
    pod = node["template"]["spec"]
    for container in pod["containers"] + pod["initContainers"]:
        confined("StatefulSet", container)
    kustomization = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())
    missing = [file for file in kustomization["resources"] if not (DEPLOY / "kubernetes" / file).exists()]
    generated = {g["name"] for g in kustomization["configMapGenerator"] + kustomization["secretGenerator"]}
    used = {v[k][n] for v in pod["volumes"] for k, n in (("configMap", "name"), ("secret", "secretName")) if k in v}
    if missing or generated != used:
        fail(f"kustomization.yaml: lacks {missing}, makes {generated}, {used} are used")


def compose():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        if not service["read_only"] or service["cap_drop"] != ["ALL"]:
            fail(f"compose.yaml: {name} has privileges")
        monitors = [port for port in service["ports"] if port.endswith(":9100")]
        if monitors != ["127.0.0.1:9100:9100"]:
            fail("compose.yaml: the monitor is for the machine alone")
    if len(services) != 1:
        fail("compose.yaml: two nodes of a cluster never share a machine")


def same_numbers():
    """Ports, users and versions stand in several files."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    rust = re.search(r'^rust-version = "([\d.]+)"', (DEPLOY.parent / "Cargo.toml").read_text(), re.MULTILINE)[1]
    for words in [f"FROM rust:{rust}-", "USER 10001:10001", "EXPOSE 7000 9100"]:
        if words not in dockerfile:
            fail(f"Dockerfile: lacks {words!r}")
    if "runAsUser: 10001" not in (DEPLOY / "kubernetes/node.yaml").read_text():
        fail("node.yaml: another user than the Dockerfile's")


kubernetes()
compose()
same_numbers()
print("deploy: manifests fit")
