"""Finds what is new in the sky: register, subtract, detect and classify survey images."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gueststar.config import Config
    from gueststar.errors import GueststarError
    from gueststar.ingest.fits import load_image
    from gueststar.ingest.prepare import prepare_image
    from gueststar.pipeline import PairResult, process_pair
    from gueststar.types import Candidates, Difference, Image, Mask, Psf, Stamps

# Names are resolved on first use, so that `gueststar --help` does not wait for torch.
_WHERE = {
    "Candidates": "gueststar.types",
    "Config": "gueststar.config",
    "Difference": "gueststar.types",
    "GueststarError": "gueststar.errors",
    "Image": "gueststar.types",
    "Mask": "gueststar.types",
    "PairResult": "gueststar.pipeline",
    "Psf": "gueststar.types",
    "Stamps": "gueststar.types",
    "load_image": "gueststar.ingest.fits",
    "prepare_image": "gueststar.ingest.prepare",
    "process_pair": "gueststar.pipeline",
}

__all__ = [
    "Candidates",
    "Config",
    "Difference",
    "GueststarError",
    "Image",
    "Mask",
    "PairResult",
    "Psf",
    "Stamps",
    "__version__",
    "load_image",
    "prepare_image",
    "process_pair",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'gueststar' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
