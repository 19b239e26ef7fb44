"""What a matching kernel leaves and is smooth: far wings, halos of the brightest stars, the level of the sky."""

from __future__ import annotations

import torch

from gueststar.diffuse import diffuse_level
from gueststar.planes import as_float
from gueststar.subtract.bins import Bins, binned, unbinned
from gueststar.subtract.halos import bright_centres, fit_halos
from gueststar.subtract.level import fit_level
from gueststar.subtract.wings import fit_wings
from gueststar.types import Fact, Image, Mask, Stars

__all__ = ["subtract_residual_light"]


def subtract_residual_light(
    data: torch.Tensor,
    variance: torch.Tensor,
    mask: torch.Tensor,
    science: Image,
    reference: Image,
    sources: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, Fact]]:
    """Subtract what is left of wings, halos and sky.

    Parameters
    ----------
    data, variance, mask : Tensor, shape (ny, nx)
        Of the difference: e-, e-^2, bits of `Mask`.
    science, reference : Image
        On the same grid.
    sources : Tensor of bool, shape (ny // 2, nx // 2)
        True in bins where either image has light above the sky.

    Returns
    -------
    Tensor, dict
        The difference without it, and the facts `wings_share` (of a star's flux, in rings beyond the kernel),
        `halos_subtracted` (stars) and `difference_level_e` (e-, before).
    """
    ny, nx = (int(n) for n in data.shape)
    start = Bins.of(data, variance, mask)
    seen = binned(reference.data)
    diffuse, other = (diffuse_level(one.data, one.variance) for one in (reference, science))
    below = torch.zeros_like(seen)
    if diffuse is not None:
        seen = seen - binned(diffuse)
    if diffuse is not None or other is not None:
        below = fit_level(start, sources, fine=True)
        start = start.minus(below)
    wings, share = fit_wings(start, seen, reference.stars or Stars.empty())
    halos, count = fit_halos(start.minus(wings), bright_centres(science, reference))
    model = wings + halos
    level = fit_level(start.minus(model), sources)
    model += level + below
    facts: dict[str, Fact] = {
        "wings_share": share,
        "halos_subtracted": count,
        "difference_level_e": float(model[::8, ::8].median()),
    }
    exposed = as_float(~(mask & int(Mask.NO_DATA)).bool(), data.dtype)
    return torch.sub(data, unbinned(model, (ny, nx))).mul_(exposed), facts
