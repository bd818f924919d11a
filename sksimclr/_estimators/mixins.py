"""What our estimators add to what scikit-learn's base classes do.

Links to this package's documentation, names of features when X is a column of paths,
and images in a data frame.
"""

import sys

import numpy as np
from sklearn import get_config
from sklearn.base import ClassNamePrefixFeaturesOutMixin

_OUTPUTS = ("default", "pandas", "polars")
DOCUMENTATION = "https://sksimclr.readthedocs.io/en/stable/"


class DocumentationLinkMixin:
    """Let the HTML repr of an estimator link to its page of our documentation."""

    _doc_link_module = "sksimclr"
    _doc_link_template = DOCUMENTATION + "api/{estimator_module}.{estimator_name}.html"


class ImageFeaturesOutMixin(ClassNamePrefixFeaturesOutMixin):
    """Name features after the class, also where X is one column of a table."""

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns of the result.

        Parameters
        ----------
        input_features : array-like of shape (n_columns,), str, default=None
            Names of the columns of X, which must be those seen in `fit`; or the one
            name of a column of paths. They have no effect.

        Returns
        -------
        ndarray of shape (n_features,), str
            The class's name in lower case and a number: "simclrtransformer0", ...
        """
        is_column_of_images = np.shape(input_features) == (1,) and not hasattr(
            self, "feature_names_in_"
        )
        return super().get_feature_names_out(
            None if is_column_of_images else input_features
        )


class ImagesOutMixin:
    """Let a transformer that returns images keep the index of a data frame."""

    def set_output(self, *, transform=None):
        """Choose in what the images are returned when X has an index.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            With "pandas", X in a data frame or series becomes a data frame of the same
            index: with a column for each value if the images are rows, else with one
            column, "image", of arrays. Otherwise the images come in an array. None
            changes nothing.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            `transform` is none of these.
        """
        if transform not in (None, *_OUTPUTS):
            raise ValueError(f"transform must be one of {_OUTPUTS}, got {transform!r}.")
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}  # clone copies it
        return self

    def _with_index_of(self, X, images):
        """Return the images, in a data frame if X is from pandas and so is the output.

        The next step of a pipeline finds the index there, without which
        ``ColumnTransformer`` puts embeddings beside rows of other images.
        """
        config = getattr(self, "_sklearn_output_config", {})
        output = config.get("transform", get_config()["transform_output"])
        pandas = sys.modules.get("pandas")  # imported by now, if X is from there
        if output != "pandas" or pandas is None:
            return images
        if not isinstance(X, (pandas.DataFrame, pandas.Series)):
            return images
        if images.ndim == 2:
            prefix = type(self).__name__.lower()
            names = [f"{prefix}{k}" for k in range(images.shape[1])]
            return pandas.DataFrame(images, index=X.index, columns=names)
        cells = pandas.Series(list(images), index=X.index, dtype=object)
        return cells.to_frame("image")
