"""Forms of X that must be changed first, and what leaves X and results as they are."""

import re
import threading
import warnings

import dask.array
import numpy as np
import pandas as pd
import pyarrow
import pytest
import sklearn
import torch
from tiny import tiny_encoder, tiny_fine_tuned, tiny_pretrained, tiny_simclr
from torch.utils.data import DataLoader, TensorDataset

from sksimclr import AuroraPreprocessor
from sksimclr._machine.device import in_float32

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("one_thread"),
]
X = np.random.default_rng(0).integers(0, 256, (24, 16, 16), dtype=np.uint8)
Y = np.arange(24) % 2
PATHS = [f"{number}.png" for number in range(24)]
LAZY = dask.array.from_array(X, chunks=(5, 16, 16))
DATASET = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
FORMS = {
    "unknown chunks": (LAZY[LAZY.sum(axis=(1, 2)) > 0], r"call X.compute_chunk_sizes"),
    "column of paths": (np.array(PATHS)[:, None], r"shape \(24, 1\).*use X\[:, 0\]"),
    "column of objects": (np.array(PATHS, object)[:, None], r"use X\[:, 0\]"),
    "Arrow array": (pyarrow.array(PATHS), "StringArray of pyarrow.*X.to_pylist"),
    "Arrow chunks": (pyarrow.chunked_array([PATHS]), "X.to_pylist"),
    "Arrow table": (pyarrow.table({"a": PATHS}), r"X\['name of the column'\].to_pyl"),
    "data set": (DATASET, "TensorDataset of torch.*into an array, channels last"),
    "data loader": (DataLoader(DATASET), "into an array, channels last"),
    "dict": ({"images": X}, r"got a dict. Pass what it holds, such as X\['images'\]"),
    "set": (set(PATHS), "a set. It has no order"),
    "None": (None, "got None. Pass the images"),
}
FITS = {
    "SimCLRTransformer": lambda X: tiny_simclr().fit(X).transform(X),
    "PretrainedTransformer": lambda X: tiny_pretrained().fit_transform(X),
    "FineTunedClassifier": lambda X: (
        tiny_fine_tuned(encoder=tiny_encoder, max_epochs=1).fit(X, Y).predict_proba(X)
    ),
    "AuroraPreprocessor": lambda X: AuroraPreprocessor().fit_transform(X),
}


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("form", FORMS)
def test_what_x_may_be_is_said(form, name):
    """And how to get there; by transform as by fit."""
    bad, message = FORMS[form]
    with pytest.raises(ValueError, match=f"Expected an array or a list.*{message}"):
        FITS[name](bad)


@pytest.mark.parametrize("form", FORMS)
def test_what_x_may_be_is_said_by_transform(form):
    """Which knows the shape of the images."""
    with pytest.raises(ValueError, match=f"Expected an array or a.*{FORMS[form][1]}"):
        tiny_simclr().fit(X).transform(FORMS[form][0])


MISSING = {
    "None": (np.array(["a", None] * 12, object), "None"),
    "list": (["a", None] * 12, "None"),
    "list with NaN": (["a", np.nan] * 12, "nan"),
    "NaN": (np.array([0, np.nan] * 12), "nan"),
    "NaN among strings": (np.array(["a", np.nan] * 12, object), "nan"),
    "NaT": (np.array(["2020", "NaT"] * 12, "datetime64[s]"), "NaT"),
    "series": (pd.Series(["a", None] * 12), "None|nan"),
    "nullable": (pd.Series([1, None] * 12, dtype="Int64"), "nan|<NA>"),
    "categories": (pd.Series(["a", None] * 12, dtype="category"), "nan"),
}
NAMED = {
    "y": lambda values: tiny_fine_tuned().fit(X, values),
    "groups": lambda values: tiny_fine_tuned(early_stopping=True).fit(X, Y, values),
    "sequences": lambda values: tiny_simclr().fit(X, sequences=values),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("form", MISSING)
def test_missing_labels_are_named(form, name):
    """As what they are given as, and the first of them."""
    values, shown = MISSING[form]
    message = f"Expected integers or strings in {name}, .* got {shown} for image 1"
    with pytest.raises(ValueError, match=message):
        NAMED[name](values)


@pytest.mark.parametrize("name", FITS)
def test_tensors_are_arrays_to_an_array_api(name):
    """scikit-learn would leave them as they are."""
    tensor = torch.from_numpy(X)
    expected = FITS[name](X)
    with sklearn.config_context(array_api_dispatch=True):
        found = FITS[name](tensor)
    np.testing.assert_array_equal(found, expected)


RANGES = [
    (X, X.astype(np.float32), "up to 255, and .* values up to 1,"),
    (X.astype(float), X, "uint8 with values up to 1, and .* up to 255,"),
    (X.astype(float), X / 255, "float64 with values up to 1, and .* up to 255,"),
    (X, X / 255, None),
    (X / 255, X, None),
    (X, (X * np.float32(0.02)).astype(np.uint8), None),
    (X, X * 0.0, None),
]


@pytest.mark.parametrize("fitted_on", range(len(RANGES)))
@pytest.mark.parametrize("make", [tiny_simclr, tiny_pretrained])
def test_another_range_of_values_is_warned_of(make, fitted_on):
    """Of floats that are not scaled as those of fit; dark images are no reason."""
    first, second, message = RANGES[fitted_on]
    fitted = make().fit(first)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted.transform(second)
    assert len(caught) == (message is not None)
    if message is not None:
        assert re.search(message, str(caught[0].message))


@pytest.mark.parametrize("name", FITS)
def test_default_type_of_torch_changes_nothing(name):
    """Results are those of float32 to the bit, and the default stays."""
    expected = FITS[name](X)
    torch.set_default_dtype(torch.float64)
    try:
        found = FITS[name](X)
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_default_type_comes_back_with_the_last_thread():
    """Though the first to come is the first to go."""
    first, second = in_float32(), in_float32()
    torch.set_default_dtype(torch.float64)
    try:
        first.__enter__()
        thread = threading.Thread(target=second.__enter__)
        thread.start()
        thread.join()
        first.__exit__(None, None, None)
        assert torch.get_default_dtype() is torch.float32
        second.__exit__(None, None, None)
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
