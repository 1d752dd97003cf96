"""Colorization: what it sees, what it tells, and what it refuses."""

import numpy as np
import pytest
import torch
from common import digits, suited
from PIL import Image
from skimage.color import lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio
from sklearn.datasets import load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d
from torch import nn

from sklearn_ssl import ColorizationTransformer, Images
from sklearn_ssl.inspection import PretextDisplay
from sklearn_ssl.methods.generative.cielab import lab_to_rgb, lightness, rgb_to_lab
from sklearn_ssl.methods.generative.colorization import ColorizationObjective
from sklearn_ssl.networks.encoder import make_encoder


def fresh(**parameters):
    return ColorizationTransformer(**({"max_epochs": 1, "random_state": 0} | parameters))


def gray_of(X):
    """Return bytes or values from 0 to 1 as gray as they are light."""
    lab = rgb2lab(X)
    lab[..., 1:] = 0
    gray = lab2rgb(lab)[..., 0]
    return (255 * gray).round().astype(np.uint8) if X.dtype == np.uint8 else gray.astype(X.dtype)


@pytest.fixture(scope="module")
def flowers():
    """Pieces of the left half of a photograph, and of the right one."""
    photo = load_sample_image("flower.jpg")
    parts = photo[:, :320], photo[:, 320:]
    return [extract_patches_2d(part, (16, 16), max_patches=300, random_state=0) for part in parts]


@pytest.fixture(scope="module")
def coloring(flowers):
    return fresh(max_epochs=15).fit(flowers[0])


def as_batch(X):
    return torch.from_numpy(np.moveaxis(X, -1, 1))


def test_colors_are_those_of_scikit_image(photos):
    dark = np.linspace(0, 0.1, 75).reshape(1, 5, 5, 3)  # where the root is a line
    for X in (photos / 255, dark):
        lab = rgb_to_lab(as_batch(X))
        np.testing.assert_allclose(np.moveaxis(lab.numpy(), 1, -1), rgb2lab(X), atol=0.01)
        torch.testing.assert_close(lightness(as_batch(X)), lab[:, :1] / 100)
        torch.testing.assert_close(lab_to_rgb(lab), as_batch(X), atol=1e-5, rtol=0)
    strong = (
        lab * torch.tensor([1.0, 3, 3])[:, None, None]
        + torch.tensor([50.0, 40, -60])[:, None, None]
    )
    expected = lab2rgb(np.moveaxis(strong.numpy(), 1, -1))
    np.testing.assert_allclose(np.moveaxis(lab_to_rgb(strong).numpy(), 1, -1), expected, atol=1e-3)


def test_gray_has_no_colors():
    gray = torch.rand(2, 1, 4, 4)
    lab = rgb_to_lab(gray.expand(-1, 3, -1, -1))
    assert lab[:, 1:].abs().max() < 1e-3
    torch.testing.assert_close(lightness(gray), lab[:, :1] / 100)


@pytest.mark.slow
def test_colors_that_were_never_seen_are_nearer_than_gray(coloring, flowers):
    held_out = flowers[1]
    gray = np.repeat(gray_of(held_out)[..., None], 3, axis=3)
    score, trivial = coloring.score_pretext(held_out), peak_signal_noise_ratio(held_out, gray)
    assert score > trivial + 1
    told = coloring.colorize(held_out)
    assert score == pytest.approx(peak_signal_noise_ratio(held_out, told), abs=0.02)


@pytest.mark.parametrize("layout", ["gray", "last", "first", "color", "color first", "tensor"])
def test_layouts(coloring, flowers, layout):
    X = flowers[1][:20]
    gray, expected = gray_of(X), coloring.colorize(gray_of(X))
    assert expected.shape == (20, 16, 16, 3)
    assert expected.dtype == np.uint8
    given = {
        "gray": gray,
        "last": gray[..., None],
        "first": gray[:, None],
        "color": X,
        "color first": X.transpose(0, 3, 1, 2),
        "tensor": torch.from_numpy(gray),
    }[layout]
    told = coloring.colorize(given)
    assert told.dtype == np.uint8
    if "first" in layout:
        assert told.shape == (20, 3, 16, 16)
        told = told.transpose(0, 2, 3, 1)
    error = np.abs(told.astype(int) - expected)
    assert error.max() <= (3 if "color" in layout else 0)  # gray bytes are rounded
    assert error.mean() < 1


def test_lightness_is_preserved(coloring, flowers):
    X = flowers[1][:50]
    told = coloring.colorize(X)
    inside = (told > 0).all(axis=3) & (told < 255).all(axis=3)
    assert inside.mean() > 0.5
    difference = np.abs(rgb2lab(told)[..., 0] - rgb2lab(X)[..., 0])
    assert difference[inside].max() < 1
    chroma = np.linalg.norm(rgb2lab(told)[..., 1:], axis=-1)
    assert chroma.mean() > 5


@pytest.mark.slow
def test_the_embedding_is_that_of_the_lightness(flowers):
    X = (flowers[0] / 255).astype("f4")
    X[0, 0, 0] = 1  # the range that is learned
    model = fresh().fit(X)
    expected = model.transform(X)
    for gray in (gray_of(X), gray_of(X)[..., None], gray_of(X)[:, None]):
        np.testing.assert_allclose(model.transform(gray), expected, atol=1e-3)
    repeated = np.repeat(gray_of(X)[..., None], 3, axis=3)
    np.testing.assert_allclose(model.transform(repeated), expected, atol=1e-3)
    assert np.abs(model.transform(X[..., ::-1]) - expected).max() > 0.01  # red is not blue
    with torch.no_grad():
        alone = model.encoder_(as_batch(gray_of(X)[..., None]))
        torch.testing.assert_close(alone, model.encoder_(as_batch(X)), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("layer", [None, "stage2"])
def test_other_layers_see_lightness_as_well(flowers, layer):
    X = flowers[0][:40]
    model = fresh(layer=layer).fit(X)
    repeated = np.repeat(gray_of(X)[..., None], 3, axis=3)
    np.testing.assert_allclose(model.transform(repeated), model.transform(X), atol=0.05)


def test_values_are_as_they_came(flowers):
    X = flowers[0][:60]
    as_bytes = fresh().fit(X).colorize(X)
    X = X.copy()
    for scaled, back in (
        (X / np.float32(X.max()), X.max()),
        (X / np.float32(127.5) - 1, 127.5),
    ):
        told = fresh().fit(scaled).colorize(scaled)
        assert told.dtype == np.float32
        assert scaled.min() - 1e-6 <= told.min() <= told.max() <= max(1, scaled.max()) + 1e-6
        assert np.abs(told - scaled).mean() * back < 60
    assert as_bytes.dtype == np.uint8


def test_images_that_are_not_square(flowers):
    X = flowers[0][:40, :10]
    model = fresh().fit(X)
    assert model.colorize(X).shape == (40, 10, 16, 3)
    assert model.transform(gray_of(X)).shape == (40, 256)
    rows = fresh(input=Images(shape=(10, 16, 3))).fit(X.reshape(40, -1))
    np.testing.assert_array_equal(rows.colorize(X.reshape(40, -1)), model.colorize(X))


def test_rare_colors_count_more(flowers):
    """Bins and weights against those counted one by one."""
    X = flowers[0][:50]
    model = fresh(uniform_share=0.3).fit(X)
    bins, weights = (b.numpy() for b in (model.objective_.bins, model.objective_.weights))
    assert bins.shape == (len(weights), 2)
    assert bins.dtype == weights.dtype == np.float32
    assert 250 < len(bins) < 270
    assert (bins % 10 == 0).all()
    corners = rgb2lab(np.stack(np.meshgrid([0, 1.0], [0, 1.0], [0, 1.0]), -1).reshape(8, 1, 3))
    for a, b in corners[:, 0, 1:]:
        assert np.hypot(*(bins - (a, b)).T).min() < 7.1
    counts = np.zeros(len(bins))
    for image in X:
        pooled = rgb2lab(image)[..., 1:].reshape(4, 4, 4, 4, 2).mean(axis=(1, 3)).reshape(-1, 2)
        for place in pooled:
            counts[np.hypot(*(bins - place).T).argmin()] += 1
    smooth = np.zeros(len(bins))
    for i, share in enumerate(counts / counts.sum()):
        near = np.exp(-np.square(np.hypot(*(bins - bins[i]).T)) / 50)
        smooth += share * near / near.sum()
    expected = 1 / (0.7 * smooth + 0.3 / len(bins))
    expected /= (smooth * expected).sum()
    np.testing.assert_allclose(weights, expected, rtol=1e-2)
    alike = fresh(uniform_share=1.0).fit(X)
    np.testing.assert_allclose(alike.objective_.weights.numpy(), 1, rtol=1e-5)


@pytest.mark.slow
def test_they_are_those_of_the_first_fit(flowers):
    model = fresh().fit(flowers[0][:60])
    weights = model.objective_.weights.numpy()
    model.partial_fit(flowers[1][:60])
    np.testing.assert_array_equal(model.objective_.weights.numpy(), weights)
    other = fresh().fit(flowers[1][:60])
    assert not np.allclose(other.objective_.weights.numpy(), weights)
    limited = fresh(max_epochs="auto", max_time=2)
    np.testing.assert_array_equal(limited.fit(flowers[0][:60]).objective_.weights.numpy(), weights)


@pytest.mark.slow
def test_a_low_temperature_takes_one_color(flowers):
    """In the corner, where nothing is between two places whose colors are told."""
    X = (flowers[0][:200] / 255).astype("f4")
    distances, model = [], fresh(max_epochs=3).fit(X)
    for temperature in (1e-3, 1):
        corners = model.set_params(temperature=temperature).colorize(X)[:, :1, :1]
        inside = ((corners > 0.01) & (corners < 0.99)).all(axis=(1, 2, 3))
        assert inside.sum() > 20
        colors = rgb2lab(corners[inside])[:, 0, 0, None, 1:]
        distances.append(np.linalg.norm(colors - model.objective_.bins.numpy(), axis=2).min(axis=1))
    assert np.median(distances[0]) < 0.1
    assert np.median(distances[1]) > 1


@pytest.mark.slow
def test_gray_images_are_refused_where_colors_are_needed(coloring, flowers):
    gray = gray_of(flowers[0])
    for X in (gray, gray[..., None], gray[:, None]):
        with pytest.raises(ValueError, match=r"color images of 3 channels.*Those of X have 1"):
            ColorizationTransformer().fit(X)
        for judge, what in (
            (coloring.score, "The images of X, or what views make of them, are gray"),
            (coloring.score_pretext, "The images of X are gray"),
        ):
            with pytest.raises(ValueError, match=what):
                judge(X)
        with pytest.raises(ValueError, match=r"Those of X have 1"):
            fresh().fit(flowers[0][:60]).partial_fit(X)
    for judge in (ColorizationTransformer().fit, coloring.score_pretext):
        with pytest.raises(ValueError, match="three channels and no colors"):
            judge(np.repeat(gray[..., None], 3, axis=3))
    with pytest.raises(ValueError, match="what views make of them, are gray"):
        fresh(views=lambda images: [images[:, :1]]).fit(flowers[0])
    with pytest.raises(ValueError, match=r"Those of X have 2.*use another method"):
        ColorizationTransformer().fit(flowers[0][..., :2])
    with pytest.raises(ValueError, match=r"X holds images of .* = \(16, 12, 1\), but"):
        coloring.transform(gray[:, :, :12])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"temperature": 0}, r"'temperature' .* in the range \(0\.?0?, inf\). Got 0"),
        ({"uniform_share": 0.0}, r"'uniform_share' .* in the range \(0\.?0?, 1\.?0?\]. Got 0"),
        ({"uniform_share": 1.5}, r"'uniform_share' .* Got 1.5"),
    ],
)
def test_bad_parameters(flowers, parameters, message):
    with pytest.raises(ValueError, match=message):
        ColorizationTransformer(**parameters).fit(flowers[0])


def test_files_may_be_gray(flowers, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for i, (path, photo) in enumerate(zip(paths, flowers[0], strict=False)):
        Image.fromarray(gray_of(photo[None])[0] if i == 5 else photo).save(path)
    paths[3].write_bytes(b"no image")
    model = fresh(input=Images(on_error="skip", size=16)).fit(paths)
    told = model.colorize(paths)
    assert told.shape == (12, 16, 16, 3)
    assert (told[3] == -1).all()
    np.testing.assert_array_equal(model.colorize(paths[5:6]), told[5:6])
    assert np.isfinite(model.transform(paths[5:6])).all()
    assert np.isfinite(model.score_pretext(paths))
    with pytest.raises(ValueError, match="three channels and no colors"):
        model.score_pretext([paths[3], paths[5]])
    with pytest.raises(ValueError, match=r"Those of X have 1"):
        fresh().fit(paths[5:6] * 4)


def test_pictures_are_gray_and_colored(coloring, flowers):
    X = flowers[1]
    for given, n_channels in ((X, 3), (gray_of(X), 1)):
        display = PretextDisplay.from_estimator(coloring, given, n_samples=3, random_state=0)
        assert display.inputs.shape == display.outputs.shape == (3, 16, 16, 3)
        np.testing.assert_allclose(display.inputs.std(axis=3), 0, atol=1e-5)
        assert display.outputs.std(axis=3).mean() > 0.05
        assert display.images.shape[-1] == n_channels


def test_the_temperature_may_be_set_after_fit(flowers):
    X, temperatures = flowers[0][:60], (0.05, 1.0)
    model = fresh().fit(X)
    for temperature in temperatures:
        other = fresh(temperature=temperature).fit(X)
        model.set_params(temperature=temperature)
        np.testing.assert_array_equal(model.colorize(X), other.colorize(X))
        assert model.score_pretext(X) == other.score_pretext(X)
        shown = PretextDisplay.from_estimator(model, X, n_samples=3, random_state=0)
        told = model.colorize((255 * shown.images).round().astype(np.uint8)) / 255
        np.testing.assert_allclose(shown.outputs, told, atol=0.01)


def test_the_loss_is_below_that_of_who_guesses(coloring):
    chance, loss = coloring.health_["chance_loss"], coloring.loss_curve_
    assert loss[0] == pytest.approx(chance[0], rel=0.15)
    assert loss[-1] < 0.9 * chance[-1]


def test_digits_in_colors_are_as_bright():
    """What the common tests give to methods that need colors."""
    gray = digits()[0][:50]
    colored = suited(ColorizationTransformer, gray)
    np.testing.assert_allclose(colored.max(axis=3), gray)
    assert np.ptp(colored, axis=3).max() > 8


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
        maps = objective.encoder.features(image[None]).map
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
    # The mean of the colors, each as likely as its score by the temperature says.
    objective.decode.last.weight.data.mul_(20)  # so that places differ
    [colored] = objective.colorize(images[:1], 0.38).detach()
    share = (objective.predict(images[:1])[0][0] / 0.38).softmax(dim=0).detach()
    color = torch.stack([(share * bins[:, k, None, None]).sum(dim=0) for k in range(2)])
    color = nn.functional.interpolate(color[None], (8, 8), mode="bilinear", align_corners=False)
    lab = np.moveaxis(rgb2lab(images[0].numpy(), channel_axis=0), 0, -1)
    lab[..., 1:] = color[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(colored.permute(1, 2, 0).numpy(), lab2rgb(lab), atol=2e-3)
