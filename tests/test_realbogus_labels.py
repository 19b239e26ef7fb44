"""Labels of candidates against a sky whose changes are known."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from gueststar.realbogus.labels import changes_table, label_candidates
from gueststar.types import Candidates
from realbogus_stamps import columns

FWHM = 3.0


def found(*rows):
    """Candidates at (x, y) with a flux, all with an error of 10 e-."""
    x, y, flux = np.array(rows, float).T
    return Candidates.from_columns(columns(len(x), x=x, y=y, flux=flux, flux_err=np.full(len(x), 10.0)))


def changed(*rows):
    """Known changes: x, y, change, kind."""
    return Table(rows=list(rows), names=("x", "y", "change_e", "kind"), dtype=("f8", "f8", "f8", "U12"))


@pytest.mark.parametrize("kind", ["injected", "supernova", "asteroid", "variable", "faded"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_detected_change_is_real_with_its_own_sign(kind, sign):
    labels = label_candidates(found((50.4, 49.7, sign * 210)), changed((50, 50, sign * 200, kind)), fwhm=FWHM)
    assert (labels.label[0], labels.kind[0], labels.true_snr[0]) == (1, kind, pytest.approx(20.0))
    wrong = label_candidates(found((50.4, 49.7, -sign * 210)), changed((50, 50, sign * 200, kind)), fwhm=FWHM)
    assert (wrong.label[0], wrong.kind[0]) == (-1, "near_real")


def test_what_nobody_put_there_is_an_artifact():
    labels = label_candidates(found((50, 50, 200), (80, 80, -90)), changed((10, 10, 300, "injected")), fwhm=FWHM)
    assert labels.label.tolist() == [0, 0]
    assert labels.kind.tolist() == ["artifact", "artifact"]
    assert np.isnan(labels.true_snr).all()
    nothing_known = label_candidates(found((50, 50, 200)), changes_table(), fwhm=FWHM)
    assert nothing_known.label.tolist() == [0]


def test_only_the_nearest_of_several_pieces_is_the_change():
    rows = found((51.2, 50, 150), (50.3, 50, 180), (53, 50, 60), (60, 50, 60))
    labels = label_candidates(rows, changed((50, 50, 200, "injected")), fwhm=FWHM)
    assert labels.label.tolist() == [-1, 1, -1, 0]


def test_a_change_swallowed_by_a_failed_subtraction_is_neither():
    sources = changed((50, 50, 200, "injected"), (90, 90, 200, "injected"))
    labels = label_candidates(found((50, 50, 5000), (90, 90, 20)), sources, fwhm=FWHM)
    assert labels.label.tolist() == [-1, -1]


def test_changes_too_small_to_be_seen_explain_nothing():
    small = changed((50, 50, 20, "supernova"), (90, 90, 20, "variable"))
    labels = label_candidates(found((55, 50, 60), (90, 90, 60)), small, fwhm=FWHM)
    assert labels.label.tolist() == [0, -1]
    assert labels.kind.tolist() == ["artifact", "variable"]


def test_a_peak_that_a_faint_change_lifted_is_neither():
    sources = changed((50, 50, 20, "supernova"), (90, 90, 5, "supernova"))
    labels = label_candidates(found((50, 50, 60), (90, 90, 60)), sources, fwhm=FWHM)
    assert labels.label.tolist() == [-1, 0]
    assert labels.kind.tolist() == ["supernova", "artifact"]


def test_pieces_of_a_bright_change_are_no_artifacts_for_their_large_errors():
    n = 9
    rows = columns(
        n, x=np.array([50.8, 49.2, *np.full(n - 2, 10.0)]), y=np.full(n, 50.0), flux=np.full(n, 100.0),
        flux_err=np.array([300.0, 300.0, *np.full(n - 2, 10.0)]), snr=np.full(n, 10.0),
    )  # fmt: skip
    labels = label_candidates(Candidates.from_columns(rows), changed((50, 50, 210, "injected")), fwhm=FWHM)
    assert sorted(labels.label[:2].tolist()) == [-1, 1]
    assert labels.label[2:].tolist() == [0] * (n - 2)


def test_cosmic_rays_are_artifacts_with_a_name():
    labels = label_candidates(found((50, 50, 400)), changed((51, 51, 400, "cosmic_ray")), fwhm=FWHM)
    assert (labels.label[0], labels.kind[0]) == (0, "cosmic_ray")
    both = changed((51, 51, 400, "cosmic_ray"), (50, 50, 300, "injected"))
    assert label_candidates(found((50, 50, 400)), both, fwhm=FWHM).label.tolist() == [-1]


def test_wider_images_allow_larger_offsets():
    sharp, wide = (
        label_candidates(found((52.2, 50, 200)), changed((50, 50, 200, "injected")), fwhm=fwhm) for fwhm in (2.0, 5.0)
    )
    assert (sharp.label[0], wide.label[0]) == (-1, 1)


def test_empty_is_a_result():
    labels = label_candidates(Candidates.empty(), changed((50, 50, 20, "supernova")), fwhm=FWHM)
    assert labels.label.shape == labels.kind.shape == labels.true_snr.shape == (0,)
    joined = changes_table(changed((1, 2, 3, "a")), changes_table(), changed((4, 5, 6, "longer kind")))
    assert joined["kind"].tolist() == ["a", "longer kind"]
