"""From networks to compiled models, and what is said of them."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import amicus

from conftest import DATA, PATIENCE, ROOT, Digits, program

UNSUPPORTED = ROOT / "crates/model/tests/data/unsupported.onnx"


def printed(*command: str, code: int = 0) -> str:
    environment = {"COLUMNS": "100", "XDG_CACHE_HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([program(), *command], capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert done.returncode == code, done.stderr
    return done.stdout.rstrip("\n")


@pytest.fixture(autouse=True)
def _as_wide_as_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")


def test_check_prints_what_the_command_line_prints() -> None:
    good = amicus.check(DATA / "tiny.onnx")
    assert good and good["problems"] == []
    assert str(good) == printed("check", str(DATA / "tiny.onnx"))
    bad = amicus.check(str(UNSUPPORTED))
    assert not bad and bad["problems"]
    assert str(bad) == printed("check", str(UNSUPPORTED), code=1)


def test_estimate_prints_what_the_command_line_prints(model: amicus.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "tiny.amc")
    estimate = model.estimate(3, batch=2, net="wan")
    command = ["estimate", str(tmp_path / "tiny.amc"), "--parties", "3", "--batch", "2", "--net", "wan"]
    assert str(estimate) == printed(*command)
    assert estimate["parties"] == 3 and estimate["rounds"] > 0 and estimate["net"] == "wan"
    operations = estimate["operations"]
    assert sum(operation["dealt_bytes"] for operation in operations) == estimate["dealt_bytes"]
    assert 0.0 < sum(operation["online_ms"] for operation in operations) < estimate["online_ms"]


def test_simulate_prints_what_the_command_line_prints(model: amicus.Model, digits: Digits, tmp_path: Path) -> None:
    model.save(tmp_path / "tiny.amc")
    np.savez(tmp_path / "some.npz", x=digits.x[:30], y=digits.y[:30])
    simulated = model.simulate(digits.x[:30], digits.y[:30])
    lines = printed("simulate", str(tmp_path / "tiny.amc"), "--data", str(tmp_path / "some.npz"))
    assert str(simulated) in lines
    assert simulated.private.shape == simulated.float.shape == (30, 10)
    assert simulated["fixed_correct"] == int((simulated.private.argmax(1) == digits.y[:30]).sum())


def test_compile_says_how_and_takes_paths_and_bytes(model: amicus.Model, digits: Digits) -> None:
    assert model.report is not None
    assert "private answers differ from your network's" in str(model.report)
    assert model.report["meets_target"] and model.missed_targets == []
    assert model.input_shape == (1, 28, 28) and model.input_range[0] < 0.0 < model.input_range[1]
    again = amicus.compile((DATA / "tiny.onnx").read_bytes(), digits.x[:100])
    assert again.public_plan().outputs == 10
    polynomial = amicus.compile(DATA / "tiny.onnx", digits.x[:60], activations="polynomial", maxpool="average",
                                degree=2, allow_miss=True)  # fmt: skip
    assert polynomial.estimate()["rounds"] < model.estimate()["rounds"]
    many = amicus.compile(DATA / "tiny.onnx", digits.x[:100], batch=32)
    assert many.estimate()["dealt_bytes"] <= model.estimate()["dealt_bytes"]
    with pytest.raises(amicus.ModelError, match="a batch of 0"):
        amicus.compile(DATA / "tiny.onnx", digits.x[:100], batch=0)


def test_public_weights_are_in_the_plan_and_take_no_round(model: amicus.Model, digits: Digits, tmp_path: Path) -> None:
    public = amicus.compile(DATA / "tiny.onnx", digits.x[:100], public_model=True)
    plan, secret = public.public_plan(), model.public_plan()
    assert plan.digest != secret.digest and len(bytes(plan)) > len(bytes(secret))
    assert any("they are public" in line for line in plan.shows)
    assert not any("they are public" in line for line in secret.shows)
    assert public.estimate()["public_weights"] > 0 == model.estimate()["public_weights"]
    assert public.estimate()["rounds"] < model.estimate()["rounds"]
    assert "they are public" in " ".join(str(public.report).split())
    public.save(tmp_path / "public.amc")
    loaded = amicus.Model.load(tmp_path / "public.amc")
    assert loaded.public_plan().digest == plan.digest
    expected = model.simulate(digits.x[:4]).private
    assert np.allclose(loaded.simulate(digits.x[:4]).private, expected, atol=0.05)
    with amicus.local(loaded, parties=3) as cluster:
        assert np.allclose(cluster.predict(digits.x[:4]), expected, atol=0.05)


def test_models_and_plans_are_saved_and_read_back(model: amicus.Model, digits: Digits, tmp_path: Path) -> None:
    path = tmp_path / "tiny.amc"
    model.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = amicus.Model.load(path)
    assert (loaded.simulate(digits.x[:5]).private == model.simulate(digits.x[:5]).private).all()
    with pytest.raises(amicus.ModelError, match="tiny.amc"):
        model.save(path)
    model.save(path, force=True)
    plan = model.public_plan()
    plan.save(tmp_path / "tiny.plan")
    again = amicus.PublicPlan.load(tmp_path / "tiny.plan")
    assert again.digest == plan.digest and bytes(again) == bytes(plan) and again.input_shape == (1, 28, 28)
    assert any("architecture" in line for line in plan.shows)
    with pytest.raises(amicus.ConfigurationError, match="is a compiled model"):
        amicus.PublicPlan.load(path)


def test_masked_images_are_uniform_and_never_the_same(model: amicus.Model, digits: Digits) -> None:
    plan = model.public_plan()
    first, second = plan.masked(digits.x[0]), plan.masked(digits.x[0])
    assert first.shape == digits.x[0].shape and (first != second).all()
    # Chi-square of sixteen bins over 50 images: 15 degrees of freedom, beyond 60 once in two million.
    counts, _ = np.histogram(np.stack([plan.masked(x) for x in digits.x[:50]]), bins=16, range=(0.0, 1.0))
    expected = counts.sum() / 16
    assert ((counts - expected) ** 2 / expected).sum() < 60.0


def test_notebooks_get_tables_and_names_steer_nothing(model: amicus.Model, tmp_path: Path) -> None:
    html = model.estimate()._repr_html_()
    assert "<table>" in html and "<td>rounds (one-way hops)</td>" in html
    named = tmp_path / "<b>&\x1b[31m.onnx"
    named.write_bytes((DATA / "tiny.onnx").read_bytes())
    check = amicus.check(named)
    assert "&lt;b&gt;&amp;" in check._repr_html_()
    for shown in (check._repr_html_(), str(check)):
        assert "\x1b" not in shown
    assert "<b>" not in check._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (lambda d: ("none.onnx", d.x[:9]), amicus.ModelError, "none.onnx"),
        (lambda d: (b"no network", d.x[:9]), amicus.ModelError, "ONNX"),
        (lambda d: (7, d.x[:9]), amicus.ModelError, "int is no network"),
        (lambda d: (UNSUPPORTED, d.x[:9]), amicus.ModelError, "cannot be imported"),
        (lambda d: (DATA / "tiny.onnx", d.x[:9, :, :5]), amicus.AmicusError, "140"),
        (lambda d: (DATA / "tiny.onnx", d.x[:9] * np.nan), amicus.InputError, "is nan"),
        (lambda d: (DATA / "tiny.onnx", np.full((9, 1, 28, 28), 0.5)), amicus.ModelError, "every number is 0.5"),
        (lambda d: (DATA / "tiny.onnx", d.x[:9].astype(str)), amicus.InputError, "numbers of type <U"),
        (lambda d: (DATA / "tiny.onnx", (255 * d.x[:9]).astype(np.uint8)), amicus.InputError, "pixels of type uint8"),
        (lambda d: (DATA / "tiny.onnx", d.x[:9], d.y[:8]), amicus.InputError, "labels of type int64 and shape (8,)"),
        (lambda d: (DATA / "tiny.onnx", d.x[:9], d.y[:9] / 2.0), amicus.InputError, "labels of type float64"),
    ],
)
def test_what_cannot_be_compiled_is_told_in_four_parts(arguments, error, words, digits: Digits) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error) as caught:
        amicus.compile(*arguments(digits))
    told = caught.value
    assert words in told.what, str(told)
    assert told.where and told.whose == "yours" and told.next
    assert all(part in str(told) for part in (told.what, told.where, told.whose, told.next))


def test_a_missed_target_is_an_error_unless_allowed(digits: Digits) -> None:
    with pytest.raises(amicus.ModelError) as caught:
        amicus.compile(DATA / "tiny.onnx", digits.x[:20], max_total_error=1e-9)
    assert "the median error against the network as imported" in caught.value.what
    assert "allow_miss" in caught.value.next
    assert amicus.compile(DATA / "tiny.onnx", digits.x[:20], max_total_error=1e-9, allow_miss=True).missed_targets


@pytest.mark.parametrize("wrong", [{"activations": "none"}, {"limbs": 4}, {"net": "fast"}, {"max_error": 2.0}])
def test_options_that_there_are_not_are_refused(wrong: dict[str, object], digits: Digits) -> None:
    with pytest.raises(ValueError):
        amicus.compile(DATA / "tiny.onnx", digits.x[:9], **wrong)  # type: ignore[arg-type]


def test_a_local_cluster_answers_as_the_simulator(model: amicus.Model, digits: Digits) -> None:
    expected = model.simulate(digits.x[:6]).private
    with amicus.local(model, parties=3) as local:
        assert local.parties == 3 and len(local.fingerprint) == 64
        one = local.predict(digits.x[0])
        assert one.shape == (10,) and np.allclose(one, expected[0], atol=0.05)
        several = np.stack(list(local.predict_many(digits.x[:6])))
        assert (several.argmax(1) == expected.argmax(1)).all()
        with pytest.raises(amicus.InputError, match="shape"):
            local.predict(digits.x[0, :, :5])
    with pytest.raises(amicus.ConfigurationError, match="has ended"):
        local.predict(digits.x[0])
    with pytest.raises(amicus.ConfigurationError, match="from 2 to 8"):
        amicus.local(model, parties=1)


def test_the_package_is_installed_with_its_types() -> None:
    folder = Path(amicus.__file__).parent
    assert (folder / "py.typed").is_file() and (folder / "_native.pyi").is_file()
    assert amicus.__version__ == "0.1.0" and sys.modules["amicus._native"] is not None
