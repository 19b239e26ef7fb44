"""Real frames and simulated ones in one form, and the chain that both go through."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gueststar import prepare_image, process_pair
from gueststar.config import Config
from gueststar.detect import Detect
from gueststar.ingest.fits import frame_image, read_frame
from gueststar.night.calibration import Master, apply_masters, group_masters, make_masters
from gueststar.night.frames import examine, find_frames
from gueststar.night.guard import StageClock
from gueststar.pipeline import PairResult
from gueststar.simulate.frame import RawFrame
from gueststar.stamps import CutStamps
from gueststar.types import Candidates, Image, Stamps

__all__ = ["CAMERAS", "Camera", "Shot", "load_shots", "processed", "real_pairs", "simulated_shot"]

LOW_SIGMA = 4.0  # peaks taken as artifacts; the chain's own threshold is higher
STAMP = 31


@dataclass(frozen=True, slots=True)
class Camera:
    """What the frames themselves cannot tell about a real camera.

    `scale_arcsec` per pixel as processed, `latitude_deg` galactic, `read_noise_e` by the maker or judged, `ccd` whether
    charge can bleed along columns, `true_gain_e_adu` where the photon noise of stars contradicts the profile.
    """

    folder: str
    instrument: str
    title: str
    scale_arcsec: float
    latitude_deg: float
    read_noise_e: float
    ccd: bool = True
    true_gain_e_adu: float | None = None
    spikes: float = 0.0
    aureole: tuple[float, float] = (0.005, 0.015)


CAMERAS = (
    Camera("bsu_sn2022yid_raw", "sbig_stxl6303", "SN 2022yid, SBIG CCD", 0.95, 17.0, 11.0),
    Camera("toros_eso085", "toros", "ESO 085-030, TOROS", 0.745, 36.0, 10.0),
    Camera(
        "microobservatory_hatp32",
        "microobservatory",
        "HAT-P-32, MicroObservatory",
        5.21,
        14.0,
        5.0,
        true_gain_e_adu=5.5,
    ),
    Camera("panoptes_cygnus", "panoptes", "Cygnus, PANOPTES", 20.6, 6.0, 10.0, ccd=False, aureole=(0.0, 0.002)),
)


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One calibrated frame: electrons with the sky in them, shape (ny, nx), and the image that ingest made of it."""

    electrons: NDArray[np.float32]
    image: Image
    seconds: float
    gain_e_adu: float
    saturation_e: float


def load_shots(folder: Path, instrument: str) -> list[Shot]:
    """All light frames of a folder, calibrated with its darks and flats as a night would be, in the order of time."""
    clock, config = StageClock(), Config(instrument=instrument)
    found = [examine(task, clock) for task in find_frames(folder, instrument=instrument)]
    shots = []
    with tempfile.TemporaryDirectory(prefix="gueststar-realism-") as scratch:
        masters: list[Master] = []
        for kind, members in (("dark", ("dark", "bias")), ("flat", ("flat",))):
            chosen = [frame for frame in found if frame.facts.kind in members]
            tasks = group_masters(chosen, kind, out=Path(scratch), instrument=instrument, darks=tuple(masters))
            for task in tasks:
                masters += make_masters(task, clock).masters
        for one in sorted((f for f in found if f.facts.kind == "light"), key=lambda f: f.facts.mjd_mid):
            frame = apply_masters(read_frame(one.path, instrument=instrument), masters)
            image = replace(frame_image(frame, ingest=config.ingest), wcs=None)
            electrons = np.asarray(frame.data, np.float32) * np.float32(frame.gain_e_adu)
            full = float("inf") if frame.saturation_adu is None else frame.saturation_adu * frame.gain_e_adu
            shots.append(Shot(electrons, image, float(frame.exposure_s), frame.gain_e_adu, full))
    return shots


def simulated_shot(raw: RawFrame, gain_e_adu: float | None = None) -> Shot:
    """Ingest a simulated frame with its own numbers and, as the real ones, without world coordinates."""
    gain = gain_e_adu or raw.gain_e_adu
    # Real frames are whole counts.
    counts = np.round(raw.data)
    image = prepare_image(
        counts,
        gain_e_adu=gain,
        read_noise_e=0.0,
        saturation_adu=raw.saturation_adu,
        mjd_mid=raw.mjd_mid,
        exposure_s=raw.exposure_s,
    )
    return Shot(counts * np.float32(gain), image, raw.exposure_s, gain, raw.saturation_adu * gain)


def real_pairs(shots: list[Shot]) -> list[tuple[Shot, Shot]]:
    """Science and reference frames, each frame in one pair only: neighbours in time, the earlier is the reference."""
    return [(shots[i + 1], shots[i]) for i in range(0, len(shots) - 1, 2)]


def processed(science: Shot, reference: Shot) -> PairResult:
    """The default chain, but for a lower threshold of detection and no classifier."""
    return process_pair(
        science.image,
        reference.image,
        detect=Detect(threshold_sigma=LOW_SIGMA),
        cut=CutStamps(size=STAMP),
        classify=_unscored,
    )


def _unscored(candidates: Candidates, stamps: Stamps) -> Candidates:
    return candidates
