"""Limits of guesses about pixels, and the data that each comes from. Values are of reflectance × 10 000 unless said."""

from __future__ import annotations

import math

FAINT, DIM = 1600, 2500
"""Values that the brightest band of a picture of land reaches: surely, and nearly always. Of 327 real scenes with some
land or cloud one stays below the first, and four in a hundred below the second; of 5000 parts 0.2 and 5 in 100."""
DARKEST = 500
"""Value that even water reaches; alone, and dark in near-infrared, it may be at 800."""
BRIGHTEST = 19_000
"""Value that is not exceeded: of 350 Sentinel-2 scenes cloud ends at 15 700, snow at 18 700."""
NEGATIVE = -2000
"""Lowest surface reflectance: atmospheric correction overshoots in shadow and water."""
FULL = (1023, 2047, 4095)
"""Largest numbers of 10, 11 and 12 bits."""
LEAST_SHIFTED, UNSHIFTED = 700, 500
"""Sentinel-2's values from baseline 4 on are not below the first; a band below the second is not shifted by 1000."""
LEVEL1, BLUE_AIR = (4000, 6900), 1200
"""Landsat Level-1: a floor at 5000 to 6500 (surface reflectance of zero is 7273), and blue air far above it: 1350 or
more in 150 real scenes and parts of them, but at most 1100 in Sentinel-2's of nothing but cloud."""
IMPOSSIBLE = 10.0
"""Reflectance that half of a band never has, not even if a sensor is saturated: the units are wrong."""
POSSIBLE = ((-0.05, math.inf), (-0.02, 2.0), (0.01, 4.0))
"""Reflectance of whichever band has the most: 0.1 percentile, median and 99.9 percentile. Real products stay far
inside, saturated and dark ones too; reflectance read as Landsat's numbers has a median below zero, scaled twice it ends
at 0.0001."""

LAND = 1.6
"""Pixels whose near-infrared is so many times their green are plants or soil."""
NO_DOUBT = 1.75
"""Minimum contrast ratio between the red and the blue candidate. Of 371 real scenes and 2892 crops of them the wrong
band's rise is at most 1.56 times the right one's; a third of the scenes is told."""
FEWEST = 300, 0.05
"""Pixels of land, and the share of all pixels, without which nothing is told."""
TRANSPARENCY = 0.9
"""Share of wholly opaque pixels by which transparency is told from near-infrared."""

FINEST, COARSEST = 3.0, 100.0
"""Metres of a pixel's side beyond which a note is due: the models were trained at 30 to 60 m."""
