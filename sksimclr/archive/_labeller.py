"""A fitted pipeline as what makes columns of a catalogue out of frames."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sksimclr._estimators.fingerprint import model_fingerprint
from sksimclr.archive._clock import check_utc_offset
from sksimclr.archive._folder import CATALOGUE
from sksimclr.archive._grouping import by_folder
from sksimclr.archive._labelled_part import LabelledPart


class Labeller:
    """A fitted pipeline, taken apart into what embeds frames and what labels them.

    Parameters
    ----------
    pipeline : estimator
    embeddings : bool
        Whether embeddings are wanted.
    utc_offset : float, default=0.0
        As in `label_archive`.

    Attributes
    ----------
    header : dict
        What the catalogue says of the model, and of the times.
    """

    kind = CATALOGUE
    part_bytes = 0, 1 << 27  # at least and at most, of files; an hour of THEMIS
    divide = staticmethod(by_folder)

    def __init__(self, pipeline, *, embeddings, utc_offset=0.0):
        check_is_fitted(pipeline)
        self._body, self._head = _take_apart(pipeline)
        if self._head is None and not embeddings:
            raise ValueError(
                "The pipeline ends without a classifier, so there are no labels to "
                "write. Add one, or pass embeddings=True."
            )
        if self._body is None and embeddings:
            raise ValueError(
                f"{type(pipeline).__name__} has no step before the classifier whose "
                "result could be written as embeddings. Pass embeddings=False."
            )
        self._embeddings = embeddings
        self.header = {
            "model": model_fingerprint(pipeline),
            "classes": self._classes(),
            "probabilities": hasattr(self._head, "predict_proba"),
            "n_features": self._n_features() if embeddings else None,
            "utc_offset": check_utc_offset(utc_offset),
        }
        self.fingerprint = self.header["model"]

    def part(self, group, folder):
        """Return the empty `Part` of a group of files."""
        return LabelledPart(self)

    def columns(self, images):
        """Return what the model says of frames (n, H, W): arrays by column."""
        rows = images if self._body is None else self._body.transform(images)
        columns = {}
        if self.header["probabilities"]:
            classes = self.header["classes"]
            probabilities = np.asarray(self._head.predict_proba(rows), np.float32)
            columns["label"] = np.take(classes, probabilities.argmax(axis=1))
            for name, values in zip(classes, probabilities.T, strict=True):
                columns[f"probability_{name}"] = values
        elif self._head is not None:
            columns["label"] = np.asarray(self._head.predict(rows))
        if self._embeddings:
            columns["embedding"] = _as_halves(np.asarray(rows))
        return columns

    def _classes(self):
        """Return the classes as JSON has them."""
        if self._head is None:
            return None
        classes = getattr(self._head, "classes_", None)
        if not isinstance(classes, np.ndarray) or classes.dtype.kind not in "iuUOb":
            raise ValueError(
                f"Expected a classifier of one label at the end of the pipeline, got "
                f"{self._head!r}. Regressors and multi-label classifiers have no place "
                "in a catalogue."
            )
        return classes.tolist()

    def _n_features(self):
        """Return the length of an embedding."""
        if self._head is not None:
            return int(self._head.n_features_in_)
        last = self._body[-1] if isinstance(self._body, Pipeline) else self._body
        return len(last.get_feature_names_out())  # a step before may need no fit


def _take_apart(pipeline):
    """Return (what embeds, what labels); one of them may be None."""
    if not hasattr(pipeline, "predict"):
        return pipeline, None
    if not isinstance(pipeline, Pipeline):
        return None, pipeline
    body = pipeline[:-1] if len(pipeline) > 1 else None
    return body, pipeline[-1]


def _as_halves(embeddings):
    """Return embeddings as float16, if they fit."""
    with np.errstate(over="ignore"):
        halves = embeddings.astype(np.float16)
    if not np.isfinite(halves).all():
        raise ValueError(
            f"Embeddings of up to {np.abs(embeddings).max():g} do not fit float16, "
            "which ends at 65504. Scale them in a step before the classifier."
        )
    return halves
