"""Two frames as NumPy arrays, their difference, and what was new: the library in use, start to end.

Run it with ``python examples/arrays.py``. The frames are simulated here; any two arrays of counts will do.
"""

from __future__ import annotations

import numpy as np

from gueststar import prepare_image, process_pair
from gueststar.simulate.night import simulate_pair
from gueststar.simulate.survey import Survey


def main() -> None:
    """Simulate, subtract, and compare with the truth."""
    pair = simulate_pair(Survey(supernovae_per_chip=40.0), seed=11, shape=(600, 800))
    science_adu, reference_adu = pair.science.data, pair.reference.data  # float arrays, sky included

    camera = {"gain_e_adu": 0.23, "read_noise_e": 7.0, "saturation_adu": 312000.0}
    science = prepare_image(science_adu, **camera)
    reference = prepare_image(reference_adu, **camera)
    result = process_pair(science, reference)

    table = result.candidates.table
    print(f"{len(table)} candidates; FWHM {science.psf.fwhm:.2f} and {reference.psf.fwhm:.2f} px")
    print(table["x", "y", "snr", "rb_score"])

    new = pair.truth[(pair.truth["kind"] == "supernova") & (pair.truth["snr"] > 10)]
    distance = np.hypot(
        np.asarray(table["x"])[None, :] - np.asarray(new["x"])[:, None],
        np.asarray(table["y"])[None, :] - np.asarray(new["y"])[:, None],
    )
    found = int((distance < 2.0).any(axis=1).sum()) if len(table) else 0
    print(f"{found} of {len(new)} supernovae above S/N 10 were found")


if __name__ == "__main__":
    main()
