# %% Exercise 00.1
answer = 8004


# %% Exercise 00.2
def address(stage):
    return f"http://127.0.0.1:{8000 + stage}"


answer = address

# %% Exercise 00.3
# The change is in 00.3.diff: add the lines with +, remove those with -; the others show the place.
