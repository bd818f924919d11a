"""What `load_model` loads unasked, and what it checks of it once it is loaded.

Types that skops trusts are not all harmless: some of scikit-learn read files, and some
hand numbers to compiled code, which reads and writes wherever they point to.
"""

import numpy as np

OURS = (
    "sksimclr.AuroraPreprocessor",
    "sksimclr.SimCLRTransformer",
    "sksimclr.augmentations.BrightnessContrast",
    "sksimclr.augmentations.GaussianBlur",
    "sksimclr.augmentations.GaussianNoise",
    "sksimclr.augmentations.HorizontalFlip",
    "sksimclr.augmentations.ResizedCrop",
    "sksimclr.augmentations.Rotation",
    "sksimclr.augmentations.VerticalFlip",
    "sksimclr.model_selection.NearestIndexClassifier",
)
# By public names. Of trees only the Python part: the compiled one, and all of
# GradientBoosting, HistGradientBoosting and SVC, follow any index without a look.
_OF_SCIKIT_LEARN = {
    "calibration": "CalibratedClassifierCV _CalibratedClassifier _SigmoidCalibration "
    "_TemperatureScaling",
    "cluster": "AffinityPropagation KMeans MeanShift MiniBatchKMeans",
    "compose": "ColumnTransformer",
    "decomposition": "FactorAnalysis FastICA IncrementalPCA PCA TruncatedSVD",
    "discriminant_analysis": "LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis",
    "dummy": "DummyClassifier",
    "ensemble": "AdaBoostClassifier BaggingClassifier ExtraTreesClassifier "
    "RandomForestClassifier StackingClassifier VotingClassifier",
    "feature_selection": "SelectFromModel VarianceThreshold",
    "frozen": "FrozenEstimator",
    "isotonic": "IsotonicRegression",
    "linear_model": "Hinge LogisticRegression LogisticRegressionCV "
    "ModifiedHuber PassiveAggressiveClassifier Perceptron RidgeClassifier "
    "RidgeClassifierCV SGDClassifier SquaredHinge",
    "mixture": "BayesianGaussianMixture GaussianMixture",
    "model_selection": "FixedThresholdClassifier TunedThresholdClassifierCV",
    "multiclass": "OneVsOneClassifier OneVsRestClassifier OutputCodeClassifier "
    "_ConstantPredictor",
    "naive_bayes": "BernoulliNB ComplementNB GaussianNB MultinomialNB",
    "neighbors": "KNeighborsClassifier NearestCentroid NeighborhoodComponentsAnalysis",
    "neural_network": "AdamOptimizer MLPClassifier SGDOptimizer",
    "pipeline": "FeatureUnion Pipeline",
    "preprocessing": "Binarizer LabelBinarizer LabelEncoder MaxAbsScaler MinMaxScaler "
    "Normalizer PowerTransformer QuantileTransformer RobustScaler StandardScaler",
    "svm": "LinearSVC",
    "tree": "DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier",
    "utils": "Bunch",
}
_PUBLIC = {
    f"sklearn.{module}.{name}"
    for module, names in _OF_SCIKIT_LEARN.items()
    for name in names.split()
} | {"sklearn.CyHalfBinomialLoss"}  # of SGDClassifier
_LEFT_TO_SKOPS = ("builtins", "collections", "numpy")
_MOST_THREADS = 4096
_LENGTH_OF_MT19937 = 624


def is_trusted(name):
    """Say whether a type may be loaded unasked, as far as skops trusts it too.

    Examples
    --------
    >>> is_trusted("sklearn.linear_model._logistic.LogisticRegression")
    True
    >>> is_trusted("sklearn.feature_extraction.text.CountVectorizer")
    False
    """
    *modules, last = name.split(".")
    public = [part for part in modules if not part.startswith("_")]
    return name in OURS or ".".join([*public, last]) in _PUBLIC


def is_for_skops(name):
    """Say whether a type is one of Python or NumPy, of which skops knows the safe."""
    return name.partition(".")[0] in _LEFT_TO_SKOPS


def check_numbers(model):
    """Check parameters of estimators, and the numbers that compiled code relies on.

    Parameters
    ----------
    model : object
        What was loaded; everything that it consists of is looked at.

    Raises
    ------
    ValueError
        A parameter, a shape or an index cannot be.
    """
    from sklearn.base import BaseEstimator
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.neighbors import KNeighborsClassifier

    for part in _parts_of(model):
        if isinstance(part, BaseEstimator):
            _check_parameters(part)
        if isinstance(part, (KMeans, MiniBatchKMeans)):
            _check_centers(part)
        if isinstance(part, KNeighborsClassifier):
            _check_neighbors(part)
        if isinstance(part, np.random.RandomState):
            place = part.get_state(legacy=False)["state"]["pos"]
            _expect(0 <= place <= _LENGTH_OF_MT19937, part)


def _parts_of(model):
    """Yield an object and all that it consists of, but for networks."""
    seen, stack = {}, [model]
    while stack:
        part = stack.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        yield part
        if isinstance(part, dict):
            stack += part.values()
        elif isinstance(part, (list, tuple, set)):
            stack += part
        elif isinstance(part, np.ndarray) and part.dtype == object:
            stack += part.ravel().tolist()
        elif hasattr(part, "__dict__") and not hasattr(part, "state_dict"):
            stack += vars(part).values()


def _check_parameters(estimator):
    """Check parameters as `fit` does, if all that this version knows are there."""
    is_known = hasattr(estimator, "_parameter_constraints")
    if is_known and all(hasattr(estimator, n) for n in estimator._get_param_names()):
        estimator._validate_params()


def _check_centers(model):
    """Check what a fitted k-means gives to compiled code."""
    if not hasattr(model, "cluster_centers_"):
        return
    centers, n_threads = model.cluster_centers_, model._n_threads
    _expect(
        _is_table(centers, model.n_features_in_)
        and type(n_threads) is int
        and 0 < n_threads <= _MOST_THREADS,
        model,
    )


def _check_neighbors(model):
    """Check what fitted nearest neighbours give to compiled code."""
    if not hasattr(model, "_fit_X"):
        return
    table, labels, classes = model._fit_X, model._y, model.classes_
    classes = classes if isinstance(classes, list) else [classes]
    _expect(
        _is_table(table, model.n_features_in_)
        and model.n_samples_fit_ == len(table) == len(labels)
        and labels.dtype.kind == "i"
        and labels.size == len(table) * len(classes)
        and labels.min() >= 0
        and (labels.reshape(len(table), -1).max(0) < list(map(len, classes))).all(),
        model,
    )


def _is_table(values, n_columns):
    """Say whether something is an array of numbers with so many columns."""
    is_table = isinstance(values, np.ndarray) and values.ndim == 2 and len(values) > 0
    return is_table and values.dtype.kind in "fiu" and values.shape[1] == n_columns


def _expect(is_right, model):
    if not is_right:
        raise ValueError(
            f"the shapes and indices of {type(model).__name__} do not go together"
        )
