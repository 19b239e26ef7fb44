"""Artificial reals of one image: put in, looked for by the whole chain, judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.config import Config
from gueststar.efficiency.evidence import SearchRules
from gueststar.errors import GueststarError
from gueststar.ingest.prepare import measure_image
from gueststar.night.injection import (
    image_rng,
    lost_artificial_reals,
    match_artificial_reals,
    unsearched_reals,
    with_flagged_places,
)
from gueststar.night.records import with_sky_noise
from gueststar.pipeline import PairResult
from gueststar.realbogus.labels import changes_table, label_candidates
from gueststar.types import CANDIDATE_COLUMNS, Candidates, Image, Stamps

__all__ = ["ArtificialReals", "find_artificial_reals", "search_rules"]


@dataclass(frozen=True, slots=True, eq=False)
class ArtificialReals:
    """Artificial reals of one image.

    Parameters
    ----------
    table : Table
        See `match_artificial_reals`; and stamp, the row of those in `stamps`, -1 for the others.
    stamps : Stamps
        Of the most significant ones that were lost, those of every reason in turns.
    score : ndarray, shape (m, k, k), float32
        Score of the difference in the same stamps; NaN where there is no data.
    not_placed : int
        Wanted, but there was no room on the image.
    error : str
        Why the image with the sources in it could not be processed; else empty.
    reals : Table
        Candidates that found one, which training needs: their columns, the sky noise of their stamps, ``true_snr``,
        the S/N that was put in, and ``placement``.
    real_stamps : Stamps, optional
        Their stamps.
    """

    table: Table
    stamps: Stamps
    score: NDArray[np.float32]
    not_placed: int = 0
    error: str = ""
    reals: Table = field(default_factory=Table)
    real_stamps: Stamps | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Numbers for the outcome; 'injected' are all rows, those on flagged pixels among them."""
        numbers = {
            "injected": len(self.table), "found": int(self.table["found"].sum()),
            "found_real": int(self.table["real"].sum()),
            "injected_flagged": int((self.table["status"] == "masked").sum()),
        }  # fmt: skip
        return numbers | ({"not_placed": self.not_placed} if self.not_placed else {})


def find_artificial_reals(
    result: PairResult, config: Config, name: str, *, threshold: float, process: Callable[[Image], PairResult]
) -> ArtificialReals:
    """Put artificial reals into the science image, process it again, and say which were found.

    The star list stays the one measured before: so many injected sources at once would spoil it in a way that the few
    real transients of an image do not. PSF and cosmic rays are measured again, for a source that is taken for a cosmic
    ray is lost.
    """
    from gueststar.simulate.inject import draw_artificial_reals, inject

    night = config.night
    rng = image_rng(night.seed, name)
    try:
        placed = draw_artificial_reals(
            result.science, night.inject, rng=rng, snr=night.inject_snr, placement=night.inject_placement
        )
        sources = with_flagged_places(result.science, placed, snr=night.inject_snr, rng=rng)
        injected = inject(result.science, sources, rng=rng)
    except GueststarError as error:
        drawn = unsearched_reals(night.inject, snr=night.inject_snr, rng=rng)
        drawn["status"] = np.full(len(drawn), "", "U8")
        return _all_lost(drawn, config, error.message)
    missing = night.inject - len(placed)
    try:
        science = measure_image(replace(injected.image, psf=None), options=config.ingest)
        again = process(science)
    except GueststarError as error:
        return _all_lost(lost_artificial_reals(injected.sources), config, error.message, missing)
    table = match_artificial_reals(
        injected.sources, again.candidates, again.difference, result.candidates,
        radius_px=night.match_radius_px, threshold=threshold, edge_px=config.detect.edge_px,
        rules=search_rules(config), difference_before=result.difference,
    )  # fmt: skip
    shown, examples, score = _with_examples(table, again, config)
    if not night.inject_stamps:
        return ArtificialReals(shown, examples, score, missing)
    reals, stamps = found_reals(table, again)
    return ArtificialReals(shown, examples, score, missing, reals=reals, real_stamps=stamps)


def search_rules(config: Config) -> SearchRules:
    """How a run with this configuration searches its differences."""
    detect = config.detect
    return SearchRules(detect.threshold_sigma, detect.merge_fwhm, detect.edge_px, detect.masked_peaks, detect.n_most)


def found_reals(table: Table, again: PairResult) -> tuple[Table, Stamps]:
    """Candidates that are artificial reals, with their stamps.

    Those are left out whose flux does not fit (`gueststar.realbogus.labels.label_candidates`): there a cosmic ray or a
    failed subtraction has taken over; and those at whose place there was a candidate before.

    Parameters
    ----------
    table : Table
        From `match_artificial_reals`.
    again : PairResult
        Of the image with the sources in it.
    """
    put_in = table[np.asarray(table["status"]) == "injected"]
    changes = Table({name: np.asarray(put_in[name]) for name in ("x", "y")})
    changes["change_e"], changes["kind"] = np.asarray(put_in["flux_e"], np.float64), "injected"
    labels = label_candidates(again.candidates, changes_table(changes), fwhm=again.difference.psf.fwhm)
    names = np.asarray(table["candidate_id"])
    fresh = np.flatnonzero(np.asarray(table["found"], bool) & ~np.asarray(table["occupied"], bool))
    source = {str(names[i]): i for i in fresh}
    mine = np.array([source.get(str(name), -1) for name in again.candidates["candidate_id"]], np.int64)
    rows = np.flatnonzero((labels.label == 1) & (mine >= 0))
    reals = with_sky_noise(again)[rows]
    reals["true_snr"] = labels.true_snr[rows]
    reals["placement"] = np.asarray(table["placement"])[mine[rows]] if len(rows) else np.empty(0, "U8")
    cut = again.stamps
    return reals, Stamps(cut.cube[rows], cut.sigma[rows], cut.candidate_id[rows])


def _all_lost(table: Table, config: Config, error: str, not_placed: int = 0) -> ArtificialReals:
    lost = table.copy()
    lost["stamp"] = np.full(len(lost), -1)
    return ArtificialReals(lost, *_no_stamps(config), not_placed, error)


def _with_examples(table: Table, again: PairResult, config: Config) -> tuple[Table, Stamps, NDArray[np.float32]]:
    """Stamps of some sources that were lost, with the score in them, and the table with their rows."""
    lost = np.flatnonzero((table["lost_at"] != "") & (table["status"] == "injected") & ~table["occupied"])
    lost = lost[np.argsort(-table["snr_difference"][lost], kind="stable")]
    seen: Counter[str] = Counter()
    turns = []
    for reason in table["lost_why"][lost]:
        turns.append(seen[str(reason)])
        seen[str(reason)] += 1
    rows = lost[np.argsort(turns, kind="stable")][: config.night.inject_lost_stamps]
    shown = table.copy()
    shown["stamp"] = np.full(len(table), -1)
    shown["stamp"][rows] = np.arange(len(rows))
    if len(rows) == 0:
        return shown, *_no_stamps(config)
    columns = {column.name: np.zeros(len(rows), column.dtype) for column in CANDIDATE_COLUMNS}
    columns |= {"x": np.asarray(table["x"][rows]), "y": np.asarray(table["y"][rows])}
    places = Candidates.from_columns(columns)
    stamps = config.stamps(places, again.science, again.reference, again.difference)
    scored = replace(again.difference, data=again.difference.score)
    score = config.stamps(places, again.science, again.reference, scored).cube[:, 2]
    return shown, stamps, score


def _no_stamps(config: Config) -> tuple[Stamps, NDArray[np.float32]]:
    size = config.stamps.size
    nothing = np.empty((0, 3, size, size), np.float32)
    return Stamps(nothing, np.empty((0, 3), np.float32), np.empty(0, "U1")), nothing[:, 0]
