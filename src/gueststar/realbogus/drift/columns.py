"""Which numbers are compared."""

from __future__ import annotations

__all__ = ["CANDIDATE_COLUMNS", "IMAGE_FACTS", "POSITIVE", "SHARED"]

#: Columns that are compared where both sides have them: scores, measured numbers, quality of the image.
CANDIDATE_COLUMNS = (
    "rb_score", "snr", "fwhm", "elongation", "psf_chi2", "dipole_separation", "dipole_ratio", "science_snr",
    "reference_snr", "mask_fraction", "local_scatter", "psf_fwhm", "sky_sigma_science", "sky_sigma_reference",
    "sky_sigma_difference",
)  # fmt: skip
#: Facts of the images of a run that are compared with those of another run, every candidate having that of its image.
IMAGE_FACTS = (
    "seeing_px", "ellipticity", "sky_noise_e", "quality_astrometric_rms_px", "quality_unmatched", "quality_width_ratio",
    "quality_transparency_mag", "quality_crowding", "quality_noise_ratio", "quality_background", "quality_masked",
    "quality_misfit", "quality_candidates",
)  # fmt: skip
#: What the candidates of an image share, so that one of them tells it.
SHARED = frozenset({"psf_fwhm", "sky_sigma_science", "sky_sigma_reference", "sky_sigma_difference", *IMAGE_FACTS})
#: What is positive by its nature, and compared by ratios.
POSITIVE = frozenset(
    {
        "fwhm", "elongation", "psf_chi2", "local_scatter", "psf_fwhm", "sky_sigma_science", "sky_sigma_reference",
        "sky_sigma_difference", "seeing_px", "sky_noise_e", "quality_width_ratio", "quality_noise_ratio",
        "quality_candidates",
    }
)  # fmt: skip
