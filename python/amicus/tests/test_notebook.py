"""The notebook, from its first cell to its last, as Jupyter runs it, without Jupyter."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parent.parent / "notebook.ipynb"


def run(source: str, names: dict[str, Any]) -> Any:
    """Runs a cell; what its last line comes to, if that is an expression."""
    lines = ast.parse(source)
    last = lines.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(lines, "cell", "exec"), names)
        return None
    exec(compile(ast.Module(lines.body[:-1], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells), "outputs are not kept in the repository"
    monkeypatch.chdir(NOTEBOOK.parent)
    names: dict[str, Any] = {}
    figures = tables = 0
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        shown = run("".join(cell["source"]), names)
        tables += "<table>" in shown._repr_html_() if hasattr(shown, "_repr_html_") else 0
        for number in pyplot.get_fignums():
            drawn = pyplot.figure(number)
            drawn.canvas.draw()
            assert any(axes.has_data() for axes in drawn.axes)
            figures += 1
        pyplot.close("all")
    # Bytes and time, errors, accuracy, images behind masks; how it was compiled, and the estimate.
    assert (figures, tables) == (4, 2)
