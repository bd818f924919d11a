"""Embeddings in front of scikit-learn's estimators, beyond a classifier."""

import pathlib

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from png import write_grey_files
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE, trustworthiness
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from tiny import tiny_pretrained, tiny_simclr

from sksimclr import AuroraPreprocessor

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


@pytest.fixture(scope="module")
def stripes():
    """Return 90 images of three kinds, and the kind of each: across, along, neither.

    What a random convolution tells apart, so that little training is needed.
    """
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2], 30)
    wave = np.arange(16) // 2 % 2
    plain = np.stack(
        [np.tile(wave[:, None], 16), np.tile(wave, (16, 1)), np.full((16, 16), 0.5)]
    )
    images = plain[kinds] + rng.normal(0, 0.1, (90, 16, 16))
    order = rng.permutation(90)
    return np.clip(images, 0, 1).astype(np.float32)[order], kinds[order]


def make_simclr(**params):
    """Return one that looks at images of 16 x 16 pixels as they are."""
    return tiny_simclr(**({"image_size": 16, "max_epochs": 2, "lr": 1e-2} | params))


@pytest.fixture(scope="module")
def embed(stripes):
    """Return a fitted pipeline that scales embeddings."""
    return make_pipeline(make_simclr(), StandardScaler()).fit(stripes[0])


# Clusters, neighbours, maps


@pytest.mark.parametrize(
    "clusterer", [KMeans(3, n_init=5, random_state=0), HDBSCAN(copy=True)]
)
def test_clusters_of_embeddings_are_the_kinds_of_images(stripes, clusterer):
    """At the end of a pipeline."""
    images, kinds = stripes
    pipe = make_pipeline(make_simclr(), StandardScaler(), clone(clusterer))
    found = pipe.fit_predict(images)
    assert adjusted_rand_score(kinds, found) > 0.9
    if isinstance(clusterer, KMeans):
        assert_array_equal(pipe.predict(images[:9]), found[:9])


def test_nearest_neighbour_of_a_near_copy_is_its_original(stripes, embed):
    """Find frames like this one."""
    images = stripes[0]
    neighbours = NearestNeighbors(n_neighbors=2).fit(embed.transform(images))
    noise = np.random.default_rng(1).normal(0, 1e-3, images.shape)
    distances, found = neighbours.kneighbors(embed.transform(images + noise))
    assert_array_equal(found[:, 0], np.arange(90))
    assert (distances[:, 0] < distances[:, 1]).all()


def test_tsne_keeps_neighbours_together(stripes, embed):
    """A map of the embeddings, as one step behind them."""
    pipe = make_pipeline(FrozenEstimator(embed), TSNE(perplexity=10, random_state=0))
    drawn = pipe.fit_transform(stripes[0])
    assert drawn.shape == (90, 2)
    assert trustworthiness(embed.transform(stripes[0]), drawn, n_neighbors=10) > 0.9


def test_two_transformers_side_by_side(stripes):
    """``FeatureUnion`` of embeddings with different views or networks."""
    union = FeatureUnion([("simclr", make_simclr()), ("frozen", tiny_pretrained())])
    both = union.fit_transform(stripes[0])
    assert_array_equal(both[:, :8], make_simclr().fit_transform(stripes[0]))
    assert_array_equal(both[:, 8:], tiny_pretrained().fit_transform(stripes[0]))
    assert union.get_feature_names_out()[8] == "frozen__pretrainedtransformer0"


# A column of paths


@pytest.fixture(scope="module")
def table(stripes, tmp_path_factory):
    """Return paths of 8-bit images and two numbers, one of which is the kind."""
    images, kinds = stripes
    rng = np.random.default_rng(2)
    files = write_grey_files(
        tmp_path_factory.mktemp("frames"), (images * 255).astype(np.uint8)
    )
    return pd.DataFrame(
        {"path": files, "latitude": rng.uniform(60, 70, 90), "number": 10.0 * kinds},
        index=rng.permutation(90),
    )


COLUMNS = {
    "pandas, pathlib": lambda table: table["path"],
    "pandas, str": lambda table: table["path"].astype(str),
    "pandas, table": lambda table: table[["path"]],
    "numpy, object": lambda table: table["path"].to_numpy(),
    "numpy, str": lambda table: table["path"].to_numpy().astype(str),
    "polars": lambda table: pl.Series(table["path"].astype(str).tolist()),
    "polars, table": lambda table: pl.DataFrame(
        {"path": table["path"].astype(str).tolist()}
    ),
}


@pytest.mark.parametrize("form", COLUMNS)
def test_column_of_paths_is_as_good_as_images(stripes, table, form):
    """For SimCLR, in front of it, and for the baselines."""
    column = COLUMNS[form](table)
    images = (stripes[0] * 255).astype(np.uint8)
    for make in (make_simclr, tiny_pretrained, AuroraPreprocessor):
        assert_array_equal(make().fit_transform(column), make().fit_transform(images))


@pytest.mark.parametrize("column", ["path", ["path"]])
@pytest.mark.parametrize("with_preprocessor", [False, True])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_images_beside_columns_of_numbers(
    stripes, table, column, with_preprocessor, library
):
    """``ColumnTransformer`` gives embeddings and numbers to one classifier."""
    simclr = make_simclr()
    images = (
        make_pipeline(AuroraPreprocessor(), simclr) if with_preprocessor else simclr
    )
    both = ColumnTransformer(
        [
            ("images", images, column),
            ("numbers", StandardScaler(), ["latitude", "number"]),
        ]
    )
    X = table
    if library == "polars":
        X = pl.DataFrame(
            {**table.to_dict("list"), "path": table["path"].astype(str).tolist()}
        )
    found = both.fit_transform(X)
    pixels = (stripes[0] * 255).astype(np.uint8)
    assert_array_equal(found[:, :8], clone(images).fit_transform(pixels))
    assert_allclose(found[:, 8:].mean(axis=0), 0, atol=1e-6)
    assert list(both.get_feature_names_out()[7:]) == [
        "images__simclrtransformer7",
        "numbers__latitude",
        "numbers__number",
    ]
    assert both.transform(X[:5]).shape == (5, 10)


def test_classifier_sees_both_images_and_numbers(stripes, table):
    """Cross-validated; without the numbers, noise in place of images scores chance."""
    kinds = stripes[1]
    both = ColumnTransformer(
        [
            ("images", make_simclr(max_epochs=0), "path"),
            ("numbers", "passthrough", ["number"]),
        ]
    )
    pipe = make_pipeline(both, StandardScaler(), LogisticRegression())
    assert cross_val_score(pipe, table, kinds, cv=3, error_score="raise").mean() == 1
    blank = pathlib.Path(table["path"].iloc[0])
    alike = table.assign(path=[blank] * 90)
    assert cross_val_score(pipe, alike, kinds, cv=3, error_score="raise").mean() == 1
    neither = alike.assign(number=0.0)
    assert cross_val_score(pipe, neither, kinds, cv=3).mean() < 0.5


# Around a classifier


def test_frozen_encoder_is_trained_once_and_probed_often(stripes, fits):
    """The transductive protocol: ``cross_val_score`` fits the classifier alone."""
    images, kinds = stripes
    simclr = make_simclr().fit(images)
    assert len(fits) == 1
    pipe = make_pipeline(FrozenEstimator(simclr), LogisticRegression())
    scores = cross_val_score(pipe, images, kinds, cv=3, error_score="raise")
    assert len(fits) == 1
    embeddings = simclr.transform(images)
    assert_array_equal(
        scores, cross_val_score(LogisticRegression(), embeddings, kinds, cv=3)
    )
    unfrozen = make_pipeline(simclr, LogisticRegression())
    cross_val_score(unfrozen, images, kinds, cv=3, error_score="raise")
    assert len(fits) == 4


def probe(embed):
    """Return a linear classifier on fitted embeddings."""
    return make_pipeline(FrozenEstimator(embed), LogisticRegression())


def test_self_training_labels_what_has_no_label(stripes, embed):
    """From one label of a kind to all of them; it takes rows, not images."""
    images, kinds = stripes
    rows = images.reshape(90, 256)
    few = np.full(90, -1)
    first = [np.flatnonzero(kinds == kind)[0] for kind in range(3)]
    few[first] = kinds[first]
    learner = SelfTrainingClassifier(probe(embed), threshold=0.5).fit(rows, few)
    assert (learner.transduction_ != -1).sum() > 60
    assert (learner.predict(rows) == kinds).mean() > 0.9
    assert_array_equal(learner.transduction_[first], kinds[first])


@pytest.mark.parametrize("frozen", [False, True])
def test_calibrated_probabilities_are_of_the_right_kind(stripes, embed, frozen, fits):
    """They sum to one and are surer of the right kind; the encoder may be frozen."""
    images, kinds = stripes
    pipe = (
        probe(embed) if frozen else make_pipeline(make_simclr(), LogisticRegression())
    )
    calibrated = CalibratedClassifierCV(pipe, cv=3).fit(images, kinds)
    assert len(fits) == (0 if frozen else 3)
    sure = calibrated.predict_proba(images)
    assert_allclose(sure.sum(axis=1), 1)
    assert (sure.argmax(axis=1) == kinds).mean() > 0.9


def test_stacking_of_two_encoders(stripes):
    """Each member has an encoder of its own; the last one weighs their votes."""
    images, kinds = stripes
    members = [
        (name, make_pipeline(encoder, StandardScaler(), LogisticRegression()))
        for name, encoder in [("simclr", make_simclr()), ("frozen", tiny_pretrained())]
    ]
    stack = StackingClassifier(members, cv=2).fit(images, kinds)
    assert stack.transform(images).shape == (90, 6)
    assert stack.score(images, kinds) > 0.9
