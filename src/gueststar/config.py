"""The whole configuration of a run: one frozen object, read from TOML, with every field described."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gueststar.align import Align
from gueststar.detect import Detect
from gueststar.errors import ConfigError
from gueststar.ingest.prepare import Ingest
from gueststar.ingest.solve import SolveField
from gueststar.options import Options
from gueststar.quality import Quality
from gueststar.realbogus.score import RealBogus
from gueststar.reference import MakeReference
from gueststar.stamps import CutStamps
from gueststar.subtract.hotpants import Hotpants
from gueststar.subtract.kernel import Kernel
from gueststar.subtract.sfft import Sfft
from gueststar.subtract.zogy import Zogy

__all__ = ["Config", "Engine", "NightOptions", "config_hash", "load_config"]

Engine = Annotated[Kernel | Sfft | Zogy | Hotpants, Field(discriminator="engine")]


class NightOptions(Options):
    """How a folder of frames is processed and reported."""

    workers: int = Field(0, ge=0, le=4096, description="Processes, one image each; 0 is one for every core")
    n_reference: int = Field(
        3,
        ge=1,
        le=500,
        description="First frames of a field and chip that make its reference; never more than half of them",
    )
    keep_difference: bool = Field(True, description="Write difference.fits of each image")
    pictures: bool = Field(True, description="Write pair.png of each image")
    inject: int = Field(
        0, ge=0, le=20_000, description="Artificial reals for the second processing of each image; 0 is none"
    )
    inject_snr: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = Field(
        (5.0, 50.0), description="Lowest and highest S/N of the artificial reals (PSF)"
    )
    inject_placement: Literal["mixed", "random", "galaxy", "star"] = Field(
        "mixed", description="Where artificial reals are put"
    )
    inject_stamps: bool = Field(
        True, description="Keep the stamps of artificial reals that were found: data sets are made of them"
    )
    inject_lost_stamps: int = Field(
        12, ge=0, le=1000, description="Stamps of artificial reals that were lost, kept for each image"
    )
    match_radius_px: float = Field(
        2.0, gt=0, le=20, description="An artificial real is found when a positive candidate lies this near, px"
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="Seed of the artificial reals; the file name is mixed in for each image"
    )
    rb_threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Score from which a candidate counts as real in the report; None is the model card's",
    )
    report_top: int = Field(48, ge=0, le=1000, description="Candidates in the gallery of the report")
    report_pictures: int = Field(
        48, ge=0, le=500, description="Images shown with a picture in the report; the others are linked"
    )

    @model_validator(mode="after")
    def _snr_range(self) -> NightOptions:
        low, high = self.inject_snr
        if not low < high:
            raise ValueError(f"inject_snr = ({low}, {high}): the lowest S/N must be below the highest")
        return self


class Config(Options):
    """Everything that decides the result of a run."""

    instrument: str = Field("generic", description="Instrument profile: a name, or a path to a .toml file")
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="Where planes live: cpu, cuda or cuda:N")
    gain_e_adu: float | None = Field(None, gt=0, description="Gain, e-/ADU; None: from the header or the profile")
    ingest: Ingest = Field(Ingest(), description="Raw counts to images")
    reference: MakeReference = Field(MakeReference(), description="Coaddition of earlier frames")
    align: Align = Field(Align(), description="Reference onto the science grid")
    subtract: Engine = Field(Kernel(), description="Subtraction engine; `engine` chooses which")
    detect: Detect = Field(Detect(), description="Candidates of the difference")
    stamps: CutStamps = Field(CutStamps(), description="Triplet cutouts")
    classify: RealBogus = Field(RealBogus(), description="Real/bogus score")
    quality: Quality = Field(Quality(), description="Gates that reject an image")
    solve: SolveField = Field(SolveField(), description="Plate solution by astrometry.net (gueststar solve)")
    night: NightOptions = Field(NightOptions(), description="Runs over a whole folder")

    @model_validator(mode="before")
    @classmethod
    def _default_engine(cls, values: Any) -> Any:
        """An engine table without its name means our own."""
        if isinstance(values, dict) and isinstance(values.get("subtract"), dict):
            return {**values, "subtract": {"engine": "kernel", **values["subtract"]}}
        return values


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path : path, optional
        TOML file; None: defaults.
    overrides : sequence of str
        ``"section.key=value"``, applied last; the value is TOML, or a plain word.

    Raises
    ------
    ConfigError
        For a missing or unreadable file, an unknown key, or a value out of bounds.
    """
    values: dict[str, Any] = {}
    source = "defaults"
    if path is not None:
        source = str(path)
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"configuration {source}: cannot be read: {error.strerror}", path=source) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"configuration {source}: not valid TOML: {error}", path=source) from None
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"override {override!r}: expected section.key=value", value=override)
        _set(values, key.strip(), _value(text.strip()), override)
        source += f", {override}"
    return Config.parse(values, source=source)


def _set(values: dict[str, Any], key: str, value: Any, override: str) -> None:
    *path, last = key.split(".")
    inner = values
    for part in path:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"override {override!r}: {part} is a value, not a section", key=key)
    inner[last] = value


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def config_hash(config: Config) -> str:
    """Hash of everything that decides the pixels and numbers of a product; 16 hexadecimal digits.

    How many processes work, and what a report shows, is left out: it changes no product.
    """
    plain = config.model_dump(mode="json")
    for key in ("workers", "report_top", "report_pictures", "pictures"):
        plain["night"].pop(key, None)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
