"""Instrument profiles: they load, their names list themselves, Tomo-e Gozen has its 84 chips and file names."""

from __future__ import annotations

import pytest

from gueststar.errors import ConfigError
from gueststar.instruments import FileName, Instrument, Keywords, instrument_names, load_instrument


@pytest.mark.parametrize("name", instrument_names())
def test_profiles_load_under_their_name(name):
    profile = load_instrument(name)
    assert profile.name == name
    assert profile.description


def test_the_two_profiles_everything_else_builds_on_are_there():
    assert {"generic", "tomoe"} <= set(instrument_names())


def test_generic_assumes_nothing():
    generic = load_instrument("generic")
    assert generic.gain_e_adu is None
    assert generic.exposure_s is None
    assert generic.saturation_adu is None
    assert generic.mosaic == "none"
    assert generic.stack == "single"
    assert not generic.chips


def test_tomoe_names_84_chips_in_four_quadrants_of_21():
    tomoe = load_instrument("tomoe")
    assert len(tomoe.chips) == len(set(tomoe.chips)) == 84
    for quadrant in "1234":
        assert sum(chip.startswith(f"Q{quadrant}-") for chip in tomoe.chips) == 21
    assert tomoe.chip_shape == (1128, 2000)
    assert tomoe.pixel_scale_arcsec == pytest.approx(1.189)
    assert tomoe.keywords.observer == ("OBSERVER", "OBSEVER")


@pytest.mark.parametrize("ending", ["", ".fits", ".fit", ".fits.gz", ".fits.fz", ".FITS"])
@pytest.mark.parametrize("prefix", ["s", "r"])
def test_tomoe_file_names(prefix, ending):
    read = load_instrument("tomoe").filename.read(f"/data/night/{prefix}TMQ2201903190009423843{ending}")
    assert read["prefix"] == prefix
    assert read["quadrant"] == "2"
    assert read["date"] == "20190319"
    assert read["exposure"] == "00094238"
    assert read["chip"] == "Q2-43"


def test_every_tomoe_chip_is_read_from_its_file_name():
    tomoe = load_instrument("tomoe")
    for chip in tomoe.chips:
        name = f"sTMQ{chip[1]}2019031900094238{chip[3:]}.fits"
        assert tomoe.filename.read(name)["chip"] == chip


@pytest.mark.parametrize(
    "name",
    ["sTMQ5201903190009423811.fits", "xTMQ1201903190009423811.fits", "sTMQ120190319000942381.fits", "image.fits"],
)
def test_other_names_tell_nothing(name):
    assert load_instrument("tomoe").filename.read(name) == {}


def test_an_unknown_name_lists_the_valid_ones():
    with pytest.raises(ConfigError, match=r"instrument = 'tomo': unknown profile; valid ones are .*generic.*tomoe"):
        load_instrument("tomo")


def test_own_profile_from_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\ngain_e_adu = 1.5\n[keywords]\nexposure_s = ["SECONDS"]\n'
        "[filename]\npattern = '(?P<field>\\w+?)_(?P<chip>\\d+)'\nchip = 'C{chip}'\n",
        encoding="utf-8",
    )
    profile = load_instrument(str(path))
    assert profile.gain_e_adu == 1.5
    assert profile.keywords.exposure_s == ("SECONDS",)
    assert profile.keywords.gain_e_adu == Keywords().gain_e_adu
    assert profile.filename.read("M31_07.fits") == {"field": "M31", "chip": "C07"}


def test_a_profile_edited_in_the_meantime_is_read_anew(tmp_path):
    path = tmp_path / "mine.toml"
    for gain in (1.5, 2.5):
        path.write_text(f'name = "mine"\ngain_e_adu = {gain}\n', encoding="utf-8")
        assert load_instrument(str(path)).gain_e_adu == gain


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"name = ", "not valid TOML"),
        (b'name = "\xff"', "not valid TOML"),
        (b"gain_e_adu = 1.0", r"name.*[Ff]ield required"),
        (b'name = "a"\ngain = 2', r"gain = 2: unknown key; valid keys here: .*gain_e_adu"),
        (b'name = "a"\ngain_e_adu = -1', r"gain_e_adu = -1: .*greater than 0"),
        (b'name = "a"\nmosaic = "bayer"', r"mosaic = 'bayer'.*'none', 'bin' or 'green'"),
        (b'name = "a"\n[filename]\npattern = "(?P<chip"', r"filename\.pattern.*not a regular expression"),
        (b'name = "a"\n[keywords]\ngian = ["G"]', r"keywords\.gian.*unknown key; valid keys here: .*gain_e_adu"),
    ],
)
def test_bad_profiles_are_named(tmp_path, content, message):
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_instrument(str(path))
    assert str(path) in caught.value.message


def test_a_chip_format_must_use_groups_of_the_pattern():
    with pytest.raises(ConfigError, match=r"chip.*quadrant"):
        Instrument.parse({"name": "a", "filename": {"pattern": r"(?P<chip>\d+)", "chip": "Q{quadrant}-{chip}"}})


def test_file_names_without_the_optional_groups():
    assert FileName(pattern=r"(?P<field>[a-z]+)(?:-(?P<chip>\d))?", chip="C{chip}").read("m.fits") == {"field": "m"}
