"""The registry: one list for masks, batches and fingerprints."""

import os

import numpy as np
import pytest
from conftest import bright, ramp, read_tif, write_tif

from geocloud.batch import find_scenes
from geocloud.batch.find import fingerprint
from geocloud.pipeline import mask_scene
from geocloud.readers import READERS, Candidate, Reader, SceneRecipe, find_reader, registry
from geocloud.readers.source import BandSource, Source


class Toy(Reader):
    """Scenes of four files, ``NAME.toy-1.tif`` to ``NAME.toy-4.tif``: near-infrared, blue, green, red."""

    def match(self, source):
        return source.form == "file" and ".toy-" in source.place

    def scenes(self, listing):
        for first in (name for name in listing.names if name.endswith(".toy-1.tif")):
            stem = first.partition(".")[0]
            yield Candidate(first, stem, frozenset(name for name in listing.names if name.startswith(f"{stem}.toy-")))

    def recipe(self, source, options):
        bands = tuple(BandSource(path, path) for path in reversed(self.files(source)))
        return SceneRecipe(source.path.name.partition(".")[0], source.place, (*bands[:3], bands[3]), kind="toy")

    def files(self, source):
        stem = source.place.rpartition(".toy-")[0]
        return tuple(f"{stem}.toy-{i}.tif" for i in (1, 2, 3, 4))


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "READERS", READERS.copy())
    registry.READERS.insert(0, Toy())
    (tmp_path / "in").mkdir()
    for i, band in enumerate(ramp()[[3, 2, 1, 0]], 1):
        write_tif(tmp_path / "in" / f"one.toy-{i}.tif", band[None])
    return tmp_path / "in"


def test_a_new_maker_is_one_class_and_one_line(toy, tmp_path):
    member = toy / "one.toy-3.tif"
    result = mask_scene(member, tmp_path / "m.tif", model=bright)
    np.testing.assert_array_equal(read_tif(result.mask)[0], ramp()[0] > 0.3501)
    (scene,) = find_scenes([str(toy)])
    assert (scene.name, scene.source) == ("one", str(toy / "one.toy-1.tif"))
    before = fingerprint(scene.source)
    assert fingerprint(str(member)) == before
    os.utime(toy / "one.toy-4.tif", (1, 1))
    assert fingerprint(scene.source) != before


def test_the_first_that_matches_reads(tmp_path):
    path = write_tif(tmp_path / "a.tif", ramp())
    source = Source(str(path))
    assert find_reader(source) is next(reader for reader in READERS if reader.match(source))
    assert len({type(reader) for reader in READERS}) == len(READERS)
