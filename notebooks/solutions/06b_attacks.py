# %% Exercise 06.5
# The part before the colon decides what a browser does: this one means "run the rest".
answer = "javascript:alert(1)"

# %% Exercise 06.6
for word in words:
    try:
        signer(word).loads(found)
    except BadSignature:
        continue
    answer = signer(word).dumps({"account": 1})

# %% Exercise 06.7
# The change is in 06.7.diff: add the lines with +, remove those with -; the others show the place.
