"""How amounts, numbers and places are written for people; the templates use these as filters."""


def dollars(amount: float) -> str:
    """Return an amount for people: `$206,900`."""
    return f"${amount:,.0f}"


def plain(number: float) -> str:
    """Return a number for people, with two decimals at most: `5.23`, `1167`."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def compass(place: tuple[float, float]) -> str:
    """Return latitude and longitude for people: `34.05° N, 118.24° W`."""
    return f"{place[0]:.2f}° N, {-place[1]:.2f}° W"
