# %% Exercise 01.1
answer = 404  # "twelve" isn't a number, so no route fits

# %% Exercise 01.2
answer = ("POST", "/notes", {"name": "lunch", "text": "soup at noon"})

# %% Exercise 01.3
# The change is in 01.3.diff: a line with + is new, a line with - goes, the others show where.

# %% Exercise 01.4
# The app to start from is apps/hello/app.py in this folder, and the change to it is in 01.4.diff.
