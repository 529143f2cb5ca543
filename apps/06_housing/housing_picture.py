"""The map of California: where its places and a district lie in the picture.

This module does the sums; the template `_map.html` draws. Coordinates are those of the SVG's
viewBox, which grow to the right and *down*.
"""

import math
from typing import Any

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
LABELLED = ("Eureka", "Sacramento", "San Francisco", "Fresno", "Los Angeles", "San Diego")

# Its border, in a few straight lines: north, east, Colorado River, south, and up the coast.
BORDER = [
    *((42.0, -124.2), (42.0, -120.0), (39.0, -120.0), (35.0, -114.63), (34.25, -114.15)),
    *((33.4, -114.7), (32.72, -114.72), (32.53, -117.12), (33.2, -117.4), (33.75, -118.4)),
    *((34.03, -118.55), (34.15, -119.2), (34.4, -119.7), (34.45, -120.47), (35.15, -120.75)),
    *((35.8, -121.35), (36.6, -121.95), (36.8, -121.8), (37.1, -122.3), (37.8, -122.5)),
    *((38.0, -123.0), (38.95, -123.73), (40.0, -124.05), (40.44, -124.4), (41.05, -124.15)),
]
NORTH, SOUTH, WEST, EAST = 42.3, 32.2, -124.9, -113.7
HEIGHT = 480
SCALE = HEIGHT / (NORTH - SOUTH)  # units per degree of latitude
SQUEEZE = math.cos(math.radians(37.3))  # a degree of longitude is shorter, in the middle of the map
WIDTH = round((EAST - WEST) * SQUEEZE * SCALE)


def point(latitude: float, longitude: float) -> tuple[float, float]:
    """Return x and y of a place."""
    return round((longitude - WEST) * SQUEEZE * SCALE, 1), round((NORTH - latitude) * SCALE, 1)


def california(district: dict[str, float] | None = None) -> dict[str, Any]:
    """Return what `_map.html` draws: the border, the places, and the district's own."""
    corners = " L".join(f"{x} {y}" for x, y in (point(*corner) for corner in BORDER))
    picture: dict[str, Any] = {
        "width": WIDTH,
        "height": HEIGHT,
        "border": f"M{corners}Z",
        "places": {name: point(*place) for name, place in PLACES.items()},
        "labelled": LABELLED,
        "mark": None,
    }
    if district:
        where = district["latitude"], district["longitude"]
        picture |= {"mark": point(*where), "where": where}
        picture["nearest"], picture["distance"] = nearest(*where)
    return picture


def nearest(latitude: float, longitude: float) -> tuple[str, float]:
    """Return the nearest of the PLACES, and how far away it is in kilometers."""
    far = {name: kilometres((latitude, longitude), place) for name, place in PLACES.items()}
    name = min(far, key=far.get)
    return name, far[name]


def kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the distance of two places along a great circle, by the haversine formula."""
    (lat1, lon1), (lat2, lon2) = (map(math.radians, place) for place in (one, other))
    north, east = math.sin((lat2 - lat1) / 2), math.sin((lon2 - lon1) / 2)
    chord = math.sqrt(north**2 + math.cos(lat1) * math.cos(lat2) * east**2)
    return 2 * 6371 * math.asin(chord)  # the earth's radius in kilometers
