import math

import numpy as np
import pytest
from conftest import level1_numbers, ramp

from geocloud.bands import CONVERSIONS, LANDSAT_L1, Conversion, Units
from geocloud.errors import UnitsError


def convert(conversion, values):
    return conversion.apply(values, np.empty(values.shape, "float32"))


@pytest.mark.parametrize(
    ("units", "value", "reflectance"),
    [
        (Units.REFLECTANCE, 0.25, 0.25),
        (Units.LANDSAT_L1, 17_500, 0.25),
        (Units.LANDSAT_L2, 16_364, 0.25),
        (Units.SENTINEL2, 2_500, 0.25),
        (Units.SENTINEL2_BASELINE4, 3_500, 0.25),
        (Units.SCALED_8BIT, 64, 64 / 255),
    ],
)
def test_units_mean_what_their_agencies_say(units, value, reflectance):
    values = np.full((4, 2, 3), value, "float64")
    np.testing.assert_allclose(convert(CONVERSIONS[units], values), reflectance, atol=1e-5)


def test_level1_is_divided_by_the_sine_of_the_suns_elevation():
    for sun in (15, 50, 90):
        found = convert(LANDSAT_L1.lit_by(sun), level1_numbers(ramp(), sun))
        np.testing.assert_allclose(found, ramp(), atol=2e-5 / math.sin(math.radians(sun)))


@pytest.mark.parametrize("sun", [0, -3, 91, math.nan])
def test_a_sun_below_the_horizon_is_refused(sun):
    with pytest.raises(UnitsError, match="sun elevation"):
        LANDSAT_L1.lit_by(sun)


def test_inverting_gives_the_numbers_on_disk_again():
    numbers = np.arange(4 * 6, dtype="uint16").reshape(4, 2, 3) * 2000 + 1
    conversion = LANDSAT_L1.lit_by(37.5)
    assert (np.rint(conversion.invert(convert(conversion, numbers))) == numbers).all()


def test_bands_have_scales_of_their_own():
    conversion = Conversion((1, 2, 3, 4), (0, 0, 0, 10))
    found = convert(conversion, np.ones((4, 1, 1)))
    assert found.ravel().tolist() == [1, 2, 3, 14]


def test_a_scale_of_zero_or_infinity_is_refused():
    for scale in (0.0, math.inf):
        with pytest.raises(UnitsError, match="scale"):
            Conversion.uniform(scale)
