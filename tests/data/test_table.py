"""Tabular data: how it is declared and scaled."""

import numpy as np
import pytest
from common import digits, shrunk
from sklearn.datasets import load_breast_cancer

from sklearn_ssl import EncoderTransformer, Images, SimCLRTransformer, Table

ROWS = load_breast_cancer().data[:60]


def test_auto_is_a_table():
    auto, table = (
        EncoderTransformer(input=described, random_state=0).fit_transform(ROWS)
        for described in ("auto", Table())
    )
    np.testing.assert_array_equal(auto, table)


def test_values_stay_as_they_are_without_standardizing():
    scaled = (ROWS - ROWS.mean(0)) / ROWS.std(0)
    standardized = EncoderTransformer(random_state=0).fit_transform(ROWS)
    plain = EncoderTransformer(input=Table(standardize=False), random_state=0)
    np.testing.assert_allclose(plain.fit_transform(scaled), standardized, atol=1e-4)
    assert not np.allclose(plain.fit_transform(ROWS), standardized, atol=1e-2)
    simclr = shrunk(SimCLRTransformer, input=Table(standardize=False)).fit(scaled)
    assert simclr._scaling.offset.tolist() == [0] * ROWS.shape[1]


def test_images_are_no_table():
    with pytest.raises(ValueError, match=r"shape \(50, 8, 8\).*Table\(.*for tabular data"):
        EncoderTransformer(input=Table()).fit(digits()[0][:50])
    with pytest.raises(ValueError, match=r"X lists images, but input=Table"):
        EncoderTransformer(input=Table()).fit([image[:8] for image in digits()[0][:50]] + ["a.png"])


def test_tables_are_no_images():
    with pytest.raises(ValueError, match=r"X is tabular data, of shape \(60, 30\).*Images\(shape="):
        EncoderTransformer(input=Images()).fit(ROWS)


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match=r"standardize must be a bool. Got 'no'"):
        Table(standardize="no")
