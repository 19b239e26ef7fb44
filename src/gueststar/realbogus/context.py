"""What stands around a candidate, as further numbers of the network: columns that a data set or a survey has.

Distance to the nearest star, distance to and size of the nearest galaxy, how many visits saw something there: a column
of the candidate table or of the data set, or a ratio of two as a/b, becomes a number beside the measured ones. Such
numbers say where a candidate is, not what it is, so three things are different about them:

- A group of its own is hidden now and then in training, so that the network does not lean on it.
- Each has a second number that says whether it is known: a missing one, or a column that a table lacks altogether,
  counts as the mean and as not known.
- The card warns. Where artificial reals stand is a choice of whoever injected them, and a network learns that choice:
  one that has only seen reals off the stars rejects variable stars.

Columns that tell the class by the way a training set is made are refused, see `gueststar.realbogus.scalars`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gueststar.errors import ConfigError, InputError
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.scalars import COMPRESSIONS, DEFAULT_SCALARS, Scalar

__all__ = ["SHORT_CUTS", "check_context", "context_caveats", "context_scalars"]

_EXPOSURE = "tied to exposure time and depth of the survey"
_PLACE = "says where or when, not what: rows of one place or night are on one side of the split"
_LABEL = "made from the label, or with it"

#: Columns that may not be shown to a network, with the reason.
SHORT_CUTS: Mapping[str, str] = {
    "psf_chi2": "artificial reals are drawn with the very PSF that the fit uses, so it knows them",
    **dict.fromkeys(("flux", "flux_err", "mag", "mag_err"), _EXPOSURE),
    **dict.fromkeys(("x", "y", "x_err", "y_err", "ra", "dec", "mjd"), _PLACE),
    **dict.fromkeys(("true_snr", "label"), _LABEL),
}


def context_scalars(names: Sequence[str], *, network: str = "gueststar") -> tuple[Scalar, ...]:
    """Numbers of the network from ``column`` or ``column:compression``; log(1 + v), for distances, when not told.

    Raises
    ------
    ConfigError
        When a column is a short cut, is among the measured numbers already or comes twice, a compression is unknown, or
        the network sees pixels alone.
    """
    if names and network != "gueststar":
        raise ConfigError(
            f"network {network!r} sees pixels alone: leave out train.context, or train the network 'gueststar'",
            key="train.context",
        )
    found: list[Scalar] = []
    taken = {scalar.name for scalar in DEFAULT_SCALARS}
    for text in names:
        name, _, compression = (part.strip() for part in text.partition(":"))
        compression = compression or "log1p"
        if compression not in COMPRESSIONS:
            raise ConfigError(
                f"train.context {text!r}: compression {compression!r} is not one of {', '.join(COMPRESSIONS)}",
                key="train.context",
            )
        for part in name.split("/"):
            if not part or part in SHORT_CUTS:
                reason = SHORT_CUTS.get(part, "it has no name")
                raise ConfigError(
                    f"train.context {text!r}: {part!r} is not for a network: {reason}", key="train.context"
                )
        if name in taken:
            raise ConfigError(
                f"train.context {text!r}: {name!r} is an input already; leave it out", key="train.context"
            )
        taken.add(name)
        found.append(Scalar(name, compression, context=True))  # type: ignore[arg-type]
    return tuple(found)


def check_context(dataset: LabelledStamps, scalars: Sequence[Scalar]) -> None:
    """Refuse context columns that a data set lacks, or that are no numbers.

    Raises
    ------
    InputError
        Names the column.
    """
    for scalar in scalars:
        for part in scalar.name.split("/") if scalar.context else ():
            try:
                kind = dataset[part].dtype.kind
            except (KeyError, InputError):
                raise InputError(
                    f"train.context: the data set has no column {part!r}; build it from products that have it, or "
                    "leave it out",
                    column=part,
                ) from None
            if kind not in "fiub":
                raise InputError(f"train.context: column {part!r} holds texts; a number is needed", column=part)


def context_caveats(scalars: Sequence[Scalar]) -> tuple[str, ...]:
    """What the card has to say about a model with such inputs."""
    names = [scalar.name for scalar in scalars if scalar.context]
    if not names:
        return ()
    return (
        f"Sees what stands around a candidate ({', '.join(names)}): where artificial reals stand among stars and "
        "galaxies is a choice of their injector, which the model has learnt; it may miss variables on stars, or "
        "whatever else stands elsewhere. Where these numbers are missing, the pixels decide.",
    )
