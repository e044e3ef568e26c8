"""Exercises the public ports of a cluster of real processes, as docs/api.md describes them.

    python3 .ci/api.py FOLDER_OF_AMICUS

`amicus up` starts the cluster. Then: the printed curl lines, tokens that are made, listed and taken back,
every request of the OpenAPI document without a token and with another node's, inferences over HTTPS by many
clients at a time against the labels' own network, an upload that goes through a line that breaks, and logs
that hold no token.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import http.client

# Seconds until anything is given up. Nothing is measured: a loaded machine is only slower.
PATIENCE = 600
CLIENTS = 8


class Failure(Exception):
    pass


def expect(what, is_so):
    if not is_so:
        raise Failure(what)


class Cluster:
    """A cluster of `amicus up` in a new folder."""

    def __init__(self, built, folder):
        self.amicus = str(built.resolve() / "amicus")
        self.folder = folder
        self.process = subprocess.Popen(
            [self.amicus, "up", "--folder", str(folder), "--json"],
            stdout=subprocess.PIPE,
            text=True,
        )
        text = ""
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise Failure(f"amicus up ended: {text}")
            text += line
            if line == "}\n":
                break
        self.ready = json.loads(text)

    def run(self, *args, code=0):
        done = subprocess.run(
            [self.amicus, *args], cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE
        )
        expect(f"amicus {' '.join(args)}: exit code {done.returncode}\n{done.stdout}{done.stderr}", done.returncode == code)
        return done.stdout, done.stderr

    def end(self):
        self.process.send_signal(signal.SIGINT)
        expect("amicus up does not end", self.process.wait(PATIENCE) == 0)


def tokens(path):
    return dict(re.findall(r'^([\w-]+) = "(\w+)"$', pathlib.Path(path).read_text(), re.MULTILINE))


def ask(node, method, path, token=None, body=None):
    # The certificate is the node's own; Python pins none, and the other steps do.
    context = ssl._create_unverified_context()
    host = node["public"].removeprefix("https://")
    connection = http.client.HTTPSConnection(host, context=context, timeout=PATIENCE)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    data = answer.read()
    expect(f"{path} may be stored", answer.getheader("cache-control") == "no-store")
    expect(f"{path} sets a cookie", answer.getheader("set-cookie") is None)
    connection.close()
    return answer.status, data


def problem(status, data, wanted, words):
    said = json.loads(data)
    expect(f"{status} {said}, expected {wanted}", status == wanted)
    expect(f"the four parts: {said}", list(said) == ["what", "where", "whose", "next"] and all(said.values()))
    expect(f"{said}, expected {words}", words in said["what"])


def printed_lines(cluster):
    """The lines that `amicus up` prints work as they stand."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "up"
        process = subprocess.Popen(
            [cluster.amicus, "up", "--folder", str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "120"},
        )
        lines = []
        try:
            while len(lines) < 3:
                line = process.stdout.readline()
                if not line:
                    raise Failure("amicus up ended")
                if line.startswith("  curl "):
                    lines.append(line)
            for line in lines:
                done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=PATIENCE)
                expect(f"{line}: {done.stderr}", done.returncode == 0)
                expect(f"{line}: {done.stdout}", json.loads(done.stdout)["models"][0]["name"] == "lenet5-mnist")
            # With another key's pin nothing is said.
            wrong = lines[0].replace(re.search(r"sha256//\S+", lines[0])[0], re.search(r"sha256//\S+", lines[1])[0])
            done = subprocess.run(["bash", "-c", wrong], capture_output=True, text=True, timeout=PATIENCE)
            expect("a wrong pin is taken", done.returncode != 0 and not done.stdout)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)


def documented(cluster):
    """Every request of the document: refused without a token, and with another node's."""
    nodes, own = cluster.ready["nodes"], tokens(cluster.ready["clients"][0]["tokens"])
    status, document = ask(nodes[0], "GET", "/v1/openapi.json")
    root = pathlib.Path(__file__).resolve().parent.parent
    expect("the document is another", document == (root / "crates/service/openapi.json").read_bytes())
    for path, operations in json.loads(document)["paths"].items():
        for method, operation in operations.items():
            if operation.get("security") == []:
                continue
            for at, node in enumerate(nodes):
                place = operation["tags"][0]
                if place == ("party" if at == 0 else "helper"):
                    continue
                concrete = re.sub(r"\{(digest|id)\}", "0" * 64, path)
                concrete = re.sub(r"\{\w+\}", "0", concrete)
                problem(*ask(node, method.upper(), concrete), 401, "there is no token")
                other = own[nodes[(at + 1) % len(nodes)]["name"]]
                problem(*ask(node, method.upper(), concrete, other), 401, "this token is of the node")
    for node in nodes:
        status, info = ask(node, "GET", "/v1/info", own[node["name"]])
        info = json.loads(info)
        expect(f"{info}", status == 200 and info["digest"] == cluster.ready["digest"])
        fingerprint = None if node["name"] == "helper" else cluster.ready["models"][0]["fingerprint"]
        expect(f"{info}", info["models"][0]["fingerprint"] == fingerprint)


def managed(cluster):
    """Tokens are made, listed, and taken back while the node runs."""
    node = cluster.ready["nodes"][1]
    config = ["--config", f"{node['name']}.toml"]
    line, _ = cluster.run("token", "new", *config, "--role", "client", "--name", "carol", "--rate", "60/min", "--days", "1")
    name, token = re.fullmatch(r'([\w-]+) = "(\w+)"\n', line).groups()
    expect(line, name == node["name"])
    expect("a new token is refused", ask(node, "GET", "/v1/info", token)[0] == 200)
    listed = json.loads(cluster.run("token", "list", *config, "--json")[0])
    carol = next(entry for entry in listed["tokens"] if entry["name"] == "carol")
    expect(f"{carol}", (carol["rate"], carol["state"]) == (60, "counts"))
    expect("the list shows tokens", token[20:] not in json.dumps(listed))
    cluster.run("token", "revoke", *config, carol["id"])
    problem(*ask(node, "GET", "/v1/info", token), 401, "taken back")
    kept = (cluster.folder / node["name"] / "public/tokens.json").read_text()
    expect("the node keeps a token", token not in kept and token[20:] not in kept)
    cluster.run("token", "new", *config, "--role", "client", "--name", "x", "--models", "none", code=1)


def inferences(cluster):
    """Many clients at a time over HTTPS, each answer as over frames."""
    model, client = cluster.ready["models"][0], cluster.ready["clients"][0]
    common = ["--cluster", cluster.ready["cluster"], "--model", model["name"], "--fingerprint", model["fingerprint"], "--json"]
    images = sorted(pathlib.Path(model["images"]).iterdir())[:40]
    names = [str(image) for image in images]
    by_key, _ = cluster.run("infer", *common, "--key", client["key"], *names)
    classes = [answer["class"] for answer in json.loads(by_key)["answers"]]

    def infer(number):
        shown, _ = cluster.run("infer", *common, "--token", client["tokens"], *names[number::CLIENTS])
        return [answer["class"] for answer in json.loads(shown)["answers"]]

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        for number, found in enumerate(pool.map(infer, range(CLIENTS))):
            expect(f"{found}, over frames {classes[number::CLIENTS]}", found == classes[number::CLIENTS])
    # Without the plan's file the parties give it.
    plan = pathlib.Path(model["plan"])
    moved = plan.rename(plan.with_suffix(".moved"))
    cluster.run("infer", *common, "--token", client["tokens"], names[0])
    moved.rename(plan)
    wrong = [*common[:-2], "0" * 64, "--json"]
    _, said = cluster.run("infer", *wrong, "--token", client["tokens"], names[0], code=1)
    expect(said, "ask the model owner" in said)


class BreakingLine(threading.Thread):
    """Passes bytes on to an address, and breaks every connection after so many."""

    def __init__(self, target, after):
        super().__init__(daemon=True)
        self.target, self.after, self.broken = target, after, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]

    def run(self):
        while True:
            taken, _ = self.listener.accept()
            threading.Thread(target=self.carry, args=(taken,), daemon=True).start()

    def carry(self, taken):
        host, port = self.target.rsplit(":", 1)
        with taken, socket.create_connection((host, int(port))) as onward:
            left = self.after
            while True:
                for one in select.select([taken, onward], [], [])[0]:
                    data = one.recv(1 << 16)
                    left -= len(data) if one is taken else 0
                    if not data:
                        return
                    if left < 0:
                        self.broken += 1
                        self.after *= 2
                        return
                    (onward if one is taken else taken).sendall(data)


def upload(cluster):
    """A model is uploaded through lines that break, and clients are told its new fingerprint."""
    cluster.run("export", "lenet5-mnist", "-o", "again.amc")
    text, lines = pathlib.Path(cluster.ready["cluster"]).read_text(), []
    for node in cluster.ready["nodes"][1:]:
        target = node["public"].removeprefix("https://")
        line = BreakingLine(target, 100_000)
        line.start()
        lines.append(line)
        text = text.replace(f'public = "{target}"', f'public = "{line.address}"')
    (cluster.folder / "breaking.toml").write_text(text)
    shown, _ = cluster.run(
        "upload", "again.amc", "--cluster", "breaking.toml", "--token", cluster.ready["owner_tokens"], "--json"
    )
    expect("no line has broken", all(line.broken > 0 for line in lines))
    model, client = cluster.ready["models"][0], cluster.ready["clients"][0]
    image = str(sorted(pathlib.Path(model["images"]).iterdir())[0])
    cluster.run(
        "infer", "--cluster", cluster.ready["cluster"], "--token", client["tokens"], "--model", model["name"],
        "--fingerprint", json.loads(shown)["fingerprint"], image,
    )


def silent_logs(cluster):
    """Logs and metrics hold no token."""
    secrets = set(tokens(cluster.ready["clients"][0]["tokens"]).values())
    secrets |= set(tokens(cluster.ready["owner_tokens"]).values())
    for node in cluster.ready["nodes"]:
        log = pathlib.Path(node["log"]).read_text()
        for secret in secrets:
            expect(f"{node['name']} logs a token", secret[20:] not in log)
        connection = http.client.HTTPConnection(node["monitor"], timeout=PATIENCE)
        connection.request("GET", "/metrics")
        metrics = connection.getresponse().read().decode()
        expect("requests are not counted", re.search(r'amicus_api_requests_total\{outcome="ok"\} [1-9]', metrics))
        expect("refusals are not counted", re.search(r'_total\{outcome="unauthenticated"\} [1-9]', metrics))


def main(built):
    with tempfile.TemporaryDirectory() as temporary:
        cluster = Cluster(built, pathlib.Path(temporary).resolve() / "cluster")
        try:
            for step in [documented, managed, inferences, upload, silent_logs, printed_lines]:
                start = time.monotonic()
                step(cluster)
                print(f"{step.__name__}: as it should be ({time.monotonic() - start:.1f} s)", flush=True)
        finally:
            cluster.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("built", type=pathlib.Path, help="folder of the program amicus")
    try:
        main(parser.parse_args().built)
    except Failure as failure:
        sys.exit(f"api.py: {failure}")
