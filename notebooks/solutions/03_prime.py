# %% Exercise 03.1
def divisors(n):
    found = []
    for candidate in range(1, n + 1):
        if n % candidate == 0:
            found.append(candidate)
    return found


answer = divisors

# %% Exercise 03.2
answer = isqrt(1_000_003) - 1  # from 2 to 1,000, because 1 is not tried

# %% Exercise 03.3
# The change is in 03.3.diff: add the lines with +, remove those with -; the others show the place.
