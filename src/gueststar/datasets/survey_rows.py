"""First look at all rows of the products: labels, doubts, visits; so that parts and balance can be chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.datasets.known import KIND_REASONS, KnownObjects, Truth, unit_vectors
from gueststar.datasets.products import ProductImage, Products, read_mask, read_rows
from gueststar.errors import InputError
from gueststar.realbogus.suspicion import REASONS, join_reasons, mask_reasons, visits_at
from gueststar.types import Mask

__all__ = ["Doubts", "SurveyRows", "survey_rows"]

_STAR = int(Mask.BRIGHT_STAR | Mask.SATURATED)
_PIXELS_APART = 1e6  # positions without sky coordinates are compared within one reference only


@dataclass(frozen=True, slots=True)
class Doubts:
    """How labels are doubted.

    Parameters
    ----------
    truth : Truth, optional
    known : KnownObjects, optional
    known_radius_arcsec, repeat_radius_arcsec, repeat_radius_px, bright_radius_px : float
    repeat_visits : int
        Visits with an artifact at one place from which on it is suspicious.
    """

    truth: Truth | None = None
    known: KnownObjects | None = None
    known_radius_arcsec: float = 5.0
    repeat_visits: int = 2
    repeat_radius_arcsec: float = 2.0
    repeat_radius_px: float = 1.5
    bright_radius_px: float = 15.0


@dataclass(slots=True, eq=False)
class SurveyRows:
    """All rows of the products, without their stamps; arrays of shape (n,).

    Parameters
    ----------
    image : ndarray of int
        Number of the image.
    row : ndarray of int
        Row in the file of its class.
    label : ndarray of int8
    snr : ndarray
    suspicion, true_kind : ndarray of str
    visits : ndarray of int
        Images with an artifact at this place, its own included; 1 for reals.
    """

    image: NDArray[np.int32]
    row: NDArray[np.int32]
    label: NDArray[np.int8]
    snr: NDArray[np.float32]
    suspicion: NDArray[np.str_]
    true_kind: NDArray[np.str_]
    visits: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.row)


@dataclass(slots=True, eq=False)
class _Found:
    """Rows as they are gathered, one entry for each class of each image."""

    image: list[NDArray[np.int32]] = field(default_factory=list)
    row: list[NDArray[np.int32]] = field(default_factory=list)
    label: list[NDArray[np.int8]] = field(default_factory=list)
    snr: list[NDArray[np.float32]] = field(default_factory=list)
    kind: list[NDArray[np.str_]] = field(default_factory=list)
    places: list[NDArray[np.float64]] = field(default_factory=list)
    marks: list[dict[str, NDArray[np.bool_]]] = field(default_factory=list)


def survey_rows(
    products: Products, doubts: Doubts, *, progress: Callable[[int, int], None] | None = None
) -> SurveyRows:
    """Look at all rows; an image whose tables cannot be read is told in ``products.skipped`` and left out.

    Parameters
    ----------
    products : Products
    doubts : Doubts
    progress : callable, optional
        Called as progress(done, total) after each image.
    """
    found = _Found()
    references = {name: i for i, name in enumerate(sorted({image.reference for image in products.images}))}
    for number, image in enumerate(products.images):
        try:
            pieces = [(label, rows) for label in (0, 1) if len(rows := read_rows(image, label))]
            mask = read_mask(image)
            for label, rows in pieces:
                _take(found, products, number, label, rows, mask, doubts, references[image.reference])
        except (InputError, KeyError) as error:
            products.skipped.append(f"{image.outcome.image}: {error}")
        if progress is not None:
            progress(number + 1, len(products.images))
    if not found.row:
        raise InputError("the products hold no candidate at all; there is nothing to learn from")
    return _joined(found, doubts)


def _take(
    found: _Found,
    products: Products,
    number: int,
    label: int,
    rows: Table,
    mask: NDArray[np.integer] | None,
    doubts: Doubts,
    reference: int,
) -> None:
    image, n = products.images[number], len(rows)
    marks = {name: np.zeros(n, bool) for name in REASONS}
    marks |= mask_reasons(np.asarray(rows["mask_flags"]))
    marks["failed_image"][:] = image.rejected
    if mask is not None:
        marks["bright_star"] = marks["bright_star"] | _near_star(rows, mask, doubts.bright_radius_px)
    kind = np.full(n, "injected" if label else "", "U12")
    if label == 0:
        kind = _known_kinds(products, image, rows, mask, doubts)
        for reason in set(KIND_REASONS.values()):
            kinds = [name for name, of in KIND_REASONS.items() if of == reason]
            marks[reason] = np.isin(kind, kinds)
    found.image.append(np.full(n, number, np.int32))
    found.row.append(np.arange(n, dtype=np.int32))
    found.label.append(np.full(n, label, np.int8))
    found.snr.append(np.asarray(rows["snr"], np.float32))
    found.kind.append(kind)
    found.places.append(_places(rows, reference, doubts))
    found.marks.append(marks)


def _known_kinds(
    products: Products, image: ProductImage, rows: Table, mask: NDArray[np.integer] | None, doubts: Doubts
) -> NDArray[np.str_]:
    """What is known to be at the place of each artifact; the truth says it of all, catalogues of some."""
    kind = np.full(len(rows), "", "U12")
    if doubts.truth is not None:
        record = products.records[image.run].get("references", {}).get(image.reference_name, {})
        fwhm = float(np.nanmedian(np.asarray(rows["psf_fwhm"], np.float64)))
        kind = doubts.truth.kinds(
            np.asarray(rows["x"]), np.asarray(rows["y"]), image.outcome.image, record.get("frames", ()),
            shape=None if mask is None else (int(mask.shape[0]), int(mask.shape[1])), fwhm_px=fwhm,
        )  # fmt: skip
    if doubts.known is not None:
        ra, dec = (np.asarray(rows[name], np.float64) for name in ("ra", "dec"))
        mjd = np.nan if image.outcome.mjd is None else image.outcome.mjd
        listed = doubts.known.kinds_at(ra, dec, mjd, radius_arcsec=doubts.known_radius_arcsec)
        kind = np.where(listed != "", listed, kind)
    for column, name in (("mover_name", "asteroid"), ("variable_name", "variable")):
        if column in rows.colnames:
            kind = np.where(np.asarray(rows[column]).astype(str) != "", name, kind)
    return kind


def _near_star(rows: Table, mask: NDArray[np.integer], radius_px: float) -> NDArray[np.bool_]:
    reach = int(np.ceil(radius_px))
    near = np.zeros(len(rows), bool)
    x, y = (np.rint(np.asarray(rows[name], np.float64)).astype(int) for name in ("x", "y"))
    for i in range(len(rows)):
        box = mask[max(y[i] - reach, 0) : y[i] + reach + 1, max(x[i] - reach, 0) : x[i] + reach + 1]
        near[i] = bool((box & _STAR).any())
    return near


def _places(rows: Table, reference: int, doubts: Doubts) -> NDArray[np.float64]:
    """Positions in units of the radius within which two are one: on the sphere, or in the pixels of the reference."""
    ra, dec = (np.asarray(rows[name], np.float64) for name in ("ra", "dec"))
    places: NDArray[np.float64] = unit_vectors(ra, dec) / np.radians(doubts.repeat_radius_arcsec / 3600.0)
    blind = ~np.isfinite(ra)
    pixels = np.column_stack([rows["x"], rows["y"]]).astype(np.float64) / doubts.repeat_radius_px
    # Far from the sphere, and from the pixels of other references.
    places[blind, :2] = pixels[blind]
    places[blind, 2] = _PIXELS_APART * (reference + 1)
    return places


def _joined(found: _Found, doubts: Doubts) -> SurveyRows:
    label, image = np.concatenate(found.label), np.concatenate(found.image)
    marks = {name: np.concatenate([piece[name] for piece in found.marks]) for name in REASONS}
    visits, artifacts = np.ones(len(label), np.int32), np.flatnonzero(label == 0)
    visits[artifacts] = visits_at(np.concatenate(found.places)[artifacts], image[artifacts], radius=1.0)
    marks["repeated"] = visits >= max(doubts.repeat_visits, 2)
    return SurveyRows(
        image=image, row=np.concatenate(found.row), label=label, snr=np.concatenate(found.snr),
        suspicion=join_reasons(len(label), marks), true_kind=np.concatenate(found.kind), visits=visits,
    )  # fmt: skip
