"""The pictures: the map of California, the distribution of prices, and the curve over one feature.

This module does the sums; the templates `_map.html` and `_charts.html` draw. Coordinates are those of
the SVG's viewBox, which grow to the right and *down*.
"""

import math
from itertools import pairwise
from typing import Any

import pandas as pd

# Latitude and longitude of the middle of each, in degrees.
PLACES = {
    "Bakersfield": (35.37, -119.02),
    "Eureka": (40.80, -124.16),
    "Fresno": (36.74, -119.79),
    "Los Angeles": (34.05, -118.24),
    "Monterey": (36.60, -121.89),
    "Oakland": (37.80, -122.27),
    "Palm Springs": (33.83, -116.55),
    "Redding": (40.59, -122.39),
    "Sacramento": (38.58, -121.49),
    "San Diego": (32.72, -117.16),
    "San Francisco": (37.77, -122.42),
    "San Jose": (37.34, -121.89),
    "Santa Barbara": (34.42, -119.70),
    "South Lake Tahoe": (38.94, -119.98),
}
# Each label's offset from its place (right and down), and which of its ends is there. Labels on the coast
# are out at sea, so that no line crosses them.
LABELS = {
    "Eureka": (14, 4, "start"),
    "Sacramento": (4, -26, "middle"),
    "San Francisco": (-16, 4, "end"),
    "Fresno": (12, 4, "start"),
    "Los Angeles": (-12, 26, "end"),
    "San Diego": (-14, 4, "end"),
}
CLASSES = (100_000, 150_000, 200_000, 300_000)  # dollars; where the map's colors change

# Its border, in a few straight lines: north, east, Colorado River, south, and up the coast.
BORDER = [
    *((42.0, -124.2), (42.0, -120.0), (39.0, -120.0), (35.0, -114.63), (34.25, -114.15)),
    *((33.4, -114.7), (32.72, -114.72), (32.53, -117.12), (33.2, -117.4), (33.75, -118.4)),
    *((34.03, -118.55), (34.15, -119.2), (34.4, -119.7), (34.45, -120.47), (35.15, -120.75)),
    *((35.8, -121.35), (36.6, -121.95), (36.8, -121.8), (37.1, -122.3), (37.8, -122.5)),
    *((38.0, -123.0), (38.95, -123.73), (40.0, -124.05), (40.44, -124.4), (41.05, -124.15)),
]
NORTH, SOUTH, WEST, EAST = 42.3, 32.2, -125.9, -113.7
HEIGHT = 480
SCALE = HEIGHT / (NORTH - SOUTH)  # units per degree of latitude
SQUEEZE = math.cos(math.radians(37.3))  # a degree of longitude is shorter, in the middle of the map
WIDTH = round((EAST - WEST) * SQUEEZE * SCALE)


def point(latitude: float, longitude: float) -> tuple[float, float]:
    """Return x and y of a place."""
    return round((longitude - WEST) * SQUEEZE * SCALE, 1), round((NORTH - latitude) * SCALE, 1)


def price_grid(training: pd.DataFrame, price: str, fewest: int) -> list[list[float]]:
    """Return [latitude, longitude, mean price] of the parts of California, for the model's card.

    Each is a square of 0.1 degrees. Squares with fewer than `fewest` districts are merged into squares of
    0.2 and then 0.4 degrees; those that still have too few are left out. So no row of the data is shown.
    """
    cells, rest = [], training
    for size in (0.1, 0.2, 0.4):
        row, column = ((rest[name] / size).round() for name in ("latitude", "longitude"))
        square = row.astype(str) + " " + column.astype(str)
        few = square.map(square.value_counts()) < fewest
        cells.append(rest[~few].groupby(square[~few]).mean())
        rest = rest[few]
    found = pd.concat(cells)
    found[price] = found[price].round(-3)  # in whole thousands
    return found.round(1)[["latitude", "longitude", price]].to_numpy().tolist()


def california(card: dict[str, Any], district: dict[str, float] | None = None) -> dict[str, Any]:
    """Return what `_map.html` draws: border and places, the card's prices, and the district's own."""
    corners = " L".join(f"{x} {y}" for x, y in (point(*corner) for corner in BORDER))
    colors: list[list[str]] = [[] for _ in (*CLASSES, None)]
    wide, high = round(0.1 * SQUEEZE * SCALE, 1), round(0.1 * SCALE, 1)
    for latitude, longitude, price in card["map"]:
        x, y = point(latitude + 0.05, longitude - 0.05)
        color = sum(price >= limit for limit in CLASSES)
        colors[color].append(f"M{x} {y}h{wide}v{high}h-{wide}z")
    limits = [f"${limit:,}" for limit in CLASSES]
    between = [f"{low} to {high}" for low, high in pairwise(limits)]
    picture: dict[str, Any] = {
        "width": WIDTH,
        "height": HEIGHT,
        "border": f"M{corners}Z",
        "places": {name: point(*place) for name, place in PLACES.items()},
        "at": PLACES,
        "labels": LABELS,
        "colors": ["".join(squares) for squares in colors],
        "legend": [f"below {limits[0]}", *between, f"{limits[-1]} or more"],
        # for a click on the map: the corner's coordinates, and units per degree
        "frame": {"north": NORTH, "west": WEST, "down": SCALE, "right": SQUEEZE * SCALE},
        "mark": None,
    }
    if district:
        where = district["latitude"], district["longitude"]
        picture |= {"mark": point(*where), "where": where}
        picture["nearest"], picture["distance"] = nearest(*where)
    return picture


CHART_WIDTH, BASE = 420, 160  # what is below the base is for the axis's numbers


def distribution(prices: dict[str, Any], answer: tuple[int, int, int]) -> dict[str, Any]:
    """Return what `_charts.html` draws of an answer: how many districts had which price, and the interval.

    `prices` is the card's. `answer` is low, price and high, in dollars.
    """
    counts, step = prices["counts"], prices["step_usd"]
    top = step * len(counts)
    wide, most = CHART_WIDTH / len(counts), max(counts) or 1
    bars = [
        f"M{place * wide:.1f} {BASE}v{-130 * count / most:.1f}h{wide - 2:.1f}V{BASE}z"
        for place, count in enumerate(counts)
    ]
    low, price, high = (min(amount, top) / top * CHART_WIDTH for amount in answer)
    ticks = [(amount / top * CHART_WIDTH, amount) for amount in range(0, top, 200_000)]
    return {"bars": "".join(bars), "low": low, "high": high, "price": price, "ticks": ticks}


def curve_picture(curve: list[tuple[float, ...]], here: float) -> dict[str, Any]:
    """Return what `_charts.html` draws of a model's curve, and where the district itself is on it."""
    first, last = curve[0][0], curve[-1][0]
    top = max(500_000, *(high for *_, high in curve))

    def place(value: float, price: float) -> str:
        x = (value - first) / ((last - first) or 1) * CHART_WIDTH
        return f"{x:.1f} {BASE - price / top * (BASE - 10):.1f}"

    line = [place(value, price) for value, price, _, _ in curve]
    band = [place(value, low) for value, _, low, _ in curve]
    band += [place(value, high) for value, _, _, high in reversed(curve)]
    return {
        "line": "M" + " L".join(line),
        "band": "M" + " L".join(band) + "Z",
        "here": place(here, 0).split()[0],
        "grid": [(place(0, amount).split()[1], amount) for amount in (0, 200_000, 400_000)],
        "ends": (first, last),
    }


def nearest(latitude: float, longitude: float) -> tuple[str, float]:
    """Return the nearest of the PLACES, and how far away it is in kilometers."""
    far = {name: kilometres((latitude, longitude), place) for name, place in PLACES.items()}
    name = min(far, key=far.get)
    return name, far[name]


def kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the distance between two places along a great circle, by the haversine formula."""
    (lat1, lon1), (lat2, lon2) = (map(math.radians, place) for place in (one, other))
    north, east = math.sin((lat2 - lat1) / 2), math.sin((lon2 - lon1) / 2)
    chord = math.sqrt(north**2 + math.cos(lat1) * math.cos(lat2) * east**2)
    return 2 * 6371 * math.asin(chord)  # the earth's radius in kilometers
