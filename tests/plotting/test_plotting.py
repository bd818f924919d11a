import inspect
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.offsetbox import AnnotationBbox  # noqa: E402
from numpy.testing import assert_allclose, assert_array_equal  # noqa: E402
from PIL import Image  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans  # noqa: E402
from sklearn.datasets import make_blobs  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.frozen import FrozenEstimator  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.metrics import silhouette_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer, StandardScaler  # noqa: E402
from tiny import tiny_simclr  # noqa: E402

from sksimclr import plotting  # noqa: E402
from sksimclr._machine.random import make_generator  # noqa: E402
from sksimclr.augmentations import HorizontalFlip, VerticalFlip, make_view  # noqa: E402
from sksimclr.plotting import (
    # noqa: E402
    AugmentationDisplay,
    EmbeddingDisplay,
    ImageGridDisplay,
    KeogramDisplay,
    LearningCurveDisplay,
    OccurrenceDisplay,
    SilhouetteDisplay,
)
from sksimclr.plotting._embedding import spread_out  # noqa: E402
from sksimclr.plotting._pictures import as_pictures  # noqa: E402
from sksimclr.plotting._shared import group_style  # noqa: E402

NAMES = ["arc", "diffuse", "moon"]
HISTORY = [
    {
        "epoch": epoch,
        "loss": 5.0 - epoch,
        "lr": 1e-3,
        "seconds": 0.1,
        "images_per_second": 10.0,
        "alignment": 1 / epoch,
        "uniformity": -float(epoch),
        "effective_rank": 2.0 * epoch,
    }
    for epoch in (1, 2, 3)
]


@pytest.fixture(autouse=True)
def no_figures_left():
    """Close the figures of a test, and of doctests before it."""
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def images():
    """Thirty images, each of one value: its number / 100."""
    return np.broadcast_to(np.arange(30)[:, None, None] / 100, (30, 12, 12)).copy()


@pytest.fixture
def y():
    """Three classes of ten images, one after another."""
    return np.repeat([0, 1, 2], 10)


@pytest.fixture
def embeddings(rng):
    """Thirty embeddings with two long axes."""
    return rng.normal(size=(30, 5)) * [5, 3, 0.1, 0.1, 0.1]


def shown_numbers(display):
    """Return the numbers of the images on the axes, in the order of drawing."""
    return [round(100 * float(im.get_array().mean())) for im in display.ax_.images]


def texts(ax):
    """Return the texts that were written on the axes."""
    return [text.get_text() for text in ax.texts]


def row_labels(display):
    """Return the labels of the rows of a grid."""
    return [label.get_text() for label in display.ax_.get_yticklabels()]


# All of them


def make_all(images, y, embeddings, **kwargs):
    """Make one display of each kind."""
    simclr = tiny_simclr()
    return [
        ImageGridDisplay.from_predictions(images, y, y, **kwargs),
        AugmentationDisplay.from_estimator(simclr, images, **kwargs),
        EmbeddingDisplay.from_predictions(embeddings, y, images=images, **kwargs),
        SilhouetteDisplay.from_predictions(embeddings, [y], y, **kwargs),
        LearningCurveDisplay([{"epoch": 1, "loss": 2.0}]).plot(**kwargs),
    ]


def test_a_given_ax_is_drawn_on(images, y, embeddings):
    """And no other figure is made."""
    figure, ax = plt.subplots()
    for display in make_all(images, y, embeddings, ax=ax):
        drawn = display.axes_[0] if hasattr(display, "axes_") else display.ax_
        assert drawn is ax and display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


def test_new_figures_suit_a_journal(images, y, embeddings):
    """A column or a page wide, no text below 7 points, and they can be drawn."""
    for display in make_all(images, y, embeddings):
        assert display.figure_.get_size_inches()[0] in (3.5, 7.0)
        display.figure_.canvas.draw()
        sizes = [
            text.get_fontsize()
            for text in display.figure_.findobj(matplotlib.text.Text)
            if text.get_text() and text.get_visible()
        ]
        assert min(sizes) >= 7


def test_nothing_is_changed(images, y, embeddings):
    """Neither the arrays nor the global random states nor the parameters of plots."""
    images.flags.writeable = y.flags.writeable = embeddings.flags.writeable = False
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    settings = dict(matplotlib.rcParams)
    make_all(images, y, embeddings)
    assert_array_equal(np.random.get_state()[1], state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert dict(matplotlib.rcParams) == settings


def test_without_matplotlib(monkeypatch):
    """Every method that plots says who needs what, before anything is computed."""
    displays = [
        ImageGridDisplay([], row_labels=[]),
        LearningCurveDisplay([]),
        EmbeddingDisplay([]),
        AugmentationDisplay([], []),
        SilhouetteDisplay([], []),
        KeogramDisplay([], []),
        OccurrenceDisplay([], []),
    ]
    assert {type(display).__name__ for display in displays} == set(plotting.__all__)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for display in displays:
        others = [name for name in dir(display) if name.startswith("from_")]
        for name in ["plot", *others]:
            method = getattr(display, name)
            required = [
                parameter.name
                for parameter in inspect.signature(method).parameters.values()
                if parameter.default is parameter.empty
            ]
            message = rf"{type(display).__name__}\.{name} needs .*sksimclr\[plot\]"
            with pytest.raises(ImportError, match=message):
                method(**dict.fromkeys(required))


def test_import_needs_neither_matplotlib_nor_torch():
    """Both come with the first plot."""
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import sksimclr.plotting\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_groups_differ_in_colour_and_marker():
    """Up to 64 groups; the first eight in both."""
    styles = [group_style(number) for number in range(64)]
    assert len(set(styles)) == 64
    assert all(len(set(part)) == 8 for part in zip(*styles[:8], strict=True))


# Pictures


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_shown_up_to_their_maximum(dtype):
    """Dark images stay dark."""
    top = np.iinfo(dtype).max
    (picture,) = as_pictures([np.array([[0, top // 5]], dtype)])
    assert_allclose(picture, [[0, 0.2]], atol=1e-6)


def test_other_ranges_are_stretched_together():
    """So that the brightness of two images can be compared."""
    pictures = as_pictures([np.full((2, 2), -1.0), np.full((3, 3, 1), 3.0)])
    assert_array_equal(pictures[0], np.zeros((2, 2)))
    assert_array_equal(pictures[1], np.ones((3, 3)))
    assert_array_equal(as_pictures([np.full((2, 2), 7.0)])[0], np.zeros((2, 2)))


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
def test_channels_of_pictures(n_channels):
    """Grey, with alpha or not, becomes (H, W); colours stay."""
    (picture,) = as_pictures([np.zeros((5, 6, n_channels))])
    assert picture.shape == ((5, 6) if n_channels <= 2 else (5, 6, n_channels))


# ImageGridDisplay


def test_grid_shows_images_of_each_class(images, y):
    """A row for each, in the order of the labels, of its own images only."""
    display = ImageGridDisplay.from_predictions(
        images, y, target_names=NAMES, n_images=4, random_state=0
    )
    numbers = np.reshape(shown_numbers(display), (3, 4))
    assert_array_equal(numbers // 10, [[0] * 4, [1] * 4, [2] * 4])
    assert (np.diff(numbers) > 0).all()
    assert row_labels(display) == NAMES
    assert texts(display.ax_) == []
    assert all(im.cmap.name == "gray" for im in display.ax_.images)


def test_grid_captions_say_truth_and_answer(images, y):
    """Under every image, for those that are shown."""
    y_pred = np.arange(30) % 4
    display = ImageGridDisplay.from_predictions(
        images, y, y_pred, target_names=NAMES, n_images=3, random_state=0
    )
    expected = [f"G {NAMES[k // 10]}\nS {k % 4}" for k in shown_numbers(display)]
    assert texts(display.ax_) == expected
    assert display.ax_.get_xlabel() == "G: ground truth, S: system"


def test_grid_by_cluster(images, y):
    """Rows are clusters; a small one has a short row."""
    y_pred = np.where(np.arange(30) < 2, 7, 3)
    display = ImageGridDisplay.from_predictions(
        images, y, y_pred, group_by="y_pred", n_images=5, random_state=0
    )
    assert row_labels(display) == ["3", "7"]
    assert [len(row) for row in display.images] == [5, 2]
    assert shown_numbers(display)[5:] == [0, 1]
    assert texts(display.ax_)[5:] == ["G 0\nS 7", "G 0\nS 7"]


def test_grid_of_a_classifier_and_of_a_clusterer(images, y):
    """Classes have names in both places, clusters go by their numbers."""
    flat = FunctionTransformer(lambda X: X.reshape(len(X), -1))
    options = {"target_names": NAMES, "n_images": 2, "random_state": 0}
    for last in (LogisticRegression(), KMeans(2, n_init=1, random_state=0)):
        pipeline = make_pipeline(clone(flat), last).fit(images, y)
        display = ImageGridDisplay.from_estimator(pipeline, images, y, **options)
        predicted = pipeline.predict(images[shown_numbers(display)])
        answers = [text.split("S ")[1] for text in texts(display.ax_)]
        named = isinstance(last, LogisticRegression)
        assert answers == [NAMES[k] if named else str(k) for k in predicted]


def test_grid_of_files_and_memory_maps(tmp_path, images, y):
    """Looks as that of the array, and only the chosen images are read."""
    pixels = (images * 255).round().astype(np.uint8)
    paths = [tmp_path / f"{number:02}.png" for number in range(30)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    np.save(tmp_path / "images.npy", pixels)
    options = {"n_images": 2, "random_state": 3}
    expected = ImageGridDisplay.from_predictions(pixels, y, **options)
    chosen = {0, *shown_numbers(expected)}  # the first one is always looked at
    for number in set(range(30)) - chosen:
        paths[number].write_bytes(b"damaged")
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    for form in (
        paths,
        mapped,
        list(pixels),
        pixels[..., None],
        pixels.reshape(30, -1),
    ):
        display = ImageGridDisplay.from_predictions(form, y, **options)
        assert shown_numbers(display) == shown_numbers(expected)


def test_grid_of_images_that_are_not_square(y):
    """They keep their proportions and do not overlap."""
    display = ImageGridDisplay.from_predictions(np.zeros((30, 10, 20)), y, n_images=2)
    boxes = [im.get_extent() for im in display.ax_.images]
    assert all(np.isclose((b[1] - b[0]) / (b[2] - b[3]), 2) for b in boxes)
    assert boxes[0][1] < boxes[1][0] and boxes[0][2] < boxes[2][3]


def test_captions_do_not_overlap(images, y):
    """The figure grows beyond a column when they are long."""
    names = ["arc with omega bands"] * 3
    display = ImageGridDisplay.from_predictions(
        images, y, y, target_names=names, n_images=4
    )
    display.figure_.canvas.draw()
    boxes = [text.get_window_extent() for text in display.ax_.texts[:4]]
    assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False))
    assert display.figure_.get_size_inches()[0] > 3.5
    labels = [label.get_window_extent() for label in display.ax_.get_yticklabels()]
    assert min(label.x0 for label in labels) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [0, 1]}, "expected 30 in y, got 2"),
        ({"y_pred": [0] * 31}, "expected 30 in y_pred, got 31"),
        ({"target_names": NAMES[:2]}, "2 target names.* 0 to 1, got 2"),
        ({"y": ["arc"] * 30, "target_names": NAMES}, "must be integers.*got arc"),
        ({"y": [-1] * 30, "target_names": NAMES}, "must be integers.*got -1"),
        ({"group_by": "y_pred"}, "'y_pred' if that is given"),
        ({"group_by": "cluster"}, "got 'cluster'"),
        ({"n_images": 0}, "n_images == 0, must be >= 1"),
        ({"images": np.zeros((30, 4, 4, 9))}, "1 to 4 of them"),
        ({"images": np.zeros((0, 4, 4))}, "0 sample"),
    ],
)
def test_grid_errors(images, y, change, message):
    """They say what is wrong, and leave no figure."""
    with pytest.raises(ValueError, match=message):
        ImageGridDisplay.from_predictions(**({"images": images, "y": y} | change))
    assert plt.get_fignums() == []


def test_grid_of_estimators_that_cannot_predict(images, y):
    """No such method, or not fitted."""
    with pytest.raises(TypeError, match="needs an estimator with `predict`, got Aggl"):
        ImageGridDisplay.from_estimator(AgglomerativeClustering(), images, y)
    with pytest.raises(NotFittedError):
        ImageGridDisplay.from_estimator(
            make_pipeline(tiny_simclr(), KMeans()), images, y
        )


def test_im_kw_reaches_matplotlib(images, y):
    """For grids of both kinds."""
    options = {"im_kw": {"cmap": "viridis", "vmax": 0.5}}
    grid = ImageGridDisplay.from_predictions(images, y, **options)
    views = AugmentationDisplay.from_estimator(tiny_simclr(), images, **options)
    for display in (grid, views):
        assert display.ax_.images[0].cmap.name == "viridis"
        assert display.ax_.images[0].get_clim() == (0, 0.5)


# LearningCurveDisplay


def test_curves_are_those_of_the_history():
    """A panel for each quantity, against the epoch."""
    display = LearningCurveDisplay(HISTORY).plot()
    labels = [ax.get_ylabel().replace("\n", "_") for ax in display.axes_]
    assert labels == ["loss", "alignment", "uniformity", "effective_rank"]
    for ax, key in zip(display.axes_, labels, strict=True):
        (line,) = ax.lines
        assert_array_equal(line.get_xdata(), [1, 2, 3])
        assert_array_equal(line.get_ydata(), [row[key] for row in HISTORY])
    assert [ax.get_xlabel() for ax in display.axes_] == ["", "", "", "epoch"]


def test_validation_loss_shares_a_panel():
    """Two lines, labelled where they end."""
    history = [{"epoch": k, "loss": 1 / k, "valid_loss": 2 / k} for k in (1, 2)]
    (ax,) = LearningCurveDisplay(history).plot(line_kw={"lw": 3}).axes_
    assert_array_equal([line.get_ydata() for line in ax.lines], [[1, 0.5], [2, 1]])
    assert {text.get_text(): text.xy[1] for text in ax.texts} == {
        "training": 0.5,
        "validation": 1.0,
    }
    assert [line.get_linewidth() for line in ax.lines] == [3, 3]


def test_curves_of_estimators(images, y):
    """Fitted ones, frozen or not, alone or as a step."""
    simclr = tiny_simclr(max_epochs=2).fit(images)
    embedder = make_pipeline(FunctionTransformer(), simclr, StandardScaler())
    for estimator in (simclr, FrozenEstimator(simclr), embedder):
        display = LearningCurveDisplay.from_estimator(estimator)
        assert display.history is simclr.history_
        losses = [row["loss"] for row in simclr.history_]
        assert_array_equal(display.axes_[0].lines[0].get_ydata(), losses)


def test_curves_on_given_axes():
    """One for each panel, or a single one in whose place they are put."""
    figure, axes = plt.subplots(2, 2)
    display = LearningCurveDisplay(HISTORY).plot(axes)
    assert list(display.axes_) == list(axes.ravel())
    figure, (left, right) = plt.subplots(1, 2)
    display = LearningCurveDisplay(HISTORY).plot(right)
    assert len(display.axes_) == 4 and display.figure_ is figure
    assert all(ax.get_position().x0 >= right.get_position().x0 for ax in display.axes_)
    with pytest.raises(ValueError, match="4 panels to draw, got 2 axes"):
        LearningCurveDisplay(HISTORY).plot(axes[0])
    with pytest.raises(ValueError, match="are no subplot"):
        LearningCurveDisplay(HISTORY).plot(figure.add_axes((0, 0, 1, 1)))


def test_curve_errors(images):
    """Not fitted, no epochs, nothing to show."""
    with pytest.raises(NotFittedError, match="Call `fit` first"):
        LearningCurveDisplay.from_estimator(make_pipeline(tiny_simclr()))
    with pytest.raises(ValueError, match="got an empty history.*max_epochs"):
        LearningCurveDisplay.from_estimator(tiny_simclr(max_epochs=0).fit(images))
    for history in ([{"epoch": 1, "lr": 0.1}], [{"loss": 0.1}]):
        with pytest.raises(ValueError, match="must have 'epoch' and at least one of"):
            LearningCurveDisplay(history).plot()
    assert plt.get_fignums() == []


# EmbeddingDisplay


def principal_components(X):
    """Return the first two, by eigenvectors of the covariance, signs aside."""
    values, vectors = np.linalg.eigh(np.cov(X.T))
    return np.abs((X - X.mean(axis=0)) @ vectors[:, [-1, -2]]), values / values.sum()


def test_map_shows_principal_components(embeddings, y):
    """The points of each class, with its name in the legend."""
    display = EmbeddingDisplay.from_predictions(embeddings, y, target_names=NAMES)
    expected, shares = principal_components(embeddings)
    for label, drawn in enumerate(display.ax_.collections):
        points = np.abs(drawn.get_offsets())
        assert_allclose(points, expected[y == label], rtol=1e-6, atol=1e-9)
        assert to_hex(drawn.get_facecolor()[0]).upper() == group_style(label)[0]
    legend = display.ax_.get_legend()
    assert [text.get_text() for text in legend.texts] == NAMES
    share = f"component 1 ({100 * shares[-1]:.0f} % of variance)"
    assert display.ax_.get_xlabel() == share


def test_map_without_labels(embeddings):
    """One group, no legend, no thumbnails."""
    display = EmbeddingDisplay.from_predictions(
        embeddings, scatter_kw={"color": "red", "s": 9, "linewidths": 2}
    )
    (points,) = display.ax_.collections
    assert len(points.get_offsets()) == 30
    assert display.ax_.get_legend() is None and display.ax_.artists[:] == []
    assert to_hex(points.get_facecolor()[0]) == "#ff0000"
    assert (points.get_sizes(), points.get_linewidth()) == (9, 2)


def thumbnails(display):
    """Return the thumbnails on a map."""
    return [box for box in display.ax_.artists if isinstance(box, AnnotationBbox)]


@pytest.mark.parametrize("with_labels", [True, False])
def test_thumbnails_lie_on_their_points_and_apart(images, rng, y, with_labels):
    """They are the images of those points, inside the axes, in colours of the class."""
    display = EmbeddingDisplay.from_predictions(
        rng.normal(size=(30, 2)), y if with_labels else None, images=images
    )
    boxes = thumbnails(display)
    assert 10 <= len(boxes) <= 30
    display.figure_.canvas.draw()
    frames = [box.patch.get_window_extent() for box in boxes]
    for k, (box, frame) in enumerate(zip(boxes, frames, strict=True)):
        number = display.image_indices[k]
        assert_array_equal(box.xy, display.points[number])
        assert round(100 * box.offsetbox.get_data().mean()) == number
        color = group_style(y[number] if with_labels else 0)[0]
        assert to_hex(box.patch.get_edgecolor()).upper() == color
        assert display.ax_.bbox.contains(*frame.min)
        assert display.ax_.bbox.contains(*frame.max)
        assert not any(frame.overlaps(other) for other in frames[k + 1 :])


def test_points_are_spread_out(rng):
    """No two are nearer than the gap, and any other would be, as slow loops find."""
    points = rng.uniform(size=(200, 2)) * [100, 1]
    chosen = spread_out(points, 1000, 0.2)
    unit = points / np.ptp(points, axis=0)

    def distance(a, b):
        return np.abs(unit[a] - unit[b]).max()

    assert min(distance(a, b) for a in chosen for b in chosen if a != b) >= 0.2
    for other in set(range(200)) - set(chosen):
        assert min(distance(other, a) for a in chosen) < 0.2
    assert len(spread_out(points, 5, 0.2)) == 5
    assert len(spread_out(np.ones((4, 2)), 5, 0.2)) == 1


def test_map_of_an_estimator(images, y):
    """A pipeline's embeddings, with its images as thumbnails."""
    pipeline = make_pipeline(tiny_simclr(max_epochs=0), StandardScaler()).fit(images)
    display = EmbeddingDisplay.from_estimator(pipeline, images, y, n_thumbnails=3)
    expected = EmbeddingDisplay.from_predictions(pipeline.transform(images), y)
    assert_array_equal(display.points, expected.points)
    assert len(thumbnails(display)) == 3
    display = EmbeddingDisplay.from_estimator(pipeline, images, n_thumbnails=0)
    assert thumbnails(display) == []


def test_another_reducer(embeddings):
    """A clone of it is fitted."""
    reducer = FunctionTransformer(lambda X: X[:, :2])
    scaler = StandardScaler()
    pipeline = make_pipeline(reducer, scaler)
    display = EmbeddingDisplay.from_predictions(embeddings, reducer=pipeline)
    expected = StandardScaler().fit_transform(embeddings[:, :2])
    assert_allclose(display.points, expected)
    assert not hasattr(scaler, "mean_")
    assert display.ax_.get_xlabel() == "dimension 1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [0, 1]}, "expected 30 in y, got 2"),
        ({"y": [3] * 30, "target_names": NAMES}, "3 target names.* got 3"),
        ({"images": np.zeros((29, 8, 8))}, "expected 30 images, got 29"),
        ({"reducer": StandardScaler()}, r"shape \(30, 2\), got \(30, 5\)"),
        ({"n_thumbnails": -1}, "n_thumbnails == -1"),
        ({"embeddings": np.zeros((1, 5))}, "minimum of 2"),
        ({"embeddings": np.full((30, 5), np.nan)}, "embeddings contains NaN"),
    ],
)
def test_map_errors(embeddings, change, message):
    """They say what is wrong, and leave no figure."""
    with pytest.raises(ValueError, match=message):
        EmbeddingDisplay.from_predictions(**({"embeddings": embeddings} | change))
    assert plt.get_fignums() == []


def test_map_of_estimators_that_cannot_transform(images):
    """No such method, or not fitted."""
    with pytest.raises(TypeError, match=r"pass pipeline\[:-1\]"):
        pipeline = make_pipeline(StandardScaler(), LogisticRegression())
        EmbeddingDisplay.from_estimator(pipeline, images)
    with pytest.raises(NotFittedError):
        EmbeddingDisplay.from_estimator(tiny_simclr(), images)


# AugmentationDisplay


def test_views_are_those_of_the_augmentations(rng):
    """Drawn from one generator, view by view, of all images together."""
    images = rng.uniform(size=(3, 8, 8)).astype(np.float32)
    simclr = tiny_simclr(augmentations=(HorizontalFlip(), VerticalFlip()))
    display = AugmentationDisplay.from_estimator(
        simclr, images, n_images=9, n_views=2, random_state=5
    )
    random_state = np.random.RandomState(5)
    random_state.choice(3, 3, replace=False)
    generator = make_generator(random_state.randint(np.iinfo(np.int32).max))
    batch = torch.from_numpy(images)[:, None]
    for k in range(2):
        view = make_view(batch, simclr.augmentations, generator=generator, size=8)
        assert_array_equal(display.views[:, k], view[:, 0])
    drawn = [im.get_array() for im in display.ax_.images]
    expected = [pixels for k in range(3) for pixels in (images[k], *display.views[k])]
    assert_array_equal(drawn, expected)
    headings = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert headings == ["image", "view 1", "view 2"]


@pytest.mark.parametrize("shape", [(6, 10, 14), (6, 10, 14, 3), (6, 140)])
def test_views_of_any_form_of_images(shape, rng):
    """Colours and flattened rows; the estimator's parameters are used."""
    images = rng.integers(0, 256, shape).astype(np.uint8)
    simclr = tiny_simclr(image_shape=(10, 14) if len(shape) == 2 else None)
    display = AugmentationDisplay.from_estimator(FrozenEstimator(simclr), images)
    channels = shape[3:]
    assert display.images.shape == (4, 10, 14, *channels)
    assert display.views.shape == (4, 6, 8, 8, *channels)
    assert len(display.ax_.images) == 28


def test_views_from_augmentations_alone(images):
    """Without an estimator; the same random state gives the same views."""
    options = {"image_size": 6, "random_state": 1, "n_images": 2, "n_views": 3}
    one, two = (
        AugmentationDisplay.from_augmentations((VerticalFlip(),), images, **options)
        for _ in range(2)
    )
    assert one.views.shape == (2, 3, 6, 6)
    assert_array_equal(one.views, two.views)


def test_augmentation_errors(images):
    """Not SimCLR, not augmentations, none of them."""
    with pytest.raises(TypeError, match="needs a SimCLRTransformer.*got Pipeline"):
        AugmentationDisplay.from_estimator(make_pipeline(tiny_simclr()), images)
    with pytest.raises(ValueError, match="augmentations must be a tuple of members"):
        AugmentationDisplay.from_augmentations((len,), images, image_size=8)
    with pytest.raises(ValueError, match="n_views == 0, must be >= 1"):
        AugmentationDisplay.from_estimator(tiny_simclr(), images, n_views=0)


# SilhouetteDisplay


@pytest.fixture
def blobs():
    """Four clear blobs, and their numbers."""
    return make_blobs(80, centers=4, random_state=6)


def test_silhouettes_equal_scikit_learns(blobs):
    """For every number of clusters, and for the true labels."""
    X, y = blobs
    kmeans = KMeans(n_init=1, random_state=0)
    before = kmeans.get_params()
    display = SilhouetteDisplay.from_estimator(kmeans, X, y, n_clusters=[5, 4, 2])
    labels = [clone(kmeans).set_params(n_clusters=k).fit_predict(X) for k in (2, 4, 5)]
    assert_array_equal(display.labels, labels)
    curve, best, true = display.ax_.lines
    assert_array_equal(curve.get_xdata(), [2, 4, 5])
    assert_allclose(curve.get_ydata(), [silhouette_score(X, each) for each in labels])
    assert_allclose(true.get_ydata(), silhouette_score(X, y))
    assert display.best_n_clusters == 4
    assert_array_equal(best.get_xydata(), [[4, display.scores[1]]])
    assert texts(display.ax_) == ["4", "true\nlabels"]
    assert kmeans.get_params() == before and not hasattr(kmeans, "labels_")


def test_silhouettes_of_a_sample(blobs):
    """The same rows for every number of clusters, as scikit-learn draws them."""
    X, y = blobs
    labels = [KMeans(k, n_init=1, random_state=0).fit_predict(X) for k in (4, 3)]
    sample = {"sample_size": 40, "random_state": 2}
    display = SilhouetteDisplay.from_predictions(X, labels, y, **sample)
    expected = [silhouette_score(X, each, **sample) for each in labels[::-1]]
    assert display.n_clusters == [3, 4]
    assert_allclose(display.scores, expected)
    assert_allclose(display.y_score, silhouette_score(X, y, **sample))


def test_silhouettes_without_true_labels(blobs):
    """No horizontal line."""
    display = SilhouetteDisplay.from_predictions(*blobs[:1], [blobs[1]])
    assert display.y_score is None
    assert len(display.ax_.lines) == 2 and texts(display.ax_) == ["4"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": []}, "at least one number of clusters"),
        ({"labels": [[0, 1]]}, "expected 80 in labels, got 2"),
        ({"labels": [[0] * 80]}, "2 to 79 groups among 80 samples.*got 1 in labels"),
        ({"labels": [range(80)]}, "got 80 in labels"),
        ({"y": [1] * 80}, "got 1 in y"),
        ({"y": [1, 2]}, "expected 80 in y, got 2"),
        ({"sample_size": 81}, "sample_size == 81, must be <= 80"),
    ],
)
def test_silhouette_errors(blobs, change, message):
    """They say what is wrong, and leave no figure."""
    X, y = blobs
    with pytest.raises(ValueError, match=message):
        SilhouetteDisplay.from_predictions(**({"X": X, "labels": [y], "y": y} | change))
    assert plt.get_fignums() == []


def test_silhouettes_of_other_clusterers(blobs):
    """Without n_clusters, or with impossible ones."""
    X, _ = blobs
    with pytest.raises(TypeError, match="a parameter n_clusters, got DBSCAN"):
        SilhouetteDisplay.from_estimator(DBSCAN(), X)
    for n_clusters, message in (
        ([1, 2], "n_clusters == 1"),
        ([80], "n_clusters == 80"),
    ):
        with pytest.raises(ValueError, match=message):
            SilhouetteDisplay.from_estimator(KMeans(), X, n_clusters=n_clusters)
    with pytest.raises(ValueError, match="got none"):
        SilhouetteDisplay.from_estimator(KMeans(), X, n_clusters=[])
