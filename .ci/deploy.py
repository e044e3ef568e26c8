"""Runs the commands of docs/deploy.md as they stand, each block in a folder of the machine that its first line names.

    python3 .ci/deploy.py FOLDER_OF_AMICUS

Only names of machines become addresses of this one, 127.x.y.z; `scp` copies from folder to folder. Nodes
that the page starts must be ready at the end, and end with exit code 0 when they are told to.
"""

import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Seconds until anything is given up. Nothing is measured: a loaded machine is only slower.
PATIENCE = 600
MACHINES = ["helper", "one", "two", "owner", "alice"]
NODES = ["helper", "one", "two"]
# From the machine's folder to another's: `scp [-r] FILE... MACHINE.example:`.
SCP = """#!/usr/bin/env bash
set -euo pipefail
to=${@: -1}
cp -r -- $(for file in "${@:1:$#-1}"; do [ "$file" = -r ] || echo "$file"; done) "../${to%%.*}/"
"""


class Failure(Exception):
    pass


def blocks():
    """Machine and commands of every block."""
    text = (ROOT / "docs/deploy.md").read_text()
    found = re.findall(r"^```sh\n# (\w+)\.example\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if len(found) != text.count("```sh\n") or {machine for machine, _ in found} != set(MACHINES):
        raise Failure("docs/deploy.md has a block that names no machine, or lacks one")
    return found


def addresses():
    """An address of this machine for every machine of the page, this process's alone."""
    high, low = divmod(os.getpid() % 65536, 256)
    return {machine: f"127.{high | 1}.{low}.{at + 1}" for at, machine in enumerate(MACHINES)}


def run(machine, commands, folder, path):
    # Nodes that a block starts outlive it: their output goes to files.
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder / machine,
        env={**os.environ, "PATH": path, "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode != 0:
        raise Failure(f"{machine}: exit code {done.returncode}\n{commands}\n{done.stdout}")
    return done.stdout


def ready(monitor):
    try:
        with urllib.request.urlopen(f"http://{monitor}/readyz", timeout=10) as answer:
            return answer.status == 200, answer.read().decode()
    except urllib.error.HTTPError as error:
        return False, error.read().decode()
    except OSError as error:
        return False, str(error)


def wait_ready(monitors):
    deadline = time.monotonic() + PATIENCE
    for monitor in monitors:
        while not (said := ready(monitor))[0]:
            if time.monotonic() > deadline:
                raise Failure(f"{monitor} is not ready: {said[1]}")
            time.sleep(0.1)


def gone(pid):
    """Whether a process has ended; it is a child of the init process, or a zombie of this one's."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def stop(folder, strict):
    """Ends the nodes; with `strict`, they must say that they ended well."""
    pids = {node: int(file.read_text()) for node in NODES if (file := folder / node / "pid").exists()}
    for pid in pids.values():
        if not gone(pid):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    for node, pid in pids.items():
        while not gone(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                raise Failure(f"{node} was still there after {PATIENCE} s")
            time.sleep(0.05)
        log = (folder / node / "log").read_text()
        if strict and "ended; nothing was in flight" not in log:
            raise Failure(f"{node} did not end well:\n{log}")


def main(built):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "bin").mkdir()
        (folder / "bin/scp").write_text(SCP)
        (folder / "bin/scp").chmod(0o755)
        for machine in MACHINES:
            (folder / machine).mkdir()
        path = os.pathsep.join([str(folder / "bin"), str(built.resolve()), os.environ["PATH"]])
        at = addresses()
        # Ports of the monitors are of one machine each on the page.
        monitors = [f"{at[node]}:{9100 + number}" for number, node in enumerate(NODES)]
        said, waited = "", False
        try:
            for machine, commands in blocks():
                for name, address in at.items():
                    commands = re.sub(rf"\b{name}\.example(:\d)", rf"{address}\1", commands)
                commands = commands.replace('monitor = "127.0.0.1:', f'monitor = "{at[machine]}:')
                if "amicus infer" in commands and not waited:
                    wait_ready(monitors)
                    waited = True
                said += run(machine, commands, folder, path)
            digests = {
                run(machine, "amicus cluster digest cluster.toml", folder, path) for machine in [*NODES, "alice"]
            }
            if len(digests) != 1:
                raise Failure(f"digests differ: {digests}")
        except Failure:
            for node in NODES:
                log = folder / node / "log"
                print(f"--- {node}\n{log.read_text() if log.exists() else ''}", file=sys.stderr)
            stop(folder, strict=False)
            raise
        stop(folder, strict=True)
    return said


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("built", type=pathlib.Path)
    options = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("deploy: told to end"))
    try:
        said = main(options.built)
        right = len(re.findall(r"^digits/\d+-class-(\d)\.f32: class \1$", said, re.MULTILINE))
        if right != 10:
            raise Failure(f"{right} of 10 digits as labelled\n{said}")
        print("docs/deploy.md: 10 of 10 digits as labelled")
    except Failure as failure:
        sys.exit(f"deploy: {failure}")
