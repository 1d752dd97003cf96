"""Distillation: its loss beside a slow reference, its teachers, and what they are fitted on."""

import numpy as np
import pytest
import torch
from common import check_inputs, shrunk
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import FunctionTransformer
from torch import nn

import sklearn_ssl
from sklearn_ssl import EncoderTransformer
from sklearn_ssl.data.sources import ImagesSource
from sklearn_ssl.methods.distillation._given import features_by
from sklearn_ssl.methods.distillation.distillation import (
    DistillationObjective,
    DistillationTransformer,
    distance,
)


def objective(targets, standardize=True):
    torch.manual_seed(0)
    return DistillationObjective(nn.Linear(4, 3), 3, targets, standardize).double()


def test_distillation():
    a, b = check_inputs()
    a.requires_grad_()
    # BYOL's loss of one direction.
    assert distance(a, b).item() == pytest.approx(0.069544, abs=1e-6)
    slow = sum(2 - 2 * (x @ y) / (x.norm() * y.norm()) for x, y in zip(a, b, strict=True)) / 6
    torch.testing.assert_close(distance(a, b), slow)
    ours, theirs = (torch.autograd.grad(x, a)[0] for x in (distance(a, b), slow))
    torch.testing.assert_close(ours, theirs)


def test_distillation_objective_gradient():
    """The mean over views; targets are standardized over all samples, constants left out."""
    first, second = check_inputs()
    targets = torch.cat([3 * first + 1, torch.full((6, 1), 7.0).double()], dim=1)
    tested = objective(targets)
    batch = [first[:4], second[:4]]
    tested(batch, targets[:4])["loss"].backward()
    ours = [p.grad.clone() for p in tested.parameters()]
    tested.zero_grad()
    mean, std = targets.mean(dim=0), targets.std(dim=0, correction=0)
    scaled = torch.cat([((targets - mean) / std)[:4, :4], torch.zeros(4, 1)], dim=1)
    losses = [
        2 - 2 * torch.cosine_similarity(z, t, dim=0)
        for view in batch
        for z, t in zip(tested.project(tested.encoder(view)), scaled, strict=True)
    ]
    (sum(losses) / 8).backward()
    torch.testing.assert_close(ours, [p.grad for p in tested.parameters()])


def test_distillation_without_standardization():
    targets, _ = check_inputs()
    tested = objective(targets, standardize=False)
    expected = distance(tested.project(tested.encoder(targets)), targets)
    torch.testing.assert_close(tested([targets], targets)["loss"], expected)


def test_distillation_loss_stays_in_full_precision_under_autocast():
    tested = objective(torch.randn(8, 5).double()).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = tested([torch.randn(8, 4)], torch.randn(8, 5))
    assert found["loss"].dtype == torch.float32


class Spy(TransformerMixin, BaseEstimator):
    """Records what it is fitted on."""

    fits = ()

    def fit(self, X, y=None):
        self.fits, self.fitted_ = (*self.fits, len(X)), True
        return self

    def transform(self, X):
        return np.asarray(X).reshape(len(X), -1)


def student(teacher, **parameters):
    return shrunk(DistillationTransformer, teacher=teacher, **parameters)


def test_fitted_teachers_are_not_fitted_again(images):
    fitted = Spy().fit(images[:5])
    model = student(fitted).fit(images)
    assert model._teacher is fitted
    assert fitted.fits == (5,)
    copied = clone(model)
    assert isinstance(copied.teacher, FrozenEstimator)
    assert copied.fit(images)._teacher.estimator.fits == (5,)
    np.testing.assert_array_equal(copied.transform(images), model.transform(images))
    assert clone(copied).teacher.estimator is fitted


def test_other_teachers_are_copied_and_fitted_on_the_samples(images):
    teacher = Spy()
    model = student(teacher).fit(images)
    assert teacher.fits == ()
    assert model._teacher.fits == (len(images),)
    before = model._teacher
    model.partial_fit(images[:50])
    assert model._teacher is before
    stateless = FunctionTransformer(lambda X: X.reshape(len(X), -1))
    assert student(stateless).fit(images)._teacher is stateless


@pytest.mark.slow
def test_score_has_the_teacher_of_the_samples(images):
    model = student(Spy(), max_epochs=5, batch_size=20).fit(images)
    shuffled = FunctionTransformer(lambda X: X.reshape(len(X), -1)[::-1])
    other = clone(model).set_params(teacher=shuffled).fit(images)
    assert model.score(images) > other.score(images) + 0.1


def test_parameters_of_teachers_can_be_searched(images):
    rows = images.reshape(len(images), -1)
    search = GridSearchCV(student(PCA()), {"teacher__n_components": [2, 8]}, cv=2).fit(rows)
    assert (
        search.best_estimator_._teacher.n_components == search.best_params_["teacher__n_components"]
    )


def test_saved_students_score_if_their_teacher_is_of_this_package(images, tmp_path):
    path, rows = tmp_path / "saved", images.reshape(len(images), -1)
    for teacher in ("auto", EncoderTransformer(random_state=1), Spy()):
        model = student(teacher).fit(rows)
        model.save(path)
        loaded = sklearn_ssl.load(path)
        np.testing.assert_array_equal(loaded.transform(rows), model.transform(rows))
        if isinstance(teacher, Spy):
            with pytest.raises(ValueError, match="teacher is needed"):
                loaded.score(rows)
        else:
            assert loaded.score(rows) == model.score(rows)


def test_cached_students_are_loaded_with_their_teacher(images, tmp_path):
    for teacher in ("auto", EncoderTransformer(random_state=1).fit(images[:9])):
        model, again = (student(teacher, memory=tmp_path).fit(images) for _ in range(2))
        assert again.score(images) == model.score(images)
        assert (again._teacher is teacher) == (teacher != "auto")


def test_features_of_images_that_could_not_be_read_are_left_out():
    class Source:
        n_rows, rows = 4, np.array([0, 2, 3])
        aligned = ImagesSource.aligned

        def __len__(self):
            return len(self.rows)

    X = np.arange(8.0).reshape(4, 2)
    X[1] = np.nan
    features = features_by(FunctionTransformer(), X, Source())
    np.testing.assert_array_equal(features, X[[0, 2, 3]])


def test_features_of_teachers_are_checked(images):
    few = FunctionTransformer(lambda X: X[:5].reshape(5, -1))
    with pytest.raises(ValueError, match=r"FunctionTransformer returned 5 of 200 rows"):
        student(few).fit(images)
    missing = FunctionTransformer(lambda X: X.reshape(len(X), -1) * np.nan)
    with pytest.raises(ValueError, match="contain NaN or infinity"):
        student(missing).fit(images)
    with pytest.raises(ValueError, match="'teacher' parameter"):
        student(3).fit(images)
