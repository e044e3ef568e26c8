"""Runs the commands of the tutorial's parts: every ```sh block, line by line, in copies of docs/tutorial.

    python3 .ci/tutorial.py FOLDER_OF_AMICUS

A block that begins with ```sh exit=N must end with that exit code; every other line must succeed.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARTS = ["tutorial-onnx.md", "tutorial-outputs.md"]
BLOCK = re.compile(r"^```sh(?: exit=(\d+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main(folder):
    for name in PARTS:
        run(folder, name)


def run(folder, name):
    blocks = BLOCK.findall((ROOT / "docs" / name).read_text())
    commands = [(line, int(code or 0)) for code, block in blocks for line in block.splitlines() if line]
    if not any(line.startswith("amicus compile") for line, _ in commands):
        sys.exit(f"docs/{name} has no commands")
    with tempfile.TemporaryDirectory() as temporary:
        place = pathlib.Path(temporary) / "tutorial"
        shutil.copytree(ROOT / "docs/tutorial", place)
        path = os.pathsep.join([str(pathlib.Path(folder).resolve()), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": temporary}
        for line, code in commands:
            print("$", line, flush=True)
            got = subprocess.run(line, shell=True, cwd=place, env=environment, timeout=300).returncode
            if got != code:
                sys.exit(f"docs/{name}: `{line}` ended with {got}, expected {code}")


if __name__ == "__main__":
    main(sys.argv[1])
