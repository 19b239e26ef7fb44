"""Context as inputs: known or not is told, the group is hidden in training, a table without the columns is scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gueststar.errors import ConfigError, InputError, ModelError
from gueststar.realbogus.card import read_model, write_model
from gueststar.realbogus.context import SHORT_CUTS, check_context, context_scalars
from gueststar.realbogus.dataset import Dataset
from gueststar.realbogus.network import RealBogusNet
from gueststar.realbogus.package import describe_model
from gueststar.realbogus.preprocess import Preprocess
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar, measured_scalars, scalars_of
from gueststar.realbogus.score import RealBogus, load_model, score_stamps
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.train import Train, predict, train_network
from realbogus_stamps import dataset, sample

OPTIONS = Train(epochs=1, batch_size=24, stamp_size=15, context=("star_distance", "galaxy_distance/galaxy_size:asinh"))


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    rng = np.random.default_rng(3)
    plain = dataset(96, rng, size=21, pairs=12)
    columns = {**plain.columns, "galaxy_distance": rng.uniform(0, 50, 96), "galaxy_size": rng.uniform(2, 9, 96)}
    columns["star_distance"] = rng.uniform(0, 50, 96).astype(np.float32)
    columns["star_distance"][::7] = np.nan
    return Dataset(plain.cube, plain.sigma, columns, plain.facts)


def test_columns_become_numbers_of_the_network() -> None:
    assert context_scalars(["star_distance", "a/b: asinh"]) == (
        Scalar("star_distance", "log1p", context=True),
        Scalar("a/b", "asinh", context=True),
    )
    assert context_scalars([]) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("star_distance:sqrt", "compression 'sqrt' is not one of log10_abs, log1p"),
        ("psf_chi2", "'psf_chi2' is not for a network: artificial reals are drawn"),
        ("star_distance/flux", "'flux' is not for a network: tied to exposure time"),
        ("snr", "'snr' is an input already"),
        ("", "it has no name"),
    ],
)
def test_what_cannot_be_context_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        context_scalars([text])
    assert {"x", "mag", "true_snr"} <= set(SHORT_CUTS)


def test_columns_that_are_not_there_or_no_numbers_are_refused(drawn: Dataset) -> None:
    with pytest.raises(InputError, match="has no column 'host_offset'"):
        check_context(drawn, context_scalars(["star_distance", "host_offset"]))
    with pytest.raises(InputError, match="column 'tile' holds texts"):
        check_context(drawn, context_scalars(["tile"]))


def test_missing_is_the_mean_and_told_apart() -> None:
    scalars = (Scalar("snr", "log10_abs"), Scalar("d", "linear", context=True))
    step = Preprocess(scalars, size=15)
    step.fit(np.float32([[5, 2], [5, 6], [5, np.nan]]))
    cube, sigma = torch.zeros(3, 3, 15, 15), torch.ones(3, 3)
    _, numbers = step(cube, sigma, torch.tensor([[5.0, 6.0], [5.0, 4.0], [5.0, torch.nan]]))
    assert step.n_out == numbers.shape[1] == 6
    assert step.context_columns == (1, 5)
    np.testing.assert_allclose(numbers[:, 1], [1.0, 0.0, 0.0], atol=1e-6)
    np.testing.assert_array_equal(numbers[:, 5], [1.0, 1.0, 0.0])


def test_the_whole_group_is_hidden_at_its_rate_and_nothing_else() -> None:
    scalars = (*DEFAULT_SCALARS, Scalar("a", "linear", context=True), Scalar("b", "linear", context=True))
    network = RealBogusNet(scalars, size=15, scalar_dropout=0.0, context_dropout=0.3)
    torch.manual_seed(0)
    found = network._without_context(torch.ones(4000, network.preprocess.n_out))
    columns = list(network.preprocess.context_columns)
    n = len(DEFAULT_SCALARS)
    assert columns == [n, n + 1, n + 5, n + 6]
    hidden = found[:, columns] == 0
    assert (hidden.all(dim=1) == hidden.any(dim=1)).all()
    assert hidden[:, 0].float().mean().item() == pytest.approx(0.3, abs=0.03)
    others = [i for i in range(network.preprocess.n_out) if i not in columns]
    assert (found[:, others] == 1).all()


def test_a_number_that_a_table_may_lack_is_hidden_alone_at_its_rate() -> None:
    network = RealBogusNet(DEFAULT_SCALARS, size=15)
    (column,) = network.preprocess.optional
    assert DEFAULT_SCALARS[column].name == "snr_beyond_share/snr"
    torch.manual_seed(0)
    hidden = network._without_optional(torch.ones(8000, network.preprocess.n_out)) == 0
    assert hidden[:, column].float().mean().item() == pytest.approx(0.1, abs=0.015)
    assert hidden.any(dim=0).sum() == 1


def test_without_an_optional_number_a_candidate_is_scored_as_if_it_were_missing(
    drawn: Dataset, tmp_path: Path, rng: np.random.Generator
) -> None:
    split = split_groups(drawn.columns, rng=np.random.default_rng(0))
    trained = train_network(drawn, split, OPTIONS)
    write_model(tmp_path / "m", *describe_model(trained, drawn, split, options=OPTIONS, name="c", version="1"))
    card = read_model(tmp_path / "m")[0]
    assert [item.name for item in card.scalars if item.optional] == ["snr_beyond_share/snr"]
    candidates, stamps, _, _ = sample(30, rng, size=21)
    candidates.table["snr_beyond_share"] = np.float32(np.nan)
    scores = RealBogus(model=str(tmp_path / "m"))(candidates, stamps)["rb_score"]
    names = [scalar.name for scalar in card.network_scalars()]
    there = {name: candidates[name] for name in candidates.table.colnames if name != "snr_beyond_share"}
    numbers = scalars_of(there, names, n=30, optional=[s.name for s in card.network_scalars() if s.may_lack])
    again = score_stamps(stamps.cube, stamps.sigma, numbers, load_model(tmp_path / "m"))
    np.testing.assert_array_equal(again, scores)
    assert np.isfinite(scores).all()


def test_a_model_without_context_is_what_it_was() -> None:
    torch.manual_seed(0)
    plain = RealBogusNet(size=15)
    torch.manual_seed(0)
    other = RealBogusNet(size=15, context_dropout=0.9)
    assert plain.preprocess.n_out == len(DEFAULT_SCALARS) + 3
    cube, sigma, numbers = torch.randn(8, 3, 15, 15), torch.ones(8, 3), torch.randn(8, len(DEFAULT_SCALARS))
    plain.train(), other.train()
    torch.manual_seed(1)
    first = plain(cube, sigma, numbers)
    torch.manual_seed(1)
    assert torch.equal(first, other(cube, sigma, numbers))


def test_a_model_with_context_scores_tables_with_and_without_it(
    drawn: Dataset, tmp_path: Path, rng: np.random.Generator
) -> None:
    split = split_groups(drawn.columns, rng=np.random.default_rng(0))
    trained = train_network(drawn, split, OPTIONS)
    card, weights = describe_model(trained, drawn, split, options=OPTIONS, name="c", version="1", caveats=("first",))
    write_model(tmp_path / "m", card, weights)
    card = read_model(tmp_path / "m")[0]
    assert [item.name for item in card.scalars if item.context] == ["star_distance", "galaxy_distance/galaxy_size"]
    assert card.network_scalars() == trained.network.preprocess.scalars
    assert card.caveats[0] == "first"
    assert "may miss variables on stars" in card.caveats[1]
    assert card.training["stopped"] == "epochs"

    candidates, stamps, _, _ = sample(30, rng, size=21)
    with pytest.raises(ModelError, match="needs the measured number 'galaxy_distance/galaxy_size'"):
        measured_scalars(candidates, [item.name for item in card.scalars])
    model = RealBogus(model=str(tmp_path / "m"))
    without = model(candidates, stamps)["rb_score"]
    more = {"galaxy_distance": np.full(30, 3.0), "galaxy_size": np.full(30, 4.0)}
    known = model(candidates.with_columns(**more), stamps)["rb_score"]
    assert np.isfinite(without).all()
    assert not np.allclose(without, known, atol=1e-6)
    session = load_model(tmp_path / "m").session
    assert session.inputs["scalars"][1] == len(DEFAULT_SCALARS) + 2
    assert predict(trained.network, drawn).shape == (96,)
