"""Stamps of other surveys: read as they are published, with the order of their planes told by the pixels."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.datasets.importing import ImportSet, Piece, write_pieces
from gueststar.datasets.tomoe import export_tomoe, import_tomoe
from gueststar.datasets.ztf import import_ztf_alerts, import_ztf_table
from gueststar.errors import ConfigError, InputError, MissingPartError, OutputError
from gueststar.realbogus.channels import guess_channels, parse_order
from gueststar.realbogus.foreign import blank_candidates, normalise
from gueststar.realbogus.stored import open_dataset
from gueststar.types import CANDIDATE_COLUMNS
from realbogus_stamps import gaussian

TYPES = ("artifact", "rand_artificial_real", "galx_artificial_real")


def triplets(n: int, k: int = 29, *, seed: int = 0, stars: int = 3, sky: float = 200.0) -> np.ndarray:
    """Science, reference, difference in counts: noise 5 and 3, some stars beside the centre, a new source in it."""
    rng = np.random.default_rng(seed)
    cube = np.empty((n, 3, k, k))
    for i in range(n):
        field = sum(
            (rng.uniform(500, 5000) * gaussian(k, *rng.uniform(-0.5 * k, 0.5 * k, 2), 1.2) for _ in range(stars)),
            np.zeros((k, k)),
        )
        source = rng.uniform(150, 900) * gaussian(k, *rng.uniform(-0.4, 0.4, 2), 1.2)
        reference = field + rng.normal(0, 3, (k, k))
        science = field + source + rng.normal(0, 5, (k, k))
        cube[i] = science + sky, reference + 0.9 * sky, science - reference
    return cube


def test_planes_are_told_in_every_order_and_scale() -> None:
    cube = triplets(120)
    lowest, highest = cube.min((2, 3), keepdims=True), cube.max((2, 3), keepdims=True)
    for units in (cube, (cube - lowest) / (highest - lowest)):
        for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0), (2, 0, 1), (0, 2, 1), (1, 2, 0)):
            guess = guess_channels(units[:, list(order)])
            names = tuple(("science", "reference", "difference")[i] for i in order)
            assert guess.order == names, (order, guess)
            assert guess.votes > 60
    turned = np.arange(120) % 3 > 0
    flipped = cube.copy()
    flipped[turned, 2] *= -1
    assert guess_channels(flipped, turned=turned).order == ("science", "reference", "difference")
    assert guess_channels(flipped).science != 0


def test_stamps_without_stars_say_nothing() -> None:
    empty = triplets(120, stars=0)
    assert guess_channels(empty).order is None
    blank = np.full((30, 3, 25, 25), np.nan)
    assert guess_channels(blank).votes == 0
    assert guess_channels(np.zeros((30, 3, 25, 25))).votes == 0
    few = guess_channels(triplets(10))
    assert few.difference is None


def test_real_alerts_show_their_order(shared_data: Path) -> None:
    from gueststar.datasets.ztf import table_pieces

    piece = next(table_pieces(shared_data / "ztf_alert_stamps" / "ztf.npz", "weak_label"))
    guess = guess_channels(piece.cube, turned=piece.turned)
    assert guess.order == ("science", "reference", "difference")
    assert guess.share > 0.95
    assert guess.science_share > 0.95
    centre = guess_channels(piece.cube[:, ::-1, 17:-17, 17:-17], turned=piece.turned)
    assert centre.order == ("difference", "reference", "science")


def test_orders_are_read_and_refused() -> None:
    assert parse_order("science, difference,reference") == ("science", "difference", "reference")
    for text in ("science", "science,science,difference", "science,reference,template"):
        with pytest.raises(InputError, match="science, reference and difference are needed"):
            parse_order(text)
    with pytest.raises(ConfigError, match="are needed, each once"):
        ImportSet.parse({"order": "science"})


def test_sky_noise_and_significance_are_measured() -> None:
    cube = triplets(200, 41, stars=2)
    before = cube.copy()
    made = normalise(cube, fwhm_px=2.8)
    np.testing.assert_array_equal(cube, before)
    np.testing.assert_allclose(np.median(made.sigma, axis=0), [5.0, 3.0, np.hypot(5, 3)], rtol=0.03)
    assert abs(np.median(made.cube[:, 0])) < 0.2
    flux, area = 120.0, 4 * np.pi * 1.2**2
    blank = triplets(400, 41, stars=0, seed=3)
    truth = []
    for i in range(400):
        blank[i, 2] = np.random.default_rng(i).normal(0, 6, (41, 41)) + flux * gaussian(41, 0, 0, 1.2)
        truth.append(flux / 6 / np.sqrt(area))
    measured = normalise(blank, fwhm_px=1.2 * 2.3548).snr
    assert np.mean(measured) == pytest.approx(np.mean(truth), rel=0.03)
    assert np.std(measured) == pytest.approx(1.0, rel=0.12)


def test_planes_that_cannot_be_measured_are_missing() -> None:
    cube = triplets(5, 25)
    cube[0, 1], cube[1, 2] = np.nan, 7.0
    cube[2, 0, :4] = np.nan
    cube[3, 0] = np.where(np.indices((25, 25))[0] % 2, 1.0, 1.0 + 1e-3)
    made = normalise(cube, fwhm_px=2.5)
    assert np.isnan(made.cube[0, 1]).all()
    assert np.isnan(made.sigma[1, 2])
    assert np.isnan(made.cube[1, 2]).all()
    assert np.isnan(made.snr[1])
    assert np.isnan(made.cube[2, 0, :4]).all()
    assert np.isfinite(made.cube[2, 0, 4:]).all()
    kept = normalise(triplets(5, 25), fwhm_px=2.5, keep_sky=True)
    assert np.median(kept.cube[:, 0]) > 20
    assert set(blank_candidates(2)) == {column.name for column in CANDIDATE_COLUMNS}


def write_tomoe(folder: Path, chips=("112", "7"), *, n: int = 60, order=(1, 0, 2), seed: int = 0) -> np.ndarray:
    """The published format; returns the triplets in our order."""
    folder.mkdir(exist_ok=True)
    every = []
    for number, chip in enumerate(chips):
        cube = triplets(n, seed=seed + number)
        every.append(cube)
        np.save(folder / f"images{chip}.npy", np.moveaxis(cube[:, list(order)], 1, 3).astype(np.float32))
        with (folder / f"params{chip}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["object_type", "x", "seeing", "filter"])
            writer.writerows([TYPES[i % 3], 10.0 + i, 2.5, "none"] for i in range(n))
    return np.concatenate(every)


def test_the_published_format_is_read(tmp_path: Path) -> None:
    cube = write_tomoe(tmp_path / "raw")
    made = import_tomoe([tmp_path / "raw"], tmp_path / "set", ImportSet(dtype="float32"))
    assert made.facts["planes_in_files"] == ["reference", "science", "difference"]
    assert made.facts["planes_by_pixels"] == "reference,science,difference"
    assert (len(made), made.stamp_size) == (120, 29)
    assert made["chip"].tolist() == ["112"] * 60 + ["7"] * 60
    assert made.labels[:3].tolist() == [0, 1, 1]
    assert made["placement"][:3].tolist() == ["", "random", "galaxy"]
    assert made["object_type"][:3].tolist() == list(TYPES)
    assert made["x"][:2].tolist() == [10.0, 11.0]
    assert made["param_seeing"][0] == 2.5
    assert set(made["param_filter"]) == {"none"}
    back = made.stamps(np.arange(120)) * made.sigma(np.arange(120))[:, :, None, None]
    flat = cube - np.median(cube, axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(back - np.median(back, axis=(2, 3), keepdims=True), flat, atol=0.02)
    assert (made["snr"] > 3).mean() > 0.9
    split = made.split()
    assert sum(len(rows) for rows in split.parts().values()) == 120
    made.check_split(split)
    single = import_tomoe([tmp_path / "raw" / "images7.npy"], tmp_path / "one", ImportSet(split=None))
    assert set(single["split"]) == {""}


def test_a_wrong_order_is_refused_unless_one_insists(tmp_path: Path) -> None:
    write_tomoe(tmp_path / "raw", order=(0, 1, 2))
    files = [tmp_path / "raw"]
    with pytest.raises(InputError, match=r"plane 1, said to be the reference, looks like the science image.*--order"):
        import_tomoe(files, tmp_path / "a")
    with pytest.raises(InputError, match=r"plane 3, said to be the science, looks like the difference: in \d+ %"):
        import_tomoe(files, tmp_path / "a", ImportSet(order="reference,difference,science"))
    assert not (tmp_path / "a").exists()
    told = import_tomoe(files, tmp_path / "b", ImportSet(order="auto"))
    assert told.facts["planes_in_files"] == ["science", "reference", "difference"]
    insisted = import_tomoe(files, tmp_path / "c", ImportSet(check=False))
    assert insisted.facts["planes_by_pixels"] == ""
    np.testing.assert_allclose(insisted.stamps(np.arange(9))[:, 1], told.stamps(np.arange(9))[:, 0], rtol=1e-3)


def test_an_order_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    write_tomoe(tmp_path / "raw", chips=("1",), n=9)
    with pytest.raises(InputError, match=r"cannot be told by the pixels of 9 stamps .*give it with --order"):
        import_tomoe([tmp_path / "raw"], tmp_path / "a", ImportSet(order="auto"))
    made = import_tomoe([tmp_path / "raw"], tmp_path / "b")
    assert made.facts["planes_by_pixels"] == "not to be told"


def test_published_files_that_cannot_be_right_are_refused(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_tomoe(raw, chips=("1",), n=30)
    params = (raw / "params1.csv").read_text()
    for text, words in (
        (params.replace("galx_artificial_real", "galaxy"), "object type 'galaxy' is unknown; there are artifact"),
        (params.replace("object_type", "kind"), "the column object_type are expected"),
        ("\n".join(params.splitlines()[:-3]) + "\n", "has 27 rows"),
        (params.replace(",10.0,", ",east,"), "column x is no number"),
    ):
        (raw / "params1.csv").write_text(text)
        with pytest.raises(InputError, match=words):
            import_tomoe([raw], tmp_path / "set")
    (raw / "params1.csv").unlink()
    with pytest.raises(InputError, match=r"params1.csv cannot be read"):
        import_tomoe([raw], tmp_path / "set")
    np.save(raw / "images1.npy", np.zeros((30, 3, 29, 29)))
    (raw / "params1.csv").write_text(params)
    with pytest.raises(InputError, match=r"expected \(N, k, k, 3\), channels last"):
        import_tomoe([raw], tmp_path / "set")
    with pytest.raises(InputError, match=r"not a file images\(det\).npy"):
        import_tomoe([raw / "stamps.npy"], tmp_path / "set")
    with pytest.raises(InputError, match=r"no file images\(det\).npy"):
        import_tomoe([raw / "params1.csv"], tmp_path / "set")


def test_export_and_import_give_the_same_set(tmp_path: Path) -> None:
    write_tomoe(tmp_path / "raw")
    first = import_tomoe([tmp_path / "raw"], tmp_path / "first", ImportSet(dtype="float32"))
    written = export_tomoe(first, tmp_path / "out")
    assert written == {"112": 60, "7": 60}
    assert np.load(tmp_path / "out" / "images7.npy").shape == (60, 29, 29, 3)
    second = import_tomoe([tmp_path / "out"], tmp_path / "second", ImportSet(dtype="float32"))
    rows = np.arange(120)
    np.testing.assert_allclose(second.stamps(rows), first.stamps(rows), rtol=1e-5, atol=2e-4)
    np.testing.assert_allclose(second.sigma(rows), first.sigma(rows), rtol=1e-5)
    for column in ("label", "placement", "chip", "x", "snr", "candidate_id", "band", "mask_flags"):
        np.testing.assert_array_equal(second[column], first[column])
    with pytest.raises(OutputError, match="is not empty"):
        export_tomoe(first, tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        export_tomoe(first, tmp_path / "file" / "x")


def test_export_numbers_chips_and_leaves_out_what_is_neither(tmp_path: Path) -> None:
    cube = triplets(30, 33)
    columns = {"label": np.arange(30) % 3 - 1, "chip": np.where(np.arange(30) < 15, "Q2-11", "Q1-11")}
    made = write_pieces([Piece(cube, columns)], tmp_path / "set", ImportSet(), order=parse_order(
        "science,reference,difference"), source="mine")  # fmt: skip
    written = export_tomoe(made, tmp_path / "out", size=31, order=("difference", "science", "reference"))
    assert written == {"0": 10, "1": 10}
    with (tmp_path / "out" / "params0.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["chip"] for row in rows} == {"Q1-11"}
    assert {row["object_type"] for row in rows} == {"artifact", "rand_artificial_real"}
    images = np.load(tmp_path / "out" / "images0.npy")
    assert images.shape == (10, 31, 31, 3)
    rows = np.flatnonzero((made["chip"] == "Q1-11") & (made.labels >= 0))
    expected = made.stamps(rows, size=31)[:, 2] * made.sigma(rows)[:, 2, None, None]
    np.testing.assert_allclose(images[..., 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("cube", "label", "words"),
    [
        (np.zeros((4, 3, 28, 28)), 1, "odd and at least 21"),
        (np.zeros((4, 3, 19, 19)), 1, "odd and at least 21"),
        (np.zeros((4, 3, 29, 27)), 1, "three planes of k x k"),
        (np.zeros((4, 2, 29, 29)), 1, "three planes of k x k"),
        (np.zeros((4, 3, 29, 29)), 2, "label 2: 1 is real"),
    ],
)
def test_pieces_that_cannot_be_right_are_refused(tmp_path: Path, cube, label, words) -> None:
    with pytest.raises(InputError, match=words):
        write_pieces([Piece(cube, {"label": label})], tmp_path / "set", ImportSet(), order=parse_order(
            "science,reference,difference"), source="mine")  # fmt: skip


def test_a_set_of_one_class_or_without_chips_is_told_by_training(tmp_path: Path) -> None:
    from gueststar.realbogus.train import Train, train_network

    made = write_pieces([Piece(triplets(40), {"label": 1})], tmp_path / "set", ImportSet(), order=parse_order(
        "science,reference,difference"), source="mine")  # fmt: skip
    assert "chip" not in made.column_names
    assert "chip" not in CliRunner().invoke(app, ["dataset", "info", str(tmp_path / "set")]).output
    with pytest.raises(InputError, match="reals and 0 artifacts; both are needed"):
        train_network(made, made.split(), Train(stamp_size=21))


def write_table(folder: Path, n: int = 40, **columns) -> Path:
    cube = triplets(n, 63, stars=6)
    turned = np.arange(n) % 4 == 0
    cube[turned] = np.stack([cube[turned, 1], cube[turned, 0], cube[turned, 2]], axis=1)
    arrays = {}
    for i, name in enumerate(("science", "template", "difference")):
        offset = np.median(cube[:, i], axis=(1, 2)).astype(np.float32)
        arrays |= {name: ((cube[:, i] - offset[:, None, None]) / 5.0).astype(np.float16)}
        arrays |= {f"{name}_offset": offset, f"{name}_scale": np.full(n, 5.0, np.float32)}
    np.savez(folder / "t.npz", **arrays)
    table = {
        "row": np.arange(n)[::-1], "objectId": [f"Z{i // 4}" for i in range(n)][::-1], "candid": 10**18 + np.arange(n),
        "isdiffpos": np.where(turned, "f", "t")[::-1], "scorr": np.linspace(5, 30, n), "fid": 1 + np.arange(n) % 3,
        "jd": 2459000.7, "ra": 10.0, "dec": -5.0, "rcid": 12, "field": 600, "magpsf": 18.5, "sigmapsf": 0.1,
        "fwhm": 2.9, "elong": 1.1, "rb": 0.6, "weak_label": np.arange(n) % 2, "real_hint": ["known", ""] * (n // 2),
        **columns,
    }  # fmt: skip
    with (folder / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*(np.broadcast_to(values, (n,)) for values in table.values()), strict=True))
    return folder / "t.npz"


def test_tables_of_alerts_are_read_and_turned(tmp_path: Path) -> None:
    made = import_ztf_table([write_table(tmp_path)], tmp_path / "set")
    assert made.facts["planes_by_pixels"] == "science,reference,difference"
    faded = made["isdiffpos"] == "f"
    assert faded.sum() == 10
    assert (made["snr"][faded] < 0).all()
    assert (made["snr"][~faded] > 0).all()
    centre = made.stamps(np.arange(40), size=3)[:, 2].mean(axis=(1, 2))
    assert (np.sign(centre) == np.where(faded, -1, 1)).mean() > 0.9
    assert made["candidate_id"][0] == str(10**18)
    assert made["band"][:3].tolist() == ["g", "r", "i"]
    assert (made["mjd"][0], made["chip"][0], made["field"][0]) == (pytest.approx(59000.2), "12", "600")
    np.testing.assert_array_equal(made["weak_label"], made.labels)
    assert made["real_hint"].tolist() == made["true_kind"].tolist()
    split = made.split()
    made.check_split(split)
    assert made.manifest.group_by == ("tile",)
    assert set(made["tile"]) == {f"Z{i}" for i in range(10)}


def test_tables_that_cannot_be_right_are_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    with pytest.raises(InputError, match=r"no column 'truth' for the label; .*--label-column"):
        import_ztf_table([path], tmp_path / "set", ImportSet(label_column="truth"))
    with pytest.raises(InputError, match=r"label 0.6 in 'rb'"):
        import_ztf_table([path], tmp_path / "set", ImportSet(label_column="rb"))
    with pytest.raises(InputError, match=r"label known in 'real_hint'"):
        import_ztf_table([path], tmp_path / "set", ImportSet(label_column="real_hint"))
    write_table(tmp_path, row=0)
    with pytest.raises(InputError, match="40 rows for 40 stamps of t.npz; one each"):
        import_ztf_table([path], tmp_path / "set")
    np.savez(path, science=np.zeros((3, 63, 63)))
    with pytest.raises(InputError, match="cannot be read"):
        import_ztf_table([path], tmp_path / "set")


def test_real_alerts_become_a_set(shared_data: Path, tmp_path: Path) -> None:
    made = import_ztf_table([shared_data / "ztf_alert_stamps" / "ztf.npz"], tmp_path / "set")
    assert ((made.labels == 1).sum(), (made.labels == 0).sum()) == (470, 40)
    # Our own significance of the central source follows that of the survey.
    own = normalise(made.stamps(np.arange(510)), fwhm_px=2.5).snr
    assert np.corrcoef(np.sign(own) * np.log10(np.abs(own) + 1), np.sign(made["snr"]) * np.log10(np.abs(made["snr"])))[
        0, 1
    ] > 0.9  # fmt: skip


SCHEMA = {
    "type": "record", "name": "alert", "namespace": "ztf", "fields": [
        {"name": "objectId", "type": "string"}, {"name": "candid", "type": "long"},
        {"name": "candidate", "type": {"type": "record", "name": "candidate", "fields": [
            {"name": "jd", "type": "double"}, {"name": "fid", "type": "int"}, {"name": "isdiffpos", "type": "string"},
            {"name": "ra", "type": "double"}, {"name": "dec", "type": "double"}, {"name": "xpos", "type": "float"},
            {"name": "ypos", "type": "float"}, {"name": "magpsf", "type": "float"}, {"name": "rcid", "type": "int"},
            {"name": "scorr", "type": ["double", "null"]}, {"name": "rb", "type": ["float", "null"]}]}},
        *({"name": name, "default": None, "type": ["null", {"type": "record", "name": name, "fields": [
            {"name": "fileName", "type": "string"}, {"name": "stampData", "type": "bytes"}]}]}
          for name in ("cutoutScience", "cutoutTemplate", "cutoutDifference")),
    ],
}  # fmt: skip


def cutout(data: np.ndarray) -> dict[str, object]:
    buffer = io.BytesIO()
    fits.PrimaryHDU(data.astype(np.float32)).writeto(buffer)
    return {"fileName": "a.fits.gz", "stampData": gzip.compress(buffer.getvalue())}


def write_packets(path: Path, n: int = 4, *, cut: bool = False, **changed) -> np.ndarray:
    import fastavro

    cube = triplets(n, 63, stars=6)
    packets = []
    for i in range(n):
        planes = cube[i][:, :50, 7:] if cut else cube[i]
        candidate = {"jd": 2459001.75, "fid": 2, "isdiffpos": "tf"[i % 2], "ra": 12.5, "dec": 3.0, "xpos": 20.0,
                     "ypos": 3060.0, "magpsf": 17.0, "rcid": 4, "rb": 0.7,
                     "scorr": None if i == 2 else 9.0}  # fmt: skip
        packet = {"objectId": f"ZTF{i}", "candid": 10**18 + i, "candidate": candidate}
        names = ("cutoutScience", "cutoutTemplate", "cutoutDifference")
        packet |= {name: cutout(plane) for name, plane in zip(names, planes, strict=True)}
        packets.append(packet | changed)
    with path.open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(SCHEMA), packets)
    return cube


def test_alert_packets_are_read(tmp_path: Path) -> None:
    cube = write_packets(tmp_path / "a.avro")
    write_packets(tmp_path / "b.avro", 2)
    made = import_ztf_alerts([tmp_path / "a.avro", tmp_path / "b.avro"], tmp_path / "set", ImportSet(dtype="float32"))
    assert len(made) == 6
    assert set(made.labels) == {-1}
    assert made["candidate_id"][1] == str(10**18 + 1)
    assert made["snr"][[0, 1]].tolist() == [9.0, -9.0]
    assert made["snr"][2] > 3, "without one it is measured"
    back = made.stamps(np.arange(4)) * made.sigma(np.arange(4))[:, :, None, None]
    signs = np.array([1, -1, 1, -1])[:, None, None]
    shown = np.array(cube)
    shown[:, 2] *= signs
    flat = shown - np.median(shown, axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(back - np.median(back, axis=(2, 3), keepdims=True), flat, atol=0.03)
    assert (made["band"][0], made["chip"][0], made["tile"][0]) == ("r", "4", "ZTF0")
    labelled = import_ztf_alerts([tmp_path / "a.avro"], tmp_path / "real", ImportSet(label=1))
    assert set(labelled.labels) == {1}


def test_alert_packets_are_scored_as_the_data_set_they_make(tmp_path: Path) -> None:
    write_packets(tmp_path / "a.avro", cut=True)
    import_ztf_alerts([tmp_path / "a.avro"], tmp_path / "set", ImportSet(dtype="float32"))
    scores = []
    for source in ("a.avro", "set"):
        out = tmp_path / f"{source}.parquet"
        done = CliRunner().invoke(app, ["score", str(tmp_path / source), "--out", str(out), "--quiet"])
        assert done.exit_code == 0, done.output
        table = pq.read_table(out)
        assert table["id"].to_pylist() == [str(10**18 + i) for i in range(4)]
        scores.append(np.array(table["rb_score"].to_pylist(), float))
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)


def test_cutouts_at_an_edge_are_filled_on_its_side(tmp_path: Path) -> None:
    cube = write_packets(tmp_path / "a.avro", cut=True)
    made = import_ztf_alerts([tmp_path / "a.avro"], tmp_path / "set")
    stamps = made.stamps(np.arange(4))
    assert made.stamp_size == 63
    assert np.isnan(stamps[:, :, 50:]).all()
    assert np.isnan(stamps[:, :, :, :7]).all()
    back = stamps[:, 0, :50, 7:] * made.sigma(np.arange(4))[:, 0, None, None]
    flat = cube[:, 0, :50, 7:]
    np.testing.assert_allclose(
        back - np.median(back, axis=(1, 2), keepdims=True), flat - np.median(flat, axis=(1, 2), keepdims=True),
        rtol=2e-3, atol=0.2,
    )  # fmt: skip


def test_packets_that_cannot_be_right_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.avro"
    write_packets(path, 1, cutoutTemplate=None)
    with pytest.raises(InputError, match=r"alert 1000000000000000000 has no cutoutTemplate"):
        import_ztf_alerts([path], tmp_path / "set")
    write_packets(path, 1, cutoutScience={"fileName": "a", "stampData": b"no"})
    with pytest.raises(InputError, match="cutoutScience of alert .* is no gzipped FITS image"):
        import_ztf_alerts([path], tmp_path / "set")
    path.write_bytes(b"no")
    with pytest.raises(InputError, match="not a readable Avro file"):
        import_ztf_alerts([path], tmp_path / "set")
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(MissingPartError, match=r"pip install 'gueststar\[avro\]'"):
        import_ztf_alerts([path], tmp_path / "set")


def call(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_commands_import_and_export(tmp_path: Path) -> None:
    write_tomoe(tmp_path / "raw")
    done = call("dataset", "import", tmp_path / "raw", "--out", tmp_path / "set", "--split", "3:1:0", "--seed", 2)
    assert done.exit_code == 0, done.output
    assert "planes taken as reference,science,difference; by their pixels: reference,science,difference" in done.output
    assert "120 stamps of 29 px" in done.output
    assert set(open_dataset(tmp_path / "set")["split"]) == {"train", "validation"}
    out = call(
        "dataset", "export", tmp_path / "set", "--out", tmp_path / "back", "--order", "science,reference,difference"
    )
    assert out.exit_code == 0
    assert "120 stamps of 2 detectors" in out.output
    wrong = call("dataset", "import", tmp_path / "back", "--out", tmp_path / "other")
    assert wrong.exit_code == 1
    assert "--no-check" in wrong.output
    insisted = call(
        "dataset", "import", tmp_path / "back", "--out", tmp_path / "other", "--no-check", "--keep-sky", "-q"
    )
    assert insisted.exit_code == 0, insisted.output
    write_table(tmp_path)
    assert call("dataset", "import", tmp_path / "t.npz", "--out", tmp_path / "z", "--label-column", "weak_label",
                "--quiet").exit_code == 0  # fmt: skip
    write_packets(tmp_path / "a.avro")
    assert call("dataset", "import", tmp_path / "a.avro", "--out", tmp_path / "v", "--label", 1, "-q").exit_code == 0


def test_commands_refuse_what_they_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    for words in ([], ["--format", "hdf5"], ["--format", "tomoe"]):
        done = call("dataset", "import", tmp_path, "--out", tmp_path / "set", *words)
        assert done.exit_code == 2
        assert "expected images*.npy" in " ".join(done.output.split())
    write_tomoe(tmp_path / "raw", n=30)
    assert call("dataset", "import", tmp_path / "raw", "--out", tmp_path / "set", "--label", 3).exit_code == 2
    assert call("dataset", "import", tmp_path / "raw", "--out", tmp_path / "set", "-q").exit_code == 0
    assert call("dataset", "export", tmp_path / "set", "--out", tmp_path / "x", "--format", "ztf").exit_code == 2
