"""Each method's loss, in value and gradient, beside a slow and plain reference."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score
from torch import nn

from sklearn_ssl.methods.clustering.deepcluster import (
    DeepClusterObjective,
    split_largest,
    uniform_over_clusters,
)
from sklearn_ssl.methods.contrastive.exemplar import ExemplarObjective
from sklearn_ssl.methods.contrastive.simclr import SimCLRObjective, nt_xent
from sklearn_ssl.methods.distillation.dino import DINOHead, DINOObjective, dino_loss
from sklearn_ssl.methods.generative.colorization import ColorizationObjective
from sklearn_ssl.methods.generative.inpainting import (
    InpaintingObjective,
    central,
    reversed_gradient,
)
from sklearn_ssl.methods.generative.mae import MAEObjective, MaskedColumnsObjective, SimMIMObjective
from sklearn_ssl.methods.generative.super_resolution import SuperResolutionObjective
from sklearn_ssl.methods.non_contrastive.emp_ssl import EMPSSLObjective, coding_rate
from sklearn_ssl.methods.predictive.jigsaw import JigsawObjective, far_permutations
from sklearn_ssl.methods.predictive.relative_patch import RelativePatchObjective, without_colors
from sklearn_ssl.methods.predictive.rotation import TRANSFORMATIONS, RotationObjective
from sklearn_ssl.networks.encoder import make_encoder
from sklearn_ssl.training.objective import Epoch
from sklearn_ssl.views.tiles import Tiles


def check_inputs():
    """The pairs A, B for which the values of the losses are known, shape (6, 4) each."""
    i = torch.arange(6, dtype=torch.float64)[:, None]
    j = torch.arange(4, dtype=torch.float64)
    a = torch.sin(0.7 * i + 1.3 * j + 0.1 * i * j)
    return a, a + 0.3 * torch.cos(1.1 * i - 0.5 * j)


def slow_nt_xent(z1, z2, temperature):
    """The sum over anchors of the paper's equation, one anchor at a time, over their number."""
    z = [row / row.norm() for row in torch.cat([z1, z2])]
    n, losses = len(z1), []
    for i, anchor in enumerate(z):
        exp = {k: torch.exp(anchor @ z[k] / temperature) for k in range(2 * n) if k != i}
        losses.append(-torch.log(exp[(i + n) % (2 * n)] / sum(exp.values())))
    return sum(losses) / (2 * n)


def test_simclr():
    a, b = (t.requires_grad_() for t in check_inputs())
    loss = nt_xent(a, b, 0.5)
    assert loss.item() == pytest.approx(1.198112, abs=1e-6)
    expected = slow_nt_xent(a, b, 0.5)
    torch.testing.assert_close(loss, expected)
    ours, theirs = torch.autograd.grad(loss, (a, b)), torch.autograd.grad(expected, (a, b))
    torch.testing.assert_close(ours, theirs)


def test_simclr_of_equal_projections_is_at_chance():
    z = torch.ones(5, 3)
    assert nt_xent(z, z, 0.2).item() == pytest.approx(math.log(2 * 5 - 1))


def test_simclr_objective_gradient():
    """The gradient flows through both views, the encoder and the head."""
    torch.manual_seed(0)
    objective = SimCLRObjective(nn.Linear(4, 3), 3, 8, 5, 0.5).double()
    views = [v.detach() for v in check_inputs()]
    objective(views)["loss"].backward()
    ours = [p.grad.clone() for p in objective.parameters()]
    objective.zero_grad()
    slow_nt_xent(*(objective.project(objective.encoder(v)) for v in views), 0.5).backward()
    torch.testing.assert_close(ours, [p.grad for p in objective.parameters()])


def test_simclr_loss_stays_in_full_precision_under_autocast():
    torch.manual_seed(0)
    z1, z2 = torch.randn(2, 8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(z1, z2, 0.05)
    assert loss.dtype == torch.float32
    assert loss.item() == nt_xent(z1, z2, 0.05).item()


def test_simclr_refuses_other_than_two_views():
    objective = SimCLRObjective(nn.Identity(), 4, 8, 5, 0.5)
    with pytest.raises(ValueError, match="compares two views; the view recipe gave 3"):
        objective([torch.ones(4, 4)] * 3)


def slow_dino(teacher, students, center, teacher_temperature, temperature):
    """The mean over samples and pairs of a global and another view, one at a time."""
    losses = []
    for (i, t), (v, s) in itertools.product(enumerate(teacher), enumerate(students)):
        if i != v:
            for t_row, s_row in zip(t, s, strict=True):
                p = torch.exp((t_row - center) / teacher_temperature)
                q = torch.exp(s_row / temperature)
                losses.append(-(p / p.sum()) @ torch.log(q / q.sum()))
    return sum(losses) / len(losses)


def dino_objective(**settings):
    torch.manual_seed(0)
    settings = {
        "momentum": 0.9,
        "student_temperature": 0.1,
        "teacher_temperatures": (0.04, 0.08),
        "temperature_warmup": 0.5,
        "center_momentum": 0.9,
        "gradient_clip": 3.0,
        "frozen_until": 0.25,
    } | settings
    encoder = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    return DINOObjective(encoder, DINOHead(3, 8, 5, 6), **settings)


def test_dino():
    a, b = check_inputs()
    b.requires_grad_()
    targets = torch.softmax(a / 0.04, dim=1)[None]
    # The check value is of one pair: a teacher's view and another one of the student's.
    loss = dino_loss(targets, torch.stack([a, b]), 0.1)
    assert loss.item() == pytest.approx(0.092490, abs=1e-6)

    teacher, students = torch.randn(2, 6, 4, dtype=torch.float64), [a, b, a - b, a * b]
    center = torch.randn(4, dtype=torch.float64) / 10
    expected = slow_dino(teacher, students, center, 0.5, 0.3)
    loss = dino_loss(torch.softmax((teacher - center) / 0.5, 2), torch.stack(students), 0.3)
    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(loss, b, retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, b))


def test_dino_head_gives_cosines():
    torch.manual_seed(0)
    head = DINOHead(3, 8, 5, 6)
    head.prototypes.data *= 3
    features = torch.randn(4, 3)
    projections = head.project(features)
    expected = torch.cosine_similarity(projections[:, None], head.prototypes, dim=2)
    torch.testing.assert_close(head(features), expected)


def test_dino_of_uniform_outputs_is_at_chance():
    uniform = torch.full((2, 3, 8), 1 / 8)
    assert dino_loss(uniform, torch.zeros(4, 3, 8), 0.1).item() == pytest.approx(math.log(8))


def test_dino_objective_gradient():
    """Views of two sizes for the student, the first two alone for the teacher, without gradient."""
    objective = dino_objective().double().eval()
    objective.encoder[0].weight.data += 0.1  # teacher and student differ
    objective.center.normal_()
    views = [*check_inputs(), torch.randn(6, 4, dtype=torch.float64)]
    center = objective.center.clone()
    objective(views)["loss"].backward()
    torch.testing.assert_close(objective.center, center)  # only training moves it
    ours = {name: p.grad for name, p in objective.named_parameters()}
    objective.zero_grad()
    with torch.no_grad():
        teacher = [objective.head(objective.encoder(v)) for v in views[:2]]
    students = [objective.student_head(objective.student(v)) for v in views]
    slow_dino(teacher, students, center, 0.04, 0.1).backward()
    theirs = {name: p.grad for name, p in objective.named_parameters()}
    assert {name.split(".")[0] for name, g in ours.items() if g is not None} == {
        "student",
        "student_head",
    }
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name])


def test_dino_passes_views_of_a_size_together():
    torch.manual_seed(0)
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(tuple(x.shape))
            return x.mean(dim=(2, 3))

    objective = DINOObjective(
        Spy(),
        DINOHead(3, 8, 5, 6),
        momentum=0.9,
        student_temperature=0.1,
        teacher_temperatures=(0.04, 0.04),
        temperature_warmup=0.0,
        center_momentum=0.9,
        gradient_clip=3.0,
        frozen_until=0.0,
    )
    large, small = torch.rand(2, 5, 3, 8, 8), torch.rand(3, 5, 3, 4, 4)
    objective([*large, *small])
    assert seen == [(10, 3, 8, 8), (10, 3, 8, 8), (15, 3, 4, 4)]
    with pytest.raises(ValueError, match="two views or more; the view recipe gave 1"):
        objective([large[0]])
    with pytest.raises(
        ValueError, match=r"of one size; the view recipe gave \(8, 8\) and \(4, 4\)"
    ):
        objective([large[0], small[0]])


def test_dino_center_teacher_and_temperature_move():
    objective = dino_objective().train()
    views = [v.float() for v in check_inputs()]
    with torch.no_grad():
        teacher = objective.head(copy.deepcopy(objective.encoder)(torch.cat(views)))
    before = objective(views)["loss"]
    torch.testing.assert_close(objective.center, 0.1 * teacher.mean(0))
    assert objective(views)["loss"] != before  # the center belongs to the next loss

    start = copy.deepcopy(objective.encoder)
    for p in objective.student.parameters():
        p.data += 1
    objective.after_step(0.5)  # momentum 1 - 0.1 * (1 + cos(pi / 2)) / 2 = 0.95
    for now, old in zip(objective.encoder.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(now, old + 0.05)
    assert objective.teacher_temperature.item() == pytest.approx(0.08)
    objective.after_step(0.125)
    assert objective.teacher_temperature.item() == pytest.approx(0.05)
    head, student_head = objective.head.prototypes.clone(), objective.student_head.prototypes
    student_head.data += 1
    objective.after_step(1.0)  # the momentum has risen to 1
    torch.testing.assert_close(objective.head.prototypes, head)
    objective.after_step(1.2)  # beyond the planned end it is what it was at first
    torch.testing.assert_close(objective.head.prototypes, head + 0.1 * (student_head - head))


def test_dino_clips_each_gradient_and_freezes_the_prototypes():
    objective = dino_objective()
    gradients = [torch.randn_like(p) for p in objective.student.parameters()]
    for scale in (100.0, 0.01):
        for p, g in zip(objective.student.parameters(), gradients, strict=True):
            p.grad = g * scale
        objective.student_head.prototypes.grad = torch.ones(6, 5)
        objective.before_step(0.3)
        for p, g in zip(objective.student.parameters(), gradients, strict=True):
            expected = g / g.norm() * min(3.0, scale * g.norm().item())
            torch.testing.assert_close(p.grad, expected, rtol=1e-4, atol=1e-6)
        assert objective.student_head.prototypes.grad is not None
    objective.before_step(0.2)
    assert objective.student_head.prototypes.grad is None


def slow_coding_rate(z):
    """The paper's equation, by the eigenvalues of the larger of the two products."""
    n, p = z.shape
    matrix = torch.eye(p, dtype=z.dtype) + p / (0.2 * n) * sum(torch.outer(row, row) for row in z)
    return torch.linalg.eigvalsh(matrix).log().sum() / 2


def slow_emp_ssl(projections, weight):
    """Of one crop after the other: minus its coding rate and its weighted mean cosine."""
    z = [torch.stack([row / row.norm() for row in crop]) for crop in projections]
    mean, losses = sum(z) / len(z), []
    for crop in z:
        cosines = [a @ b / a.norm() / b.norm() for a, b in zip(crop, mean, strict=True)]
        losses.append(-slow_coding_rate(crop) - weight * sum(cosines) / len(cosines))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("projection_dim", [3, 9])  # fewer and more than samples
def test_emp_ssl(projection_dim):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))
    objective = EMPSSLObjective(encoder, 5, 8, projection_dim, 30.0).double()
    a, b = check_inputs()
    views = [a, b, a * b, a - 2 * b]
    result = objective(views)
    projections = objective.project(objective.encoder(torch.cat(views)))  # all crops together
    expected = slow_emp_ssl(projections.chunk(4), 30.0)
    torch.testing.assert_close(result["loss"], expected)
    total = -result["coding_rate"] - 30 * result["invariance"]
    torch.testing.assert_close(total, expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (result["loss"], expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("n", "p"), [(4, 7), (7, 4)])
def test_emp_ssl_coding_rate_is_the_largest_of_orthogonal_directions(n, p):
    """Its sign is what keeps samples apart: the other one lets all collapse."""
    torch.manual_seed(0)
    apart, collapsed = torch.eye(p).repeat(2, 1)[:n], torch.eye(1, p).expand(n, p)
    some = nn.functional.normalize(torch.randn(n, p))
    rates = coding_rate(torch.stack([collapsed, some, apart]))
    assert rates[0] < rates[1] < rates[2]
    assert rates[0].item() == pytest.approx(math.log(1 + p / 0.2) / 2, rel=1e-5)
    if n < p:
        assert rates[2].item() == pytest.approx(n / 2 * math.log(1 + p / (0.2 * n)), rel=1e-5)


def test_emp_ssl_prefers_samples_apart_and_their_crops_together():
    def loss(*z):
        objective = EMPSSLObjective(nn.Identity(), 6, 8, 6, 200.0)
        objective.project = nn.Identity()
        return objective([torch.as_tensor(view) for view in z])["loss"].item()

    apart, collapsed = torch.eye(6), torch.eye(1, 6).expand(6, 6)
    assert loss(apart, apart) < loss(collapsed, collapsed) - 1
    assert loss(apart, apart) < loss(apart, apart.roll(1, 0)) - 1
    assert loss(apart, 3 * apart) == pytest.approx(loss(apart, apart))  # lengths do not count


def test_emp_ssl_loss_stays_in_full_precision_under_autocast():
    torch.manual_seed(0)
    objective = EMPSSLObjective(nn.Identity(), 16, 8, 16, 200.0)
    objective.project = nn.Identity()
    views = list(torch.randn(3, 8, 16))
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(views)["loss"]
    assert loss.dtype == torch.float32
    assert loss.item() == objective(views)["loss"].item()


class FirstPixels(nn.Module):
    """The corners of an image, by which a rotation can be told."""

    def forward(self, images):
        return images[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]


def test_rotation():
    torch.manual_seed(0)
    objective = RotationObjective(FirstPixels(), 4, "rotations").double()
    images = torch.rand(3, 1, 4, 6, dtype=torch.float64)
    middle = images[:, :, :, 1:5].numpy()
    loss = objective([images])["loss"]
    losses = []
    for turns in range(4):
        for image in middle:
            turned = torch.from_numpy(np.rot90(image, turns, (1, 2)).copy())[None]
            scores = objective.classify(objective.encoder(turned))[0]
            losses.append(-torch.log(torch.exp(scores[turns]) / torch.exp(scores).sum()))
    expected = sum(losses) / len(losses)
    torch.testing.assert_close(loss, expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_rotation_of_equal_scores_is_at_chance():
    for name, transformations in TRANSFORMATIONS.items():
        objective = RotationObjective(FirstPixels(), 4, name)
        nn.init.zeros_(objective.classify.weight), nn.init.zeros_(objective.classify.bias)
        loss = objective([torch.rand(2, 1, 4, 4)] * 2)["loss"]
        assert loss.item() == pytest.approx(math.log(len(transformations)))


def test_rotation_moves_pixels_and_mixes_none():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    for name, transformations in TRANSFORMATIONS.items():
        copies = RotationObjective(FirstPixels(), 4, name).transformed(image)
        assert len(copies) == len(transformations)
        assert len(torch.unique(copies.flatten(1), dim=0)) == len(copies)  # all different
        torch.testing.assert_close(
            copies.flatten(1).sort().values, image.view(1, 16).expand(len(copies), 16)
        )
        torch.testing.assert_close(copies[:1], image)


def test_rotation_passes_all_copies_in_one_batch():
    seen = []

    class Spy(FirstPixels):
        def forward(self, images):
            seen.append(len(images))
            return super().forward(images)

    RotationObjective(Spy(), 4, "rotations")([torch.rand(5, 1, 4, 4)])
    assert seen == [20]


def blobs(n=60, seed=0):
    """Features of three groups, float32 (n, 5)."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 5)) + 6 * np.eye(5)[np.arange(n) % 3]).astype("f4")


def deepcluster_objective(n_clusters=3, n_components=4):
    torch.manual_seed(0)
    return DeepClusterObjective(nn.Linear(4, 5), 5, n_clusters, n_components).train()


def test_deepcluster():
    objective = deepcluster_objective().double()
    views, clusters = list(check_inputs()), torch.tensor([0, 2, 1, 1, 0, 2])
    loss = objective(views, clusters)["loss"]
    losses = []
    for view in views:
        for x, c in zip(view, clusters, strict=True):
            scores = objective.classify(objective.encoder(x))
            losses.append(-torch.log(torch.exp(scores[c]) / torch.exp(scores).sum()))
    expected = sum(losses) / len(losses)
    torch.testing.assert_close(loss, expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_deepcluster_clusters_whitened_directions_of_features():
    objective, features = deepcluster_objective(), blobs()
    epoch = objective.before_epoch(lambda: features, np.random.default_rng(0))
    points = PCA(4, whiten=True).fit_transform(features)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    expected = KMeans(3, n_init=10, random_state=0).fit_predict(points)
    assert normalized_mutual_info_score(expected, epoch.targets.numpy()) == pytest.approx(1)
    ours = objective.project(features)
    np.testing.assert_allclose(ours @ ours.T, points @ points.T, atol=1e-4)  # up to signs
    np.testing.assert_array_equal(objective.assign(features), epoch.targets.numpy())


def test_deepcluster_begins_with_a_new_classifier_and_another_seed():
    objective, features = deepcluster_objective(n_clusters=12), blobs()
    rng = np.random.default_rng(0)
    nn.init.ones_(objective.classify.weight), nn.init.ones_(objective.classify.bias)
    first = objective.before_epoch(lambda: features, rng)
    weight = objective.classify.weight.detach().clone()
    assert 0.005 < weight.std() < 0.015
    assert (objective.classify.bias == 0).all()
    assert {id(p) for p in first.renewed} == {id(p) for p in objective.classify.parameters()}
    second = objective.before_epoch(lambda: features, rng)
    assert not torch.equal(objective.classify.weight, weight)
    assert not torch.equal(first.targets, second.targets)  # clusters have other numbers


def test_deepcluster_last_clustering_keeps_the_numbers_and_judging_uses_them():
    objective, features = deepcluster_objective(n_clusters=6), blobs()
    rng = np.random.default_rng(0)
    epoch = objective.before_epoch(lambda: features, rng)
    objective.after_training(lambda: features + 0.01, rng, unfinished=False)
    assert len(objective.assignments) == 2
    assert (objective.assignments[0] == objective.assignments[1]).mean() > 0.9
    weight = objective.classify.weight.detach().clone()
    objective.eval()
    judged = objective.before_epoch(lambda: features[:10], rng)
    assert (judged.targets == epoch.targets[:10]).float().mean() > 0.8
    assert torch.equal(objective.classify.weight, weight)
    assert len(objective.assignments) == 2
    objective.train().before_epoch(lambda: features, rng)  # training goes on
    assert len(objective.assignments) == 2  # in place of the last one, which no epoch had


def test_deepcluster_draws_each_cluster_as_often_as_the_others():
    labels = np.repeat([3, 0, 7], [50, 2, 48])
    order = uniform_over_clusters(labels, np.random.default_rng(0))
    values, counts = np.unique(labels[order], return_counts=True)
    np.testing.assert_array_equal(values, [0, 3, 7])
    np.testing.assert_array_equal(counts, [33, 33, 33])
    times = np.bincount(order, minlength=100)
    assert set(times[:50]) == {0, 1}
    assert set(times[50:52]) == {16, 17}
    assert (np.diff(labels[order]) != 0).sum() > 40  # shuffled


def test_deepcluster_splits_the_largest_cluster():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(40, 4)), rng.normal(size=(5, 4)) + 20]).astype("f4")
    labels = np.repeat([0, 2], [40, 5])
    centers = np.stack([points[:40].mean(0), np.full(4, 99.0, "f4"), points[40:].mean(0)])
    before = centers.copy()
    split = split_largest(points, centers, labels)
    np.testing.assert_array_equal(centers, before)
    np.testing.assert_array_equal(split[2], centers[2])
    nearest = np.linalg.norm(points[:, None] - split, axis=2).argmin(axis=1)
    assert min(np.bincount(nearest, minlength=3)) >= 5
    # The largest cluster has equal samples alone: the next one is split.
    equal = np.concatenate([np.ones((60, 4), "f4"), points[:40]])
    labels = np.repeat([0, 2], [60, 40])
    centers = np.stack([np.ones(4), np.full(4, 99.0), points[:40].mean(0)]).astype("f4")
    split = split_largest(equal, centers, labels)
    np.testing.assert_array_equal(split[0], np.ones(4))
    assert np.abs(split[1:]).max() < 5
    same = np.ones((4, 3), "f4")  # equal samples cannot be split
    np.testing.assert_array_equal(
        split_largest(same, np.ones((2, 3), "f4"), np.zeros(4, int)), np.ones((2, 3))
    )


def test_deepcluster_of_fewer_distinct_samples_than_clusters():
    objective = deepcluster_objective(n_clusters=8)
    features = np.repeat(blobs(5), 4, axis=0)
    rng = np.random.default_rng(0)
    epoch = objective.before_epoch(lambda: features, rng)
    assert objective.n_empty == [3]
    assert len(epoch.order) == 20
    objective.after_training(lambda: features, rng, unfinished=False)
    labels = objective.assignments[-1]
    np.testing.assert_array_equal(np.unique(labels), np.arange(5))  # without gaps
    objective.classes = objective.classes + 3  # as if the classifier's first three were empty
    judged = objective.eval().before_epoch(lambda: features, rng)
    np.testing.assert_array_equal(judged.targets, labels + objective.classes[0])
    np.testing.assert_array_equal(objective.assign(features), labels)


def test_deepcluster_whitens_no_noise():
    """Directions that hardly vary would come out as large as the others."""
    objective, rng = deepcluster_objective(), np.random.default_rng(0)
    features = np.hstack([blobs()[:, :2], 1e-6 * blobs()[:, :3]])
    objective.before_epoch(lambda: features, rng)
    assert objective.axes.shape == (5, 2)


def test_deepcluster_fills_clusters_that_k_means_left_empty(monkeypatch):
    def fit(self, points):
        self.cluster_centers_ = np.stack([points[0], np.full_like(points[0], 99.0), points[1]])
        return self

    monkeypatch.setattr(KMeans, "fit", fit)
    objective = deepcluster_objective()
    epoch = objective.before_epoch(lambda: blobs(), np.random.default_rng(0))
    assert objective.n_empty == [1]
    assert min(np.bincount(epoch.targets, minlength=3)) > 0


def test_deepcluster_last_clustering_has_no_gaps():
    """Also where samples that were in three clusters have become equal."""
    objective, rng = deepcluster_objective(), np.random.default_rng(0)
    objective.before_epoch(blobs, rng)
    objective.after_training(lambda: np.ones((60, 5), "f4"), rng, unfinished=False)
    assert len(objective.centers) == len(objective.classes) == 1
    assert set(objective.assignments[-1]) == {0}


def test_deepcluster_state_is_not_shared():
    """A fit that fails leaves the clusterings of the one before alone."""
    before, after = deepcluster_objective(), deepcluster_objective()
    rng = np.random.default_rng(0)
    before.before_epoch(blobs, rng)
    before.after_training(blobs, rng, unfinished=False)
    after.load_state_dict(before.state_dict())
    after.before_epoch(blobs, rng)
    after.before_epoch(blobs, rng)
    assert (len(before.assignments), len(after.assignments)) == (2, 3)


def test_deepcluster_of_equal_features():
    """A dead encoder gives nothing to cluster, and no error."""
    objective = deepcluster_objective(n_clusters=3)
    features = np.ones((20, 5), "f4")
    epoch = objective.before_epoch(lambda: features, np.random.default_rng(0))
    assert set(epoch.targets.tolist()) == {epoch.targets[0].item()}
    assert np.isfinite(objective.centers).all()


def test_deepcluster_forgets_an_epoch_that_was_stopped():
    objective, features = deepcluster_objective(), blobs()
    rng = np.random.default_rng(0)
    for _ in range(2):
        last = objective.before_epoch(lambda: features, rng)
    objective.after_training(lambda: features, rng, unfinished=True)
    assert [len(x) for x in (objective.assignments, objective.n_empty, objective.nmi)] == [2, 2, 1]
    np.testing.assert_array_equal(objective.assignments[-1], last.targets)  # where it starts from
    untrained = deepcluster_objective()
    untrained.after_training(lambda: features, rng, unfinished=False)  # stopped before all epochs
    assert len(untrained.assignments) == 1


def test_objectives_decide_nothing_about_an_epoch_unless_they_say_so():
    objective = SimCLRObjective(nn.Identity(), 4, 8, 5, 0.5)
    assert objective.before_epoch(None, None) == Epoch(None, None, ())


def exemplar_objective(momentum, n_exemplars=6):
    torch.manual_seed(0)
    objective = ExemplarObjective(nn.Linear(4, 3), 3, n_exemplars, 5, 0.3, momentum).double()
    a, _ = check_inputs()
    epoch = objective.before_epoch(
        lambda: objective.encoder(a).detach().numpy(), np.random.default_rng(0)
    )
    return objective, epoch


@pytest.mark.parametrize("momentum", [0.5, None])
def test_exemplar(momentum):
    objective, _ = exemplar_objective(momentum)
    views, classes = list(check_inputs()), torch.tensor([3, 0, 5, 1, 2, 4])
    if momentum is not None:
        objective.memory = torch.randn(6, 5, dtype=torch.float64)
        objective.memory /= objective.memory.norm(dim=1, keepdim=True)
    vectors = objective.memory if momentum is not None else objective.learned
    loss, losses = objective(views, classes)["loss"], []
    for view in views:
        for x, c in zip(view, classes, strict=True):
            z = objective.project(objective.encoder(x))
            scores = [torch.cosine_similarity(z, v, dim=0) / 0.3 for v in vectors]
            scores = torch.stack(scores)
            losses.append(-torch.log(torch.exp(scores[c]) / torch.exp(scores).sum()))
    expected = sum(losses) / len(losses)
    torch.testing.assert_close(loss, expected)
    parameters = list(objective.parameters())
    assert len(parameters) == (4 if momentum is not None else 5)
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("classes", [[3, 0, 5, 1], [2, 0, 2, 2]])
def test_exemplar_remembers_after_the_step_what_views_were_projected_to(classes):
    objective, epoch = exemplar_objective(0.25)
    views, classes = list(check_inputs()), torch.tensor(classes)
    expected = objective.memory.clone()
    a = nn.functional.normalize(objective.project(objective.encoder(views[0]))).float()
    torch.testing.assert_close(expected[epoch.targets], a)  # it begins so, in the order of classes
    objective([v[:4] for v in views], classes)
    torch.testing.assert_close(objective.memory, expected)
    assert not objective.news[0].requires_grad
    objective.after_step(0.0)
    for number in set(classes.tolist()):
        rows = [v[i] for v in views for i in range(4) if classes[i] == number]
        z = [nn.functional.normalize(objective.project(objective.encoder(x)), dim=0) for x in rows]
        moved = 0.25 * expected[number] + 0.75 * (sum(z) / len(z)).float()
        expected[number] = moved / moved.norm()
    torch.testing.assert_close(objective.memory, expected)
    assert not objective.memory.requires_grad


@pytest.mark.parametrize("momentum", [0.5, None])
def test_exemplar_shows_few_classes_as_often_as_there_are_samples(momentum):
    objective, epoch = exemplar_objective(momentum, n_exemplars=4)
    assert len(epoch.order) == 6
    assert set(epoch.order) == set(objective.exemplars)
    assert len(objective.exemplars) == 4
    assert sorted(epoch.targets[objective.exemplars].tolist()) == [0, 1, 2, 3]
    second = objective.before_epoch(None, np.random.default_rng(1))  # the same classes
    torch.testing.assert_close(second.targets, epoch.targets)
    assert objective.chance_loss(6) == pytest.approx(math.log(4))
    objective.after_training(None, None, False)
    assert objective.n_samples is objective.exemplars is objective.memory is None


def test_exemplar_begins_again_with_what_samples_are_projected_to():
    """Learned vectors of a training before are those of other samples."""
    objective, epoch = exemplar_objective(None)
    (a, _), first = check_inputs(), objective.learned.detach().clone()
    assert epoch.renewed == ()
    objective.after_training(None, None, False)
    again, _ = exemplar_objective(None)
    again.load_state_dict(objective.state_dict())
    z = nn.functional.normalize(again.project(again.encoder(a[:4])))
    features = again.encoder(a[:4]).detach().numpy()
    epoch = again.before_epoch(lambda: features, np.random.default_rng(3))
    assert epoch.renewed == (again.learned,)
    torch.testing.assert_close(again.learned[epoch.targets].float(), z.float())
    torch.testing.assert_close(again.learned[4:], first[4:])
    assert again.before_epoch(None, np.random.default_rng(4)).renewed == ()


def test_exemplar_judges_samples_beside_each_other():
    objective, _ = exemplar_objective(0.5)
    objective.eval()
    a, b = check_inputs()
    state = copy.deepcopy(objective.get_extra_state())
    features = objective.encoder(a[:5]).detach().numpy()
    epoch = objective.before_epoch(lambda: features, np.random.default_rng(0))
    loss = objective([b[:5]], epoch.targets)["loss"]
    za, zb = (nn.functional.normalize(objective.project(objective.encoder(x[:5]))) for x in (a, b))
    expected = nn.functional.cross_entropy(zb @ za.T / 0.3, torch.arange(5))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_equal(objective.get_extra_state(), state)
    assert objective.news is None


def pictures(n=3, side=8):
    torch.manual_seed(1)
    return torch.rand(n, 2, side, side, dtype=torch.float64)


def dense(objective, *settings):
    """An objective on a small network, in evaluation mode, where no sample sees another."""
    torch.manual_seed(0)
    encoder = make_encoder("small_convnet", (2, 8, 8), [0.4, 0.6], [0.2, 0.3])
    return objective(encoder, *settings).double().eval()


@pytest.mark.parametrize("adversarial_weight", [0.0, 0.1])
def test_inpainting(adversarial_weight):
    objective = dense(InpaintingObjective, "center", 0.25, adversarial_weight)
    if adversarial_weight:  # a critic that sees something
        for parameter in objective.criticise.parameters():
            parameter.data *= 4
    images, losses = pictures(), []
    found = objective([images])
    mean, std = torch.tensor([0.4, 0.6]), torch.tensor([0.2, 0.3])
    real, fake = [], []
    for image in images:
        seen = image.clone()
        seen[:, 2:6, 2:6] = mean[:, None, None]
        _, maps = objective.encoder(seen[None], dense=True)
        told = objective.decode(maps, (8, 8))[0]  # in standard deviations from the mean
        for channel in range(2):
            right = (image[channel, 2:6, 2:6] - mean[channel]) / std[channel]
            losses += [(told[channel, 2:6, 2:6] - right).square().mean()]
        filled = image.clone()
        filled[:, 2:6, 2:6] = (told * std[:, None, None] + mean[:, None, None])[:, 2:6, 2:6]
        if adversarial_weight:
            real.append(-torch.log(torch.sigmoid(objective.criticise(image[None]))))
            fake.append(
                -torch.log(1 - torch.sigmoid(objective.criticise(filled[None].clamp(0, 1))))
            )
    error = sum(losses) / len(losses)
    critic = sum(real + fake)[0] / 6 if adversarial_weight else 0.0
    torch.testing.assert_close(found["loss"], error + adversarial_weight * critic)
    network = [*objective.encoder.parameters(), *objective.decode.parameters()]
    ours = torch.autograd.grad(found["loss"], network, retain_graph=True)
    # The network is taught to raise what the critic is taught to lower.
    theirs = torch.autograd.grad(error - adversarial_weight * critic, network, retain_graph=True)
    torch.testing.assert_close(ours, theirs)
    if adversarial_weight:
        [deceiving] = torch.autograd.grad(critic, network[-2], retain_graph=True)
        assert deceiving.abs().max() > 1e-4
        parameters = list(objective.criticise.parameters())
        ours = torch.autograd.grad(found["loss"], parameters, retain_graph=True)
        theirs = torch.autograd.grad(adversarial_weight * critic, parameters)
        torch.testing.assert_close(ours, theirs)


def test_reversed_gradient_leaves_the_value():
    x = torch.randn(5, requires_grad=True)
    torch.testing.assert_close(reversed_gradient(x), x)
    [gradient] = torch.autograd.grad((3 * reversed_gradient(x)).sum(), x)
    torch.testing.assert_close(gradient, torch.full((5,), -3.0))


def test_inpainting_sees_nothing_of_the_hole():
    objective = dense(InpaintingObjective, "random", 0.25, 0.0)
    images = pictures(40)
    torch.manual_seed(0)
    holes = objective.holes(images)
    assert holes.shape == (40, 1, 8, 8)
    assert 0.15 < holes.double().mean() < 0.35
    assert len(torch.unique(holes.flatten(1), dim=0)) > 20
    other = torch.where(holes, pictures(40).flip(0), images)
    torch.testing.assert_close(objective.told(images, holes), objective.told(other, holes))
    filled = objective.filled(images, holes)
    known = ~holes.expand_as(images)
    torch.testing.assert_close(filled[known], images[known], rtol=0, atol=0)
    tiny = InpaintingObjective.holes(dense(InpaintingObjective, "random", 1e-4, 0.0), images)
    assert (tiny.sum(dim=(1, 2, 3)) >= 1).all()
    assert central((8, 6), 0.25, "cpu").sum() == 4 * 3


@pytest.mark.parametrize("sides", [(8, 8), (32, 32), (12, 40)])
@pytest.mark.parametrize("area", [0.1, 0.25, 0.5, 0.9])
def test_random_holes_are_everywhere_alike(sides, area):
    objective = dense(InpaintingObjective, "random", area, 0.0)
    torch.manual_seed(0)
    holes = objective.holes(torch.zeros(4000, 1, 1, 1).expand(-1, 2, *sides))[:, 0].double()
    shares = holes.mean(dim=(1, 2))
    assert shares.mean() == pytest.approx(area, rel=0.05)
    assert shares.max() < 1
    often = holes.mean(dim=0)
    for other in (often.flip(0), often.flip(1)):
        by_chance = ((often + other) / len(holes)).sqrt()  # a standard deviation, or less
        assert ((often - other).abs() <= 4.5 * by_chance).all()


@pytest.mark.parametrize("sides", [(8, 8), (2, 1), (1, 2), (6, 40)])
@pytest.mark.parametrize("hole", ["random", "center"])
def test_something_is_left_to_be_seen(sides, hole):
    objective = dense(InpaintingObjective, hole, 0.99, 0.0)
    holes = objective.holes(torch.zeros(50, 2, *sides))
    assert (holes.sum(dim=(1, 2, 3)) == math.prod(sides) - min(sides)).all()


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_super_resolution(scale):
    objective = dense(SuperResolutionObjective, scale)
    objective.decode.last.weight.data.normal_(std=0.05)
    images, errors, chances = pictures(), [], []
    found = objective([images])
    for image in images:
        small = image.unflatten(2, (-1, scale)).unflatten(1, (-1, scale)).mean(dim=(2, 4))[None]
        plain = nn.functional.interpolate(small, (8, 8), mode="bicubic", align_corners=False)
        _, maps = objective.encoder(plain, dense=True)
        told = plain + objective.decode(maps, (8, 8))
        errors.append((told[0] - image).square().mean())
        chances.append((plain[0] - image).square().mean())
    expected = sum(errors) / sum(chances)
    torch.testing.assert_close(found["loss"], expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (found["loss"], expected))
    torch.testing.assert_close(ours, theirs)


def test_super_resolution_begins_with_interpolation():
    encoder = make_encoder("small_convnet", (2, 8, 8), [0.4, 0.6], [0.2, 0.3])
    objective = SuperResolutionObjective(encoder, 2).double().eval()
    assert objective([pictures()])["loss"].item() == objective.chance_loss(3) == 1


def slow_patches(image, mean, std, side):
    """Patches of an image (c, h, w) row by row, standardised, each (c, side, side)."""
    image = (image - mean[:, None, None]) / std[:, None, None]
    rows, columns = (length // side for length in image.shape[1:])
    return [
        image[:, side * i : side * (i + 1), side * j : side * (j + 1)]
        for i in range(rows)
        for j in range(columns)
    ]


@pytest.mark.parametrize("normalized", [True, False])
def test_mae(normalized):
    torch.manual_seed(0)
    mean, std = torch.tensor([0.4, 0.6]), torch.tensor([0.2, 0.3])
    encoder = make_encoder("small_vit", (2, 8, 8), mean, std)
    net = MAEObjective(encoder, 128, 4, 0.5, normalized, 6, 2).double().eval()
    images = pictures()
    torch.manual_seed(0)
    masks = net.masks(images)
    torch.manual_seed(0)
    loss, errors = net([images])["loss"], []
    vit, decode = encoder.backbone, net.decode
    for image, mask in zip(images, masks[:, 0], strict=True):
        seen, tokens = [], [vit.class_token[0, 0] + vit.encoder.pos_embedding[0, 0]]
        patches = slow_patches(image, mean, std, 2)
        for k, patch in enumerate(patches):
            if not mask[2 * (k // 4), 2 * (k % 4)]:
                projected = (vit.conv_proj.weight * patch).sum(dim=(1, 2, 3)) + vit.conv_proj.bias
                tokens.append(projected + vit.encoder.pos_embedding[0, 1 + k])
                seen.append(k)
        assert len(seen) == 8
        encoded = decode.embed(vit.encoder.ln(vit.encoder.layers(torch.stack(tokens)[None]))[0])
        row = [encoded[0]]
        for k in range(16):
            waves = []  # of the place's row and column, by sine and cosine, six numbers in all
            for place in (k // 4, k % 4):
                angles = [place, place * 10000 ** (-1 / 2)]
                waves += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            token = encoded[1 + seen.index(k)] if k in seen else decode.mask
            row.append(token + torch.tensor(waves[:6], dtype=torch.float64))
        told = decode.last(decode.blocks(torch.stack(row)[None]))[0, 1:]
        raw = slow_patches(image, torch.zeros(2), torch.ones(2), 2)
        for k in range(16):
            target = patches[k].flatten()
            if normalized:
                values = raw[k].flatten()
                target = (values - values.mean()) / (values.var(correction=1) + 1e-6).sqrt()
            if k not in seen:
                errors.append((told[k] - target).square().mean())
    expected = sum(errors) / len(errors)
    torch.testing.assert_close(loss, expected)
    parameters = list(net.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("normalized", [True, False])
def test_simmim(normalized):
    net = dense(SimMIMObjective, 2, 0.6, normalized, 16)
    net.blank.data.uniform_()
    mean, std = torch.tensor([0.4, 0.6]), torch.tensor([0.2, 0.3])
    images = pictures()
    torch.manual_seed(0)
    masks = net.masks(images)
    torch.manual_seed(0)
    loss, errors = net([images])["loss"], []
    for image, mask in zip(images, masks[:, 0], strict=True):
        seen, hidden = image.clone(), [k for k in range(16) if mask[2 * (k // 4), 2 * (k % 4)]]
        assert len(hidden) == 10
        for k in hidden:
            i, j = 2 * (k // 4), 2 * (k % 4)
            seen[:, i : i + 2, j : j + 2] = net.blank
        _, maps = net.encoder(seen[None], dense=True)
        told = slow_patches(net.decode(maps, (8, 8))[0], torch.zeros(2), torch.ones(2), 2)
        raw = slow_patches(image, torch.zeros(2), torch.ones(2), 2)
        for k in hidden:
            target = slow_patches(image, mean, std, 2)[k]
            if normalized:
                target = (raw[k] - raw[k].mean()) / (raw[k].var(correction=1) + 1e-6).sqrt()
            errors.append((told[k] - target).abs().mean())
    expected = sum(errors) / len(errors)
    torch.testing.assert_close(loss, expected)
    parameters = list(net.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_masked_columns():
    torch.manual_seed(0)
    encoder = make_encoder("mlp", (4,), [], [])
    net = MaskedColumnsObjective(encoder, 256, 0.5, 8, 1).double().eval()
    rows, _ = check_inputs()
    seen = rows.clone()
    seen[0, 1], seen[2, [0, 3]], seen[5] = rows[1, 1], rows[4, [0, 3]], rows[3]
    seen[1, 2] = rows[1, 2]  # replaced by the same value: nothing to tell
    loss, squared, guesses = net([rows, seen])["loss"], [], []
    for row, other in zip(rows, seen, strict=True):
        told = net.decode(encoder(other[None]))[0]
        for k in range(4):
            p = torch.sigmoid(told[4 + k])
            squared.append((told[k] - row[k]) ** 2)
            guesses.append(-torch.log(1 - p if row[k] == other[k] else p))
    assert (rows != seen).sum() == 7
    expected = sum(guesses) / len(guesses) + 2 * sum(squared) / len(squared)
    torch.testing.assert_close(loss, expected)
    parameters = list(net.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_colorization():
    torch.manual_seed(0)
    encoder = make_encoder("small_convnet", (3, 8, 8), [0.4, 0.5, 0.6], [0.2, 0.3, 0.25])
    objective = ColorizationObjective(encoder, 0.5).double().eval()
    images = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        objective.before_training([images[:2], images[2:]])
    objective.decode.last.weight.data.normal_(std=0.05)
    bins, losses, codes = objective.bins, [], []
    weights = objective.weights
    found = objective([images])
    for image in images:
        lab = torch.from_numpy(rgb2lab(image.numpy(), channel_axis=0))
        seen = (lab[:1] / 100).expand(3, -1, -1)
        mean, std = encoder.mean, encoder.std
        plain = encoder.backbone(((seen - mean) / std)[None])
        _, maps = objective.encoder(image[None], dense=True)
        torch.testing.assert_close(objective.encoder(image[None]), plain, rtol=1e-3, atol=1e-3)
        told = objective.decode(maps, (2, 2))[0]
        for i in range(2):
            for j in range(2):
                color = lab[1:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean(dim=(1, 2))
                distances = (bins - color).norm(dim=1)
                code = torch.zeros(len(bins), dtype=torch.float64)
                for near in distances.argsort()[:5]:
                    code[near] = torch.exp(-(distances[near] ** 2) / (2 * 5**2))
                code /= code.sum()
                weight = weights[distances.argmin()]
                codes.append(weight * code)
                losses.append(-weight * (code * told[:, i, j].log_softmax(0)).sum())
    expected = sum(losses) / len(losses)
    torch.testing.assert_close(found["loss"], expected, rtol=1e-3, atol=1e-3)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (found["loss"], expected))
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=1e-3)
    mean = sum(codes) / len(codes)
    torch.testing.assert_close(objective.mean_code, mean, rtol=1e-2, atol=1e-4)
    chance = -(mean * (mean / mean.sum()).clamp(min=1e-300).log()).sum()
    assert objective.chance_loss(4) == pytest.approx(chance.item(), rel=1e-3)
    # The mean of the colours, each as likely as its score by the temperature says.
    objective.decode.last.weight.data.mul_(20)  # so that places differ
    [colored] = objective.colored(images[:1], 0.38).detach()
    share = (objective.scores(images[:1])[0][0] / 0.38).softmax(dim=0).detach()
    color = torch.stack([(share * bins[:, k, None, None]).sum(dim=0) for k in range(2)])
    color = nn.functional.interpolate(color[None], (8, 8), mode="bilinear", align_corners=False)
    lab = np.moveaxis(rgb2lab(images[0].numpy(), channel_axis=0), 0, -1)
    lab[..., 1:] = color[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(colored.permute(1, 2, 0).numpy(), lab2rgb(lab), atol=2e-3)


def tiles_of(grid, n_channels=1):
    """An encoder of images of 12 pixels, and whole cells of them as tiles."""
    torch.manual_seed(0)
    encoder = make_encoder(
        "small_vit", (n_channels, 12, 12), [0.5] * n_channels, [0.2] * n_channels
    )
    return encoder, Tiles(grid, (12 // grid,) * 2, 0.0, 0.0, True)


def slow_tile(image, row, column, side, encoder):
    """What the encoder gives for a cell that has mean and standard deviation of its image."""
    tile = image[:, row * side : (row + 1) * side, column * side : (column + 1) * side].numpy()
    image, n = image.numpy(), tile.shape[1] * tile.shape[2]
    ratio = np.sqrt((image.var() + 1e-4) / (((tile - tile.mean()) ** 2).sum() / n + 1e-4))
    return encoder(torch.from_numpy((tile - tile.mean()) * ratio + image.mean())[None])[0]


def check_gradients(objective, loss, expected):
    torch.testing.assert_close(loss, expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_jigsaw():
    encoder, tiles = tiles_of(2)
    permutations = far_permutations(4, 7, np.random.default_rng(0))
    objective = JigsawObjective(encoder, 128, tiles, permutations, 5, 6).double().eval()
    views = list(torch.rand(2, 3, 1, 12, 12, dtype=torch.float64))
    torch.manual_seed(1)
    loss = objective(views)["loss"]
    torch.manual_seed(1)
    drawn, losses = objective.drawn(torch.cat(views)), []
    assert len(set(drawn.tolist())) > 2
    for image, number in zip(torch.cat(views), drawn, strict=True):
        parts = []
        for cell in permutations[number]:
            features = slow_tile(image, cell // 2, cell % 2, 6, encoder)
            parts.append(objective.narrow(features).clamp(min=0))
        scores = objective.classify(torch.cat(parts)[None])[0]
        losses.append(-torch.log(torch.exp(scores[number]) / torch.exp(scores).sum()))
    check_gradients(objective, loss, sum(losses) / len(losses))


def test_relative_patch():
    encoder, tiles = tiles_of(3)
    objective = RelativePatchObjective(encoder, 128, tiles, True, 5, 6).double().eval()
    views = list(torch.rand(2, 3, 1, 12, 12, dtype=torch.float64))
    loss, losses = objective(views)["loss"], []
    # Where the second patch lies, seen from the first: rows below, columns to the right.
    places = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
    for image in torch.cat(views):
        for row, column in places:
            there, here = (
                slow_tile(image, 1 + y, 1 + x, 4, encoder) for y, x in ((row, column), (0, 0))
            )
            for first, second, seen in (
                (here, there, (row, column)),
                (there, here, (-row, -column)),
            ):
                both = torch.cat([objective.narrow(x).clamp(min=0) for x in (first, second)])
                scores, label = objective.classify(both[None])[0], places.index(seen)
                losses.append(-torch.log(torch.exp(scores[label]) / torch.exp(scores).sum()))
    check_gradients(objective, loss, sum(losses) / len(losses))


@pytest.mark.parametrize("grid", [2, 3])
def test_tiles_pass_in_one_batch_each_alone(grid):
    encoder, tiles = tiles_of(grid)
    if grid == 2:
        objective = JigsawObjective(encoder, 128, tiles, far_permutations(4, 24, None), 5, 6)
    else:
        objective = RelativePatchObjective(encoder, 128, tiles, True, 5, 6)
    seen = []
    encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape))
    objective([torch.rand(5, 1, 12, 12)] * 2)
    assert seen == [(10 * grid**2, 1, 12 // grid, 12 // grid)]


def test_colours_that_are_dropped_tell_nothing():
    """One channel of each patch is left, a random one, and in judging always green."""
    torch.manual_seed(0)
    patches = torch.rand(50, 9, 3, 4, 4)
    gray = without_colors(patches, False)
    assert (gray == gray[:, :, :1]).all()
    kept = (patches == gray).all(dim=(3, 4))
    assert (kept.sum(dim=2) == 1).all()
    assert (kept.float().mean(dim=(0, 1)) > 0.25).all()
    assert (kept[:, 0] != kept[:, 1]).any()
    assert (without_colors(patches, True) == patches[:, :, 1:2]).all()
