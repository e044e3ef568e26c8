"""Mistakes of users and of clusters: each with a clear message, and nothing sent."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amicus

from conftest import PATIENCE, Cluster, Digits


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[amicus.Client]:
    with cluster.connect() as connected:
        yield connected


def _no_picture(folder: Path) -> Path:
    path = folder / "notes.png"
    path.write_text("no picture at all")
    return path


IMAGES: dict[str, tuple[Callable[[np.ndarray, Path], Any], str, str]] = {
    "wrong shape": (lambda x, _: x[:, :5], "shape (1, 5, 28), the network takes (1, 28, 28)", "give an array of shape"),
    "one dimension": (lambda x, _: x.reshape(-1), "shape (784,)", "give an array of shape"),
    "no image": (lambda x, _: x[np.newaxis][:0], "shape (0, 1, 28, 28)", "give an array of shape"),
    "NaN": (lambda x, _: np.where(x == x[0, 0, 0], np.nan, x), "element (0, 0, 0) is nan", "finite"),
    "infinite": (lambda x, _: x + np.inf, "element (0, 0, 0) is inf", "finite"),
    "bytes as pixels": (lambda x, _: np.zeros(x.shape, np.uint8), "pixels of type uint8", "x / 255.0"),
    "text": (lambda x, _: x.astype(str), "numbers of type <U", "real numbers"),
    "complex": (lambda x, _: x.astype(complex), "numbers of type complex128", "real numbers"),
    "truth": (lambda x, _: x > 0, "numbers of type bool", "real numbers"),
    "objects": (lambda x, _: [[None]], "numbers of type object", "real numbers"),
    "too large": (lambda x, _: x + 100.0, "outside", "within its range"),
    "too large for float32": (lambda x, _: x.astype(np.float64) + 1e300, "outside", "within its range"),
    "no picture": (lambda _, folder: _no_picture(folder), "notes.png", "PNG or JPEG"),
    "another file": (lambda _, folder: str(folder / "model.onnx"), "give a .png", "PNG or JPEG"),
    "no file": (lambda _, folder: folder / "none.png", "none.png", "PNG or JPEG"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_images_that_the_network_does_not_take(
    case: str, client: amicus.Client, cluster: Cluster, digits: Digits, tmp_path: Path
) -> None:
    make, what, next = IMAGES[case]
    bad, before = make(digits.x[0], tmp_path), cluster.inferences()
    for ask in (client.predict, lambda x: list(client.predict_many([x]))):
        with pytest.raises(amicus.InputError) as caught:
            ask(bad)
        told = caught.value
        assert what in told.what and next in told.next and told.where and told.whose == "yours", str(told)
    assert cluster.inferences() == before, "something was sent"


def test_what_is_sent_is_counted(client: amicus.Client, cluster: Cluster, digits: Digits) -> None:
    before = cluster.inferences()
    client.predict(digits.x[0])
    deadline = time.monotonic() + PATIENCE
    while cluster.inferences() != before + 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def told(error: type[amicus.AmicusError], up: Cluster, /, **changed: Any) -> amicus.AmicusError:
    """What connecting says, with something changed; nobody is asked for an inference."""
    before = up.inferences()
    arguments: dict[str, Any] = {"token": up.token, "model": "tiny", **changed}
    with pytest.raises(error) as caught:
        amicus.connect(arguments.pop("cluster", up.file), **arguments)
    assert up.inferences() == before
    said = caught.value
    assert said.what and said.where and said.whose and said.next, str(said)
    assert not any(token in str(said) for token in up.tokens().values())
    return said


def test_a_token_that_has_expired(cluster: Cluster) -> None:
    listed = cluster.folder / "party-1/public/tokens.json"
    kept = listed.read_text()
    tokens = json.loads(kept)
    for grant in tokens["tokens"]:
        grant["expires"] = 1
    listed.write_text(json.dumps(tokens))
    try:
        said = told(amicus.RefusedError, cluster)
    finally:
        listed.write_text(kept)
    assert "expired" in said.what and "party 1" in said.where
    assert isinstance(said, amicus.RefusedError) and said.status == 401
    with cluster.connect():
        pass


def test_tokens_that_are_none(cluster: Cluster, tmp_path: Path) -> None:
    wrong = {name: "0" * len(token) for name, token in cluster.tokens().items()}
    said = told(amicus.RefusedError, cluster, token=wrong)
    assert isinstance(said, amicus.RefusedError) and said.status == 401
    # That of another node is none either.
    own = cluster.tokens()
    told(amicus.RefusedError, cluster, token={**own, "party-1": own["party-2"]})
    said = told(amicus.ConfigurationError, cluster, token={"helper": own["helper"]})
    assert "no token for party-1" in said.what
    open_to_all = tmp_path / "alice.tokens"
    open_to_all.write_text(cluster.token.read_text())
    open_to_all.chmod(0o644)
    said = told(amicus.ConfigurationError, cluster, token=open_to_all)
    assert "others may read" in said.what and "chmod 600" in said.next
    told(amicus.ConfigurationError, cluster, token=tmp_path / "none.tokens")
    # A token where the path of a file belongs is not repeated.
    told(amicus.ConfigurationError, cluster, token=own["helper"])


def changed(cluster: Cluster, folder: Path, change: Callable[[str], str]) -> Path:
    text = cluster.file.read_text()
    path = folder / "cluster.toml"
    path.write_text(change(text))
    assert path.read_text() != text
    return path


def test_a_node_that_is_down(cluster: Cluster, tmp_path: Path) -> None:
    party = next(n for n in cluster.ready["nodes"] if n["name"] == "party-2")["public"].removeprefix("https://")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    path = changed(cluster, tmp_path, lambda text: text.replace(party, nobody))
    said = told(amicus.UnreachableError, cluster, cluster=path)
    assert "refused" in said.what and said.where == "the public port of party 2" and "node runs" in said.next


def test_a_certificate_that_is_not_the_one_of_the_clusters_file(cluster: Cluster, tmp_path: Path) -> None:
    # Every node has a certificate that it signed itself: another than the pinned one is an impostor's.
    fingerprints = re.findall(r'certificate = "([^"]+)"', cluster.file.read_text())

    def swapped(text: str) -> str:
        owner = fingerprints[-2]
        return text.replace(fingerprints[1], "#").replace(owner, fingerprints[1]).replace("#", owner)

    said = told(amicus.UnreachableError, cluster, cluster=changed(cluster, tmp_path, swapped))
    assert "certificate" in said.what and said.where == "the public port of party 1"
    assert "compare it with the cluster's file" in said.next


def test_a_self_signed_certificate_where_an_authoritys_is_due(cluster: Cluster, tmp_path: Path) -> None:
    def authorities(text: str) -> str:
        return re.sub(r"^public = .*$", r"\g<0>\nauthorities = true", text, flags=re.MULTILINE)

    said = told(amicus.UnreachableError, cluster, cluster=changed(cluster, tmp_path, authorities))
    assert "TLS failed" in said.what or "certificate" in said.what
    assert said.where.startswith("the public port of party")


def test_files_names_and_fingerprints_that_are_wrong(cluster: Cluster, tmp_path: Path) -> None:
    told(amicus.ConfigurationError, cluster, cluster=tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("cluster = 7\n")
    assert "broken.toml" in str(told(amicus.ConfigurationError, cluster, cluster=broken))
    said = told(amicus.ConfigurationError, cluster, model="other")
    assert "its models are tiny" in said.what
    assert "64 hex digits" in told(amicus.ConfigurationError, cluster, fingerprint="12").what
    said = told(amicus.ClusterError, cluster, fingerprint="0" * 64)
    assert "fingerprint" in said.what and said.whose == "the model owner's"
    assert "no such file" in told(amicus.ConfigurationError, cluster, plan=tmp_path / "none.plan").what


def test_a_closed_client(cluster: Cluster, digits: Digits) -> None:
    client = cluster.connect()
    client.close()
    client.close()
    with pytest.raises(amicus.ConfigurationError, match="closed"):
        client.predict(digits.x[0])
