"""Prime numbers as functions, which take a number and return an answer, and never ask or print."""

from math import isqrt

LARGEST = 10**12  # up to here, an answer takes at most a few hundredths of a second


def smallest_factor(n: int) -> int | None:
    """Return the smallest whole number above 1 that divides `n`, or None if `n` is below 2.

    The smallest factor of a prime number is the number itself.

    If n = a × b, the smaller of a and b is at most the square root of n, so no candidate above the
    root needs a try. After 2 and 3, only those next to a multiple of 6 remain: 5, 7, 11, 13, 17, ...
    For n up to 10**12, that makes at most 333,334 divisions.
    """
    if n < 2:
        return None
    for divisor in (2, 3):
        if n % divisor == 0:
            return divisor
    for divisor in range(5, isqrt(n) + 1, 6):
        if n % divisor == 0:
            return divisor
        if n % (divisor + 2) == 0:
            return divisor + 2
    return n


def is_prime(n: int) -> bool:
    """Return whether `n` is a prime number: at least 2, and divisible only by 1 and itself."""
    return n >= 2 and smallest_factor(n) == n
