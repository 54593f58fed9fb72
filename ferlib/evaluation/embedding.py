"""Features laid out on a plane, so that one sees which pictures a net takes for alike.

net, info = nets.load(nets.find_weights())
points = embedded(nets.features.features(net, info, valid.pictures))
plots.embedding(points, valid.truth)
"""

import numpy as np

from ferlib.errors import FerlibError, need

LEAST = 4  # pictures: of fewer none has two neighbours to choose between
PERPLEXITY = 30  # about so many neighbours of each picture count; the paper's range is 5 to 50


def embedded(features: np.ndarray, seed: int = 0, perplexity: float = PERPLEXITY) -> np.ndarray:
    """Features (N, F) -> places (N, 2), float32, by t-SNE (van der Maaten and Hinton 2008).

    It keeps neighbours together; distances between clusters, and their sizes, mean nothing. The
    same features and seed give the same places on one machine. Pictures that are few take a smaller
    `perplexity`, a third of their number. FerlibError where they are fewer than LEAST, or where
    there is nothing to tell them apart by.
    """
    need("sklearn", "seeing", "t-SNE")
    from sklearn.manifold import TSNE

    features = np.asarray(features, np.float32)
    if len(features) < LEAST:
        raise FerlibError(f"{len(features)} pictures to lay out: expected {LEAST} or more")
    if features.ndim != 2 or features.shape[1] < 2 or not np.isfinite(features).all():
        raise FerlibError(f"features {features.shape}: expected (N, 2 or more) finite numbers")
    spread = np.ptp(features.astype(float), axis=0).max()
    if spread < 1e-6 * max(np.abs(features).max(), 1e-20):  # scikit-learn would crash
        raise FerlibError("all pictures have the same features: nothing tells them apart")
    how = {"init": "pca", "learning_rate": "auto", "random_state": seed}
    return TSNE(perplexity=min(perplexity, (len(features) - 1) / 3), **how).fit_transform(features)
