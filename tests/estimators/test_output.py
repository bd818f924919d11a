"""What comes out: data frames with the right names and rows, and HTML."""

import re
from importlib import import_module
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from png import write_grey_files
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.fixes import parse_version
from skorch.callbacks import EarlyStopping
from tiny import tiny_pretrained, tiny_simclr

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr._estimators.mixins import DOCUMENTATION
from sksimclr.baselines import FineTunedClassifier, PretrainedTransformer
from sksimclr.datasets import make_aurora
from sksimclr.model_selection import NearestIndexClassifier

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
NAMES = [f"simclrtransformer{k}" for k in range(8)]
PCA_TOLERANCE = {"rtol": 1e-3, "atol": 1e-6}  # it sees columns in another layout
SHUFFLED = np.random.default_rng(1).permutation(20)  # an index that is out of order


@pytest.fixture(scope="module")
def frames():
    """Return twenty raw frames of 24 x 24 pixels."""
    return make_aurora(20, size=24, random_state=0).images


@pytest.fixture(scope="module")
def table(frames, tmp_path_factory):
    """Return a table of their files and two numbers, in a shuffled order of rows."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "path": write_grey_files(tmp_path_factory.mktemp("frames"), frames),
            "latitude": rng.uniform(60, 70, 20),
            "longitude": rng.uniform(-150, -60, 20),
        }
    ).iloc[SHUFFLED]


def make_pipe():
    """Return the pipeline of the README up to the embeddings, and one step more."""
    return make_pipeline(AuroraPreprocessor(), tiny_simclr(), PCA(3))


# Data frames


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_data_frame_at_the_end_of_a_pipeline(frames, container):
    """The values of the array, under the names of `get_feature_names_out`."""
    expected = make_pipe().fit_transform(frames)
    pipe = make_pipe().set_output(transform=container)
    table = pipe.fit_transform(frames)
    assert isinstance(table, {"pandas": pd, "polars": pl}[container].DataFrame)
    assert_allclose(table.to_numpy(), expected, **PCA_TOLERANCE)
    assert list(table.columns) == ["pca0", "pca1", "pca2"]
    assert list(pipe.get_feature_names_out()) == list(table.columns)
    embeddings = pipe[:-1].transform(frames)
    assert list(embeddings.columns) == list(pipe[:-1].get_feature_names_out()) == NAMES
    assert_array_equal(
        embeddings.to_numpy(), clone(pipe[1]).fit_transform(pipe[0].transform(frames))
    )
    assert {str(dtype).lower() for dtype in embeddings.dtypes} == {"float32"}


@pytest.mark.parametrize(
    ("make", "prefix"),
    [(tiny_simclr, "simclrtransformer"), (tiny_pretrained, "pretrainedtransformer")],
)
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_names_and_values_of_a_transformer(frames, container, make, prefix):
    """Names start with the class's name; the frame keeps float32 and every bit."""
    transformer = make().fit(frames)
    expected = transformer.transform(frames)
    table = transformer.set_output(transform=container).transform(frames)
    names = [f"{prefix}{k}" for k in range(8)]
    assert list(table.columns) == names == list(transformer.get_feature_names_out())
    assert {str(dtype).lower() for dtype in table.dtypes} == {"float32"}
    assert_array_equal(table.to_numpy(), expected)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_output_chosen_for_all_of_scikit_learn(frames, container):
    """``sklearn.set_config(transform_output=...)`` reaches every step."""
    expected = make_pipe().fit_transform(frames)
    with config_context(transform_output=container):
        table = make_pipe().fit_transform(frames)
        assert isinstance(AuroraPreprocessor().transform(frames), np.ndarray)
    assert isinstance(table, {"pandas": pd, "polars": pl}[container].DataFrame)
    assert_allclose(table.to_numpy(), expected, **PCA_TOLERANCE)


def test_output_chosen_survives_a_clone(frames):
    """As that of scikit-learn's transformers does."""
    column = pd.Series(list(frames), index=SHUFFLED)
    preprocessor = clone(AuroraPreprocessor().set_output(transform="pandas"))
    assert preprocessor.transform(column).index.equals(column.index)
    preprocessor.set_output(transform=None)
    assert preprocessor.transform(column).index.equals(column.index)
    preprocessor.set_output(transform="default")
    assert isinstance(preprocessor.transform(column), np.ndarray)
    with pytest.raises(ValueError, match="'default', 'pandas', 'polars'.*got 'arrow'"):
        preprocessor.set_output(transform="arrow")


@pytest.mark.parametrize("form", ["paths", "images", "rows", "column of paths"])
def test_index_is_kept_from_end_to_end(frames, table, form):
    """Each embedding stands beside the index of its own image."""
    X = {
        "paths": table["path"],
        "images": pd.Series(list(frames), index=SHUFFLED),
        "rows": pd.DataFrame(frames.reshape(20, -1), index=SHUFFLED),
        "column of paths": table[["path"]],
    }[form]
    pipe = make_pipeline(AuroraPreprocessor(), tiny_simclr())
    order = SHUFFLED if "paths" in form else np.arange(20)
    expected = pipe.fit_transform(frames[order])
    found = pipe.set_output(transform="pandas").fit_transform(X)
    assert found.index.equals(pd.Index(SHUFFLED))
    assert_array_equal(found, expected)


@pytest.mark.parametrize("names", [None, [f"pixel{k}" for k in range(576)]])
def test_rows_of_a_table_stay_columns_behind_the_preprocessor(frames, names):
    """With their index and its names, for steps that want numbers, not images."""
    X = pd.DataFrame(frames.reshape(20, 576), index=SHUFFLED, columns=names)
    pipe = make_pipeline(AuroraPreprocessor(), PCA(3))
    expected = pipe.fit_transform(X)
    with config_context(transform_output="pandas"):
        found = pipe.fit_transform(X)
        rows = pipe[0].transform(X)
    assert found.index.equals(rows.index) and rows.index.equals(X.index)
    assert_allclose(found, expected, **PCA_TOLERANCE)
    assert list(rows.columns) == list(pipe[0].get_feature_names_out())
    assert_array_equal(rows, pipe[0].transform(X))
    two = FeatureUnion([("a", pipe[0]), ("b", AuroraPreprocessor(0.5))])
    both = two.set_output(transform="pandas").fit_transform(X)
    assert list(both.columns) == list(two.get_feature_names_out())
    assert_array_equal(both.iloc[:, :576], rows)


@pytest.mark.parametrize("make", [tiny_simclr, tiny_pretrained])
def test_index_of_a_series_is_kept_by_a_transformer(table, make):
    """scikit-learn has looked at the index of a series since a version after 1.6."""
    if parse_version(sklearn.__version__) < parse_version("1.9"):
        pytest.skip("scikit-learn 1.6 keeps the index of data frames alone")
    found = make().set_output(transform="pandas").fit_transform(table["path"])
    assert found.index.equals(table.index)


@pytest.mark.parametrize("with_preprocessor", [False, True])
@pytest.mark.parametrize("container", ["default", "pandas", "polars"])
def test_rows_of_a_column_transformer_stay_together(
    frames, table, container, with_preprocessor
):
    """Embeddings stand beside the other columns of the same image, also out of order.

    Without an index, pandas would put those of image 0 beside row 0.
    """
    simclr = tiny_simclr()
    images = (
        make_pipeline(AuroraPreprocessor(), simclr) if with_preprocessor else simclr
    )
    both = ColumnTransformer(
        [
            ("images", images, ["path"]),
            ("place", StandardScaler(), ["latitude", "longitude"]),
        ]
    ).set_output(transform=container)
    X = table
    if container == "polars":
        X = pl.DataFrame(table.astype({"path": str}).to_dict("list"))
    found = both.fit_transform(X)
    embeddings = (
        clone(images).set_output(transform="default").fit_transform(frames[SHUFFLED])
    )
    place = StandardScaler().fit_transform(table[["latitude", "longitude"]].to_numpy())
    assert_array_equal(np.asarray(found), np.hstack([embeddings, place]))
    names = [f"images__{name}" for name in NAMES] + [
        "place__latitude",
        "place__longitude",
    ]
    assert list(both.get_feature_names_out()) == names
    if container != "default":
        assert list(found.columns) == names
    if container == "pandas":
        assert found.index.equals(table.index)


def test_names_of_features_in_are_still_checked(frames):
    """Other names or numbers of columns than in `fit` are an error."""
    rows = frames[:, :8, :8].reshape(20, 64)
    simclr = tiny_simclr().fit(rows)
    assert list(simclr.get_feature_names_out(["path"])) == NAMES  # of one column
    with pytest.raises(ValueError, match="64"):
        simclr.get_feature_names_out(["a", "b"])
    named = [f"p{k}" for k in range(64)]
    simclr = tiny_simclr().fit(pd.DataFrame(rows, columns=named))
    assert list(simclr.feature_names_in_) == named
    assert list(simclr.get_feature_names_out(named)) == NAMES
    for wrong in (["path"], named[::-1]):
        with pytest.raises(ValueError, match="feature_names_in_"):
            simclr.get_feature_names_out(wrong)


# Copies and texts


def test_clone_is_unfitted_and_both_reprs_name_the_class(frames):
    """A clone is equal in parameters; callbacks are no obstacle."""
    stopper = EarlyStopping(monitor="train_loss")
    simclr = tiny_simclr(temperature=0.1, callbacks=[stopper]).fit(frames)
    cloned = clone(simclr)
    assert cloned.get_params()["temperature"] == 0.1
    with pytest.raises(NotFittedError):
        cloned.transform(frames)
    assert "SimCLRTransformer(" in repr(simclr) and "temperature=0.1" in repr(simclr)
    assert "SimCLRTransformer" in estimator_html_repr(simclr)


ESTIMATORS = {
    "sksimclr.AuroraPreprocessor": AuroraPreprocessor,
    "sksimclr.SimCLRTransformer": SimCLRTransformer,
    "sksimclr.baselines.FineTunedClassifier": FineTunedClassifier,
    "sksimclr.baselines.PretrainedTransformer": PretrainedTransformer,
    "sksimclr.model_selection.NearestIndexClassifier": NearestIndexClassifier,
}


def links(html):
    """Return the addresses under our documentation that some HTML points to."""
    return set(re.findall(rf'href="({re.escape(DOCUMENTATION)}[^"#]*)"', html))


@pytest.mark.parametrize(("path", "estimator"), ESTIMATORS.items())
def test_estimator_links_to_its_page(path, estimator):
    """``api/`` and the path from which it is imported."""
    page = f"{DOCUMENTATION}api/{path}.html"
    assert links(estimator_html_repr(estimator())) == {page}
    assert urlsplit(page).path.startswith("/en/stable/api/sksimclr.")
    module, name = path.rsplit(".", 1)
    assert getattr(import_module(module), name) is estimator


def test_every_public_estimator_is_among_those():
    """Whatever has `get_params` in a public module."""
    public = [
        f"{module}.{name}"
        for module in ("sksimclr", "sksimclr.baselines", "sksimclr.model_selection")
        for name in import_module(module).__all__
        if hasattr(getattr(import_module(module), name), "get_params")
    ]
    assert sorted(public) == sorted(ESTIMATORS)


def test_html_of_a_pipeline_before_and_after_fit(frames):
    """It says which, names every step and links to the pages of ours."""
    pipe = make_pipe()
    pages = {
        f"{DOCUMENTATION}api/sksimclr.{name}.html"
        for name in ("AuroraPreprocessor", "SimCLRTransformer")
    }
    for status in ("Not fitted", "Fitted"):
        html = estimator_html_repr(pipe)
        assert f"<span>{status}</span>" in html
        assert links(html) == pages
        assert all(type(step).__name__ in html for step in pipe)
        single = estimator_html_repr(pipe[1])
        assert f"<span>{status}</span>" in single and links(single) < pages
        pipe.fit(frames)


def test_subclass_elsewhere_does_not_link_to_a_page_that_is_not_there():
    """Our site has no page for it."""

    class OtherTransformer(SimCLRTransformer):
        pass

    assert not links(estimator_html_repr(OtherTransformer()))
