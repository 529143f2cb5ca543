# %% Exercise 01.1
answer = 404  # "twelve" isn't a number, so no route fits

# %% Exercise 01.2
answer = ("POST", "/notes", {"name": "lunch", "text": "soup at noon"})

# %% Exercise 01.3
# The change is in 01.3.diff: a line with + is new, a line with - goes, the others show where.
