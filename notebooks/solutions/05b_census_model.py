# %% Exercise 05.5
answer = matrix[1, 1] / (matrix[0, 1] + matrix[1, 1])

# %% Exercise 05.6
ages = pd.cut(test["age"], [16, 25, 35, 45, 55, 65, 90])
answer = result.assign(age=ages).groupby("age")[["truth", "says_yes"]].apply(rates).round(3)

# %% Exercise 05.7
# The change is in 05.7.diff: add the lines with +, remove those with -; the others show the place.
