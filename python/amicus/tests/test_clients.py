"""Clients and owners of a cluster of real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import amicus

from conftest import DATA, PATIENCE, Cluster, Digits, program, stand_still


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[amicus.Client]:
    with cluster.connect() as connected:
        yield connected


@pytest.fixture()
def stopped(cluster: Cluster) -> Iterator[int]:
    """A party that is there and does nothing."""
    pid = cluster.pid("party-2")
    stand_still(pid)
    yield pid
    os.kill(pid, signal.SIGCONT)


def test_answers_are_the_simulators(client: amicus.Client, model: amicus.Model, digits: Digits) -> None:
    expected = model.simulate(digits.x[:4]).private
    one = client.predict(digits.x[0])
    assert one.dtype == np.float64 and one.shape == (10,) and np.allclose(one, expected[0], atol=0.05)
    # Other places in memory, another type and order, and several in one inference.
    odd = np.zeros(digits.x[0].nbytes + 1, np.uint8)[1:].view(np.float32).reshape(digits.x[0].shape)
    odd[...] = digits.x[0]
    assert not odd.flags.aligned and np.allclose(client.predict(odd), expected[0], atol=0.05)
    several = client.predict(np.asfortranarray(digits.x[:4].astype(np.float64)))
    assert several.shape == (4, 10) and np.allclose(several, expected, atol=0.05)
    assert client.plan.digest == model.public_plan().digest


def test_an_answer_that_may_be_wrong_comes_with_a_warning() -> None:
    # Images of a single bright point, then one that is bright all over: sums far beyond what was seen.
    points = np.zeros((64, 1, 28, 28), np.float32)
    points.reshape(64, -1)[np.arange(64), np.arange(64) * 12] = 1.0
    model = amicus.compile(DATA / "tiny.onnx", points, allow_miss=True)
    plan = model.public_plan()
    assert plan.watches and plan.outputs == 10
    with amicus.local(model) as cluster:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert cluster.predict(points[5]).shape == (10,)
        bright = np.ones_like(points[0])
        with pytest.warns(amicus.OutsideWarning, match="may be wrong"):
            assert cluster.predict(bright).shape == (10,)
        with pytest.warns(amicus.OutsideWarning, match="of image 1 "):
            assert cluster.predict(np.stack([points[7], bright])).shape == (2, 10)
    silent = amicus.compile(DATA / "tiny.onnx", points, allow_miss=True, watch=False).public_plan()
    assert not silent.watches and silent.outputs == 10 and "; nothing of hidden values" in silent.reveals


def test_labels_are_all_that_is_told(model: amicus.Model, digits: Digits) -> None:
    labels = amicus.compile(DATA / "tiny.onnx", digits.x[:100], reveal="label")
    assert labels.public_plan().outputs == labels.public_plan().labels == 1
    assert labels.public_plan().reveals.startswith("only the label of the largest output")
    five = amicus.compile(DATA / "tiny.onnx", digits.x[:100], reveal="top5").public_plan()
    assert five.labels == 5 and five.reveals.startswith("only the labels of the 5 largest outputs")
    assert model.public_plan().labels is None
    assert model.public_plan().reveals.startswith("the network's 10 outputs; and whether hidden values left")
    classes = model.simulate(digits.x[:8]).private.argmax(1)
    with amicus.local(labels) as cluster:
        assert (cluster.predict(digits.x[:8]).ravel() == classes).all()
    with pytest.raises(ValueError, match="known are logits, top5, label"):
        amicus.compile(DATA / "tiny.onnx", digits.x[:100], reveal="all")  # type: ignore[arg-type]


def test_a_picture_is_read_as_the_command_line_reads_it(cluster: Cluster, tmp_path: Path, digits: Digits) -> None:
    image = pytest.importorskip("PIL.Image")
    picture = tmp_path / "digit.png"
    image.fromarray(np.uint8(np.clip(digits.x[3, 0], 0, 1) * 255)).save(picture)
    with cluster.connect() as client:
        try:
            got = client.predict(picture)
        except amicus.InputError as error:
            # Pixels whose rule does not follow from the plan's range are refused, by both.
            assert "how pixels become numbers" in error.what
            return
    command = ["infer", "--cluster", str(cluster.file), "--token", str(cluster.token), "--model", "tiny", "--json"]
    done = subprocess.run([program(), *command, str(picture)], capture_output=True, text=True, timeout=PATIENCE)
    assert json.loads(done.stdout)["answers"][0]["class"] == int(got.argmax())


def test_many_images_come_back_in_order(client: amicus.Client, model: amicus.Model, digits: Digits) -> None:
    expected = model.simulate(digits.x[:40]).private.argmax(1)
    told: list[tuple[int, int | None]] = []
    answers = client.predict_many(digits.x[:40], concurrency=6, progress=lambda done, of: told.append((done, of)))
    assert ([int(answer.argmax()) for answer in answers] == expected).all()
    assert told == [(n, 40) for n in range(1, 41)]
    taken: list[int] = []

    def source() -> Iterator[object]:
        for at in range(40):
            taken.append(at)
            yield digits.x[at]

    many = client.predict_many(source(), concurrency=2)
    assert int(next(many).argmax()) == expected[0]
    many.close()  # type: ignore[attr-defined]
    # Images are taken as they are needed.
    assert len(taken) <= 6


def test_progress_is_shown(client: amicus.Client, digits: Digits, capsys: pytest.CaptureFixture[str]) -> None:
    list(client.predict_many(digits.x[:3], progress=True))
    assert "3/3" in capsys.readouterr().err


def test_a_bad_image_among_many_ends_them(client: amicus.Client, digits: Digits) -> None:
    images = [digits.x[0], digits.x[1], np.full_like(digits.x[0], np.inf)]
    many = client.predict_many(images, concurrency=1)
    with pytest.raises(amicus.InputError):
        list(many)
    assert client.predict(digits.x[0]).shape == (10,)


def test_many_are_awaited_at_a_time(client: amicus.Client, model: amicus.Model, digits: Digits) -> None:
    expected = model.simulate(digits.x[:12]).private.argmax(1)

    async def all_of_them() -> list[np.ndarray]:
        return await asyncio.gather(*(client.apredict(x) for x in digits.x[:12]))

    answers = asyncio.run(all_of_them())
    assert ([int(answer.argmax()) for answer in answers] == expected).all()

    async def refused() -> None:
        with pytest.raises(amicus.InputError):
            await client.apredict(digits.x[0, :, :3])

    asyncio.run(refused())


def test_what_is_awaited_can_be_given_up(client: amicus.Client, digits: Digits, stopped: int) -> None:
    async def impatient() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.apredict(digits.x[0]), 0.3)

    asyncio.run(impatient())
    os.kill(stopped, signal.SIGCONT)
    assert client.predict(digits.x[0]).shape == (10,)


def begun(cluster: Cluster, before: int) -> None:
    """Waits until a further inference has begun."""
    deadline = time.monotonic() + PATIENCE
    while cluster.inferences() <= before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_other_threads_work_while_one_waits(
    cluster: Cluster, client: amicus.Client, digits: Digits, stopped: int
) -> None:
    answers: list[np.ndarray] = []
    before = cluster.inferences()
    waiting = threading.Thread(target=lambda: answers.append(client.predict(digits.x[0])))
    waiting.start()
    # Were the lock not free, this thread would not see it begin before it had ended: the party goes on only when
    # this thread says so.
    begun(cluster, before)
    assert waiting.is_alive() and not answers
    os.kill(stopped, signal.SIGCONT)
    waiting.join(PATIENCE)
    assert len(answers) == 1


INTERRUPTED = """
import sys, traceback, amicus, numpy as np
client = amicus.connect(sys.argv[1], token=sys.argv[2], model="tiny")
x = np.zeros(client.plan.input_shape, np.float32)
print("asks", flush=True)
sys.stdin.readline()
try:
    if sys.argv[3] == "many":
        list(client.predict_many([x] * 9, concurrency=3))
    else:
        client.predict(x)
except KeyboardInterrupt as interrupt:
    # While it waits, and not in what makes the error by which the call ends in time.
    print("interrupted:", traceback.extract_tb(interrupt.__traceback__)[-1].line, flush=True)
"""


@pytest.mark.parametrize("how", ["one", "many"])
def test_ctrl_c_ends_a_call(how: str, cluster: Cluster) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(cluster.file), str(cluster.token), how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert process.stdin is not None and process.stdout is not None
    pid = cluster.pid("party-2")
    try:
        assert process.stdout.readline() == "asks\n"
        # Connected. From now on no call ends by itself.
        stand_still(pid)
        before = cluster.inferences()
        process.stdin.write("\n")
        begun(cluster, before)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert process.stdout.read() == "interrupted: return pending.result()\n"
    finally:
        os.kill(pid, signal.SIGCONT)
        process.kill()


def test_secrets_are_not_shown(cluster: Cluster, client: amicus.Client, model: amicus.Model) -> None:
    owner = amicus.Owner(cluster.file, token=cluster.tokens())
    for thing in (client, owner, model, client.plan):
        text = repr(thing) + str(thing)
        assert not any(token in text for token in cluster.tokens().values())
        assert len(text) < 400


def test_owners_upload_and_clients_compare(model: amicus.Model, digits: Digits, tmp_path: Path) -> None:
    # A cluster of its own: after a load, clients that had compared take no answers.
    cluster = Cluster(tmp_path, model)
    try:
        before = cluster.ready["models"][0]["fingerprint"]
        told: list[tuple[int, int]] = []
        owner = amicus.Owner(cluster.file, token=cluster.owner_token)
        with cluster.connect(fingerprint=before) as client:
            assert client.fingerprint == before
            fingerprint = owner.upload(model, progress=lambda given, of: told.append((given, of)))
            assert fingerprint != before and len(fingerprint) == 64
            assert told and told[-1][0] == told[-1][1]
            with pytest.raises(amicus.ClusterError, match="loaded anew"):
                client.predict(digits.x[0])
            with pytest.raises(amicus.ClusterError, match="fingerprint"):
                client.compare(before)
            assert client.compare(fingerprint) == fingerprint
            assert client.predict(digits.x[0]).shape == (10,)
        with pytest.raises(amicus.RefusedError):
            amicus.Owner(cluster.file, token=cluster.token).upload(model)
    finally:
        cluster.end()
