"""Frames to label next: against slow versions, known bounds, and real catalogues."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from archive_files import frame_name, frame_times, write_pgm
from archives import N_FRAMES, SIZE, fitted_pipeline, write_archive
from numpy.testing import assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sksimclr.archive import _suggest, label_archive, read_catalogue, suggest

pytestmark = pytest.mark.usefixtures("one_thread")


def draw(rng, n_samples=60, n_features=5):
    """Return embeddings on unlike scales and the probabilities of three classes."""
    X = rng.standard_normal((n_samples, n_features)) * [1, 10, 0.1, 3, 3] + 2
    return X.astype(np.float32), rng.dirichlet(np.ones(3), n_samples)


def slow_suggest(X, n, labelled, doubt):
    """Return the weighted greedy k-centre, by a loop over all pairs."""
    free = [row for row in range(len(X)) if row not in labelled]
    X = (X - X[free].mean(axis=0)) / X[free].std(axis=0)
    centres, chosen = list(labelled), []
    for _ in range(n):
        best = max(
            (row for row in free if row not in chosen),
            key=lambda row: (
                doubt[row] * min(np.linalg.norm(X[row] - X[c]) for c in centres)
            ),
        )
        centres.append(best)
        chosen.append(best)
    return chosen


def doubts(probabilities):
    """Return one minus the difference between the two largest probabilities."""
    ordered = [sorted(row, reverse=True) for row in probabilities]
    return [1 - (row[0] - row[1]) for row in ordered]


def blobs(rng, sizes, n_features=4):
    """Return tight clusters, far apart, in random order, and their numbers."""
    numbers = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = 100 * rng.standard_normal((len(sizes), n_features))
    return centres[numbers] + rng.standard_normal((len(numbers), n_features)), numbers


@pytest.mark.parametrize("labelled", [[7], [0, 59, 31, 4]])
def test_frames_are_those_of_a_loop_over_all_pairs(rng, labelled):
    """With doubt and without."""
    X, P = draw(rng)
    expected = slow_suggest(X, 12, labelled, np.ones(len(X)))
    assert suggest(X, 12, labelled=labelled).tolist() == expected
    expected = slow_suggest(X, 12, labelled, doubts(P))
    assert suggest(X, 12, labelled=labelled, probabilities=P).tolist() == expected


def test_radius_is_at_most_twice_the_best_one(rng):
    """Gonzalez's bound, against all choices of four centres."""
    X = rng.standard_normal((14, 2))
    X = (X - X[1:].mean(axis=0)) / X[1:].std(axis=0)  # as they are seen, row 0 apart
    distances = cdist(X, X)
    best = min(
        distances[list(centres)].min(axis=0).max()
        for centres in combinations(range(14), 4)
    )
    found = [0, *suggest(X, 3, labelled=[0])]
    assert best <= distances[found].min(axis=0).max() <= 2 * best


@pytest.mark.parametrize("labelled", [[], [5]])
def test_first_are_the_most_urgent(rng, labelled):
    """Fewer frames are the beginning of more; without labels, doubt comes first."""
    X, P = draw(rng)
    more = suggest(X, 20, probabilities=P, labelled=labelled)
    fewer = suggest(X, 8, probabilities=P, labelled=labelled)
    assert_array_equal(more[:8], fewer)
    if not labelled:
        assert more[0] == np.argmax(doubts(P))


def test_without_labels_frames_are_typical(rng):
    """One of the middle of each cluster, the largest first."""
    X, numbers = blobs(rng, [50, 20, 100, 5])
    chosen = suggest(X, 4)
    assert numbers[chosen].tolist() == [2, 0, 1, 3]
    for row, number in zip(chosen, numbers[chosen], strict=True):
        members = X[numbers == number]
        scaled = (members - members.mean(axis=0)) / X.std(axis=0)
        own = (X[row] - members.mean(axis=0)) / X.std(axis=0)
        assert np.linalg.norm(own) == pytest.approx(
            np.linalg.norm(scaled, axis=1).min(), rel=1e-3
        )


def test_frames_of_a_rare_class_are_found_early(rng):
    """Five among a thousand; a random choice of ten has one in 5 % of all draws."""
    X, numbers = blobs(rng, [500, 495, 5])
    y = np.minimum(numbers, 1)  # nobody knows of the third yet
    labelled = [*suggest(X, 2)]
    assert set(y[labelled]) == {0, 1}
    P = LogisticRegression().fit(X[labelled], y[labelled]).predict_proba(X)
    labelled += [*suggest(X, 8, probabilities=P, labelled=labelled)]
    assert 2 in numbers[labelled]


@pytest.mark.parametrize("labelled", [[], [3]])
def test_copies_are_suggested_once_each(rng, labelled):
    """Rows that are equal are still different frames."""
    X = np.repeat(rng.standard_normal((3, 4)), 5, axis=0)
    n = len(X) - len(labelled)
    chosen = suggest(X, n, labelled=labelled)
    assert sorted([*chosen, *labelled]) == list(range(15))
    assert (
        len({tuple(X[row]) for row in [*labelled, *chosen[: 3 - len(labelled)]]}) == 3
    )


@pytest.mark.parametrize("labelled", [[], [3]])
def test_scale_of_features_is_of_no_consequence(rng, labelled):
    """Nor is a constant that is added, or a feature that is the same everywhere."""
    X, _ = draw(rng)
    other = np.column_stack([X * [3, 1, 20, 5, 0.5] - 1, np.full(len(X), 7)])
    assert_array_equal(
        suggest(X, 9, labelled=labelled), suggest(other, 9, labelled=labelled)
    )


def test_float16_and_lists_give_what_float32_gives(rng):
    """And what is given is left as it is."""
    X, P = draw(rng)
    half = X.astype(np.float16)
    copies = half.copy(), P.copy()
    expected = suggest(half.astype(np.float32), 9, probabilities=P, labelled=[1])
    assert expected.dtype == np.int64
    assert_array_equal(suggest(half, 9, probabilities=P, labelled=[1]), expected)
    found = suggest(half.tolist(), 9, probabilities=P.tolist(), labelled=[1])
    assert_array_equal(found, expected)
    assert_array_equal(half, copies[0])
    assert_array_equal(P, copies[1])


def test_classifier_that_is_sure_of_all_leaves_it_to_the_embeddings(rng):
    """Rather than to the order of the rows."""
    X, _ = draw(rng)
    P = np.eye(3)[rng.integers(3, size=len(X))]
    expected = suggest(X, 9, labelled=[0])
    assert_array_equal(suggest(X, 9, probabilities=P, labelled=[0]), expected)


@pytest.mark.parametrize("n_samples", [60, 59, 41])
def test_of_many_frames_every_stretch_has_its_most_doubtful(
    rng, monkeypatch, n_samples
):
    """As many as can be compared; the labelled ones are left out before."""
    monkeypatch.setattr(_suggest, "_CANDIDATES", 20)
    X, P = draw(rng, n_samples)
    labelled = [4, 40]
    free = [row for row in range(n_samples) if row not in labelled]
    step = int(np.ceil(len(free) / 20))
    doubt = np.array(doubts(P))
    stretches = [free[k : k + step] for k in range(0, len(free), step)]
    kept = [max(stretch, key=doubt.__getitem__) for stretch in stretches]
    few = [*kept, *labelled]  # the last two
    expected = suggest(
        X[few], 6, probabilities=P[few], labelled=[len(kept), len(kept) + 1]
    )
    found = suggest(X, 6, probabilities=P, labelled=labelled)
    assert_array_equal(found, np.array(few)[expected])
    assert set(suggest(X, len(stretches), labelled=labelled)) == {
        stretch[0] for stretch in stretches
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n == 0, must be >= 1"),
        ({"n": 59, "labelled": [1, 2]}, r"n=59, but there are only 58 frames"),
        ({"labelled": np.zeros(60, bool)}, r"got bool of shape \(60,\).*flatnonzero"),
        ({"labelled": [3, 60]}, r"from 0 to 59; labelled\[1\] is 60"),
        ({"labelled": [-1]}, r"labelled\[0\] is -1"),
        ({"probabilities": np.full((59, 3), 0.3)}, "expected 60, got 59"),
        ({"probabilities": np.full((60, 3), 1.3)}, "row 0 is .1.3 1.3 1.3."),
        ({"probabilities": np.full((60, 1), 0.3)}, "minimum of 2 is required"),
        ({"frames": [[np.nan, 1.0]]}, "contains NaN"),
        ({"frames": [1.0, 2.0]}, "Expected 2D array"),
    ],
)
def test_wrong_arguments_are_named(rng, arguments, message):
    """With what was expected and what was got."""
    with pytest.raises(ValueError, match=message):
        suggest(**({"frames": draw(rng)[0], "n": 2} | arguments))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six files of five frames, a file of frames without contrast, a catalogue."""
    folder = tmp_path_factory.mktemp("suggest")
    write_archive(folder / "archive")
    start = np.datetime64("2014-03-11T06:00", "ns")
    dark = np.full((N_FRAMES, SIZE, SIZE), 2500, np.uint16)
    path = folder / "archive" / frame_name(start, "gill", ".pgm")
    write_pgm(path, dark, frame_times(N_FRAMES, start))
    pipeline = fitted_pipeline()
    files = folder / "archive"
    label_archive(pipeline, files, folder / "out", embeddings=True, n_threads=1)
    label_archive(pipeline, files, folder / "plain", n_threads=1)
    label_archive(
        pipeline[:-1], files, folder / "embedded", embeddings=True, n_threads=1
    )
    return folder


def frames_of(table):
    """Return (file, frame) of each row."""
    return list(zip(table["file"].to_pylist(), table["frame"].to_pylist(), strict=True))


def good_rows(catalogue):
    """Return the rows that have an embedding, embeddings, and probabilities."""
    table = read_catalogue(catalogue)
    table = table.filter(table["embedding"].is_valid())
    names = [n for n in table.column_names if n.startswith("probability_")]
    P = np.transpose([table[name].to_numpy() for name in names])
    return table, np.array(table["embedding"].to_pylist(), np.float16), P


def test_of_a_catalogue_come_the_rows_that_its_columns_say(folder):
    """Those of the arrays in it, with all columns but the embedding."""
    table, X, P = good_rows(folder / "out")
    assert len(table) == 6 * N_FRAMES
    labelled = [2, 11]
    expected = suggest(X, 7, probabilities=P, labelled=labelled)
    pairs = [frames_of(table)[row] for row in labelled]
    found = suggest(folder / "out", 7, labelled=pairs)
    assert found.equals(table.drop_columns(["embedding"]).take(expected))
    as_table = table.take(labelled)
    assert suggest(str(folder / "out"), 7, labelled=as_table).equals(found)


def test_rounds_over_a_catalogue_come_to_every_good_frame(folder):
    """Each once; those without contrast never."""
    table, _, _ = good_rows(folder / "out")
    first = suggest(folder / "out", 13)
    second = suggest(folder / "out", 17, labelled=first)
    assert sorted(frames_of(pa.concat_tables([first, second]))) == sorted(
        frames_of(table)
    )
    with pytest.raises(ValueError, match="n=18, but there are only 17"):
        suggest(folder / "out", 18, labelled=first)


def test_labelled_frame_without_embedding_is_no_centre(folder):
    """It has been labelled all the same, and is no mistake."""
    table = read_catalogue(folder / "out", columns=["file", "frame", "quality"])
    dark = [*zip(*table.filter(pa.compute.field("quality") == "constant"), strict=True)]
    assert len(dark) == N_FRAMES
    pairs = [(file.as_py(), frame.as_py()) for file, frame, _ in dark]
    found = suggest(folder / "out", 5, labelled=pairs)
    assert found.equals(suggest(folder / "out", 5))


@pytest.mark.parametrize("batch_rows", [1, 4, 1000])
def test_catalogue_is_thinned_in_stretches_whatever_the_batches(
    folder, monkeypatch, batch_rows
):
    """Stretches go on from one batch, and one file, to the next."""
    rows = _suggest.open_rows(folder / "out").to_table()
    rows = rows.filter(rows["embedding"].is_valid())
    doubt = _suggest._doubt_of_rows(rows)
    stretches = [range(k, min(k + 4, 30)) for k in range(0, 30, 4)]
    expected = {frames_of(rows)[max(s, key=doubt.__getitem__)] for s in stretches}
    monkeypatch.setattr(_suggest, "_BATCH_ROWS", batch_rows)
    monkeypatch.setattr(_suggest, "_CANDIDATES", 10)  # of 35 rows, every fourth
    assert set(frames_of(suggest(folder / "out", 8))) == expected


def test_catalogue_of_one_class_gives_typical_frames(folder, tmp_path):
    """Of which nothing is in doubt."""
    pipeline = make_pipeline(*fitted_pipeline()[:-1], DummyClassifier())
    pipeline[-1].fit(np.zeros((1, 8)), ["arc"])
    label_archive(pipeline, folder / "archive", tmp_path / "out", embeddings=True)
    rows = _suggest.open_rows(tmp_path / "out").to_table()
    rows = rows.filter(rows["embedding"].is_valid())
    expected = suggest(np.array(rows["embedding"].to_pylist(), np.float16), 4)
    found = suggest(tmp_path / "out", 4)
    assert frames_of(found) == [frames_of(rows)[row] for row in expected]


def test_catalogue_without_classes_gives_typical_frames(folder):
    """As its embeddings do, and then those far from the labelled ones."""
    table, X, _ = good_rows(folder / "embedded")
    first = suggest(folder / "embedded", 4)
    rows = _suggest.open_rows(folder / "embedded").to_table()
    rows = rows.filter(rows["embedding"].is_valid())
    X_rows = np.array(rows["embedding"].to_pylist(), np.float16)
    assert first.equals(rows.drop_columns(["embedding"]).take(suggest(X_rows, 4)))
    numbers = [frames_of(table).index(pair) for pair in frames_of(first)]
    second = suggest(folder / "embedded", 5, labelled=first)
    assert frames_of(second) == [
        frames_of(table)[row] for row in suggest(X, 5, labelled=numbers)
    ]


def test_wrong_catalogues_and_frames_are_named(folder, tmp_path):
    """With what to do."""
    with pytest.raises(ValueError, match=r"no embeddings.*embeddings=True"):
        suggest(folder / "plain", 2)
    with pytest.raises(FileNotFoundError, match="is no catalogue"):
        suggest(tmp_path, 2)
    with pytest.raises(ValueError, match="has its own probabilities"):
        suggest(folder / "out", 2, probabilities=[[0.5, 0.5]])
    with pytest.raises(ValueError, match=r"1 labelled.*frame 9 of '.*such\.pgm'"):
        known = frames_of(read_catalogue(folder / "out"))[0]
        suggest(folder / "out", 2, labelled=[known, ("/no/such.pgm", 9)])
    for labelled in ([3], ["file"], [("file", "first")]):
        with pytest.raises(ValueError, match=r"must be pairs \(file, frame\)"):
            suggest(folder / "out", 2, labelled=labelled)
