"""The polynomial activation: values, derivatives, what it does beyond its interval, what it refuses."""

import numpy as np
import pytest
import torch

from amicus_train import PolyActivation, least_squares
from amicus_train.activation import horner, round_through
from amicus_train.fit import FUNCTIONS


def test_values_are_those_of_the_polynomial_in_eval_mode_everywhere() -> None:
    act = PolyActivation(2.0, [0.5, -1.0, 0.25, 2.0]).eval()
    t = torch.tensor([-6.0, -1.0, 0.0, 0.5, 5.0])
    u = (t / 2.0).numpy().astype(np.float64)
    expected = 0.5 - u + 0.25 * u**2 + 2.0 * u**3
    np.testing.assert_allclose(act(t).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("blend", [0.0, 0.3, 1.0])
def test_training_derivatives_are_the_derivatives(blend: float) -> None:
    act = PolyActivation(2.0, [0.1, 0.5, 0.4, -0.2], learned=True).train()
    act.blend = blend
    # Away from the kinks of ReLU and of the clamps, on both sides of the interval's ends.
    t = torch.tensor([-3.1, -1.5, -0.4, 0.6, 1.7, 2.9], requires_grad=True)
    towards = torch.tensor([1.0, -2.0, 0.5, 1.5, -1.0, 0.7])
    (act(t) * towards).sum().backward()
    step = 1e-3
    with torch.no_grad():
        for i in range(len(t)):
            plus, minus = t.clone(), t.clone()
            plus[i] += step
            minus[i] -= step
            numeric = ((act(plus) - act(minus)) * towards).sum() / (2 * step)
            assert abs(float(numeric) - float(t.grad[i])) < 5e-3, i
        for k in range(4):
            before = act.coefficients[k].clone()
            act.coefficients[k] = before + step
            high = (act(t) * towards).sum()
            act.coefficients[k] = before - step
            low = (act(t) * towards).sum()
            act.coefficients[k] = before
            inside = (act(t.clamp(-2.0, 2.0)) * towards).sum()
            assert torch.isfinite(inside)
            # The gradient ignores that coefficients also move the tangents outside: compare inside only.
            if k == 0:
                assert abs(float((high - low) / (2 * step)) - float(act.coefficients.grad[k])) < 5e-3


@pytest.mark.parametrize("name", FUNCTIONS)
def test_blending_starts_at_the_function(name: str) -> None:
    act = PolyActivation(2.0, degree=4, function=name)
    t = torch.linspace(-3.0, 3.0, 13)
    expected = torch.tensor(FUNCTIONS[name](t.double().numpy()), dtype=torch.float32)
    for mode in (True, False):
        act.train(mode)
        act.blend = 0.0
        torch.testing.assert_close(act(t), expected, rtol=1e-5, atol=1e-6)
        act.blend = 0.5
        halfway = act(t)
        act.blend = 1.0
        torch.testing.assert_close(halfway, 0.5 * expected + 0.5 * act(t), rtol=1e-5, atol=1e-5)


def test_outside_the_interval_training_goes_on_along_the_tangent() -> None:
    act = PolyActivation(1.0, [0.0, 0.0, 1.0]).train()
    # u^2 has slope 2 at u = 1: at 3 the tangent is at 1 + 2 * 2.
    assert act(torch.tensor([3.0])).item() == pytest.approx(5.0)
    assert act.eval()(torch.tensor([3.0])).item() == pytest.approx(9.0)


def test_the_penalty_pulls_only_values_beyond_its_margin() -> None:
    act = PolyActivation(1.0, [0.0, 0.0, 0.0]).train()
    act.set_penalty(2.0, 0.8)
    t = torch.tensor([-1.8, -0.7, 0.7, 1.3], requires_grad=True)
    act(t).sum().backward()
    # d/dt of 2 max(0, |t| - 0.8)^2.
    np.testing.assert_allclose(t.grad.numpy(), [-4.0, 0.0, 0.0, 2.0], atol=1e-6)


def test_rounding_keeps_gradients() -> None:
    x = torch.tensor([0.3, -0.26], requires_grad=True)
    y = round_through(x, 2)
    y.sum().backward()
    assert y.tolist() == [0.25, -0.25]
    assert x.grad.tolist() == [1.0, 1.0]


def test_least_squares_reproduces_polynomials_and_known_coefficients() -> None:
    cubic = least_squares(lambda t: 1 + 2 * t - t**3, 2.0, 3, 1.0)
    np.testing.assert_allclose(cubic, [1.0, 4.0, 0.0, -8.0], atol=1e-9)
    # The weights of the shipped LeNet-5 hold these, found by the Rust program.
    relu = least_squares("relu", 3.0, 6, 0.8)
    np.testing.assert_allclose(relu, [0.0954847, 1.5, 4.41420015, 0.0, -7.73353716, 0.0, 5.07766599], atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_more_degrees_fit_better(name: str) -> None:
    t = np.linspace(-3, 3, 301)
    errors = []
    for degree in (2, 4, 6, 8):
        p = horner([torch.tensor(c, dtype=torch.float64) for c in least_squares(name, 3.0, degree, 1.0)], torch.tensor(t / 3.0))
        errors.append(np.sqrt((np.exp(-0.5 * t**2) * (p.numpy() - FUNCTIONS[name](t)) ** 2).mean()))
    assert errors == sorted(errors, reverse=True)


def test_bad_arguments_are_named() -> None:
    for arguments, word in [
        (("swish", 3.0, 6, 1.0), "swish"), (("relu", 3.0, 9, 1.0), "degree 9"), (("relu", 0.0, 6, 1.0), "interval 0"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=word):
            least_squares(*arguments)
    with pytest.raises(ValueError, match="1 coefficients"):
        PolyActivation(1.0, [1.0])
