import json

import pytest

from geocloud.errors import SceneReadError
from geocloud.readers.landsat import LEVEL1_GROUPS, LEVEL2_GROUPS, parse_mtl

C1 = """GROUP = L1_METADATA_FILE
  GROUP = PRODUCT_METADATA
    SPACECRAFT_ID = "LANDSAT_7"
    DATE_ACQUIRED = 2003-05-06
    SCENE_CENTER_TIME = "10:11:12.1234567Z"
    CORNER_UL_PROJECTION_X_PRODUCT = 300000.000
    CORNER_UL_PROJECTION_Y_PRODUCT = -2000010.000
    CORNER_LR_PROJECTION_X_PRODUCT = 300270.000
    CORNER_LR_PROJECTION_Y_PRODUCT = -2000160.000
    REFLECTIVE_LINES = 6
    REFLECTIVE_SAMPLES = 10
  END_GROUP = PRODUCT_METADATA
  GROUP = IMAGE_ATTRIBUTES
    SUN_ELEVATION = 41.5
  END_GROUP = IMAGE_ATTRIBUTES
  GROUP = RADIOMETRIC_RESCALING
    REFLECTANCE_MULT_BAND_1 = 1.1E-03
    REFLECTANCE_MULT_BAND_2 = 1.2E-03
    REFLECTANCE_MULT_BAND_3 = 1.3E-03
    REFLECTANCE_MULT_BAND_4 = 1.4E-03
    REFLECTANCE_ADD_BAND_1 = -0.01
    REFLECTANCE_ADD_BAND_2 = -0.02
    REFLECTANCE_ADD_BAND_3 = -0.03
    REFLECTANCE_ADD_BAND_4 = -0.04
  END_GROUP = RADIOMETRIC_RESCALING
  GROUP = PROJECTION_PARAMETERS
    MAP_PROJECTION = "UTM"
    UTM_ZONE = 21
    GRID_CELL_SIZE_REFLECTIVE = 30.00
  END_GROUP = PROJECTION_PARAMETERS
END_GROUP = L1_METADATA_FILE
END
"""

# Both groups contain the same keys, which must not be merged.
C2_L2 = {
    "LANDSAT_METADATA_FILE": {
        "IMAGE_ATTRIBUTES": {"SPACECRAFT_ID": "LANDSAT_9", "SUN_ELEVATION": "55.5", "DATE_ACQUIRED": "2023-01-02"},
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {
            **{f"REFLECTANCE_MULT_BAND_{n}": "2.75e-05" for n in range(2, 6)},
            **{f"REFLECTANCE_ADD_BAND_{n}": "-0.2" for n in range(2, 6)},
        },
        "LEVEL1_RADIOMETRIC_RESCALING": {
            **{f"REFLECTANCE_MULT_BAND_{n}": "2.0000E-05" for n in range(2, 6)},
            **{f"REFLECTANCE_ADD_BAND_{n}": "-0.100000" for n in range(2, 6)},
        },
    }
}


def test_collection_1_text():
    mtl = parse_mtl(C1, "MTL.txt")
    assert mtl.satellite == 7
    assert mtl.facts["sun_elevation"] == 41.5
    assert mtl.facts["acquired"].isoformat() == "2003-05-06T10:11:12.123456+00:00"
    conversion = mtl.conversion((3, 2, 1, 4), LEVEL1_GROUPS)
    assert conversion.scale == (1.3e-3, 1.2e-3, 1.1e-3, 1.4e-3)
    assert conversion.offset == (-0.03, -0.02, -0.01, -0.04)
    assert mtl.conversion((3, 2, 1, 4), LEVEL2_GROUPS) is None


def test_corners_are_pixel_centres():
    grid = parse_mtl(C1, "MTL.txt").grid
    assert grid.shape == (6, 10)
    assert grid.crs.to_epsg() == 32621
    assert grid.transform @ (0, 0) == (299_985, -1_999_995)
    assert grid.transform @ (10, 6) == (300_285, -2_000_175)


def test_corners_that_do_not_fit_the_size_give_no_grid():
    assert parse_mtl(C1.replace("REFLECTIVE_LINES = 6", "REFLECTIVE_LINES = 7"), "MTL.txt").grid is None


def test_collection_2_json_keeps_its_levels_apart():
    mtl = parse_mtl(json.dumps(C2_L2), "MTL.json")
    assert mtl.conversion((4, 3, 2, 5), LEVEL2_GROUPS).scale == (2.75e-5,) * 4
    assert mtl.conversion((4, 3, 2, 5), LEVEL1_GROUPS).scale == (2e-5,) * 4
    assert mtl.satellite == 9
    assert mtl.facts["acquired"].isoformat() == "2023-01-02T00:00:00+00:00"


@pytest.mark.parametrize("cut", [200, 500, 900, len(C1) - 40])
def test_a_text_that_is_cut_off_is_refused(cut):
    with pytest.raises(SceneReadError, match=r"MTL\.txt"):
        parse_mtl(C1[:cut], "MTL.txt")


@pytest.mark.parametrize("text", ["", "hello", "{", "[]", '{"other": {}}', "END_GROUP = X", "GROUP = A\nEND_GROUP = B"])
def test_what_is_no_metadata_is_refused(text):
    with pytest.raises(SceneReadError, match="it"):
        parse_mtl(text, "it")


def test_numbers_that_are_none():
    assert parse_mtl(C1.replace("41.5", "NaN"), "m").facts["sun_elevation"] is None
    with pytest.raises(SceneReadError, match="SUN_ELEVATION"):
        _ = parse_mtl(C1.replace("41.5", "high"), "m").facts["sun_elevation"]


def test_the_first_of_two_equal_keys_counts():
    text = C1.replace("SUN_ELEVATION = 41.5", "SUN_ELEVATION = 41.5\n SUN_ELEVATION = 2")
    assert parse_mtl(text, "m").facts["sun_elevation"] == 41.5
