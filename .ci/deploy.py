"""Runs the commands of docs/deploy.md as they stand, each block in a folder of the machine that its first line names.

    python3 .ci/deploy.py FOLDER_OF_AMICUS [--loopback]

Every machine of the page is a network namespace with an address and the names of all others, where this
system lets its user make some; commands run literally. Else, and with --loopback, names of machines become
addresses of this one, 127.x.y.z. `scp` copies from folder to folder. Nodes that the page starts must be ready
at the end, and end with exit code 0 when they are told to.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

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


class Loopback:
    """All machines are this one, with an address each, this process's alone."""

    def __init__(self):
        high, low = divmod(os.getpid() % 65536, 256)
        self.at = {machine: f"127.{high | 1}.{low}.{at + 1}" for at, machine in enumerate(MACHINES)}

    def commands(self, machine, commands):
        for name, address in self.at.items():
            commands = re.sub(rf"\b{name}\.example(:\d)", rf"{address}\1", commands)
        return commands.replace('monitor = "127.0.0.1:', f'monitor = "{self.at[machine]}:')

    def prefix(self, machine):
        return []

    def monitor(self, node):
        # Ports of the monitors are of one machine each on the page.
        return f"{self.at[node]}:{9100 + NODES.index(node)}"


class Namespaces:
    """Every machine is a network namespace; commands run as they stand."""

    def __init__(self):
        at = {machine: f"10.77.0.{number + 1}" for number, machine in enumerate(MACHINES)}
        hosts = "127.0.0.1 localhost\n" + "".join(f"{at[m]} {m}.example\n" for m in MACHINES)
        commands = ["mkdir -p /run/netns /etc/netns", "mount -t tmpfs none /run/netns", "mount -t tmpfs none /etc/netns",
                    "ip link set lo up", "ip link add wire type bridge", "ip link set wire up"]
        for machine in MACHINES:
            commands += [
                f"ip netns add {machine}",
                f"ip link add to-{machine} type veth peer name eth0 netns {machine}",
                f"ip link set to-{machine} master wire up",
                f"ip -n {machine} addr add {at[machine]}/24 dev eth0",
                f"ip -n {machine} link set eth0 up",
                f"ip -n {machine} link set lo up",
            ]
        for command in commands:
            subprocess.run(command.split(), check=True, capture_output=True)
        for machine in MACHINES:
            folder = pathlib.Path("/etc/netns") / machine
            folder.mkdir()
            (folder / "hosts").write_text(hosts)

    def commands(self, machine, commands):
        return commands

    def prefix(self, machine):
        return ["ip", "netns", "exec", machine]

    def monitor(self, node):
        return f"127.0.0.1:{9100 + NODES.index(node)}"


def run(machine, commands, folder, path, net):
    # Nodes that a block starts outlive it: their output goes to files.
    done = subprocess.run(
        [*net.prefix(machine), "bash", "-euo", "pipefail", "-c", commands],
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


# Whether a node is ready, asked on its own machine: exit code 0, or what it lacks.
READY = """
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen("http://" + sys.argv[1] + "/readyz", timeout=10)
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode())
except OSError as error:
    sys.exit(str(error))
"""


def ready(node, net):
    asked = [*net.prefix(node), sys.executable, "-c", READY, net.monitor(node)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode == 0, done.stderr


def wait_ready(net):
    deadline = time.monotonic() + PATIENCE
    for node in NODES:
        while not (said := ready(node, net))[0]:
            if time.monotonic() > deadline:
                raise Failure(f"{node} is not ready: {said[1]}")
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


def main(built, net):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "bin").mkdir()
        (folder / "bin/scp").write_text(SCP)
        (folder / "bin/scp").chmod(0o755)
        for machine in MACHINES:
            (folder / machine).mkdir()
        path = os.pathsep.join([str(folder / "bin"), str(built.resolve()), os.environ["PATH"]])
        said, waited = "", False
        try:
            for machine, commands in blocks():
                commands = net.commands(machine, commands)
                if "amicus infer" in commands and not waited:
                    wait_ready(net)
                    waited = True
                said += run(machine, commands, folder, path, net)
            digests = {
                run(machine, "amicus cluster digest cluster.toml", folder, path, net) for machine in [*NODES, "alice"]
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
    arguments.add_argument("--loopback", action="store_true", help="no namespaces, even where they could be")
    arguments.add_argument("--namespaces", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    may = ["unshare", "--map-root-user", "--net", "--mount"]
    if not options.loopback and not options.namespaces and shutil.which("ip") and shutil.which("unshare"):
        # What this user may is found out by trying.
        if subprocess.run([*may, "ip", "link", "add", "wire", "type", "bridge"], capture_output=True).returncode == 0:
            os.execvp(may[0], [*may, sys.executable, __file__, "--namespaces", str(options.built)])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("deploy: told to end"))
    try:
        net = Namespaces() if options.namespaces else Loopback()
        said = main(options.built, net)
        right = len(re.findall(r"^digits/\d+-class-(\d)\.f32: class \1$", said, re.MULTILINE))
        if right != 10:
            raise Failure(f"{right} of 10 digits as labelled\n{said}")
        where = "namespaces" if options.namespaces else "addresses of this machine"
        print(f"docs/deploy.md: 10 of 10 digits as labelled, over {where}")
    except Failure as failure:
        sys.exit(f"deploy: {failure}")
