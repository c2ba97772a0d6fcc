from xml.etree import ElementTree

import pytest

from geocloud.writers import styles


@pytest.mark.parametrize(
    "text", [styles.mask_qml(), styles.probability_qml(), styles.polygons_qml(), styles.mask_aux_xml()]
)
def test_styles_are_well_formed(text):
    ElementTree.fromstring(text)  # noqa: S314 - our own text


def test_the_mask_has_two_named_classes_clear_invisible_and_cloud_half_transparent():
    entries = ElementTree.fromstring(styles.mask_qml()).findall(".//paletteEntry")  # noqa: S314
    assert [(e.get("value"), e.get("label"), e.get("alpha")) for e in entries] == [
        ("0", "clear", "0"),
        ("1", "cloud", "128"),
    ]


def test_probability_runs_from_nothing_to_the_colour_of_cloud():
    items = ElementTree.fromstring(styles.probability_qml()).findall(".//item")  # noqa: S314
    assert items[0].get("alpha") == "0"
    assert items[0].get("value") == "0"
    assert items[-1].get("value") == "100"
    assert items[-1].get("color") == "#d55e00"
