"""Many images over several cells, with Dask: a worker for each cell asks with `predict_many`.

    python cells.py cells.json images.npz answers.npz

`cells.json` lists the cells, each with its cluster's file, a file of tokens for it, the model's name there, and the
fingerprint that the model's owner told for that cell:

    [{"cluster": "north/cluster.toml", "token": "north.tokens", "model": "lenet", "fingerprint": "3f.."}, ..]

Cells share nothing, and a model is loaded into each. Images go to whichever cell has room; a cell that is down is left
out from then on, and its images go to the others. A party that cheats ends all of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from distributed import Client as Scheduler
from distributed import LocalCluster, as_completed
from numpy.typing import NDArray

import amicus


class Cell(TypedDict):
    cluster: str
    token: str
    model: str
    fingerprint: str


def ask(cell: Cell, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """What one cell says of some images. Clients stay where they are: a connection is not sent around."""
    with amicus.connect(
        cell["cluster"], token=cell["token"], model=cell["model"], fingerprint=cell["fingerprint"]
    ) as client:
        return np.stack(list(client.predict_many(images, concurrency=4)))


def predict(scheduler: Scheduler, cells: list[Cell], images: NDArray[np.float32], share: int = 32) -> NDArray[np.float64]:
    """Has images classified by cells that are there, shares of them at a time, and puts the answers in order."""
    waiting = [(at, images[at : at + share]) for at in range(0, len(images), share)][::-1]
    answers: dict[int, NDArray[np.float64]] = {}
    running: dict[Any, tuple[int, int, NDArray[np.float32]]] = {}
    down: dict[int, amicus.AmicusError] = {}
    done = as_completed()

    def begin(cell: int) -> None:
        if waiting and cell not in down:
            at, part = waiting.pop()
            future = scheduler.submit(ask, cells[cell], part, pure=False, retries=0)
            running[future.key] = (cell, at, part)
            done.add(future)

    for cell in range(len(cells)):
        begin(cell)
    for future in done:
        cell, at, part = running.pop(future.key)
        error = future.exception()
        if error is None:
            answers[at] = future.result()
        elif isinstance(error, amicus.ClusterError) and not isinstance(error, amicus.CheatedError):
            down[cell] = error
            waiting.append((at, part))
            # Others may have had nothing left to do.
            busy = {cell for cell, _, _ in running.values()}
            for other in set(range(len(cells))) - busy:
                begin(other)
        else:
            raise error
        begin(cell)
    if waiting:
        raise RuntimeError("no cell is there: " + "; ".join(f"{cells[c]['cluster']}: {e}" for c, e in down.items()))
    return np.concatenate([answers[at] for at in sorted(answers)])


def main() -> None:
    cells: list[Cell] = json.loads(Path(sys.argv[1]).read_text())
    images = np.load(sys.argv[2])["x"].astype(np.float32)
    # Here workers are processes of this machine; `Scheduler("tcp://..")` takes workers wherever they are.
    with LocalCluster(n_workers=len(cells), threads_per_worker=1, dashboard_address=None) as workers:
        with Scheduler(workers) as scheduler:
            np.savez(sys.argv[3], logits=predict(scheduler, cells, images))


if __name__ == "__main__":
    main()
