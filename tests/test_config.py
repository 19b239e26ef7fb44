"""Configuration: errors that name the key, the value and what is valid; TOML, overrides, and the hash."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from gueststar.config import Config, config_hash, load_config
from gueststar.errors import ConfigError
from gueststar.subtract.hotpants import Hotpants
from gueststar.subtract.kernel import Kernel


def test_defaults_need_no_file():
    config = load_config()
    assert config == Config()
    assert isinstance(config.subtract, Kernel)
    assert config.detect.threshold_sigma == 5.0
    assert config.stamps.size == 63


def test_a_file_is_read_and_overrides_win(tmp_path):
    path = tmp_path / "night.toml"
    path.write_text(
        """
        instrument = "tomoe"
        [detect]
        threshold_sigma = 6.5
        edge_px = 9
        [subtract]
        order = 1
        [ingest.psf]
        order = 0
        """,
        encoding="utf-8",
    )
    config = load_config(path, ["detect.threshold_sigma=7", "night.workers = 3", "ingest.cosmic_rays.enabled=false"])
    assert config.instrument == "tomoe"
    assert config.detect.threshold_sigma == 7.0
    assert config.detect.edge_px == 9
    assert isinstance(config.subtract, Kernel)
    assert config.subtract.order == 1
    assert config.ingest.psf.order == 0
    assert config.ingest.cosmic_rays.enabled is False
    assert config.night.workers == 3


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("instrument=tomoe", "tomoe"),
        ('instrument="tomoe"', "tomoe"),
        ("instrument=/data/my camera.toml", "/data/my camera.toml"),
    ],
)
def test_words_need_no_quotes(override, value):
    assert load_config(None, [override]).instrument == value


def test_engine_is_chosen_by_name():
    config = load_config(None, ["subtract.engine=hotpants", "subtract.stamps_x=4"])
    assert isinstance(config.subtract, Hotpants)
    assert config.subtract.stamps_x == 4


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("detect.treshold=5", ["detect.treshold = 5", "unknown key", "threshold_sigma"]),
        ("detct.threshold_sigma=5", ["detct", "unknown key", "detect", "instrument"]),
        ("ingest.psf.sise=3", ["ingest.psf.sise = 3", "unknown key", "radius_fwhm"]),
        ("detect.threshold_sigma=1", ["detect.threshold_sigma = 1", "greater than or equal to 2"]),
        ("detect.threshold_sigma=high", ["detect.threshold_sigma = 'high'", "number"]),
        ("detect.edge_px=2.5", ["detect.edge_px = 2.5", "integer"]),
        ("align.minimum_overlap=2", ["align.minimum_overlap = 2", "less than or equal to 1"]),
        ("stamps.size=64", ["stamps.size = 64", "odd"]),
        ("stamps.size=19", ["stamps.size = 19", "21"]),
        ("subtract.engine=magic", ["magic", "'kernel'", "'hotpants'"]),
        ("subtract.convolve=both", ["'both'", "'auto'", "'reference'", "'science'"]),
        ("subtract.stamps_x=4", ["stamps_x = 4", "unknown key", "n_windows"]),
        ("gain_e_adu=0", ["gain_e_adu = 0", "greater than 0"]),
        ("device=gpu", ["device = 'gpu'", "cuda"]),
        ("night.workers=-1", ["night.workers = -1", "greater than or equal to 0"]),
        ("night.inject_snr=[50, 5]", ["inject_snr", "(50.0, 5.0)", "below"]),
    ],
)
def test_errors_name_the_key_the_value_and_what_is_valid(override, words):
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])
    for word in words:
        assert word in caught.value.message
    assert override in caught.value.message or override.split("=")[0] in caught.value.message
    assert caught.value.facts["key"]
    assert "value" in caught.value.facts


def test_valid_keys_are_those_of_the_chosen_engine():
    with pytest.raises(ConfigError, match="unknown key") as caught:
        load_config(None, ["subtract.speed=4"])
    listed = caught.value.message.split("valid keys here:")[1]
    assert "n_windows" in listed
    assert "stamps_x" not in listed


def test_the_key_is_written_as_in_the_file():
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["subtract.order=9"])
    assert "subtract.order = 9" in caught.value.message
    assert caught.value.facts["key"] == "subtract.order"


def test_all_wrong_keys_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["detect.a=1", "align.b=2"])
    assert "detect.a" in caught.value.message
    assert "align.b" in caught.value.message


@pytest.mark.parametrize("override", ["detect.threshold_sigma", "=5", ""])
def test_overrides_have_a_key_and_a_value(override):
    with pytest.raises(ConfigError, match=r"expected section\.key=value"):
        load_config(None, [override])


def test_override_below_a_value():
    with pytest.raises(ConfigError, match="instrument is a value, not a section"):
        load_config(None, ["instrument=tomoe", "instrument.name=x"])


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"[detect\n", "not valid TOML"), (b"\xff\xfe\x00", "not valid TOML")],
)
def test_unreadable_files_are_named(tmp_path, content, message):
    path = tmp_path / "night.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert str(path) in caught.value.message


def test_a_wrong_key_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "night.toml"
    path.write_text("[detect]\nthreshold = 4\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"night\.toml.*detect\.threshold = 4: unknown key"):
        load_config(path)


def test_options_are_frozen():
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.instrument = "tomoe"
    with pytest.raises(ValidationError, match="frozen"):
        config.detect.threshold_sigma = 3.0


@pytest.mark.parametrize(
    "override",
    [
        "detect.threshold_sigma=5.5",
        "subtract.order=1",
        "subtract.engine=hotpants",
        "ingest.background.mesh_px=32",
        "ingest.cosmic_rays.enabled=false",
        "align.use_wcs=false",
        "stamps.size=61",
        "reference.clip_sigma=6",
        "instrument=tomoe",
        "gain_e_adu=2",
        "night.n_reference=4",
        "night.inject=100",
        "night.seed=5",
        "classify.model=elsewhere",
    ],
)
def test_hash_changes_with_what_changes_a_product(override):
    assert config_hash(load_config(None, [override])) != config_hash(Config())


@pytest.mark.parametrize("override", ["night.workers=7", "night.report_top=9", "night.pictures=false"])
def test_hash_does_not_change_with_what_changes_no_product(override):
    assert config_hash(load_config(None, [override])) == config_hash(Config())


def test_hash_is_sixteen_digits_and_knows_values_not_spellings():
    digits = config_hash(Config())
    assert len(digits) == 16
    assert int(digits, 16) >= 0
    written = load_config(None, ["detect.threshold_sigma=5", "subtract.engine=kernel", "stamps.size=63"])
    assert config_hash(written) == digits


def every_field(model: type[BaseModel], path: str = ""):
    for name, field in model.model_fields.items():
        yield f"{path}{name}", field
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from every_field(inner, f"{path}{name}.")


def test_every_setting_is_described_and_numbers_are_bounded():
    fields = list(every_field(Config))
    assert len(fields) > 60
    assert not [name for name, field in fields if not field.description]
    unbounded = [name for name, field in fields if field.annotation in (int, float) and not field.metadata]
    assert not unbounded
