"""Runs the examples of the roles as processes of their own, as docs/library.md does, and compares answers with labels.

    python3 .ci/roles.py FOLDER_OF_AMICUS [--parties N] [--images K] [--restarts]
    python3 .ci/roles.py FOLDER_OF_AMICUS --documented

FOLDER holds the program `amicus` and `examples`. With --restarts every node is killed and started again, one at a time and
all at once, and the models must be served without their owner. With --documented the commands of docs/library.md themselves are run, all
but those that build. Every process is waited for, whatever happens; one that is still there
after it was told to end is a failure.
"""

import argparse
import contextlib
import os
import pathlib
import queue
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Seconds until anything is given up. Nothing is measured: a loaded machine is only slower.
PATIENCE = 600


class Failure(Exception):
    pass


class Process:
    """A process whose lines are read by a thread of ours, so that it never waits for a reader."""

    def __init__(self, name, command):
        self.name = name
        self.lines = []
        self.queue = queue.Queue()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            self.queue.put(line)
        self.queue.put(None)

    def expect(self, pattern):
        """Waits for a line; the match."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self.queue.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failure(f"{self.name}: no line like {pattern!r} in {PATIENCE} s") from None
            if line is None:
                raise Failure(f"{self.name} ended with {self.process.wait()} before a line like {pattern!r}")
            if found := re.search(pattern, line):
                return found

    def result(self):
        """Waits for the end; the output of a process that must succeed."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} did not end in {PATIENCE} s") from None
        if code != 0:
            raise Failure(f"{self.name} ended with {code}")
        return self.text()

    def text(self):
        """What a process that has ended said."""
        self.reader.join()
        return "".join(self.lines)

    def end(self):
        """Ends the process; how, if it was not on its own before or by this signal."""
        alone = self.process.poll()
        if alone is not None:
            return f"{self.name} had ended by itself with {alone}" if alone != 0 else None
        self.process.terminate()
        try:
            code = self.process.wait(PATIENCE)
            return None if code == -signal.SIGTERM else f"{self.name} ended with {code}"
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"{self.name} was still there after {PATIENCE} s and had to be killed"


class Cluster:
    """Every process of a run; all are ended when it is left."""

    def __init__(self):
        self.processes = []

    def start(self, name, *command):
        process = Process(name, [str(word) for word in command])
        self.processes.append(process)
        return process

    def kill(self, process):
        """As a crash ends a process."""
        process.process.kill()
        process.process.wait()
        self.processes.remove(process)

    def run(self, name, *command):
        return self.start(name, *command).result()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        faults = [fault for process in reversed(self.processes) if (fault := process.end())]
        leftover = [p.name for p in self.processes if p.process.poll() is None]
        if isinstance(error, Failure):
            for process in self.processes:
                print(f"--- {process.name}\n{''.join(process.lines)}", file=sys.stderr)
        if error is None and (faults or leftover):
            raise Failure("; ".join(faults + [f"{name} is left over" for name in leftover]))


def free_ports(count):
    """Ports that are free now, below those that the system gives to outgoing connections and to who asks for any."""
    ports = []
    for port in random.sample(range(10_000, 30_000), 20_000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise Failure("there are no free ports")


def deployment(fingerprints, ports):
    """The deployment file, as an operator would write it."""
    parties = [name for name in fingerprints if name.startswith("party")]
    text = 'cluster = "roles"\n\n'
    for name, port in zip(["helper", *parties], ports):
        table = "[helper]" if name == "helper" else "[[party]]"
        text += f'{table}\naddress = "127.0.0.1:{port}"\ncertificate = "{fingerprints[name]}"\n\n'
    text += f'[owner]\ncertificate = "{fingerprints["owner"]}"\n\n'
    text += f'[client.alice]\ncertificate = "{fingerprints["alice"]}"\n\n'
    # Deadlines of a machine that has other things to do.
    return text + "[limits]\nround = 120\ninference = 240\nload = 240\n"


def main(built, parties, images, restarts):
    amicus, examples = built / "amicus", built / "examples"
    with tempfile.TemporaryDirectory() as temporary, Cluster() as cluster:
        at = pathlib.Path(temporary)
        cluster.run("export", amicus, "export", "lenet5-mnist", "-o", at / "lenet.amc", "--images", at / "digits")
        # Two models, which the nodes serve side by side.
        cluster.run("export", amicus, "export", "lenet5-mnist-degree2", "-o", at / "other.amc")
        models = ["lenet", "other"]
        for model in models:
            cluster.run("plan", amicus, "plan", at / f"{model}.amc", "-o", at / f"{model}.plan")
        plans = [at / f"{model}.plan" for model in models]
        names = ["helper", *(f"party-{n}" for n in range(1, parties + 1)), "owner", "alice"]
        fingerprints = {
            name: cluster.run(f"identity of {name}", amicus, "keygen", at / f"{name}.pem").strip() for name in names
        }
        file = at / "deployment.toml"
        file.write_text(deployment(fingerprints, free_ports(parties + 1)))

        def start(name):
            role = examples / name.split("-")[0]
            return cluster.start(name, role, file, at / f"{name}.pem", at / f"{name}.folder", *plans)

        nodes = {name: start(name) for name in names[: parties + 1]}
        for name, node in nodes.items():
            node.expect(f"^{name.replace('-', ' ')} listens at ")
        found = {}
        for model in models:
            said = cluster.run(f"owner of {model}", examples / "owner", file, at / "owner.pem", at / f"{model}.amc")
            found[model] = re.search("fingerprint ([0-9a-f]{64})$", said, re.MULTILINE).group(1)
        fingerprint = found["lenet"]

        shown = sorted((at / "digits").iterdir())[:images]
        client = [examples / "client", file, at / "alice.pem", at / "lenet.plan"]
        for model in [*models, *models]:
            of_model = [*client[:3], at / f"{model}.plan", found[model]]
            answers = cluster.run(f"client of {model}", *of_model, *shown)
            right = sum(f"{image}: class {image.stem.split('-')[-1]}\n" in answers for image in shown)
            # The networks get 299 and 298 of the 300 right; the first ones are among them.
            if right != len(shown):
                raise Failure(f"{right} of {len(shown)} digits are classified as they are labelled:\n{answers}")
        for name, node in nodes.items():
            node.expect("ended well")

        if restarts:
            for victims in [*([name] for name in nodes), list(nodes)]:
                for name in victims:
                    cluster.kill(nodes[name])
                for name in victims:
                    nodes[name] = start(name)
                began = time.monotonic()
                for name in victims:
                    nodes[name].expect(f"^{name.replace('-', ' ')} listens at ")
                # Their owner is gone: what the nodes kept must do.
                for model in models:
                    of_model = [*client[:3], at / f"{model}.plan", found[model]]
                    while time.monotonic() - began < PATIENCE:
                        again = cluster.start("client", *of_model, shown[0])
                        code, said = again.process.wait(PATIENCE), again.text()
                        cluster.processes.remove(again)
                        if code == 0:
                            break
                        # Whoever asks too early is told what is amiss.
                        if not re.match("Error: .*\n$", said):
                            raise Failure(f"a client after {', '.join(victims)} had been killed said:\n{said}")
                    if said != f"{shown[0]}: class {shown[0].stem.split('-')[-1]}\n":
                        raise Failure(f"{model} after {', '.join(victims)} had been killed:\n{said}")
                print(f"{', '.join(victims)} killed: both served again after {time.monotonic() - began:.1f} s")

        # Another model than the owner's is noticed before an image leaves the client.
        other = cluster.start("client of another model", *client, "0" * 64, shown[0])
        other.expect("the parties have loaded a model with fingerprint " + fingerprint)
        if other.process.wait(PATIENCE) == 0:
            raise Failure("a client took another model than it expected")
        cluster.processes.remove(other)
        # An identity is good for its own role only.
        wrong = cluster.start("party with a client's key", examples / "party", file, client[2], at / "folder", client[3])
        wrong.expect("is that of client alice in this deployment, not of a compute party")
        if wrong.process.wait(PATIENCE) == 0:
            raise Failure("a party started with the identity of a client")
        cluster.processes.remove(wrong)
    print(f"{parties} parties, {len(models)} models: {right} of {len(shown)} digits as labelled by each")


def documented(built):
    text = (ROOT / "docs/library.md").read_text()
    first, *blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if "cargo build" not in first or len(blocks) != 5:
        raise Failure("docs/library.md has other blocks than this script knows")
    script = "".join(blocks)
    for documented, free in zip(["7000", "7001", "7002"], free_ports(3)):
        script = script.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{free}")
    path = os.pathsep.join([str(built.resolve()), str((built / "examples").resolve()), os.environ["PATH"]])
    with tempfile.TemporaryDirectory() as temporary:
        # A group of its own: whatever is still there at the end is found by it.
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script + "wait\n"],
            cwd=temporary,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = shell.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"the commands of docs/library.md did not end in {PATIENCE} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
                # Nothing is left of the group but perhaps the shell itself.
                if shell.poll() is not None:
                    raise Failure("processes of docs/library.md were still there at its end")
        logs = "".join(f"--- {log.name}\n{log.read_text()}" for log in sorted(pathlib.Path(temporary).glob("*.log")))
    right = len(re.findall(r"^digits/\d+-class-(\d)\.f32: class \1$", said, re.MULTILINE))
    # `wait` ends with the code of nodes that were told to end.
    if shell.returncode not in (0, 128 + signal.SIGTERM) or right != 10:
        raise Failure(f"docs/library.md: {right} of 10 digits as labelled, exit code {shell.returncode}\n{said}{logs}")
    print("docs/library.md: 10 of 10 digits as labelled")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("built", type=pathlib.Path)
    arguments.add_argument("--parties", type=int, default=2)
    arguments.add_argument("--images", type=int, default=10)
    arguments.add_argument("--restarts", action="store_true")
    arguments.add_argument("--documented", action="store_true")
    options = arguments.parse_args()
    # Who ends this script ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("roles: told to end"))
    try:
        if options.documented:
            documented(options.built)
        else:
            main(options.built, options.parties, options.images, options.restarts)
    except Failure as failure:
        sys.exit(f"roles: {failure}")
