"""The core types that stages pass to each other: frozen, slotted, shapes checked when made.

Planes are PyTorch tensors on one device. NumPy enters through `Image.from_arrays` and leaves through `Image.numpy`.
Pixel coordinates are 0-based pixel centres, x along columns, y along rows. Fluxes are electrons.
"""

from gueststar.types.candidates import CANDIDATE_COLUMNS, CandidateColumn, Candidates, Stamps
from gueststar.types.difference import Difference
from gueststar.types.image import HALO_BLOCK_PX, Image, Stars
from gueststar.types.mask import Mask
from gueststar.types.outcome import Fact, Outcome, Status
from gueststar.types.psf import Psf, polynomial_exponents, stamp_shape

__all__ = [
    "CANDIDATE_COLUMNS",
    "HALO_BLOCK_PX",
    "CandidateColumn",
    "Candidates",
    "Difference",
    "Fact",
    "Image",
    "Mask",
    "Outcome",
    "Psf",
    "Stamps",
    "Stars",
    "Status",
    "polynomial_exponents",
    "stamp_shape",
]
