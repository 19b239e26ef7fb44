"""How many artificial reals are found at which S/N, with intervals.

The completeness curve is a logistic function of ln(S/N) with a plateau,
C(s) = A / (1 + exp(-(ln s - m) / w)), fitted by maximum likelihood to found / not found, unbinned; see
`gueststar.efficiency.completeness`.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from gueststar.efficiency.completeness import Completeness, ShareBin, binomial_interval, completeness, share_bins

__all__ = ["SNR_EDGES", "Completeness", "RecoveryBin", "binomial_interval", "completeness", "recovery_bins"]

#: S/N bins of the recovery table; those beyond the drawn range are left out.
SNR_EDGES = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 50.0, 100.0)

RecoveryBin = ShareBin


def recovery_bins(snr: ArrayLike, found: ArrayLike, *, edges: tuple[float, ...] = SNR_EDGES) -> list[RecoveryBin]:
    """Count the artificial reals found in each S/N bin; empty bins are left out.

    Parameters
    ----------
    snr : array_like, shape (n,)
        Injected S/N.
    found : array_like of bool, shape (n,)
    edges : tuple of float
        Bin edges, ascending; a bin holds its lower edge.
    """
    return share_bins(snr, found, edges=edges)
