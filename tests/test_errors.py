"""The tree of errors: facts kept, pickled between processes, one base to catch."""

from __future__ import annotations

import pickle

import pytest

from gueststar import errors
from gueststar.errors import GueststarError

KINDS = [getattr(errors, name) for name in errors.__all__]
PARENTS = {
    "FrameError": "InputError",
    "KeywordError": "InputError",
    "PixelError": "InputError",
    "AlignmentError": "StageError",
    "AstrometryError": "StageError",
    "SubtractionError": "StageError",
    "QualityError": "StageError",
    "ModelError": "StageError",
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_carry_facts_and_survive_pickling(kind):
    error = kind("gain -1: expected a positive number", keyword="GAIN", value=-1.0, path=None)
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert type(one) is kind
        assert str(one) == one.message == "gain -1: expected a positive number"
        assert one.facts == {"keyword": "GAIN", "value": -1.0, "path": None}
        assert isinstance(one, GueststarError)


def test_errors_without_facts_have_empty_ones():
    assert GueststarError("no").facts == {}


def test_the_tree_is_as_drawn():
    for kind in KINDS:
        parent = PARENTS.get(kind.__name__, "GueststarError" if kind is not GueststarError else "Exception")
        assert kind.__mro__[1].__name__ == parent
        assert kind.__name__ in (errors.__doc__ or "")
