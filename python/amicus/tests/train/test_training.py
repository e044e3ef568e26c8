"""Whole runs on a small synthetic task, and what runs refuse."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from amicus_train import Settings, build, distill, polynomialize, train, training
from amicus_train.data import Images
from amicus_train.networks import Network
from amicus_train.far import far
from amicus_train.optim import Muon, orthogonalised
from amicus_train.ablation import VARIANTS, Variant, ablate, markdown
from amicus_train.batches import ImageBatches, plain, split
from amicus_train.structure import activations
from amicus_train.training import Diverged, evaluate, one_cycle

SETTINGS = Settings(
    epochs=6, batch=32, validation=64, shift=1, flip=False, matrix_rate=0.05, rate=5e-3, blend=0.5, warm_up=0.2
)


def stripes(count: int = 320) -> Images:
    """Digits of a kind: class c is a bright bar whose place says c, in noise."""
    generator = torch.Generator().manual_seed(11)
    labels = torch.randint(10, (count,), generator=generator)
    pixels = torch.randint(80, (count, 28, 28, 1), generator=generator)
    for image, label in zip(pixels, labels):
        row = 2 + 5 * int(label % 5)
        half = slice(2, 13) if label < 5 else slice(15, 26)
        image[row : row + 3, half] += 150
    return Images(pixels.to(torch.uint8), labels)


def seeded(name: str = "lenet5") -> Network:
    torch.manual_seed(1)
    return build(name)


@pytest.fixture(scope="module")
def teacher() -> Network:
    outcome = train(seeded(), stripes(), SETTINGS, say=lambda _: None)
    assert outcome.validation.rate > 0.9
    assert outcome.log[-1]["loss"] < 0.5 * outcome.log[0]["loss"]
    return outcome.model


def test_a_student_learns_its_teachers_answers_and_stays_in_range(teacher: Network) -> None:
    student = polynomialize(teacher)
    outcome = train(student, stripes(), SETTINGS, teacher=teacher, say=lambda _: None)
    assert outcome.validation.rate > 0.9
    assert max(r.largest for r in outcome.ranges) < 2.0
    for act in activations(student).values():
        assert act.blend == 1.0
    for module in student.modules():
        if hasattr(module, "sigmas"):
            reach = module.bias.abs() + module.sigmas * module.weight.abs()
            assert float(reach.detach().max()) <= module.interval * (1 + 1e-5)


def test_each_part_of_the_co_optimisation_changes_the_result(teacher: Network) -> None:
    short = replace(SETTINGS, epochs=1.0)

    def weights(settings: Settings) -> torch.Tensor:
        student = polynomialize(teacher, project_norms=settings.projection)
        train(student, stripes(), settings, teacher=teacher, say=lambda _: None)
        return torch.cat([p.detach().flatten() for p in student.parameters()])

    whole = weights(short)
    torch.testing.assert_close(weights(short), whole)  # same seed, same run
    for change in (
        {"blend": 0.0}, {"distillation": 0.0}, {"features": 0.0}, {"penalty": 0.0}, {"projection": False},
        {"fixed_epochs": 0.5, "weight_bits": 6},
    ):  # fmt: skip
        assert not torch.equal(weights(replace(short, **change)), whole), change


def test_images_that_reach_far_out_are_pulled_back(teacher: Network) -> None:
    images, generator = stripes(), torch.Generator().manual_seed(2)
    for place in (3, 50):
        images.pixels[place] = 255 * torch.randint(2, (28, 28, 1), generator=generator)
    settings = replace(SETTINGS, validation=32)
    seen, said = {}, []
    for replay in (0.0, 2.0):
        student = polynomialize(teacher)
        outcome = train(student, images, replace(settings, replay=replay), teacher=teacher, say=said.append)
        assert outcome.validation.rate > 0.9
        assert not student.training and all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())
        seen[replay] = max(r.largest for r in outcome.training_ranges)
    assert seen[0.0] > 4.0 and seen[2.0] < 2.0, seen
    assert sum("training images reach beyond 1.2 times the interval" in line for line in said) == 2


def test_far_images_are_found_once_each() -> None:
    model = polynomialize(seeded()).eval()
    x = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(4))
    x[[4, 11]] *= 40
    x[17, 0, 3, 3] = float("nan")
    batches = [(x[:10], torch.arange(10)), (x[10:], torch.arange(10))]
    found = far(model, batches, 4.8)
    assert found.labels.tolist() == [4, 1, 7]
    assert torch.equal(found.images[:2], x[[4, 11]])
    assert len(far(model, [(x[:4], torch.arange(4))], 4.8)) == 0
    both = found.and_those_of(far(model, batches[:1], 4.8))
    assert both.labels.tolist() == [4, 1, 7]
    chosen, labels = both.chosen(5, 9)
    assert chosen.shape == (3, 1, 28, 28) and set(labels.tolist()) == {4, 1, 7}
    assert torch.equal(both.chosen(2, 9)[1], labels[:2])


def test_resuming_gives_what_an_uninterrupted_run_gives(tmp_path: Path) -> None:
    whole, parts = seeded(), seeded()
    settings = replace(SETTINGS, epochs=2.0)
    train(whole, stripes(), settings, say=lambda _: None)

    class Stop(Exception):
        pass

    original = training._Run._step

    def failing(self: training._Run, x: torch.Tensor, labels: torch.Tensor) -> float:
        if self.step > self.training.steps + 2:
            raise Stop
        return original(self, x, labels)

    checkpoint = tmp_path / "run.checkpoint"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._Run, "_step", failing)
        with pytest.raises(Stop):
            train(parts, stripes(), settings, checkpoint=checkpoint, say=lambda _: None)
    again = seeded()
    train(again, stripes(), settings, checkpoint=checkpoint, resume=True, say=lambda _: None)
    for a, b in zip(whole.parameters(), again.parameters()):
        torch.testing.assert_close(a, b)
    # So it is with images that joined the steps.
    runs = []
    for stop in (False, True):
        student = polynomialize(whole)
        arguments = {"teacher": whole, "checkpoint": tmp_path / f"{stop}.checkpoint", "say": lambda _: None}
        own = replace(settings, replay=2.0, reach=0.5)
        if stop:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(training._Run, "_step", failing)
                with pytest.raises(Stop):
                    train(student, stripes(), own, **arguments)  # type: ignore[arg-type]
            student = polynomialize(whole)
        train(student, stripes(), own, resume=stop, **arguments)  # type: ignore[arg-type]
        runs.append(list(student.parameters()))
    for a, b in zip(*runs):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="rate is 0.001, the checkpoint has 0.005"):
        train(seeded(), stripes(), replace(settings, rate=1e-3), checkpoint=checkpoint, resume=True)
    with pytest.raises(ValueError, match="of a lenet5, not of a resnet8"):
        colour = Images(torch.zeros(128, 32, 32, 3, dtype=torch.uint8), torch.zeros(128, dtype=torch.long))
        train(seeded("resnet8"), colour, settings, checkpoint=checkpoint, resume=True)


def test_a_loss_that_is_not_a_number_stops_and_says_where() -> None:
    model = seeded()
    with torch.no_grad():
        model.fc1.weight[0, 0] = float("inf")
    with pytest.raises(Diverged, match=r"at step 1 \(epoch 1\).*fc1"):
        train(model, stripes(), SETTINGS, say=lambda _: None)


def test_bad_settings_are_named() -> None:
    for change, word in [
        ({"epochs": 0.0}, "epochs"), ({"blend": 1.5}, "blend"), ({"penalty": float("nan")}, "penalty"),
        ({"validation": 320}, "held out"), ({"batch": 1000}, "batch of 1000"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=word):
            train(seeded(), stripes(), replace(SETTINGS, **change), say=lambda _: None)


def test_smaller_images_first() -> None:
    torch.manual_seed(2)
    colour = Images(torch.randint(256, (48, 32, 32, 3), dtype=torch.uint8), torch.randint(10, (48,)))
    settings = replace(SETTINGS, epochs=1.0, batch=8, validation=16, limit=32, sizes=((0.5, 16),))
    outcome = train(build("alexnet-cifar"), colour, settings, say=lambda _: None)
    assert len(outcome.log) == 1


def test_the_split_is_a_split() -> None:
    images = stripes(100)
    training, validation = split(images, 30, 4)
    seen = {bytes(p.numpy().tobytes()) for p in training.pixels} | {bytes(p.numpy().tobytes()) for p in validation.pixels}
    assert (len(training), len(validation), len(seen)) == (70, 30, 100)


def test_one_cycle_peaks_once_and_ends_at_zero() -> None:
    rates = [one_cycle(i / 100, 0.2) for i in range(101)]
    assert max(rates) == rates[20] == 1.0
    assert rates[-1] == 0.0 and min(rates[:-1]) > 0


def test_orthogonalised_has_the_same_subspaces_and_singular_values_near_one() -> None:
    matrix = torch.randn(8, 20, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    inner = torch.diagonal(u.T @ orthogonalised(matrix) @ vh.T)
    torch.testing.assert_close(inner, values.flip(0).sort().values, rtol=0.6, atol=0)


def test_muon_keeps_norms_and_turns_by_its_rate() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(6, 4, 3, 3))
    before = weight.detach().clone()
    weight.grad = torch.randn_like(weight)
    Muon([weight], lr=0.05).step()
    torch.testing.assert_close(weight.norm(), before.norm())
    cosine = float((weight * before).sum() / before.norm() ** 2)
    assert 0.99 < cosine < 1.0


def test_networks_of_any_kind_distill_from_loaders() -> None:
    torch.manual_seed(4)
    teacher = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 5, 2), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.AvgPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(8 * 36, 10),
    )  # fmt: skip
    images = stripes(256)
    loader = list(plain(images, "pixel/255"))
    optimiser = torch.optim.Adam(teacher.parameters(), 0.01)
    for _ in range(60):
        for x, labels in loader:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(teacher(x), labels).backward()
            optimiser.step()
    student = polynomialize(teacher, degree=4)
    settings = replace(SETTINGS, epochs=20.0)
    outcome = distill(student, teacher, loader, loader, settings, say=lambda _: None)
    assert outcome.validation.rate > 0.95 * evaluate(teacher, loader)[0].rate > 0.85
    with pytest.raises(ValueError, match="no activation modules"):
        polynomialize(torch.nn.Linear(2, 2))


def test_the_ablation_runs_every_variant_and_makes_a_table(teacher: Network) -> None:
    variants = (VARIANTS[0], Variant("nothing", {"distillation": 0.0, "features": 0.0}), Variant("wild", {"rate": 1e30}))
    images = stripes()
    rows = ablate(
        teacher, images, images, replace(SETTINGS, epochs=1.0), {"degree": 4}, say=lambda _: None, variants=variants
    )
    assert [row.name for row in rows] == ["everything", "nothing", "wild"]
    assert rows[0].test is not None and rows[0].largest != rows[1].largest
    assert "step" in rows[2].problem
    assert markdown(rows).count("\n") == 4


def test_evaluation_leaves_the_model_alone(teacher: Network) -> None:
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    evaluate(teacher, plain(stripes(64), "pixel/255"))
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())


def test_statistics_come_from_images_as_in_training_at_their_own_size() -> None:
    settings = replace(SETTINGS, batch=100, sizes=((0.9, 14),), shift=3)
    batches = ImageBatches(stripes(250), "pixel/255", settings)
    assert next(iter(batches.epoch(0, settings.epochs)))[0].shape == (100, 1, 14, 14)
    sample = [x for x, _ in batches.sample()]
    assert [x.shape for x in sample] == [(100, 1, 28, 28)] * 2
    as_they_are = {bytes(image.numpy().tobytes()) for x, _ in batches.plain() for image in x}
    shifted = [bytes(image.numpy().tobytes()) not in as_they_are for x in sample for image in x]
    assert sum(shifted) > 150
    assert all(torch.equal(a, b) for a, (b, _) in zip(sample, batches.sample(), strict=True))


def test_a_later_run_draws_what_a_longer_one_would() -> None:
    settings = replace(SETTINGS, batch=100, shift=3, flip=True)
    longer = ImageBatches(stripes(250), "pixel/255", settings)
    later = ImageBatches(stripes(250), "pixel/255", replace(settings, epochs_before=4))
    for number in (0, 1):
        pairs = zip(longer.epoch(4 + number, 6.0), later.epoch(number, 2.0), strict=True)
        assert all(torch.equal(a, b) and torch.equal(m, n) for (a, m), (b, n) in pairs)
    first, second = (next(iter(batches.epoch(0, 6.0)))[0] for batches in (longer, later))
    assert not torch.equal(first, second)
