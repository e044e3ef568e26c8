"""Range control, polynomialisation and export of the networks that ship."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from amicus_train import PolyActivation, RangeBatchNorm2d, build, export, polynomialize
from amicus_train.fixed import FixedPoint
from amicus_train.networks import NETWORKS, Network
from amicus_train.mean import mean
from amicus_train.norm import project
from amicus_train.ranges import reestimate, watch
from amicus_train.structure import Structure, activations, equalise


def shaken(name: str, seed: int = 3, pool: str | None = None) -> Network:
    """A network whose BatchNorms are not the identity."""
    torch.manual_seed(seed)
    model = build(name, pool=pool)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.weight.uniform_(0.3, 1.5)
                module.bias.uniform_(-0.5, 0.5)
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def images(model: Network, count: int = 3) -> torch.Tensor:
    return torch.rand(count, *model.input_shape, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.mark.parametrize("name", NETWORKS)
def test_equalising_changes_nothing_of_a_relu_network(name: str) -> None:
    model = shaken(name)
    x = images(model)
    with torch.no_grad():
        before = model(x)
        equalise(model, 4.0, 4.0)
        after = model(x)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))
    scalings = Structure(model).scalings()
    assert len(scalings) == {"lenet5": 4, "alexnet-cifar": 7, "resnet8": 6}[name]
    for scaling in scalings:
        norm = model.get_submodule(scaling.norm)
        reach = norm.bias.abs() + 4.0 * norm.weight.abs()
        torch.testing.assert_close(reach, torch.full_like(reach, 4.0))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_student_that_has_not_blended_yet_is_its_teacher(name: str) -> None:
    model = shaken(name)
    student = polynomialize(model, project_norms=False)
    for act in activations(student).values():
        assert isinstance(act, PolyActivation)
        act.blend = 0.0
    x = images(model)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(student(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_projection_holds_k_standard_deviations_inside_and_leaves_what_is_inside_alone() -> None:
    norm = RangeBatchNorm2d(3, interval=4.0, sigmas=3.0)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, -1.0, 0.5]))
        norm.bias.copy_(torch.tensor([2.0, 1.0, -0.5]))
    project(nn.Sequential(norm))
    assert norm.weight.tolist() == pytest.approx([1.0, -1.0, 0.5])
    assert norm.bias.tolist() == pytest.approx([1.0, 1.0, -0.5])


def test_mean_of_networks() -> None:
    networks = [polynomialize(shaken("lenet5"), degree=2) for _ in range(2)]
    with torch.no_grad():
        for name, value in networks[1].state_dict().items():
            value.add_(0 if name.endswith("coefficients") else 8)
    average = mean([(networks[0], 3.0), (networks[1], 1.0)])  # type: ignore[list-item]
    for name, value in networks[0].state_dict().items():
        moved = 0 if name.endswith("coefficients") else 2
        torch.testing.assert_close(average.state_dict()[name], value + moved, msg=name)
    for models, reason in (
        ([], "no networks"),
        ([(build("lenet5"), 0.0)], "share 0.0"),
        ([(build("lenet5"), 1.0), (build("resnet8"), 1.0)], "one architecture"),
        ([(polynomialize(build("lenet5"), degree=d), 1.0) for d in (2, 4)], "same polynomials"),
    ):
        with pytest.raises(ValueError, match=reason):
            mean(models)  # type: ignore[arg-type]


def test_every_activation_gets_range_control() -> None:
    for name in NETWORKS:
        student = polynomialize(build(name), degree=4)
        kinds = [type(m).__name__ for m in student.modules()]
        assert not any(k in ("ReLU", "BatchNorm1d", "BatchNorm2d") for k in kinds)
        assert all(p.degree == 4 for p in activations(student).values())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
def test_files_give_back_the_network(name: str, kind: str, tmp_path: Path) -> None:
    student = polynomialize(shaken(name)).eval()
    path = tmp_path / "weights.safetensors"
    export.save(student, path, "cifar10", {"seed": "3"}, kind)
    loaded, metadata = export.load(path)
    assert (metadata["architecture"], metadata["seed"], metadata["activation"]) == (name, "3", "polynomial")
    x = images(student)
    with torch.no_grad():
        expected, got = student(x), loaded(x)
    tolerance = {"f32": 1e-6, "f16": 5e-3, "bf16": 4e-2}[kind] * float(expected.abs().max())
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)


def test_layers_with_coefficients_of_their_own_keep_them(tmp_path: Path) -> None:
    student = polynomialize(build("lenet5"), learned=True).eval()
    with torch.no_grad():
        for i, act in enumerate(activations(student).values()):
            act.coefficients[1] = 1.0 + i
    export.save(student, tmp_path / "w.safetensors", "mnist", {})
    loaded, _ = export.load(tmp_path / "w.safetensors")
    assert [float(a.coefficients[1]) for a in activations(loaded).values()] == [1.0, 2.0, 3.0, 4.0]


def test_what_is_not_finite_is_not_written(tmp_path: Path) -> None:
    model = build("lenet5")
    with torch.no_grad():
        model.fc2.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="fc2.weight"):
        export.save(model, tmp_path / "w.safetensors", "mnist", {})
    assert not list(tmp_path.iterdir())


def test_ranges_count_activations_and_images() -> None:
    model = polynomialize(shaken("lenet5"), interval=4.0).eval()
    x = images(model, 4)
    with torch.no_grad(), watch(model, 4.0) as wide:
        model(x)
    with torch.no_grad(), watch(model, 1e-3) as narrow:
        model(x)
    assert [r.images for r in wide] == [4] * 4
    assert narrow[0].values == 4 * 6 * 28 * 28
    assert all(r.images_escaped == 4 and r.escaped > 0.9 * r.values for r in narrow)
    assert narrow[0].largest == pytest.approx(4e3 * wide[0].largest, rel=1e-4)


def test_reestimated_statistics_are_those_of_the_data() -> None:
    model = shaken("lenet5")
    x = images(model, 64)
    reestimate(model, iter([x]))
    with torch.no_grad():
        z = model.conv1(x)
    np.testing.assert_allclose(model.bn1.running_mean, z.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.bn1.running_var, z.var((0, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_fixed_point_rounds_folded_weights_and_can_be_left(name: str) -> None:
    student = polynomialize(shaken(name)).eval()
    names = set(student.state_dict())
    x = images(student)
    with torch.no_grad():
        exact = student(x)
        coarse, fine = FixedPoint(student, 5, 5), FixedPoint(student, 14, 18)
        errors = []
        for fixed in (coarse, fine):
            original = {k: v.clone() for k, v in student.state_dict().items()}
            fixed.switch_on()
            errors.append(float((student(x) - exact).abs().max() / exact.abs().max()))
            fixed.switch_off()
            assert set(student.state_dict()) == names
            torch.testing.assert_close(student.state_dict()["conv1.weight"], original["conv1.weight"])
    assert 0 < errors[1] < errors[0] / 20
