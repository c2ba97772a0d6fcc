import pytest

from geocloud.errors import OutputError, OutputExistsError
from geocloud.writers.staging import Staging


def test_nothing_appears_before_everything_is_there(tmp_path):
    first, second = tmp_path / "a.tif", tmp_path / "b.gpkg"
    with Staging([first, second]) as staging:
        staging.place(first).write_text("1")
        staging.place(second).write_text("2")
        staging.scratch(first, "x").write_text("in between")
        assert not first.exists()
        assert not second.exists()
        staging.publish()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "b.gpkg"]


def test_in_between_results_never_meet_a_result_of_their_name(tmp_path):
    first = tmp_path / "mask.tif"
    with Staging([first]) as staging:
        assert staging.scratch(first, "mask.tif") != staging.place(first)


@pytest.mark.parametrize("length", [240, 300])
def test_a_name_that_no_disk_takes_is_refused_at_once(tmp_path, length):
    with pytest.raises(OutputError, match=f"a name of {length} bytes, too long"):
        Staging([tmp_path / ("ä" * 4 + "x" * (length - 12) + ".tif")])
    with Staging([tmp_path / ("x" * 235 + ".tif")]) as staging:
        staging.write(tmp_path / ("x" * 235 + ".tif.aux.xml"), "beside it")
        staging.publish()


def test_a_failure_leaves_nothing_and_keeps_what_was_there(tmp_path):
    old = tmp_path / "a.tif"
    old.write_text("old")
    with pytest.raises(RuntimeError, match="on the way"), Staging([old], overwrite=True) as staging:
        staging.place(old).write_text("half")
        raise RuntimeError("on the way")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    assert old.read_text() == "old"


def test_what_is_there_is_refused_unless_told(tmp_path):
    path = tmp_path / "a.tif"
    path.write_text("old")
    with pytest.raises(OutputExistsError, match="give overwrite=True"):
        Staging([path])
    stale = tmp_path / "a.tif.ovr"
    stale.write_text("overviews of the old one")
    with Staging([path], overwrite=True) as staging:
        staging.place(path).write_text("new")
        staging.publish()
    assert path.read_text() == "new"
    assert not stale.exists()


def test_impossible_destinations(tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        Staging([tmp_path])
    with pytest.raises(OutputError, match="does not exist"):
        Staging([tmp_path / "no" / "a.tif"])
    with pytest.raises(OutputError, match="same file"):
        Staging([tmp_path / "a.tif", tmp_path / "x" / ".." / "a.tif"])


def test_a_link_to_a_folder_that_does_not_exist_is_refused(tmp_path):
    (tmp_path / "link.tif").symlink_to(tmp_path / "nowhere" / "t.tif")
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    with (
        Staging([tmp_path / "link.tif", tmp_path / "loop.tif"]) as staging,
        pytest.raises(OutputError, match="nowhere: cannot be written to"),
    ):
        staging.write(tmp_path / "link.tif", "")
