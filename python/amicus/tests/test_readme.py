"""The lines of the READMEs, as they stand: from a module of PyTorch to a private prediction."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PATIENCE, ROOT

BLOCK = re.compile(r"^```python\n(import torch\n.*?)^```$", re.MULTILINE | re.DOTALL)
STANDIN = Path(__file__).parent / "standin"


@pytest.mark.parametrize("readme", ["README.md", "python/amicus/README.md"])
def test_ten_lines_from_a_module_to_a_private_prediction(readme: str, tmp_path: Path) -> None:
    (lines,) = BLOCK.findall((ROOT / readme).read_text())
    assert len([line for line in lines.splitlines() if line]) <= 10
    environment = dict(os.environ)
    if importlib.util.find_spec("torch") is None:
        environment["PYTHONPATH"] = str(STANDIN)
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"(tensor\()?\d\)?\n", done.stdout), done.stdout
