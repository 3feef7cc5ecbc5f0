"""How well frozen features tell classes apart: two closed-form scores from the literature, larger is better."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_RATIOS = np.logspace(-9, 3, 97)  # prior precision by noise precision, in units of the largest squared singular value


def logme(features: Floats, labels: NDArray[np.int64]) -> float:
    """LogME: the log evidence of a Bayesian linear model, per row, maximised, mean over the classes. No upper bound.

    You, Liu, Wang & Long 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", section 4.
    `features` F (n, d), `labels` (n,) class indices. For each class with 0/1 targets y (n,), y = F w + noise with
    w ~ N(0, I / alpha) and noise ~ N(0, I / beta), so y ~ N(0, S / beta) with S = I + F F' / t, t = alpha / beta:

        L(alpha, beta) = n/2 log(beta / 2 pi) - 1/2 log det S - beta/2 y' S^-1 y

    Its maximum over beta is at beta = n / (y' S^-1 y). That over t is found on a grid of 97 values from 1e-9 to 1e3
    times the largest squared singular value, and then refined between the neighbours of the best; the paper's fixed
    point seeks the same maximum.
    """
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    squares = singular**2
    classes = np.unique(labels)
    return float(np.mean([_evidence(left, squares, (labels == one).astype(np.float64)) for one in classes]))


def _evidence(left: Floats, squares: Floats, target: Floats) -> float:
    """The maximum of L / n for one class."""
    from scipy.optimize import minimize_scalar

    inside = (left.T @ target) ** 2
    outside = max(float(target @ target - inside.sum()), 0.0)  # the part of y that no weights can reach

    def at(log_ratio: float) -> float:
        t, n = np.exp(log_ratio), len(target)
        distance = outside + float((inside * t / (squares + t)).sum())  # y' S^-1 y
        determinant = float(np.log1p(squares / t).sum())
        return float(0.5 * np.log(n / (2 * np.pi * max(distance, 1e-300))) - 0.5 - 0.5 * determinant / n)

    grid = np.log(_RATIOS * squares.max())
    best = int(np.argmax([at(one) for one in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = minimize_scalar(lambda one: -at(one), bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(max(-found.fun, at(grid[best])))


def h_score(features: Floats, labels: NDArray[np.int64]) -> float:
    """The regularized H-score: how much of the features' spread lies between the classes. 0 to classes - 1.

    Bao et al. 2019, "An Information-theoretic Approach to Transferability in Task Transfer Learning":
    H = tr(cov(f)^-1 cov(E[f | y])). With as many features as rows cov(f) cannot be inverted reliably, and H flatters
    wide models; so cov(f) is Ledoit and Wolf's (2004) shrunk estimate with its intensity a, and the score is

        H = (1 - a) tr(cov_a(f)^-1 cov(E[f | y]))

    as in Ibrahim, Ponomareva & Mazumder 2021, "Newer is not always better: Rethinking transferability metrics, their
    peculiarities, stability and performance". `features` (n, d), `labels` (n,) class indices.
    """
    from scipy.linalg import solve
    from sklearn.covariance import ledoit_wolf

    covariance, intensity = ledoit_wolf(features)
    centred = features - features.mean(axis=0)
    means = np.empty_like(centred)
    for one in np.unique(labels):
        means[labels == one] = centred[labels == one].mean(axis=0)
    between = means.T @ means / len(labels)
    return float((1 - intensity) * np.trace(solve(covariance, between, assume_a="pos")))
