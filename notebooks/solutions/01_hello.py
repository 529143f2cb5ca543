# %% Exercise 01.1
answer = 404  # "twelve" isn't a number, so no route fits

# %% Exercise 01.2
answer = ("POST", "/notes", {"name": "lunch", "text": "soup at noon"})

# %% Exercise 01.3
# The change is in 01.3.diff: add the lines with +, remove those with -; the others show the place.

# %% Exercise 01.4
# Start from apps/hello/app.py in this folder. The change to it is in 01.4.diff.
