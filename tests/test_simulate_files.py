"""A simulated night on the disk: interrupted, gone on with, full disks, other cameras."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gueststar.errors import ConfigError, OutputError
from gueststar.ingest.fits import read_frame
from gueststar.instruments import Instrument, load_instrument
from gueststar.simulate import files
from gueststar.simulate.header import survey_of
from gueststar.simulate.night import Survey, write_night
from gueststar.simulate.truth import TRUTH_COLUMNS, thing_rows

SHAPE = (120, 150)
SURVEY = Survey(earlier_visits=1, star_density=3.0, asteroid_density=3000.0, near_earth_per_chip=200.0)
NIGHT = {"survey": SURVEY, "visits": 3, "seed": 4, "shape": SHAPE}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    write_night(out, **NIGHT)
    return contents(out)


def test_an_interrupted_night_goes_on_and_ends_the_same(tmp_path, whole):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_night(tmp_path, **NIGHT, progress=stop)
    assert not (tmp_path / "truth.parquet").exists()
    first = sorted(tmp_path.glob("*.fits"))
    assert len(first) == 2
    times = [path.stat().st_mtime_ns for path in first]
    write_night(tmp_path, **NIGHT)
    assert [path.stat().st_mtime_ns for path in first] == times
    assert contents(tmp_path) == whole
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_frame_without_its_truth_is_made_again(tmp_path, whole):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_night(tmp_path, **NIGHT, progress=stop)
    next((tmp_path / ".parts").glob("*.truth.parquet")).unlink()
    next(tmp_path.glob("*.fits")).write_bytes(b"half")
    write_night(tmp_path, **NIGHT)
    assert contents(tmp_path) == whole


def test_two_processes_make_the_same_night(tmp_path, whole):
    write_night(tmp_path, **NIGHT, workers=2)
    assert contents(tmp_path) == whole


def test_a_full_disk_stops_in_plain_words_and_can_be_gone_on_with(tmp_path, monkeypatch, whole):
    real = Path.write_bytes
    room = [6]

    def write(self, data):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(OutputError, match="no space is left on the disk; free some and give the same command again"):
        write_night(tmp_path, **NIGHT)
    assert not list(tmp_path.glob("*.part"))
    monkeypatch.undo()
    write_night(tmp_path, **NIGHT)
    assert contents(tmp_path) == whole


def test_another_night_is_not_mixed_into_an_unfinished_one(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_night(tmp_path, **NIGHT, progress=stop)
    with pytest.raises(OutputError, match="unfinished night with another seed") as error:
        write_night(tmp_path, **{**NIGHT, "seed": 5})
    assert error.value.facts["differing"] == "seed"


def test_leftovers_of_a_killed_writer_go_away(tmp_path, whole):
    (tmp_path / "frame.fits.123.part").write_bytes(b"half")
    write_night(tmp_path, **NIGHT)
    assert contents(tmp_path) == whole


def test_the_plan_tells_what_was_asked_for(whole):
    plan = json.loads(whole["night.json"])
    assert plan["seed"] == 4
    assert plan["survey"]["star_density"] == 3.0
    assert plan["instrument"]["name"] == "tomoe"


def test_orbits_of_the_asteroids_are_those_in_the_truth(tmp_path, whole):
    (tmp_path / "o.parquet").write_bytes(whole["orbits.parquet"])
    (tmp_path / "t.parquet").write_bytes(whole["truth.parquet"])
    orbits = pq.read_table(tmp_path / "o.parquet").to_pydict()
    truth = pq.read_table(tmp_path / "t.parquet").to_pydict()
    assert {"a_au", "e", "i_deg", "node_deg", "peri_deg", "mean_anomaly_deg", "epoch_mjd"} <= set(orbits)
    assert len(orbits["a_au"]) >= 1
    assert (np.array(orbits["a_au"]) > 0.5).all()
    moving = np.isin(truth["kind"], ["asteroid", "near_earth"])
    assert set(np.array(truth["source_id"])[moving]) <= set(orbits["source_id"])


def camera(**changes) -> Instrument:
    values = {
        "name": "mine", "chip_shape": SHAPE, "pixel_scale_arcsec": 2.0, "gain_e_adu": 1.5, "read_noise_e": 7.0,
        "saturation_adu": 60000.0, "exposure_s": 30.0, "keywords": {"gain_e_adu": ["EGAIN"], "chip": ["CCD"]},
    }  # fmt: skip
    return Instrument.parse({**values, **changes})


def test_any_camera_by_its_profile(tmp_path):
    profile = camera(chips=("A", "B"))
    survey = Survey(earlier_visits=1, distortion_px=0.0, star_density=10.0)
    paths = write_night(tmp_path / "night", survey, visits=2, chips=("B",), seed=1, instrument=profile)
    toml = tmp_path / "mine.toml"
    toml.write_text('name = "mine"\nchip_shape = [120, 150]\n[keywords]\ngain_e_adu = ["EGAIN"]\nchip = ["CCD"]\n')
    frame = read_frame(paths[1], instrument=str(toml))
    assert frame.data.shape == SHAPE
    assert (frame.gain_e_adu, frame.exposure_s, frame.chip, frame.n_frames) == (1.5, 30.0, "B", 1)
    assert frame.read_noise_e == pytest.approx(7.0)
    assert frame.saturation_adu == 60000.0
    assert frame.header["EGAIN"] == 1.5
    assert abs(frame.wcs.proj_plane_pixel_scales()[0].to_value("arcsec") - 2.0) < 0.01
    assert frame.field.startswith("J")
    assert frame.mjd_mid == pytest.approx(61000.45 + 15.0 / 86400.0, abs=1e-6)


def test_what_the_survey_sets_is_not_taken_from_the_profile():
    survey = survey_of(camera(), Survey(gain_e_adu=3.0, frames=4))
    assert survey.gain_e_adu == 3.0
    assert survey.pixel_scale_arcsec == 2.0
    assert survey.frames == 4
    assert survey_of(load_instrument("tomoe"), Survey()) == Survey()


def test_a_colour_mosaic_is_not_simulated():
    with pytest.raises(ConfigError, match="colour mosaic, which is not simulated"):
        survey_of(load_instrument("panoptes"))


@pytest.mark.parametrize(
    ("chips", "match"), [(("Q9-11",), "names of the camera's 84 chips"), (("Q1-11", "Q1-11"), "the same chip twice")]
)
def test_chips_that_are_not_there(tmp_path, chips, match):
    with pytest.raises(ConfigError, match=match):
        write_night(tmp_path / "night", visits=5, chips=chips)
    assert not (tmp_path / "night").exists()


def test_rows_of_things_have_all_columns_and_no_others():
    rows = thing_rows(2, kind="hole", x=[1.0, 2.0])
    assert rows.colnames == list(TRUTH_COLUMNS)
    assert list(rows["kind"]) == ["hole", "hole"]
    assert (rows["source_id"] == -1).all()
    with pytest.raises(ValueError, match="columns \\['colour_of_hole'\\]"):
        thing_rows(1, colour_of_hole=3.0)


def test_frames_are_whole_fits_files(whole):
    name = next(name for name in whole if name.endswith(".fits"))
    assert len(whole[name]) % 2880 == 0
    assert files.NightFolder(Path("x")).frame_path("a").name == "a.fits"
    assert files.NightFolder(Path("x"), fpack=True).frame_path("a").name == "a.fits.fz"
